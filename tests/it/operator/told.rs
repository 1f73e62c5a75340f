//! The status of a graph, from what its Deployments say. It never speaks of a pod's failure.

use serde_json::{Value, json};

use super::knobs::Knobs;
use super::made::Component;

/// A graph that was only just seen, or its state from its workloads. `deployments` has, for each component, its current
/// Deployment and, during a rolling update, the one before it.
pub(super) fn status(graph: &Value, components: &[(Component, Option<Value>, Option<Value>)], knobs: &Knobs) -> Value {
    let mut told = serde_json::Map::new();
    let mut missing: Vec<String> = Vec::new();
    let mut rolling = false;
    for (component, current, old) in components {
        rolling |= old.is_some();
        let n = component.replicas;
        let count = |key: &str| {
            let of = |deployment: &Option<Value>| {
                deployment.as_ref().and_then(|deployment| deployment["status"][key].as_i64()).unwrap_or(0)
            };
            if knobs.blind { n } else { of(current) + of(old) }
        };
        if current.is_some() {
            let mut names = vec![component.workload.clone()];
            names.extend(old.iter().map(|old| old["metadata"]["name"].as_str().unwrap().to_owned()));
            told.insert(
                component.name.clone(),
                json!({"componentKind": "Deployment", "componentNames": names,
                "replicas": count("replicas"), "updatedReplicas": count("updatedReplicas"),
                "readyReplicas": count("readyReplicas"), "availableReplicas": count("availableReplicas")}),
            );
        }
        let why = match current {
            None => Some("spec not yet processed: generation=1, observedGeneration=0".to_owned()),
            Some(deployment) if !knobs.blind && !complete(deployment, n) => {
                Some("Component deployment not ready - Available condition not true".to_owned())
            }
            Some(_) => None,
        };
        missing.extend(why.map(|why| format!("{}: {why}", component.workload)));
    }
    missing.sort();
    let (state, holds, reason, message) = if rolling {
        ("pending", "False", "rolling_update_in_progress", "Rolling update in progress".to_owned())
    } else if missing.is_empty() && !knobs.pending {
        ("successful", "True", "all_resources_are_ready", "All resources are ready".to_owned())
    } else {
        let message = format!("Resources not ready: {}", missing.join("; "));
        ("pending", "False", "some_resources_are_not_ready", message)
    };
    let generation = &graph["metadata"]["generation"];
    let mut status = json!({"state": state, "observedGeneration": generation, "conditions": [{"type": "Ready",
        "status": holds, "reason": reason, "message": message, "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    if !told.is_empty() {
        status["components"] = Value::Object(told);
    }
    if rolling {
        status["rollingUpdate"] = json!({"phase": "InProgress"});
    } else if !graph["status"]["rollingUpdate"].is_null() {
        status["rollingUpdate"] = json!({"phase": "Completed"});
    }
    status
}

/// Whether a Deployment is complete at `n`, by the real operator's own rule.
pub(super) fn complete(deployment: &Value, n: i64) -> bool {
    let status = &deployment["status"];
    let count = |key: &str| status[key].as_i64().unwrap_or(0);
    let observed = count("observedGeneration") >= deployment["metadata"]["generation"].as_i64().unwrap_or(1);
    let counted = count("updatedReplicas") >= n && count("availableReplicas") >= n && count("replicas") == n;
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let available = conditions.into_iter().any(|one| one["type"] == "Available" && one["status"] == "True");
    n == 0 || (observed && counted && available)
}
