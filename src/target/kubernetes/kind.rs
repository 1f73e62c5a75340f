//! `kind = "kubernetes"`: what a plan needs to know of it.
//!
//! Nothing here talks to a cluster: a plan is checked anywhere.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::contract::{Live, TargetError};
use super::super::endpoint::check_url;
use super::client::Whereabouts;
use super::rules::Asked;
use super::{load, settings};
use crate::base::{Diagnostic, Problems, SourceMap};
use crate::plan::{Deployment, Key, Plan, Shape, TargetKind};
use crate::render::{EMBEDDED, GpuCount, Inputs, Rendered, count_gpus, engine_arguments, gpus, render};

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
