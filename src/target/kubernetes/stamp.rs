//! Our labels on objects and on the pods that will be made from them.

use serde_json::{Map, Value, json};

use super::own;

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
    if object.get("kind").and_then(Value::as_str) == Some(super::discover::GRAPH)
        && let Some(spec) = object.get_mut("spec")
    {
        merge(spec, labels);
    }
}

fn merge(holder: &mut Value, labels: &Map<String, Value>) {
    if let Some(holder) = holder.as_object_mut()
        && let Some(present) = holder.entry("labels").or_insert_with(|| json!({})).as_object_mut()
    {
        present.extend(labels.clone());
    }
}
