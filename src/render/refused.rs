//! What a cluster would refuse, or accept and never start, said before anything is sent: with it the mistake costs an hour of
//! waiting and no message. The facts are those of Dynamo's operator 1.5.

use std::collections::BTreeMap;

use serde_json::Value;

use super::graph::is_graph;
use crate::base::Diagnostic;

/// Longest label value and Service name.
const LONGEST: usize = 63;
/// `-` and eight digits of a hash: what the operator adds to the names of workers.
const HASH: usize = 9;

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
        for variable in literal {
            let message = format!("the value of `{variable}` stands in {kind} `{name}` in clear");
            let help = format!(
                "refer to a Secret: `valueFrom: {{secretKeyRef: {{name: my-secret, key: {variable}}}}}`, or `hf-token-secret` \
                 of a template"
            );
            found.push(Diagnostic::error(message).help(help));
        }
    }
    found
}

fn has_entries(object: &Value, path: &str) -> bool {
    object.pointer(path).and_then(Value::as_object).is_some_and(|entries| !entries.is_empty())
}

/// Names of environment variables that hold a secret by their name, with their value written down.
fn literals<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| literals(item, into)),
        Value::Object(fields) => {
            let named = fields.get("name").and_then(Value::as_str);
            let value = fields.get("value").and_then(Value::as_str).filter(|value| !value.is_empty());
            if let (Some(name), Some(value)) = (named, value)
                && is_secret(name)
                && !value.starts_with("$(")
                && !into.contains(&name)
            {
                into.push(name);
            }
            fields.values().for_each(|field| literals(field, into));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, `OPENAI_API_KEY`, `DB_PASSWORD`, ... but not `MAX_TOKENS` or `TOKENIZER`.
fn is_secret(name: &str) -> bool {
    let words: Vec<_> = name.split(['_', '-']).map(str::to_ascii_uppercase).collect();
    let has = |word: &str| words.iter().any(|found| found == word);
    has("TOKEN")
        || has("PASSWORD")
        || has("PASSWD")
        || has("SECRET")
        || has("APIKEY")
        || words.windows(2).any(|pair| pair[1] == "KEY" && ["API", "ACCESS", "PRIVATE"].contains(&pair[0].as_str()))
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
