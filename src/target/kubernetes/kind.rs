//! `kind = "kubernetes"`: what a plan needs to know of it.
//!
//! Nothing here talks to a cluster: a plan is checked anywhere.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::contract::{Live, TargetError};
use super::super::endpoint::check_url;
use super::client::Whereabouts;
use super::rules::Asked;
use super::{load, settings};
use crate::base::{Diagnostic, Problems, SourceMap};
use crate::plan::{Deployment, Key, Plan, Shape, TargetKind, Values};
use crate::render::{
    EMBEDDED, GpuCount, Inputs, Rendered, count_gpus, engine_arguments, fitting_pattern, gpus, image_for, render,
};

const fn text(name: &'static str, about: &'static str) -> Key {
    Key { name, about, shape: Shape::Text, default: None, required: false }
}

const IMAGES: Key = Key {
    name: "images",
    about: "Where images come from, for registries of one's own.",
    shape: Shape::Table(&[Key {
        name: "rewrite",
        about: "Images by their names, and what they become; one `*` stands for any text, and for the same text in the \
                new name. The first pattern that fits counts.",
        shape: Shape::Map(&Shape::Text),
        default: None,
        required: false,
    }]),
    default: None,
    required: false,
};

const OVERRIDES: &[Key] = &[
    Key {
        name: "replicas",
        about: "Replicas by the name of an object, or of a graph's component.",
        shape: Shape::Map(&Shape::Integer { min: 0, max: 10_000 }),
        default: None,
        required: false,
    },
    Key {
        name: "env",
        about: "Environment variables of all containers: text, or a reference such as `{ secretKeyRef = { name, key } }`.",
        shape: Shape::Map(&Shape::Any),
        default: None,
        required: false,
    },
];

const TARGET_KEYS: &[Key] = &[
    text("context", "Context of the kubeconfig; by default its current one."),
    text("namespace", "Where everything is made; by default the context's."),
    IMAGES,
    text("gpu-pool", "Name of the GPUs that only one run at a time may measure on."),
];

const KEYS: &[Key] = &[
    text("template", "Name of a built-in template, or path (with a slash) of one beside the plan."),
    Key {
        name: "manifests",
        about: "YAML files beside the plan, taken as they are.",
        shape: Shape::List { of: &Shape::Path, min: 1, unique: true },
        default: None,
        required: false,
    },
    text(
        "existing",
        "What already runs, by the name of its graph or workload, or by the label `app` (or `app.kubernetes.io/name`) of its \
         pods: measured, never applied, never deleted.",
    ),
    Key {
        name: "vars",
        about: "Variables of the template.",
        shape: Shape::Map(&Shape::Any),
        default: None,
        required: false,
    },
    IMAGES,
    Key {
        name: "overrides",
        about: "What is changed in the objects before they are applied.",
        shape: Shape::Table(OVERRIDES),
        default: None,
        required: false,
    },
    text(
        "url",
        "Where the model answers from here (NodePort, LoadBalancer, Ingress): load then comes from this machine.",
    ),
    text("service", "Service and port at which the model answers, `name:port`."),
    Key {
        name: "ready",
        about: "When a custom resource is ready: conditions, or values of its status.",
        shape: Shape::Any,
        default: None,
        required: false,
    },
];

/// The keys of a deployment that are no business of `render`.
#[derive(Debug, Deserialize)]
pub(super) struct Raw {
    /// What already runs and is only measured.
    #[serde(default)]
    pub(super) existing: Option<String>,
    /// `name:port`
    #[serde(default)]
    pub(super) service: Option<String>,
}

/// The target that deploys to Kubernetes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kubernetes;

/// The objects, rendered without a run.
pub(super) fn objects(plan: &Plan, deployment: &Deployment) -> Result<Rendered, Problems> {
    render(plan, deployment, &Inputs::beside(&plan.dir), None)
}

/// GPUs of a deployment, counted from its objects.
pub(super) fn gpus_of(plan: &Plan, deployment: &Deployment) -> Option<f64> {
    gpus(&objects(plan, deployment).ok()?.objects)
}

/// Images that are needed beside those of the objects, under the names that `images.rewrite` gives them.
pub(super) fn further_images(plan: &Plan, deployment: &Deployment) -> Vec<String> {
    let named = further_images_as_named(plan, deployment);
    named.iter().map(|image| image_for(deployment, image)).collect()
}

/// The same, as the plan names them.
fn further_images_as_named(plan: &Plan, deployment: &Deployment) -> Vec<String> {
    let cache = deployment.target.values.json.get("model-cache").and_then(|cache| cache.get("image"));
    let cache = cache.and_then(Value::as_str).map(str::to_owned);
    plan.load.image.iter().chain(&plan.load.carrier).take(1).cloned().chain(cache).collect()
}

/// The objects of a run.
///
/// # Errors
/// What is wrong with the template or the manifests.
pub(super) fn objects_of_run(live: Live<'_>) -> Result<Vec<Value>, TargetError> {
    let rendered = render(live.plan, live.deployment, &Inputs::beside(&live.plan.dir), Some(live.run));
    rendered.map(|rendered| rendered.objects).map_err(|problems| {
        let text = problems.render(&SourceMap::default(), false);
        TargetError {
            details: text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect(),
            ..TargetError::new(format!("the objects of {} cannot be rendered", live.deployment.name))
        }
    })
}

/// The keys of a deployment.
///
/// # Errors
/// When the key table and this have gone apart, which tests must show.
pub(super) fn read(deployment: &Deployment) -> Result<Raw, TargetError> {
    deployment
        .values
        .decode()
        .map_err(|error| TargetError::new(format!("the keys of this deployment do not fit: {error}")))
}

/// Which cluster and namespace `[target]` means.
///
/// # Errors
/// As [`read`].
pub(super) fn whereabouts(deployment: &Deployment) -> Result<Whereabouts, TargetError> {
    deployment
        .target
        .values
        .decode()
        .map_err(|error| TargetError::new(format!("the keys of `[target]` do not fit: {error}")))
}

/// Whether a value of the plan says anything: tables that only hold what is left out do not.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(table) => table.values().any(says_something),
        Value::Array(list) => !list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Patterns of `images.rewrite` that no image fits: misspelt ones, as a rule, and in a cluster without a way out an image
/// that cannot be pulled. Those of `[target]` are told once, for all deployments that share them.
fn idle_patterns(plan: &Plan, deployment: &Deployment, problems: &mut Problems) {
    let table = |values: &Values| values.json.get("images")?.get("rewrite")?.as_object().cloned();
    let fitting = |deployment: &Deployment| -> BTreeSet<String> {
        // What cannot be rendered has been told.
        let objects = objects(plan, deployment).map(|rendered| rendered.rewritten).unwrap_or_default();
        let further = further_images_as_named(plan, deployment);
        let further = further.iter().filter_map(|image| fitting_pattern(deployment, image));
        objects.into_iter().chain(further).collect()
    };
    let mut told = |values: &Values, used: &BTreeSet<String>| {
        for pattern in table(values).into_iter().flatten().map(|(from, _)| from).filter(|from| !used.contains(from)) {
            let place = values.span(&format!("images.rewrite.{pattern}")).or(values.span("images")).cloned();
            let message = format!("no image fits the pattern `{pattern}`, or an earlier one fits them all");
            problems
                .push(Diagnostic::warning(message).at(place).help("one `*` stands for any text; all else is exact"));
        }
    };
    told(&deployment.values, &fitting(deployment));
    let shared = table(&deployment.target.values);
    let alike = plan.deployments.values().filter(|other| table(&other.target.values) == shared);
    if shared.is_some() && alike.clone().next().is_none_or(|first| first.name == deployment.name) {
        told(&deployment.target.values, &alike.chain([deployment]).flat_map(fitting).collect());
    }
}

impl TargetKind for Kubernetes {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn about(&self) -> &'static str {
        "Objects in a cluster, from a template or from manifests."
    }

    fn target_keys(&self) -> &'static [Key] {
        static ALL: LazyLock<Vec<Key>> = LazyLock::new(|| TARGET_KEYS.iter().chain(settings::KEYS).copied().collect());
        &ALL
    }

    fn deployment_keys(&self) -> &'static [Key] {
        KEYS
    }

    fn check(&self, plan: &Plan, deployment: &Deployment, problems: &mut Problems) {
        let values = &deployment.values;
        let at = |key: &str| values.span(key).or(deployment.span.as_ref()).cloned();
        let given: Vec<_> = ["template", "manifests", "existing"]
            .into_iter()
            .filter(|key| values.json.get(*key).is_some_and(|value| !value.is_null()))
            .collect();
        match given[..] {
            [] => {
                let message = format!("deployment `{}` says nothing of what it is", deployment.name);
                let help = "give it one of `template`, `manifests` and `existing`";
                problems.push(Diagnostic::error(message).at(deployment.span.clone()).help(help));
            }
            ["existing"] => {}
            [_] => match objects(plan, deployment) {
                Ok(rendered) => problems.extend(rendered.notes),
                Err(found) => problems.extend(found),
            },
            [first, second, ..] => {
                let message = format!("`{second}` stands beside `{first}`, and only one of them can be meant");
                problems.push(Diagnostic::error(message).at(at(second)).help("take one of them out"));
            }
        }
        if given != ["template"]
            && values.json.get("vars").and_then(Value::as_object).is_some_and(|vars| !vars.is_empty())
        {
            let message = "`vars` are for a template, and this deployment has none";
            problems.push(Diagnostic::error(message).at(at("vars")));
        }
        if given == ["existing"] {
            for key in ["images", "overrides"] {
                if values.json.get(key).is_some_and(says_something) {
                    let message = format!("`{key}` change what is applied, and `existing` is never applied");
                    problems.push(Diagnostic::error(message).at(at(key)).help("take it out"));
                }
            }
        }
        let engine_is_said = !plan.engine.args.is_empty() || !plan.engine.env.is_empty();
        if engine_is_said && (given == ["existing"] || given == ["manifests"]) {
            let (name, how) = (&deployment.name, given[0]);
            let message = format!("`[engine]` does not reach the deployment `{name}`: `{how}` is taken as it is");
            let help = match how {
                "existing" => "make sure that it runs with those arguments, or its results say something else",
                _ => "write the arguments into the manifests; `overrides.env` sets variables there",
            };
            problems.push(Diagnostic::warning(message).at(at(how)).help(help));
        }
        idle_patterns(plan, deployment, problems);
        if let Some(url) = values.json.get("url").and_then(Value::as_str)
            && let Err((message, help)) = check_url(url)
        {
            problems.push(Diagnostic::error(message).at(at("url")).help(help));
        }
        if let Some(ready) = values.json.get("ready").filter(|ready| !ready.is_null())
            && let Err(wrong) = Asked::parse(ready)
        {
            problems.push(Diagnostic::error(wrong.message).at(at("ready")).help(wrong.help));
        }
        settings::check(plan, deployment, problems);
        if let Some(service) = values.json.get("service").and_then(Value::as_str) {
            let port = service.split_once(':').filter(|(name, _)| !name.is_empty()).map(|(_, port)| port);
            if !port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
                let message = format!("`{service}` is no service and port");
                problems.push(Diagnostic::error(message).at(at("service")).help("write it as `name:8000`"));
            }
        }
    }

    fn fingerprint(&self, plan: &Plan, deployment: &Deployment) -> Value {
        if let Ok(Raw { existing: Some(existing), .. }) = deployment.values.decode() {
            return json!({"existing": existing, "service": deployment.values.json.get("service")});
        }
        match objects(plan, deployment) {
            // The objects themselves, not their digest: `explain` compares them field by field.
            Ok(rendered) => json!({"objects": rendered.objects}),
            Err(_) => json!({"unrendered": deployment.values.json}),
        }
    }

    fn gpus(&self, plan: &Plan, deployment: &Deployment) -> Option<f64> {
        gpus_of(plan, deployment)
    }

    fn gpus_unknown(&self, plan: &Plan, deployment: &Deployment) -> Option<String> {
        match count_gpus(&objects(plan, deployment).ok()?.objects) {
            GpuCount::Unknown(reason) => Some(reason),
            GpuCount::Known(_) | GpuCount::None => None,
        }
    }

    fn engine_arguments(&self, plan: &Plan, deployment: &Deployment) -> Vec<String> {
        objects(plan, deployment).map(|rendered| engine_arguments(&rendered.objects)).unwrap_or_default()
    }

    fn describe(&self, plan: &Plan, deployment: &Deployment) -> String {
        if let Ok(Raw { existing: Some(existing), .. }) = deployment.values.decode() {
            return format!(
                "measure {existing}, which runs already; load comes from {}",
                load::source(plan, deployment)
            );
        }
        let Ok(rendered) = objects(plan, deployment) else { return "apply objects that cannot be rendered".to_owned() };
        let field =
            |object: &Value, pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let one = |object| format!("{} {}", field(object, "/kind"), field(object, "/metadata/name"));
        let objects = rendered.objects.iter().map(one).collect::<Vec<_>>().join(", ");
        format!("apply {objects}; load comes from {}", load::source(plan, deployment))
    }

    /// Rehearsals with the embedded engine are what they are on a cluster too.
    fn simulated(&self, deployment: &Deployment) -> bool {
        deployment.values.json.get("template").and_then(Value::as_str) == Some(EMBEDDED)
    }

    fn transport(&self, plan: &Plan, deployment: &Deployment) -> &'static str {
        load::transport(plan, deployment)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::target::fixtures;

    fn problems(keys: Value) -> String {
        let deployment = fixtures::deployment(keys);
        let mut problems = Problems::default();
        Kubernetes.check(&fixtures::plan(Path::new("/nowhere")), &deployment, &mut problems);
        problems.render(&SourceMap::default(), false)
    }

    #[test]
    fn a_deployment_is_exactly_one_of_template_manifests_and_existing() {
        assert!(problems(json!({})).contains("says nothing of what it is"));
        let both = problems(json!({"template": "vllm", "existing": "x"}));
        assert!(both.contains("`existing` stands beside `template`"), "{both}");
        assert_eq!(problems(json!({"template": "vllm", "vars": {"replicas": 2}, "service": "agg:8000"})), "");
        assert_eq!(problems(json!({"existing": "x"})), "");
        assert!(problems(json!({"existing": "x", "vars": {"a": 1}})).contains("`vars` are for a template"));
        assert!(problems(json!({"template": "vllm", "service": "agg"})).contains("no service and port"));
        assert!(
            problems(json!({"template": "vllm", "ready": {"conditon": "Ready"}})).contains("has no key `conditon`")
        );
        assert!(problems(json!({"template": "vllm", "vars": {"replica": 2}})).contains("did you mean `replicas`?"));
    }

    #[test]
    fn what_changes_objects_is_refused_beside_existing() {
        let rewrite = json!({"rewrite": {"a": "b"}});
        let said = problems(json!({"existing": "x", "images": rewrite, "overrides": {"env": {"A": "1"}}}));
        assert!(said.contains("`images` change what is applied") && said.contains("`overrides` change"), "{said}");
        assert_eq!(problems(json!({"existing": "x", "images": {"rewrite": {}}, "overrides": {"env": null}})), "");
    }

    #[test]
    fn an_engine_block_that_reaches_nothing_is_worth_a_warning() {
        let mut plan = fixtures::plan(Path::new("/nowhere"));
        plan.engine.args.push("--enforce-eager".to_owned());
        let said = |keys| {
            let mut problems = Problems::default();
            Kubernetes.check(&plan, &fixtures::deployment(keys), &mut problems);
            problems.render(&SourceMap::default(), false)
        };
        let warned = |text: &str| text.contains("`[engine]` does not reach the deployment `agg`");
        assert!(warned(&said(json!({"existing": "x"}))));
        assert!(warned(&said(json!({"manifests": ["no.yaml"]}))));
        assert_eq!(said(json!({"template": "vllm"})), "");
    }

    #[test]
    fn a_pattern_that_no_image_fits_is_worth_a_warning() {
        let mut plan = fixtures::plan(Path::new("/nowhere"));
        plan.load.image = Some("r.io/dynbench:1".to_owned());
        let rewrite = json!({"rewrite": {"vllm/*": "own/*", "vlm/*": "own/*", "r.io/*": "own/*"}});
        let mut deployment = fixtures::deployment(json!({"template": "vllm", "images": rewrite}));
        let of_target = json!({"rewrite": {"nvcr.io/*": "own/*", "vllm/*": "other/*"}});
        deployment.target.values.json.insert("images".to_owned(), of_target);
        let said = |plan: &Plan| {
            let mut problems = Problems::default();
            Kubernetes.check(plan, &deployment, &mut problems);
            let text = problems.render(&SourceMap::default(), false);
            text.lines()
                .filter_map(|line| Some(line.split_once("the pattern `")?.1.split('`').next()?.to_owned()))
                .collect::<Vec<_>>()
        };
        assert_eq!(said(&plan), ["vlm/*", "nvcr.io/*"]);
        // A pattern of `[target]` is for all that share it.
        let mut graph = fixtures::deployment(json!({"template": "dynamo-vllm-agg"}));
        graph.name = crate::base::Name::new("graph").unwrap();
        graph.target = deployment.target.clone();
        for one in [deployment.clone(), graph] {
            plan.deployments.insert(one.name.clone(), one);
        }
        assert_eq!(said(&plan), ["vlm/*"]);
    }

    #[test]
    fn images_beside_the_objects_get_the_names_of_the_patterns_too() {
        let mut plan = fixtures::plan(Path::new("/nowhere"));
        plan.load.image = Some("r.io/dynbench:1".to_owned());
        let mut deployment = fixtures::deployment(json!({"template": "vllm"}));
        let target = &mut deployment.target.values.json;
        target.insert("images".to_owned(), json!({"rewrite": {"r.io/*": "mirror/*", "hub/*": "mirror/*"}}));
        target.insert("model-cache".to_owned(), json!({"pvc": "m", "image": "hub/tool:1"}));
        assert_eq!(further_images(&plan, &deployment), ["mirror/dynbench:1", "mirror/tool:1"]);
        plan.load.image = None;
        plan.load.carrier = Some("hub/busybox:1".to_owned());
        assert_eq!(further_images(&plan, &deployment), ["mirror/busybox:1", "mirror/tool:1"]);
    }

    #[test]
    fn a_plan_knows_gpus_objects_and_what_will_be_done() {
        let plan = fixtures::plan(Path::new("/nowhere"));
        let deployment = fixtures::deployment(json!({"template": "vllm", "vars": {"replicas": 2}}));
        assert_eq!(Kubernetes.gpus(&plan, &deployment), Some(2.0));
        assert_eq!(
            Kubernetes.describe(&plan, &deployment),
            "apply Deployment agg, Service agg; load comes from a Job beside it (load.from = \"cluster\")"
        );
        assert_eq!(Kubernetes.fingerprint(&plan, &deployment)["objects"][1]["kind"], "Service");
        let mocker = fixtures::deployment(json!({"template": "dynamo-mocker-agg"}));
        assert_eq!(Kubernetes.gpus(&plan, &mocker), None);
    }
}
