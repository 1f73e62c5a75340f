//! GPUs of a deployment, counted from its objects: replicas x nodes x GPUs per pod, prefill and decode both.
//! Tensor parallelism is no multiplier: it says how the GPUs of a pod are used, not how many there are.

use serde_json::Value;

/// Resources that are whole devices and are not called `VENDOR/gpu`, as most vendors call theirs.
const WHOLE: [&str; 6] = [
    "gpu.intel.com/i915",
    "gpu.intel.com/xe",
    "habana.ai/gaudi",
    "google.com/tpu",
    "aws.amazon.com/neuron",
    "huawei.com/Ascend910",
];
/// Words by which a resource is known to be an accelerator of some kind.
const ACCELERATORS: [&str; 9] = ["gpu", "tpu", "npu", "hpu", "dcu", "mlu", "neuron", "ascend", "accelerator"];

/// Whether a resource counts as a GPU. The error: it has to do with GPUs, and how many it is cannot be told.
fn is_gpu(resource: &str) -> Result<bool, String> {
    let Some((vendor, name)) = resource.split_once('/') else { return Ok(false) };
    if name.starts_with("mig-") {
        return Err(format!("{resource} is a slice of a GPU"));
    }
    if name == "gpu" || WHOLE.contains(&resource) {
        return Ok(true);
    }
    // Rights to watch GPUs that others hold.
    if name.ends_with("_monitoring") {
        return Ok(false);
    }
    let words = format!("{vendor}/{name}").to_ascii_lowercase();
    if ACCELERATORS.iter().any(|word| words.contains(word)) {
        return Err(format!("whether {resource} is a whole GPU is not known"));
    }
    Ok(false)
}

/// GPUs of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub enum GpuCount {
    /// So many, more than none.
    Known(f64),
    /// The objects ask for none.
    None,
    /// Why it cannot be told from the objects.
    Unknown(String),
}

/// GPUs that these objects ask for; `None` when that cannot be known from them, or when it is none at all.
pub fn gpus(objects: &[Value]) -> Option<f64> {
    match count_gpus(objects) {
        GpuCount::Known(count) => Some(count),
        GpuCount::None | GpuCount::Unknown(_) => None,
    }
}

/// The same, with the reason when it cannot be known.
pub fn count_gpus(objects: &[Value]) -> GpuCount {
    let mut sum = 0.0;
    for object in objects {
        match of_object(object) {
            Ok(count) => sum += count,
            Err(reason) => {
                let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                return GpuCount::Unknown(format!("{} {name}: {reason}", kind(object)));
            }
        }
    }
    if sum > 0.0 { GpuCount::Known(sum) } else { GpuCount::None }
}

/// GPUs, or why they cannot be told.
type Count = Result<f64, String>;

fn kind(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

fn of_object(object: &Value) -> Count {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    match kind(object) {
        "Pod" => of_pod(spec),
        "Deployment" | "StatefulSet" | "ReplicaSet" => Ok(count(spec, "/replicas")? * of_template(spec)?),
        "Job" => Ok(count(spec, "/parallelism")? * of_template(spec)?),
        "DaemonSet" => match of_template(spec)? {
            0.0 => Ok(0.0),
            _ => Err("a DaemonSet has as many pods as there are nodes".to_owned()),
        },
        "LeaderWorkerSet" => {
            let size = count(spec, "/leaderWorkerTemplate/size")?;
            let pod = |name: &str| spec.pointer(&format!("/leaderWorkerTemplate/{name}/spec")).map(of_pod);
            let worker = pod("workerTemplate").unwrap_or_else(|| Err("it has no workers".to_owned()))?;
            let leader = pod("leaderTemplate").unwrap_or(Ok(worker))?;
            Ok(count(spec, "/replicas")? * (leader + (size - 1.0) * worker))
        }
        super::graph::GRAPH => of_graph(spec),
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
        | "HTTPRoute" => Ok(0.0),
        _ => Err("what it starts is known only to its operator".to_owned()),
    }
}

/// A whole number that is 1 when left out.
fn count(value: &Value, pointer: &str) -> Count {
    match value.pointer(pointer) {
        None | Some(Value::Null) => Ok(1.0),
        Some(number) => number.as_f64().ok_or_else(|| format!("{number} is no number of them")),
    }
}

fn of_template(spec: &Value) -> Count {
    spec.pointer("/template/spec").map_or(Ok(0.0), of_pod)
}

/// What the scheduler reserves: the larger of the sum of the containers and of any one init container.
fn of_pod(pod: &Value) -> Count {
    if pod.get("resourceClaims").and_then(Value::as_array).is_some_and(|claims| !claims.is_empty()) {
        return Err("claims of dynamic resource allocation say no number".to_owned());
    }
    let each = |list: &str| -> Result<Vec<f64>, String> {
        let containers = pod.get(list).and_then(Value::as_array);
        containers.map_or(Ok(Vec::new()), |containers| containers.iter().map(of_container).collect())
    };
    let sum: f64 = each("containers")?.into_iter().sum();
    Ok(each("initContainers")?.into_iter().fold(sum, f64::max))
}

fn of_container(container: &Value) -> Count {
    if container.pointer("/resources/claims").is_some() {
        return Err("claims of dynamic resource allocation say no number".to_owned());
    }
    let side = |side: &str| container.pointer(&format!("/resources/{side}")).and_then(Value::as_object);
    let Some(resources) = side("limits").or_else(|| side("requests")) else { return Ok(0.0) };
    let mut sum = 0.0;
    for (name, quantity) in resources {
        if is_gpu(name)? {
            sum += number(quantity)?;
        }
    }
    Ok(sum)
}

fn of_graph(spec: &Value) -> Count {
    let nodes = |component: &Value| count(component, "/multinode/nodeCount");
    if let Some(services) = spec.get("services").and_then(Value::as_object) {
        let one = |service: &Value| {
            let resources = |side: &str| service.pointer(&format!("/resources/{side}"));
            let side = resources("limits").or_else(|| resources("requests"));
            let field = |name: &str| side.and_then(|side| side.get(name));
            let mut per_pod = 0.0;
            if let Some(gpus) = field("gpu") {
                // Another resource than NVIDIA's may be named; what is no GPU at all is no number of them.
                let resource = field("gpuType").and_then(Value::as_str).unwrap_or("nvidia.com/gpu");
                if !is_gpu(resource)? {
                    return Err(format!("whether {resource} is a whole GPU is not known"));
                }
                per_pod += number(gpus)?;
            }
            for (name, quantity) in field("custom").and_then(Value::as_object).into_iter().flatten() {
                if is_gpu(name)? {
                    per_pod += number(quantity)?;
                }
            }
            // Containers beside the engine's.
            per_pod += service.pointer("/extraPodSpec").map_or(Ok(0.0), of_pod)?;
            Ok(count(service, "/replicas")? * nodes(service)? * per_pod)
        };
        return services.values().map(one).sum();
    }
    let components = spec.get("components").and_then(Value::as_array).ok_or("it has no components")?;
    let one = |component: &Value| {
        let per_pod = component.pointer("/podTemplate/spec").map_or(Ok(0.0), of_pod)?;
        Ok(count(component, "/replicas")? * nodes(component)? * per_pod)
    };
    components.iter().map(one).sum()
}

/// `"4"` and `4` alike.
fn number(quantity: &Value) -> Count {
    let text = |text: &str| text.parse().ok();
    quantity.as_f64().or_else(|| text(quantity.as_str()?)).ok_or_else(|| format!("{quantity} is no number of GPUs"))
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

    #[test]
    fn what_cannot_be_told_comes_with_its_reason() {
        let with = |resources: Value| json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"resources": resources}]}});
        let unknown = |resources| match count_gpus(&[with(resources)]) {
            GpuCount::Unknown(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            unknown(json!({"limits": {"nvidia.com/mig-1g.5gb": 1}})),
            "Pod p: nvidia.com/mig-1g.5gb is a slice of a GPU"
        );
        assert_eq!(
            unknown(json!({"claims": [{"name": "gpu"}]})),
            "Pod p: claims of dynamic resource allocation say no number"
        );
        assert_eq!(unknown(json!({"limits": {"nvidia.com/gpu": "many"}})), "Pod p: \"many\" is no number of GPUs");
        assert_eq!(count_gpus(&[with(json!({"limits": {"habana.ai/gaudi": "8"}}))]), GpuCount::Known(8.0));
        assert_eq!(count_gpus(&[with(json!({}))]), GpuCount::None);
    }

    #[test]
    fn other_vendors_count_alike_and_what_is_a_share_stays_unknown_in_either_version() {
        let newer = |resource: &str| {
            json!({"kind": "DynamoGraphDeployment", "metadata": {"name": "g"}, "spec": {"components": [{"replicas": 2,
                "podTemplate": {"spec": {"containers": [{"name": "main", "resources": {"limits": {resource: "2", "rdma/ib": 1}}}]}}}]}})
        };
        let older = |resource: &str| {
            json!({"kind": "DynamoGraphDeployment", "metadata": {"name": "g"}, "spec": {"services": {"Worker": {"replicas": 2,
                "resources": {"limits": {"gpu": "2", "gpuType": resource, "custom": {"rdma/ib": "1"}}}}}}})
        };
        let custom = json!({"kind": "DynamoGraphDeployment", "metadata": {"name": "g"}, "spec": {"services": {"Worker": {
            "resources": {"limits": {"custom": {"habana.ai/gaudi": "8"}}}}}}});
        assert_eq!(count_gpus(&[custom]), GpuCount::Known(8.0));
        for whole in ["nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/xe", "metax-tech.com/gpu", "huawei.com/Ascend910"]
        {
            for graph in [newer(whole), older(whole)] {
                assert_eq!(count_gpus(&[graph]), GpuCount::Known(4.0), "{whole}");
            }
        }
        for share in
            ["nvidia.com/mig-1g.5gb", "nvidia.com/gpu.shared", "gpu.intel.com/millicores", "aws.amazon.com/neuroncore"]
        {
            for graph in [newer(share), older(share)] {
                assert!(matches!(count_gpus(&[graph]), GpuCount::Unknown(_)), "{share}");
            }
        }
    }
}
