//! What a cluster would refuse, or accept and never start, said before anything is sent: with it the mistake costs an hour of
//! waiting and no message. The facts are those of Dynamo's operator 1.5.

use std::collections::BTreeMap;

use serde_json::Value;

use super::graph::is_graph;
use crate::base::{Diagnostic, is_reference, is_secret_name, secrets_in};

/// Longest label value and Service name.
const LONGEST: usize = 63;
/// Deleting one of these takes along what others have made.
const NEVER_MADE: [&str; 2] = ["Namespace", "CustomResourceDefinition"];
/// `-` and eight digits of a hash: what the operator adds to the names of workers.
const HASH: usize = 9;

/// Kinds that are never made: what is in them, or is of them, could not be ended safely.
pub(super) fn kinds(objects: &[Value]) -> Vec<Diagnostic> {
    let never = objects.iter().filter(|object| NEVER_MADE.contains(&text(object, "/kind")));
    never
        .map(|object| {
            let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
            let message = format!("{kind} `{name}`: dynbench makes none, because it could not end it safely");
            Diagnostic::error(message).help(match kind {
                "Namespace" => {
                    "take it out: `namespace` and `create-namespace` of `[target]` say where everything is made"
                }
                _ => "make it by hand, and take it out of the manifests",
            })
        })
        .collect()
}

/// Claims that outlive the run: those that a StatefulSet makes from its templates, unless it says otherwise. They are left
/// alone, as Kubernetes leaves them: there may be data of an earlier life in them.
pub(super) fn lasting_claims(objects: &[Value]) -> Vec<Diagnostic> {
    let lasting = objects.iter().filter(|object| {
        let templates = object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
        let when_deleted = text(object, "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted");
        text(object, "/kind") == "StatefulSet"
            && templates.is_some_and(|all| !all.is_empty())
            && when_deleted.is_empty()
    });
    lasting
        .map(|object| {
            let message =
                format!("volumes that StatefulSet `{}` claims stay after the run", text(object, "/metadata/name"));
            let help = "say which is meant: `persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete}` or `Retain`";
            Diagnostic::warning(message).help(help)
        })
        .collect()
}

/// Everything that is wrong with these objects as graphs. In v1alpha1 only what every operator stumbles over.
pub(super) fn graphs(objects: &[Value]) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = objects.iter().filter(|object| is_graph(object)).flat_map(owned_claims).collect();
    let mut spaces = BTreeMap::<&str, &str>::new();
    for graph in objects.iter().filter(|object| is_graph(object)) {
        let name = text(graph, "/metadata/name");
        let components = components(graph);
        if !components.iter().any(|component| component.role == Some("frontend")) {
            found.push(
                Diagnostic::error(format!(
                    "the graph `{name}` has no component of type `frontend`: nothing would answer"
                ))
                .help("add one"),
            );
        }
        for component in &components {
            found.extend(component.problems(name));
            if let Some(space) = component.space
                && let Some(other) = spaces.insert(space, name)
                && other != name
            {
                let message = format!("the graphs `{other}` and `{name}` share the dynamoNamespace `{space}`");
                let help = "each of their frontends would serve the other's requests: leave `dynamoNamespace` out";
                found.push(Diagnostic::error(message).help(help));
            }
        }
    }
    found
}

/// Claims that a graph makes itself belong to it, and go with it: a model that was loaded for an hour is loaded again.
fn owned_claims(graph: &Value) -> Vec<Diagnostic> {
    let claims = graph.pointer("/spec/pvcs").and_then(Value::as_array).into_iter().flatten();
    let made = claims.filter(|claim| claim.get("create").and_then(Value::as_bool) == Some(true));
    made.map(|claim| {
        let (name, graph) = (text(claim, "/name"), text(graph, "/metadata/name"));
        Diagnostic::warning(format!("the claim `{name}` is made by the graph `{graph}`, and is deleted with it"))
            .help("to keep what is in it, make a PersistentVolumeClaim of its own (`[target.model-cache]` fills one) and say `create: false`")
    })
    .collect()
}

struct Component<'a> {
    name: &'a str,
    role: Option<&'a str>,
    replicas: Option<f64>,
    image: Option<&'a str>,
    /// `runtimeVersionOverride` stands there, or the version does not ask for it.
    any_tag: bool,
    space: Option<&'a str>,
}

fn components(graph: &Value) -> Vec<Component<'_>> {
    if let Some(services) = graph.pointer("/spec/services").and_then(Value::as_object) {
        return services
            .iter()
            .map(|(name, service)| Component {
                name,
                role: service.get("componentType").and_then(Value::as_str),
                replicas: service.get("replicas").and_then(Value::as_f64),
                image: service.pointer("/extraPodSpec/mainContainer/image").and_then(Value::as_str),
                any_tag: true,
                space: service.get("dynamoNamespace").and_then(Value::as_str),
            })
            .collect();
    }
    let listed = graph.pointer("/spec/components").and_then(Value::as_array);
    listed
        .into_iter()
        .flatten()
        .map(|component| Component {
            name: text(component, "/name"),
            role: component.get("type").and_then(Value::as_str),
            replicas: component.get("replicas").and_then(Value::as_f64),
            image: main_image(component),
            any_tag: component.get("runtimeVersionOverride").is_some_and(|version| !version.is_null()),
            space: None,
        })
        .collect()
}

fn main_image(component: &Value) -> Option<&str> {
    let containers = component.pointer("/podTemplate/spec/containers")?.as_array()?;
    containers.iter().find(|container| container["name"] == "main")?.get("image")?.as_str()
}

impl Component<'_> {
    fn problems(&self, graph: &str) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let name = self.name;
        let is_worker = self.role != Some("frontend");
        let made = format!("{graph}-{}", name.to_lowercase());
        let length = made.len() + if is_worker { HASH } else { 0 };
        if length > LONGEST {
            let suffix = if is_worker { " with the operator's suffix" } else { "" };
            let message = format!("`{made}`{suffix} has {length} characters, and at most {LONGEST} can be started");
            found.push(Diagnostic::error(message).help("shorten the component's or the deployment's name"));
        }
        if self.role.is_none() {
            let message = format!("the component `{name}` of `{graph}` has no type: it would start and never serve");
            found.push(Diagnostic::error(message).help("say `type: worker`, `prefill`, `decode` or `frontend`"));
        }
        if self.replicas == Some(0.0) {
            let message =
                format!("the component `{name}` of `{graph}` has 0 replicas: it counts as ready and does nothing");
            found.push(Diagnostic::error(message));
        }
        if let Some(image) = self.image
            && !self.any_tag
            && !has_version(image)
        {
            let message = format!("the image `{image}` of `{name}` has no semantic version as its tag");
            let help = "Dynamo's operator refuses it: use a tag such as `1.6.1`, or set `runtimeVersionOverride`";
            found.push(Diagnostic::error(message).help(help));
        }
        found
    }
}

/// Whether a tag begins with `x.y.z` (or `vx.y.z`) and goes on, if at all, with `-`.
fn has_version(image: &str) -> bool {
    let without_digest = image.split('@').next().unwrap_or(image);
    let last = without_digest.rsplit('/').next().unwrap_or(without_digest);
    let Some((_, tag)) = last.split_once(':') else { return false };
    let version = tag.strip_prefix('v').unwrap_or(tag).split('-').next().unwrap_or_default();
    let parts: Vec<_> = version.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Secret values that stand in objects. Secrets are references: whatever is applied is also written into the run's folder.
pub(super) fn secrets(objects: &[Value]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for object in objects {
        let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
        if kind == "Secret" && ["/data", "/stringData"].iter().any(|path| has_entries(object, path)) {
            let message = format!("the Secret `{name}` stands here with its values");
            let help = "make it in the cluster by other means, and refer to it by name";
            found.push(Diagnostic::error(message).help(help));
        }
        let mut literal = Vec::new();
        literals(object, &mut literal);
        for secret in literal {
            let message = format!("the value of `{}` stands in {kind} `{name}` in clear", secret.name());
            let help = match secret {
                Literal::Variable(variable) => format!(
                    "refer to a Secret: `valueFrom: {{secretKeyRef: {{name: my-secret, key: {variable}}}}}`, or \
                     `hf-token-secret` of a template"
                ),
                Literal::Argument(_) => {
                    "give it to the container as a variable from a Secret (`valueFrom: {secretKeyRef: \
                                         ...}`), and write `$(NAME)` here"
                        .to_owned()
                }
            };
            found.push(Diagnostic::error(message).help(help));
        }
    }
    found
}

fn has_entries(object: &Value, path: &str) -> bool {
    object.pointer(path).and_then(Value::as_object).is_some_and(|entries| !entries.is_empty())
}

/// A secret by its name, with its value written down.
#[derive(Debug, PartialEq, Eq)]
enum Literal {
    /// An environment variable.
    Variable(String),
    /// An option or an assignment in a command line.
    Argument(String),
}

impl Literal {
    fn name(&self) -> &str {
        match self {
            Self::Variable(name) | Self::Argument(name) => name,
        }
    }
}

/// All secrets that are written down in an object, each once.
fn literals(value: &Value, into: &mut Vec<Literal>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| literals(item, into)),
        Value::Object(fields) => {
            let named = fields.get("name").and_then(Value::as_str);
            let value = fields.get("value").and_then(Value::as_str).filter(|value| !is_reference(value));
            let variable = named.filter(|name| value.is_some() && is_secret_name(name));
            let line = |key: &str| fields.get(key).and_then(Value::as_array).into_iter().flatten();
            let line: Vec<&str> = line("command").chain(line("args")).filter_map(Value::as_str).collect();
            let arguments = secrets_in(&line).into_iter().map(|secret| Literal::Argument(secret.name));
            for found in variable.map(|name| Literal::Variable(name.to_owned())).into_iter().chain(arguments) {
                if !into.contains(&found) {
                    into.push(found);
                }
            }
            fields.values().for_each(|field| literals(field, into));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(found: &[Diagnostic]) -> Vec<&str> {
        found.iter().map(|diagnostic| diagnostic.message.as_str()).collect()
    }

    fn graph(name: &str, components: Value) -> Value {
        json!({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment", "metadata": {"name": name},
            "spec": {"components": components}})
    }

    fn part(name: &str, role: &str, image: &str) -> Value {
        json!({"name": name, "type": role, "podTemplate": {"spec": {"containers": [{"name": "main", "image": image}]}}})
    }

    #[test]
    fn names_that_fit_by_themselves_and_not_with_the_operators_suffix_are_said() {
        let graph_name = "g".repeat(40);
        let worker = "w".repeat(14);
        let fits =
            graph(&graph_name, json!([part("f", "frontend", "x:1.2.3"), part(&worker[..13], "worker", "x:1.2.3")]));
        assert_eq!(said(&graphs(&[fits])), Vec::<&str>::new());
        let long = graph(&graph_name, json!([part("f", "frontend", "x:1.2.3"), part(&worker, "worker", "x:1.2.3")]));
        let found = graphs(&[long]);
        assert!(found.len() == 1 && found[0].message.contains("has 64 characters"), "{:?}", said(&found));
    }

    #[test]
    fn what_starts_and_never_serves_is_said() {
        let mut untyped = part("Worker", "worker", "x:1.2.3");
        untyped.as_object_mut().unwrap().remove("type");
        let mut none = part("Idle", "worker", "x:1.2.3");
        none["replicas"] = 0.into();
        assert_eq!(
            said(&graphs(&[graph("g", json!([untyped, none]))])),
            [
                "the graph `g` has no component of type `frontend`: nothing would answer",
                "the component `Worker` of `g` has no type: it would start and never serve",
                "the component `Idle` of `g` has 0 replicas: it counts as ready and does nothing",
            ]
        );
    }

    #[test]
    fn tags_are_judged_as_the_operator_judges_them() {
        for (image, good) in [
            ("r/x:1.6.1", true),
            ("r/x:v1.6.1-cuda13", true),
            ("r:5000/x:1.6.1@sha256:ab", true),
            ("r/x:latest", false),
            ("r/x", false),
            ("r:5000/x", false),
            ("r/x:1.6", false),
            ("r/x:1.6.1.post1", false),
            ("x@sha256:ab", false),
        ] {
            assert_eq!(has_version(image), good, "{image}");
        }
        let mut latest = part("Frontend", "frontend", "r/x:latest");
        assert_eq!(graphs(&[graph("g", json!([latest]))]).len(), 1);
        latest["runtimeVersionOverride"] = "1.6.1".into();
        assert_eq!(graphs(&[graph("g", json!([latest]))]).len(), 0);
    }

    #[test]
    fn two_graphs_in_one_dynamo_namespace_are_said() {
        let old = |name: &str| {
            json!({"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment", "metadata": {"name": name},
                "spec": {"services": {"Frontend": {"componentType": "frontend", "dynamoNamespace": "mine"},
                    "Worker": {"componentType": "worker", "dynamoNamespace": "mine"}}}})
        };
        assert_eq!(graphs(&[old("a")]).len(), 0);
        let both = graphs(&[old("a"), old("b")]);
        assert_eq!(said(&both), ["the graphs `a` and `b` share the dynamoNamespace `mine`"]);
    }

    #[test]
    fn kinds_that_are_never_made_are_refused_before_anything_is_sent() {
        let object = |kind: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}});
        let all = ["Namespace", "CustomResourceDefinition", "ConfigMap"].map(object);
        assert_eq!(
            said(&kinds(&all)),
            [
                "Namespace `x`: dynbench makes none, because it could not end it safely",
                "CustomResourceDefinition `x`: dynbench makes none, because it could not end it safely",
            ]
        );
    }

    #[test]
    fn volumes_that_outlive_the_run_are_said_unless_the_manifest_says_so() {
        let set = |policy: Value| {
            json!({"kind": "StatefulSet", "metadata": {"name": "s"}, "spec": {
                "volumeClaimTemplates": [{"metadata": {"name": "models"}}],
                "persistentVolumeClaimRetentionPolicy": policy,
            }})
        };
        assert_eq!(
            said(&lasting_claims(&[set(json!({}))])),
            ["volumes that StatefulSet `s` claims stay after the run"]
        );
        assert_eq!(
            lasting_claims(&[set(json!({"whenDeleted": "Retain"})), set(json!({"whenDeleted": "Delete"}))]).len(),
            0
        );
        assert_eq!(lasting_claims(&[json!({"kind": "StatefulSet", "spec": {}})]).len(), 0);
    }

    #[test]
    fn secrets_in_arguments_are_refused_and_references_are_not() {
        let pod = |command: Value, args: Value| {
            json!({"kind": "Pod", "metadata": {"name": "p"},
                "spec": {"containers": [{"name": "main", "command": command, "args": args}]}})
        };
        for (command, args) in [
            (json!(["vllm"]), json!(["serve", "--api-key", "hf_x"])),
            (json!(["vllm"]), json!(["serve", "--api-key=hf_x"])),
            // Command and arguments are one line.
            (json!(["vllm", "--api-key"]), json!(["hf_x"])),
            (json!(["sh", "-c"]), json!(["vllm serve --api-key hf_x"])),
        ] {
            assert_eq!(said(&secrets(&[pod(command, args)])), ["the value of `--api-key` stands in Pod `p` in clear"]);
        }
        let script = pod(json!(["sh", "-c", "export HF_TOKEN=hf_x && vllm"]), json!([]));
        assert_eq!(said(&secrets(&[script])), ["the value of `HF_TOKEN` stands in Pod `p` in clear"]);
        let fine = pod(json!(["vllm"]), json!(["--api-key", "$(API_KEY)", "--max-tokens", "5"]));
        assert_eq!(said(&secrets(&[fine])), Vec::<&str>::new());
    }

    #[test]
    fn a_claim_that_goes_with_its_graph_is_said_and_one_that_stays_is_not() {
        let with = |create: bool| {
            let pvcs = json!([{"name": "models", "create": create}]);
            let services = json!({"Frontend": {"componentType": "frontend"}});
            json!({"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment", "metadata": {"name": "g"},
                "spec": {"pvcs": pvcs, "services": services}})
        };
        assert_eq!(
            said(&graphs(&[with(true)])),
            ["the claim `models` is made by the graph `g`, and is deleted with it"]
        );
        assert_eq!(said(&graphs(&[with(false)])), Vec::<&str>::new());
    }

    #[test]
    fn secret_values_are_refused_and_references_are_not() {
        let pod = json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"env": [
            {"name": "HF_TOKEN", "value": "hf_abc"},
            {"name": "OPENAI_API_KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "MAX_TOKENS", "value": "5"}, {"name": "TOKENIZER", "value": "x"}, {"name": "KEY", "value": "x"},
        ]}]}});
        let secret = json!({"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}});
        let empty = json!({"kind": "Secret", "metadata": {"name": "e"}, "type": "Opaque"});
        assert_eq!(
            said(&secrets(&[pod, secret, empty])),
            ["the value of `HF_TOKEN` stands in Pod `p` in clear", "the Secret `s` stands here with its values"]
        );
    }
}
