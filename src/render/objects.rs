//! From a deployment of the plan to the Kubernetes objects that it is.
//!
//! What is kept, compared and applied is the parsed object, never the rendered text. All problems point at the plan and
//! at the template or manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::builtin::{self, TEMPLATES, Template};
use super::canonical::{canonical, tidy};
use super::environment::{TemplateError, environment, explain};
use super::graph::is_graph;
use super::inputs::{BUILT_IN, Inputs, join};
use super::overrides::{Images, Overrides, without_namespaces};
use super::refused;
use super::vars::{template_name, template_vars};
use super::yaml::read_yaml;
use crate::base::{Diagnostic, Digest, Excerpt, Problems, nearest};
use crate::plan::{Deployment, Plan};

/// Longest name of a deployment in a cluster: operators add suffixes of their own, and templates of plain objects short ones.
const LONGEST_NAME: usize = 20;

/// Objects, and the texts that they were made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// Canonical objects, in the order of the texts.
    pub objects: Vec<Value>,
    /// Every template and manifest that was read, by name.
    pub inputs: BTreeMap<String, String>,
    /// Patterns of `images.rewrite` that an image fitted.
    pub rewritten: BTreeSet<String>,
    /// Worth knowing, but no errors.
    pub notes: Problems,
}

#[derive(Debug, Deserialize)]
struct Raw {
    #[serde(default)]
    template: Option<String>,
    #[serde(default)]
    manifests: Vec<String>,
    #[serde(default)]
    vars: Map<String, Value>,
    #[serde(default)]
    images: Images,
    #[serde(default)]
    overrides: Overrides,
}

/// The keys of `[target]` that matter here.
#[derive(Debug, Default, Deserialize)]
struct RawTarget {
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    images: Images,
}

/// Name of a deployment's objects in a run; without a run, for comparing and looking at, the deployment's own.
pub fn object_name(deployment: &str, run: Option<&str>) -> String {
    let full = run.map_or_else(|| deployment.to_owned(), |run| format!("{deployment}-{run}"));
    if full.len() <= LONGEST_NAME {
        return full;
    }
    let digest = Digest::of(full.as_bytes());
    let start: String = deployment.chars().take(LONGEST_NAME - 7).collect();
    format!("{}-{}", start.trim_end_matches('-'), &digest.short()[..6])
}

/// Renders the template or reads the manifests of a deployment.
///
/// # Errors
/// Everything that is wrong, as far as one problem does not hide another.
pub fn render(plan: &Plan, deployment: &Deployment, inputs: &Inputs, run: Option<&str>) -> Result<Rendered, Problems> {
    let mut work = Work { deployment, inputs, problems: Problems::default(), seen: BTreeSet::new() };
    let (raw, target) = match (deployment.values.decode::<Raw>(), deployment.target.values.decode::<RawTarget>()) {
        (Ok(raw), Ok(target)) => (raw, target),
        (Err(error), _) | (_, Err(error)) => {
            work.problem("", Diagnostic::error(error.to_string()));
            return Err(work.problems);
        }
    };
    let key = if raw.template.is_some() { "template" } else { "manifests" };
    let mut objects = match &raw.template {
        Some(template) => {
            let name = object_name(deployment.name.as_str(), run);
            work.template(plan, template, &raw.vars, &name)
        }
        None => work.manifests(&raw.manifests),
    };
    if raw.template.is_none() {
        work.other_namespaces(without_namespaces(&mut objects), target.namespace.as_deref());
        // What operators rewrite themselves; all else is left as it is written.
        objects.iter_mut().filter(|object| is_graph(object)).for_each(canonical);
    }
    for problem in raw.overrides.apply(&mut objects) {
        work.problem("overrides", problem);
    }
    let rewritten = raw.images.before(target.images).rewrite(&mut objects);
    let claims = refused::lasting_claims(&objects);
    let refused = [refused::kinds(&objects), refused::graphs(&objects), refused::secrets(&objects), claims];
    for problem in refused.into_iter().flatten() {
        work.problem(key, problem);
    }
    if work.problems.has_errors() {
        return Err(work.problems);
    }
    Ok(Rendered { objects, inputs: inputs.texts(), rewritten, notes: work.problems })
}

struct Work<'a> {
    deployment: &'a Deployment,
    inputs: &'a Inputs,
    problems: Problems,
    seen: BTreeSet<String>,
}

impl Work<'_> {
    fn problem(&mut self, key: &str, diagnostic: Diagnostic) {
        let span = self.deployment.values.span(key).or(self.deployment.span.as_ref()).cloned();
        self.problems.push(diagnostic.at(span));
    }

    fn manifests(&mut self, manifests: &[String]) -> Vec<Value> {
        let mut objects = Vec::new();
        for (at, manifest) in manifests.iter().enumerate() {
            let key = format!("manifests.{at}");
            match self.inputs.text(manifest) {
                Ok(text) => objects.extend(self.objects(&key, Path::new(manifest), &text)),
                Err(message) => self.problem(&key, Diagnostic::error(message)),
            }
        }
        objects
    }

    /// Manifests that name a namespace of their own are made in the plan's all the same.
    fn other_namespaces(&mut self, found: BTreeSet<String>, planned: Option<&str>) {
        for namespace in found.iter().filter(|namespace| Some(namespace.as_str()) != planned) {
            let place = planned.map_or("the context's namespace".to_owned(), |name| format!("`{name}`"));
            let message = format!("a manifest names the namespace `{namespace}`: it is made in {place}");
            self.problem("manifests", Diagnostic::warning(message));
        }
    }

    fn template(&mut self, plan: &Plan, template: &str, vars: &Map<String, Value>, name: &str) -> Vec<Value> {
        let built_in = builtin::template(template);
        if built_in.is_none() && !template.contains('/') {
            let diagnostic = Diagnostic::error(format!("no template `{template}` is built in"));
            let known = TEMPLATES.iter().map(|template| template.name);
            let all = || format!("built in: {}; a file of your own is written with a slash", list(known.clone()));
            let diagnostic = match nearest(template, known.clone()) {
                Some(near) => diagnostic.suggest(Some(near)),
                None => diagnostic.help(all()),
            };
            self.problem("template", diagnostic);
            return Vec::new();
        }
        let given = match template_vars(vars) {
            Ok(given) => given,
            Err(error) => {
                self.problem(&format!("vars.{}", error.second), Diagnostic::error(error.to_string()));
                return Vec::new();
            }
        };
        let mut all = built_in.map_or_else(|| given.clone(), |template| self.with_defaults(template, vars, &given));
        if built_in.is_none_or(|template| template.serves_the_model()) {
            with_engine(&mut all, plan);
        }
        let context = json!({
            "engine": built_in.map(|template| template.engine),
            "disaggregated": built_in.map(|template| template.disaggregated),
            "name": name,
            "deployment": self.deployment.name,
            "model": plan.model.id,
            "served_model": self.deployment.served_name.as_deref().unwrap_or(&plan.model.id),
            "vars": all,
        });
        let file = built_in.map_or_else(|| template.to_owned(), |template| format!("{BUILT_IN}/{}", template.file));
        let text = match self.text(&file, &context) {
            Ok(text) => text,
            Err(error) => {
                let mut diagnostic = Diagnostic::error(error.message).excerpt(error.excerpt.map(|boxed| *boxed));
                diagnostic.help = error.help;
                self.problem("template", diagnostic);
                return Vec::new();
            }
        };
        if built_in.is_none() {
            self.unread(vars);
        }
        self.objects("template", Path::new(&format!("{file}, rendered")), &text)
    }

    /// Renders one template file.
    fn text(&self, file: &str, context: &Value) -> Result<String, TemplateError> {
        let mut environment = environment();
        let inputs = self.inputs.clone();
        environment.set_loader(move |name| {
            let not_found = |message| minijinja::Error::new(minijinja::ErrorKind::TemplateNotFound, message);
            inputs.text(name).map(Some).map_err(not_found)
        });
        environment.set_path_join_callback(join);
        let rendered =
            environment.get_template(file).and_then(|template| template.render(minijinja::value::Serde(context)));
        rendered.map_err(|error| explain(&error, context))
    }

    /// The variables of a built-in template; those that it does not have are problems.
    fn with_defaults(
        &mut self,
        template: &Template,
        vars: &Map<String, Value>,
        given: &Map<String, Value>,
    ) -> Map<String, Value> {
        let known: Vec<_> = template.variables().map(|variable| variable.name).collect();
        for name in vars.keys().filter(|name| !known.contains(&template_name(name).replace('_', "-").as_str())) {
            let diagnostic = Diagnostic::error(format!("the template `{}` has no variable `{name}`", template.name));
            let diagnostic = match nearest(name, known.iter().copied()) {
                Some(near) => diagnostic.suggest(Some(near)),
                None => diagnostic.help(format!("it has: {}", list(known.iter().copied()))),
            };
            self.problem(&format!("vars.{name}"), diagnostic);
        }
        let default = |text| serde_json::from_str(text).expect("a test reads every default");
        let mut all: Map<_, _> =
            template.variables().map(|variable| (template_name(variable.name), default(variable.default))).collect();
        for (name, value) in given {
            if let Some(default) = all.get(name)
                && std::mem::discriminant(default) != std::mem::discriminant(value)
            {
                let written = vars.keys().find(|key| template_name(key) == *name).map_or(name.as_str(), String::as_str);
                let message = format!("`{written}` must be {}, like its default {default}", kind_of(default));
                self.problem(&format!("vars.{written}"), Diagnostic::error(message));
            }
            all.insert(name.clone(), value.clone());
        }
        all
    }

    /// Variables that no template names: misspelt ones, as a rule.
    fn unread(&mut self, vars: &Map<String, Value>) {
        let texts = self.inputs.texts();
        for name in vars.keys() {
            let in_template = template_name(name);
            if !texts.values().any(|text| text.contains(&in_template)) {
                let message = format!("no template reads the variable `{name}`");
                self.problem(&format!("vars.{name}"), Diagnostic::warning(message));
            }
        }
    }

    /// Reads the objects of one text.
    fn objects(&mut self, key: &str, path: &Path, text: &str) -> Vec<Value> {
        let documents = match read_yaml(text) {
            Ok(documents) => documents,
            Err(error) => {
                self.problem(key, Diagnostic::error(error.message).excerpt(Excerpt::of(path, text, error.range, "")));
                return Vec::new();
            }
        };
        let mut objects = Vec::new();
        for document in documents {
            let range = document.start..text[document.start..].find('\n').map_or(text.len(), |at| document.start + at);
            for object in items(document.value) {
                let object = if key == "template" { tidy(object) } else { object };
                self.object(key, &object, path, text, range.clone());
                objects.push(object);
            }
        }
        if objects.is_empty() {
            self.problem(key, Diagnostic::error(format!("{} holds no object", path.display())));
        }
        objects
    }

    fn object(&mut self, key: &str, object: &Value, path: &Path, text: &str, range: Range<usize>) {
        let field = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let missing: Vec<_> = [("/apiVersion", "apiVersion"), ("/kind", "kind"), ("/metadata/name", "metadata.name")]
            .into_iter()
            .filter(|(pointer, _)| field(pointer).is_none())
            .map(|(_, name)| format!("`{name}`"))
            .collect();
        let excerpt = |label: &str| Excerpt::of(path, text, range.clone(), label);
        if !missing.is_empty() {
            let message = format!("this is no Kubernetes object: {} must be text", missing.join(" and "));
            self.problem(key, Diagnostic::error(message).excerpt(excerpt("this object")));
            return;
        }
        let get = |pointer| field(pointer).unwrap_or_default();
        let identity =
            format!("{} {} {} {}", get("/apiVersion"), get("/kind"), get("/metadata/namespace"), get("/metadata/name"));
        if !self.seen.insert(identity) {
            let message = format!("{} `{}` stands here twice", get("/kind"), get("/metadata/name"));
            self.problem(key, Diagnostic::error(message).excerpt(excerpt("the second one")));
        }
    }
}

/// Puts the plan's own `[engine]` before what the deployment says: one block for all that are compared.
fn with_engine(vars: &mut Map<String, Value>, plan: &Plan) {
    let mut args: Vec<Value> = plan.engine.args.iter().map(|arg| Value::from(arg.as_str())).collect();
    if let Some(Value::Array(own)) = vars.get_mut("engine_args") {
        args.append(own);
        *own = args;
    }
    let mut env: Map<String, Value> =
        plan.engine.env.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    if let Some(Value::Object(own)) = vars.get_mut("env") {
        env.append(own);
        *own = env;
    }
}

/// The items of a `List`, or of a `ConfigMapList` and its like, as kubectl takes them apart: those that do not say what they
/// are, are what the list is of. A list within a list is none to it, and has no name of its own.
fn items(value: Value) -> Vec<Value> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let of = kind.strip_suffix("List").map(str::to_owned);
    match (value, of) {
        (Value::Object(mut map), Some(of)) if map.get("items").is_some_and(Value::is_array) => {
            let Some(Value::Array(mut items)) = map.remove("items") else { return Vec::new() };
            for item in items.iter_mut().filter_map(Value::as_object_mut).filter(|_| !of.is_empty()) {
                item.entry("apiVersion").or_insert_with(|| api_version.clone().into());
                item.entry("kind").or_insert_with(|| of.clone().into());
            }
            items
        }
        (other, _) => vec![other],
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}
