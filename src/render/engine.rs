//! Which arguments each deployment's engines effectively get: what is compared should differ in what it is about.

use std::collections::BTreeSet;

use serde_json::Value;

use super::graph::is_graph;

/// Flags of all engines of these objects, `--flag value` or `--flag`, in order of their names. Frontends, init containers
/// and whatever answers no requests of its own are left out where they can be told.
pub fn engine_arguments(objects: &[Value]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for object in objects {
        if is_graph(object) {
            let services = object.pointer("/spec/services").and_then(Value::as_object).into_iter().flatten();
            let services = services.map(|(_, service)| (service, "/componentType", "/extraPodSpec/mainContainer"));
            let listed = object.pointer("/spec/components").and_then(Value::as_array).into_iter().flatten();
            for (component, role, container) in services {
                if component.pointer(role).and_then(Value::as_str) != Some("frontend") {
                    found.extend(component.pointer(container).map(flags).unwrap_or_default());
                }
            }
            for component in listed.filter(|component| component["type"] != "frontend") {
                let containers = component.pointer("/podTemplate/spec/containers").and_then(Value::as_array);
                found.extend(containers.into_iter().flatten().flat_map(flags));
            }
        } else {
            let containers = object.pointer("/spec/template/spec/containers").and_then(Value::as_array);
            let engines = containers.into_iter().flatten().filter(|container| !is_frontend(container));
            found.extend(engines.flat_map(flags));
        }
    }
    found.into_iter().collect()
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
}
