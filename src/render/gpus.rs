//! GPUs of a deployment, counted from its objects: replicas x nodes x GPUs per pod, prefill and decode both.
//! Tensor parallelism is no multiplier: it says how the GPUs of a pod are used, not how many there are.

use serde_json::Value;

/// GPUs that these objects ask for; `None` when that cannot be known from them, or when it is none at all.
pub fn gpus(objects: &[Value]) -> Option<f64> {
    let counted: Option<Vec<f64>> = objects.iter().map(of_object).collect();
    Some(counted?.into_iter().sum()).filter(|sum| *sum > 0.0)
}

fn of_object(object: &Value) -> Option<f64> {
    let kind = object.get("kind").and_then(Value::as_str)?;
    let spec = object.get("spec").unwrap_or(&Value::Null);
    match kind {
        "Pod" => of_pod(spec),
        "Deployment" | "StatefulSet" | "ReplicaSet" => Some(count(spec, "/replicas")? * of_template(spec)?),
        "Job" => Some(count(spec, "/parallelism")? * of_template(spec)?),
        "LeaderWorkerSet" => {
            let size = count(spec, "/leaderWorkerTemplate/size")?;
            let pod = |name: &str| spec.pointer(&format!("/leaderWorkerTemplate/{name}/spec")).map(of_pod);
            let worker = pod("workerTemplate")??;
            let leader = pod("leaderTemplate").unwrap_or(Some(worker))?;
            Some(count(spec, "/replicas")? * (leader + (size - 1.0) * worker))
        }
        "DynamoGraphDeployment" => of_graph(spec),
        "Service"
        | "ConfigMap"
        | "Secret"
        | "ServiceAccount"
        | "Role"
        | "RoleBinding"
        | "PersistentVolumeClaim"
        | "Ingress"
        | "NetworkPolicy"
        | "PodDisruptionBudget"
        | "HTTPRoute" => Some(0.0),
        // What another custom resource starts is known only to its operator.
        _ => None,
    }
}

/// A whole number that is 1 when left out.
fn count(value: &Value, pointer: &str) -> Option<f64> {
    match value.pointer(pointer) {
        None | Some(Value::Null) => Some(1.0),
        Some(number) => number.as_f64(),
    }
}

fn of_template(spec: &Value) -> Option<f64> {
    spec.pointer("/template/spec").map_or(Some(0.0), of_pod)
}

/// What the scheduler reserves: the larger of the sum of the containers and of any one init container.
fn of_pod(pod: &Value) -> Option<f64> {
    let each = |list: &str| -> Option<Vec<f64>> {
        let containers = pod.get(list).and_then(Value::as_array);
        containers.map_or(Some(Vec::new()), |containers| containers.iter().map(of_container).collect())
    };
    let sum: f64 = each("containers")?.into_iter().sum();
    Some(each("initContainers")?.into_iter().fold(sum, f64::max))
}

fn of_container(container: &Value) -> Option<f64> {
    // Claims of dynamic resource allocation say nothing of a number.
    if container.pointer("/resources/claims").is_some() {
        return None;
    }
    let side = |side: &str| container.pointer(&format!("/resources/{side}")).and_then(Value::as_object);
    let Some(resources) = side("limits").or_else(|| side("requests")) else { return Some(0.0) };
    let mut sum = 0.0;
    for (name, quantity) in resources {
        if ["nvidia.com/mig-", "gpu.intel.com/"].iter().any(|prefix| name.starts_with(prefix)) {
            return None;
        }
        if ["nvidia.com/gpu", "amd.com/gpu"].contains(&name.as_str()) {
            sum += number(quantity)?;
        }
    }
    Some(sum)
}

fn of_graph(spec: &Value) -> Option<f64> {
    let nodes = |component: &Value| count(component, "/multinode/nodeCount");
    if let Some(services) = spec.get("services").and_then(Value::as_object) {
        let one = |service: &Value| {
            let resources = |side: &str| service.pointer(&format!("/resources/{side}/gpu"));
            let per_pod = resources("limits").or_else(|| resources("requests")).map_or(Some(0.0), number)?;
            Some(count(service, "/replicas")? * nodes(service)? * per_pod)
        };
        return services.values().map(one).sum();
    }
    let components = spec.get("components").and_then(Value::as_array)?;
    let one = |component: &Value| {
        let per_pod = component.pointer("/podTemplate/spec").map_or(Some(0.0), of_pod)?;
        Some(count(component, "/replicas")? * nodes(component)? * per_pod)
    };
    components.iter().map(one).sum()
}

/// `"4"` and `4` alike.
fn number(quantity: &Value) -> Option<f64> {
    quantity.as_f64().or_else(|| quantity.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prefill_and_decode_count_both_in_either_version() {
        let old = json!({"kind": "DynamoGraphDeployment", "spec": {"services": {
            "Frontend": {"replicas": 1},
            "Prefill": {"replicas": 2, "resources": {"limits": {"gpu": "1"}}},
            "Decode": {"replicas": 1, "multinode": {"nodeCount": 2}, "resources": {"requests": {"gpu": "4"}}},
        }}});
        let pod = |gpus: &str| json!({"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": gpus}}}]}});
        let new = json!({"kind": "DynamoGraphDeployment", "spec": {"components": [
            {"type": "frontend"},
            {"type": "prefill", "replicas": 2, "podTemplate": pod("1")},
            {"type": "decode", "multinode": {"nodeCount": 2}, "podTemplate": pod("4")},
        ]}});
        assert_eq!(gpus(&[old]), Some(10.0));
        assert_eq!(gpus(&[new]), Some(10.0));
    }

    #[test]
    fn plain_objects_count_by_replicas_and_unknown_ones_make_it_unknown() {
        let deployment = json!({"kind": "Deployment", "spec": {"replicas": 3, "template": {"spec": {
            "initContainers": [{"resources": {"limits": {"nvidia.com/gpu": 1}}}],
            "containers": [{"resources": {"limits": {"nvidia.com/gpu": 2}}}, {}],
        }}}});
        let service = json!({"kind": "Service"});
        assert_eq!(gpus(&[deployment.clone(), service.clone()]), Some(6.0));
        assert_eq!(gpus(&[deployment, json!({"kind": "RayService"})]), None);
        assert_eq!(gpus(&[service]), None);
        let mig =
            json!({"kind": "Pod", "spec": {"containers": [{"resources": {"limits": {"nvidia.com/mig-1g.5gb": 1}}}]}});
        assert_eq!(gpus(&[mig]), None);
    }

    #[test]
    fn a_group_counts_its_leader_and_its_workers() {
        let pod = |gpus: u32| json!({"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": gpus}}}]}});
        let group = json!({"kind": "LeaderWorkerSet", "spec": {"replicas": 2, "leaderWorkerTemplate": {
            "size": 3, "leaderTemplate": pod(4), "workerTemplate": pod(8),
        }}});
        assert_eq!(gpus(&[group]), Some(40.0));
    }
}
