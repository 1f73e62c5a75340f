//! No other graph of the namespace shares a `dynamoNamespace` with ours: each frontend's Service would lead to both, and
//! requests meant for one be answered by the other, with everything ready.

use std::collections::BTreeSet;

use kube::api::ListParams;
use serde_json::Value;

use super::super::super::contract::TargetError;
use super::super::discover::GRAPH;
use super::super::own::RUN;
use super::check::Finding;
use super::scene::{Answer, Scene, name_of, type_of};

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    if scene.namespace_is_absent() {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for graph in scene.objects.iter().filter(|object| type_of(object).1 == GRAPH) {
        let asked = spaces(graph);
        let Some(resource) = scene.kind_of(graph).filter(|_| !asked.is_empty()) else { continue };
        // In the version of ours: only v1alpha1 has the field, so it is read from there.
        let list = resource.of(&scene.cluster);
        let others = match scene.ask("listing graphs", list.list(&ListParams::default())).await? {
            Answer::Found(found) => found.items,
            Answer::Absent => Vec::new(),
            Answer::NoAccess => {
                findings.push(Finding::no_access("other graphs of the namespace"));
                continue;
            }
        };
        let ours = |other: &kube::api::DynamicObject| {
            other.metadata.labels.as_ref().and_then(|labels| labels.get(RUN)).is_some_and(|run| run == scene.live.run)
        };
        for other in others.into_iter().filter(|other| !ours(other)) {
            let name = other.metadata.name.clone().unwrap_or_default();
            let other = serde_json::to_value(other).unwrap_or_default();
            findings.extend(asked.intersection(&spaces(&other)).map(|space| {
                let message = format!(
                    "the graph {name} has the dynamoNamespace {space} of {}: each frontend would serve the other's requests",
                    name_of(graph)
                );
                Finding::problem(message, "leave `dynamoNamespace` out of the manifest, or use another namespace")
            }));
        }
    }
    Ok(findings)
}

/// The namespaces in Dynamo's own sense that a graph of v1alpha1 asks for.
fn spaces(graph: &Value) -> BTreeSet<String> {
    let services = graph.pointer("/spec/services").and_then(Value::as_object).into_iter().flatten();
    services.filter_map(|(_, service)| service.get("dynamoNamespace")?.as_str().map(str::to_owned)).collect()
}
