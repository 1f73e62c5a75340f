//! The status of a graph and of its components, from what the Deployments say. It never speaks of a pod's failure.

use serde_json::{Value, json};

use super::knobs::Knobs;
use super::made::{Component, space};

/// One component with what there is of it.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) component: Component,
    /// Its DynamoComponentDeployment.
    pub(super) parent: Option<Value>,
    /// Its Deployment.
    pub(super) deployment: Option<Value>,
    /// The Deployments before it, while its workers are rolled.
    pub(super) old: Vec<Value>,
}

/// What the operator has got to with a component: its condition Available.
pub(super) fn component(part: &Part, error: Option<&str>) -> Value {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    if let Some(error) = error {
        let message = format!(
            "Failed to reconcile DynamoComponentDeployment: failed to reconcile the resources: failed to create or update the \
             deployment: create or update deployment: {error}"
        );
        return json!({"conditions": [condition("Available", "False", "Reconciling", &message),
            condition("DynamoComponentReady", "Unknown", "Reconciling", "Starting to reconcile DynamoComponentDeployment")]});
    }
    let generation = part.parent.as_ref().map_or(Value::Null, |parent| parent["metadata"]["generation"].clone());
    let ready = part.deployment.as_ref().is_some_and(|deployment| complete(deployment, part.component.replicas));
    let conditions = if ready {
        [
            condition("Available", "True", "DeploymentReady", "Deployment is ready"),
            condition("DynamoComponentReady", "True", "ComponentReady", "DynamoComponent is ready"),
        ]
    } else {
        [
            condition("Available", "False", "DeploymentNotReady", "Deployment is not ready"),
            condition("DynamoComponentReady", "False", "ComponentNotReady", "DynamoComponent is not ready"),
        ]
    };
    json!({"observedGeneration": generation, "conditions": conditions})
}

/// The status of a graph.
pub(super) fn graph(graph: &Value, parts: &[Part], rolling: bool, knobs: &Knobs) -> Value {
    let mut told = serde_json::Map::new();
    let mut missing: Vec<String> = Vec::new();
    for part in parts {
        let component = &part.component;
        let count = |key: &str| {
            if knobs.blind {
                return component.replicas;
            }
            let of = |deployment: &Value| deployment["status"][key].as_i64().unwrap_or(0);
            let old: i64 = part.old.iter().map(of).sum();
            // What is of an older version is not updated.
            let old = if key == "updatedReplicas" { 0 } else { old };
            part.deployment.as_ref().map_or(0, of) + old
        };
        let seen = part.parent.as_ref().is_some_and(|parent| !parent["status"]["observedGeneration"].is_null());
        if part.deployment.is_some() && (seen || knobs.blind) {
            let mut names = vec![component.workload.clone()];
            names.extend(part.old.iter().map(|old| old["metadata"]["name"].as_str().unwrap().to_owned()));
            names.sort();
            let suffix = component.hash.as_ref().map_or(String::new(), |hash| format!("-{hash}"));
            let runtime =
                if component.space == space(graph) { space(graph) + &suffix } else { component.space.clone() };
            told.insert(
                component.name.clone(),
                json!({"componentKind": "Deployment", "componentNames": names, "runtimeNamespace": runtime,
                "replicas": count("replicas"), "updatedReplicas": count("updatedReplicas"),
                "readyReplicas": count("readyReplicas"), "availableReplicas": count("availableReplicas")}),
            );
        }
        let why = match &part.deployment {
            Some(_) if knobs.blind => None,
            Some(deployment) if seen => (!complete(deployment, component.replicas))
                .then(|| "Component deployment not ready - Available condition not true".to_owned()),
            Some(_) | None => Some("spec not yet processed: generation=1, observedGeneration=0".to_owned()),
        };
        missing.extend(why.map(|why| format!("{}: {why}", component.workload)));
    }
    missing.sort();
    let before = &graph["status"];
    let (state, holds, reason, message) = if parts.iter().any(|part| part.component.nodes > 1) {
        ("failed", "False", "no_multinode_orchestrator_available", "no multinode orchestrator available".to_owned())
    } else if rolling {
        ("pending", "False", "rolling_update_in_progress", "Rolling update in progress".to_owned())
    } else if missing.is_empty() && !knobs.pending {
        ("successful", "True", "all_resources_are_ready", "All resources are ready".to_owned())
    } else {
        let message = format!("Resources not ready: {}", missing.join("; "));
        ("pending", "False", "some_resources_are_not_ready", message)
    };
    let generation = &graph["metadata"]["generation"];
    let mut status = json!({"state": state, "conditions": [{"type": "Ready",
        "status": holds, "reason": reason, "message": message, "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    if state != "failed" {
        status["observedGeneration"] = generation.clone();
        if !told.is_empty() {
            status["components"] = Value::Object(told);
        }
    }
    let phase = before["rollingUpdate"]["phase"].as_str();
    let start = || json!("2026-01-01T00:00:00Z");
    match (rolling, phase) {
        (true, Some("Pending" | "InProgress")) => {
            status["rollingUpdate"] = json!({"phase": "InProgress", "startTime": start()});
        }
        (true, _) => status["rollingUpdate"] = json!({"phase": "Pending", "startTime": start()}),
        (false, Some(_)) => {
            let updated =
                parts.iter().filter(|part| part.component.hash.is_some()).map(|part| part.component.name.clone());
            status["rollingUpdate"] = json!({"phase": "Completed", "startTime": start(), "endTime": start(),
                "updatedComponents": updated.collect::<Vec<_>>()});
        }
        (false, None) => {}
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
