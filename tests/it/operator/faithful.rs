//! What the stand-in makes of a graph, compared with what the real operator was seen to make of the same one
//! (`tests/fixtures/operator/objects.json`). The real objects have Kubernetes' own defaults besides.

use std::collections::BTreeMap;

use serde_json::Value;

use super::made;

/// Where `ours` says something else than `theirs`.
fn differences(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in ours {
                match theirs.get(key) {
                    Some(other) => differences(value, other, &format!("{path}/{key}"), found),
                    None => found.push(format!("{path}/{key} is not there")),
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (number, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                differences(ours, theirs, &format!("{path}/{number}"), found);
            }
        }
        (ours, theirs) if ours == theirs => {}
        (ours, theirs) => found.push(format!("{path}: {ours}, and really {theirs}")),
    }
}

#[test]
fn what_the_stand_in_makes_is_what_the_real_operator_makes() {
    let recorded: BTreeMap<String, Value> =
        serde_json::from_str(include_str!("../../fixtures/operator/objects.json")).unwrap();
    let mut found = Vec::new();
    for (scenario, recorded) in &recorded {
        let graph = &recorded["graph"];
        let children = recorded["children"].as_array().unwrap();
        let real = |kind: &str, name: &str| {
            let is = |child: &&Value| child["kind"] == kind && child["metadata"]["name"] == name;
            children.iter().find(is).unwrap_or_else(|| panic!("{scenario}: no {kind} {name}"))
        };
        let hash = graph["metadata"]["annotations"][made::HASH].as_str().unwrap();
        let mut ours = made::claims(graph);
        ours.extend(
            made::accounts(graph).into_iter().filter(|object| !object["metadata"]["ownerReferences"].is_null()),
        );
        for component in made::components(graph, hash) {
            let parent = real(made::COMPONENT, &component.workload);
            ours.push(made::component_deployment(graph, &component, "nvidia.com/v1beta1"));
            ours.push(made::deployment(graph, &component, parent));
            ours.push(made::service(graph, &component, parent));
        }
        for mut object in ours {
            let metadata = object["metadata"].as_object_mut().unwrap();
            // The digest is the stand-in's own, and a finalizer was not recorded.
            metadata.remove("annotations");
            metadata.remove("finalizers");
            let (kind, name) = (object["kind"].as_str().unwrap(), made::text(&object, "/metadata/name"));
            let theirs = real(kind, name);
            let path = format!("{scenario} {kind} {name}");
            differences(&object, theirs, &path, &mut found);
            let labels = |object: &Value, pointer: &str| object.pointer(pointer).cloned();
            for pointer in ["/metadata/labels", "/spec/template/metadata/labels"] {
                if kind == "Deployment" && labels(&object, pointer) != labels(theirs, pointer) {
                    found.push(format!("{path}{pointer}: really {:?}", labels(theirs, pointer)));
                }
            }
        }
    }
    assert_eq!(found, Vec::<String>::new(), "{}", found.join("\n"));
}
