//! Our labels on objects and on the pods that will be made from them.

use serde_json::{Map, Value, json};

use super::own;
use crate::render::is_graph;

/// The labels of everything of one deployment in one run.
pub(super) fn labels(run: &str, plan: &str, deployment: &str) -> Map<String, Value> {
    let pairs = [(own::MANAGED_BY, own::MANAGER), (own::RUN, run), (own::PLAN, plan), (own::DEPLOYMENT, deployment)];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

/// Puts labels on an object and on its pod templates.
pub(super) fn stamp(object: &mut Value, labels: &Map<String, Value>) {
    let templates = [
        "/metadata",
        "/spec/template/metadata",
        "/spec/jobTemplate/spec/template/metadata",
        "/spec/leaderWorkerTemplate/leaderTemplate/metadata",
        "/spec/leaderWorkerTemplate/workerTemplate/metadata",
    ];
    for path in templates {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if let Some(Value::Object(parent)) = object.pointer_mut(parent) {
            merge(parent.entry("metadata").or_insert_with(|| json!({})), labels);
        }
    }
    if is_graph(object) {
        stamp_graph(object, labels);
    }
}

/// A graph's pods are its operator's, which passes labels on from fields that differ between versions.
fn stamp_graph(graph: &mut Value, labels: &Map<String, Value>) {
    let Some(spec) = graph.get_mut("spec") else { return };
    match spec.get_mut("services").and_then(Value::as_object_mut) {
        // v1alpha1: older operators know no labels of the whole graph.
        Some(services) => {
            for service in services.values_mut().filter_map(Value::as_object_mut) {
                merge(service.entry("extraPodMetadata").or_insert_with(|| json!({})), labels);
            }
        }
        None => merge(spec, labels),
    }
}

fn merge(holder: &mut Value, labels: &Map<String, Value>) {
    if let Some(holder) = holder.as_object_mut()
        && let Some(present) = holder.entry("labels").or_insert_with(|| json!({})).as_object_mut()
    {
        present.extend(labels.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(mut object: Value) -> Value {
        stamp(&mut object, &labels("r1", "p", "agg"));
        object
    }

    #[test]
    fn labels_are_on_the_object_and_on_its_pods_beside_those_of_the_user() {
        let template = json!({"metadata": {"labels": {"app": "agg"}}, "spec": {}});
        let object =
            stamped(json!({"kind": "Deployment", "metadata": {"name": "agg"}, "spec": {"template": template}}));
        assert_eq!(object["metadata"]["labels"][own::RUN], "r1");
        assert_eq!(object["spec"]["template"]["metadata"]["labels"][own::DEPLOYMENT], "agg");
        assert_eq!(object["spec"]["template"]["metadata"]["labels"]["app"], "agg");
        let service =
            stamped(json!({"kind": "Service", "metadata": {"name": "agg"}, "spec": {"selector": {"app": "x"}}}));
        assert_eq!(service["spec"], json!({"selector": {"app": "x"}}));
    }

    #[test]
    fn the_pods_of_a_graph_are_labelled_through_what_its_version_has() {
        let graph = |version: &str, spec: Value| {
            stamped(json!({
                "apiVersion": format!("nvidia.com/{version}"), "kind": "DynamoGraphDeployment",
                "metadata": {"name": "g"}, "spec": spec,
            }))
        };
        let beta = graph("v1beta1", json!({"components": [{"name": "Worker"}]}));
        assert_eq!(beta["spec"]["labels"][own::RUN], "r1");
        let alpha = graph("v1alpha1", json!({"services": {"Worker": {"replicas": 1}}}));
        assert_eq!(alpha["spec"]["services"]["Worker"]["extraPodMetadata"]["labels"][own::RUN], "r1");
        assert_eq!(alpha["spec"].get("labels"), None);
    }
}
