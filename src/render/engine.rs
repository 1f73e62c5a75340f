//! Which arguments each deployment's engines effectively get: what is compared should differ in what it is about.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::graph::is_graph;

/// Flags of all engines of these objects, `--flag value` or `--flag`, in order of their names; what only some of the
/// engines get has their role before it (`decode: --flag value`). Frontends, init containers and whatever answers no
/// requests of its own are left out where they can be told.
pub fn engine_arguments(objects: &[Value]) -> Vec<String> {
    // Engines of one role are of one kind: their flags are one set.
    let mut roles: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (role, container) in objects.iter().flat_map(engines).filter(|(_, container)| !is_frontend(container)) {
        let found = flags(container);
        // A sidecar without flags is no engine that lacks those of the others.
        if !found.is_empty() {
            roles.entry(role.to_owned()).or_default().extend(found);
        }
    }
    let everywhere = |flag: &String| roles.values().all(|flags| flags.contains(flag));
    let shared = roles.values().flatten().filter(|flag| everywhere(flag)).cloned().collect::<BTreeSet<_>>();
    let own =
        roles.iter().flat_map(|(role, flags)| flags.difference(&shared).map(move |flag| format!("{role}: {flag}")));
    shared.iter().cloned().chain(own).collect()
}

/// Containers that may be engines, each with its role: the part of a graph, a label `role`, or the name of its object.
fn engines(object: &Value) -> Vec<(&str, &Value)> {
    if is_graph(object) {
        return of_graph(object);
    }
    let pods: &[(&str, &str)] = match object.get("kind").and_then(Value::as_str).unwrap_or_default() {
        "Pod" => &[("", "")],
        "LeaderWorkerSet" => &[
            ("/spec/leaderWorkerTemplate/leaderTemplate", "leader"),
            ("/spec/leaderWorkerTemplate/workerTemplate", "worker"),
        ],
        _ => &[("/spec/template", "")],
    };
    let mut found = Vec::new();
    for (place, part) in pods {
        let Some(pod) = object.pointer(place) else { continue };
        let label = pod.pointer("/metadata/labels/role").and_then(Value::as_str);
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let role = label.unwrap_or(if part.is_empty() { name } else { part });
        found.extend(list(pod, "/spec/containers").map(|container| (role, container)));
    }
    found
}

fn of_graph(graph: &Value) -> Vec<(&str, &Value)> {
    let services = graph.pointer("/spec/services").and_then(Value::as_object).into_iter().flatten();
    let services = services.filter_map(|(name, service)| {
        let part = |key: &str| service.get(key).and_then(Value::as_str);
        let role = part("subComponentType").or_else(|| part("componentType")).unwrap_or(name);
        Some((role, service.pointer("/extraPodSpec/mainContainer")?))
    });
    let listed = list(graph, "/spec/components").flat_map(|component| {
        let part = |key: &str| component.get(key).and_then(Value::as_str);
        let role = part("type").or_else(|| part("name")).unwrap_or_default();
        list(component, "/podTemplate/spec/containers").map(move |container| (role, container))
    });
    services.chain(listed).filter(|(role, _)| *role != "frontend").collect()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn is_frontend(container: &Value) -> bool {
    words(container).iter().any(|word| word.contains("dynamo.frontend"))
}

fn words(container: &Value) -> Vec<&str> {
    let list = |key: &str| container.get(key).and_then(Value::as_array).into_iter().flatten();
    list("command").chain(list("args")).filter_map(Value::as_str).collect()
}

/// `--a 1 --b --c=2` as `--a 1`, `--b`, `--c 2`. A shell command is taken apart at its spaces.
fn flags(container: &Value) -> Vec<String> {
    let words = words(container);
    let split =
        words.iter().flat_map(|word| if word.contains(" --") { word.split(' ').collect() } else { vec![*word] });
    let words: Vec<_> = split.filter(|word| !word.is_empty()).collect();
    let mut found = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if !word.starts_with("--") {
            continue;
        }
        found.push(match word.split_once('=') {
            Some((flag, value)) => format!("{flag} {value}"),
            None => match words.next_if(|next| !next.starts_with("--")) {
                Some(value) => format!("{word} {value}"),
                None => word.to_owned(),
            },
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::{GraphVersion, in_version};

    #[test]
    fn flags_of_graphs_and_plain_objects_are_read_and_frontends_are_not() {
        let container =
            |args: Value| json!({"name": "main", "command": ["python3", "-m", "dynamo.vllm"], "args": args});
        let graph = json!({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment", "spec": {"components": [
            {"type": "frontend", "podTemplate": {"spec": {"containers": [container(json!(["--router-mode", "kv"]))]}}},
            {"type": "worker", "podTemplate": {"spec": {"containers": [container(json!(["--model", "m", "--enforce-eager"]))]}}},
        ]}});
        assert_eq!(engine_arguments(&[graph]), ["--enforce-eager", "--model m"]);
        let plain = json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [
            {"command": ["sh", "-c"], "args": ["vllm serve m --port 8000 --max-model-len=4096"]},
            {"command": ["python3", "-m", "dynamo.frontend"], "args": ["--http-port", "8000"]},
        ]}}}});
        assert_eq!(engine_arguments(&[plain]), ["--max-model-len 4096", "--port 8000"]);
    }

    #[test]
    fn what_only_one_role_gets_has_its_name_before_it() {
        let worker = |kind: &str, args: Value| json!({"name": kind, "type": kind, "podTemplate": {"spec": {"containers": [{"name": "main", "args": args}]}}});
        let graph = json!({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment", "spec": {"components": [
            worker("prefill", json!(["--model", "m", "--max-num-seqs", "8"])),
            worker("decode", json!(["--model", "m", "--max-num-seqs", "256"])),
        ]}});
        let expected = ["--model m", "decode: --max-num-seqs 256", "prefill: --max-num-seqs 8"];
        assert_eq!(engine_arguments(std::slice::from_ref(&graph)), expected);
        assert_eq!(engine_arguments(&[in_version(graph, GraphVersion::V1alpha1)]), expected);
    }

    #[test]
    fn pods_and_groups_of_leaders_and_workers_are_read() {
        let pod = |flag: &str| json!({"spec": {"containers": [{"args": ["--model", "m", flag]}]}});
        let mut alone = pod("--alone");
        alone["kind"] = "Pod".into();
        assert_eq!(engine_arguments(&[alone]), ["--alone", "--model m"]);
        let group = json!({"kind": "LeaderWorkerSet", "metadata": {"name": "g"}, "spec": {"leaderWorkerTemplate": {
            "leaderTemplate": pod("--head"), "workerTemplate": pod("--headless"),
        }}});
        assert_eq!(engine_arguments(&[group]), ["--model m", "leader: --head", "worker: --headless"]);
    }
}
