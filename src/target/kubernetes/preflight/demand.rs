//! Pods that objects will start, and what each asks of a node: counted from the objects alone.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::quantity::quantity;
use super::scene::title;

/// Pods of one shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PodDemand {
    /// `Deployment agg-x`, and its part.
    pub(super) of: String,
    /// How many.
    pub(super) count: f64,
    /// What each requests, by resource: `cpu`, `memory`, `nvidia.com/gpu`.
    pub(super) requests: BTreeMap<String, f64>,
    /// What each is limited to.
    pub(super) limits: BTreeMap<String, f64>,
    /// Labels that its node must have.
    pub(super) node_selector: BTreeMap<String, String>,
}

/// What a list of objects starts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Demand {
    pub(super) pods: Vec<PodDemand>,
    /// Objects of which nobody but their operator knows what they start.
    pub(super) unknown: Vec<String>,
    /// Objects by plural and group, as a quota counts them: `count/deployments.apps`, `services`.
    pub(super) storage: f64,
    /// PersistentVolumeClaims.
    pub(super) claims: f64,
    /// Services.
    pub(super) services: f64,
}

/// Extended resources have a slash: `nvidia.com/gpu`, `amd.com/gpu`, `nvidia.com/mig-1g.5gb`.
pub(super) fn is_device(resource: &str) -> bool {
    resource.contains('/') && !resource.starts_with("hugepages-")
}

impl Demand {
    /// Counts.
    pub(super) fn of(objects: &[Value]) -> Self {
        let mut demand = Self::default();
        for object in objects {
            demand.add(object);
        }
        demand
    }

    /// How much of a resource all pods ask for together, by `requests.X`, `limits.X`, `X` (a request) or `pods`.
    pub(super) fn total(&self, name: &str) -> f64 {
        let sum = |of: &dyn Fn(&PodDemand) -> f64| self.pods.iter().map(|pod| pod.count * of(pod)).sum();
        let value = |map: &BTreeMap<String, f64>, key: &str| map.get(key).copied().unwrap_or(0.0);
        match name {
            "pods" | "count/pods" => sum(&|_| 1.0),
            "services" | "count/services" => self.services,
            "persistentvolumeclaims" | "count/persistentvolumeclaims" => self.claims,
            "requests.storage" => self.storage,
            _ => match (name.strip_prefix("requests."), name.strip_prefix("limits.")) {
                (Some(key), _) => sum(&|pod| value(&pod.requests, key)),
                (None, Some(key)) => sum(&|pod| value(&pod.limits, key)),
                (None, None) => sum(&|pod| value(&pod.requests, name)),
            },
        }
    }

    fn add(&mut self, object: &Value) {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let whole = title(object);
        match kind {
            "Pod" => self.push(whole, 1.0, spec),
            "Deployment" | "ReplicaSet" => self.template(whole, count(spec, "/replicas"), spec),
            "StatefulSet" => {
                let replicas = count(spec, "/replicas");
                for claim in spec.get("volumeClaimTemplates").and_then(Value::as_array).into_iter().flatten() {
                    self.claims += replicas;
                    self.storage += replicas * storage(claim);
                }
                self.template(whole, replicas, spec);
            }
            "Job" => self.template(whole, count(spec, "/parallelism"), spec),
            "LeaderWorkerSet" => self.group(&whole, spec),
            "DynamoGraphDeployment" => self.graph(&whole, spec),
            "PersistentVolumeClaim" => {
                self.claims += 1.0;
                self.storage += storage(object);
            }
            "Service" => self.services += 1.0,
            "ConfigMap"
            | "Secret"
            | "ServiceAccount"
            | "Role"
            | "RoleBinding"
            | "Ingress"
            | "NetworkPolicy"
            | "PodDisruptionBudget"
            | "HTTPRoute"
            | "HorizontalPodAutoscaler" => {}
            _ => self.unknown.push(whole),
        }
    }

    fn template(&mut self, of: String, count: f64, spec: &Value) {
        if let Some(pod) = spec.pointer("/template/spec") {
            self.push(of, count, pod);
        }
    }

    fn group(&mut self, whole: &str, spec: &Value) {
        let (replicas, size) = (count(spec, "/replicas"), count(spec, "/leaderWorkerTemplate/size"));
        let pod = |name: &str| spec.pointer(&format!("/leaderWorkerTemplate/{name}/spec"));
        let Some(worker) = pod("workerTemplate") else { return };
        self.push(format!("{whole}, leader"), replicas, pod("leaderTemplate").unwrap_or(worker));
        self.push(format!("{whole}, workers"), replicas * (size - 1.0), worker);
    }

    fn graph(&mut self, whole: &str, spec: &Value) {
        let nodes = |component: &Value| count(component, "/multinode/nodeCount");
        for component in spec.get("components").and_then(Value::as_array).into_iter().flatten() {
            let name = component.get("name").and_then(Value::as_str).unwrap_or_default();
            let empty = Value::Null;
            let pod = component.pointer("/podTemplate/spec").unwrap_or(&empty);
            self.push(format!("{whole}, {name}"), count(component, "/replicas") * nodes(component), pod);
        }
        for (name, service) in spec.get("services").and_then(Value::as_object).into_iter().flatten() {
            let resources = |side: &str| old_resources(service.pointer(&format!("/resources/{side}")));
            let limits = resources("limits");
            let mut requests = resources("requests");
            for (key, value) in &limits {
                requests.entry(key.clone()).or_insert(*value);
            }
            let pod = service.get("extraPodSpec").unwrap_or(&Value::Null);
            self.pods.push(PodDemand {
                of: format!("{whole}, {name}"),
                count: count(service, "/replicas") * nodes(service),
                requests,
                limits,
                node_selector: node_selector(pod),
            });
        }
    }

    fn push(&mut self, of: String, count: f64, pod: &Value) {
        self.pods.push(PodDemand {
            of,
            count,
            requests: of_pod(pod, "requests"),
            limits: of_pod(pod, "limits"),
            node_selector: node_selector(pod),
        });
    }
}

/// A whole number that is 1 when left out.
fn count(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or(1.0)
}

fn storage(claim: &Value) -> f64 {
    claim.pointer("/spec/resources/requests/storage").and_then(quantity).unwrap_or(0.0)
}

fn node_selector(pod: &Value) -> BTreeMap<String, String> {
    let pairs = pod.get("nodeSelector").and_then(Value::as_object).into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// `gpu` of a v1alpha1 component is an NVIDIA GPU unless `gpuType` names another; `custom` holds all else.
fn old_resources(side: Option<&Value>) -> BTreeMap<String, f64> {
    let field = |name: &str| side.and_then(|side| side.get(name));
    let gpu = field("gpuType").and_then(Value::as_str).unwrap_or("nvidia.com/gpu");
    let pairs = side.and_then(Value::as_object).into_iter().flatten();
    pairs
        .chain(field("custom").and_then(Value::as_object).into_iter().flatten())
        .filter_map(|(key, value)| {
            let key = if key == "gpu" { gpu } else { key.as_str() };
            Some((key.to_owned(), quantity(value)?))
        })
        .collect()
}

/// What the scheduler counts for a pod: the sum of its containers, or any one init container if that is more. A limit
/// without a request is a request too.
fn of_pod(pod: &Value, side: &str) -> BTreeMap<String, f64> {
    let list = |name: &str| pod.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut sum = BTreeMap::new();
    for container in list("containers") {
        for (key, value) in of_container(container, side) {
            *sum.entry(key).or_insert(0.0) += value;
        }
    }
    for container in list("initContainers") {
        for (key, value) in of_container(container, side) {
            let most: &mut f64 = sum.entry(key).or_insert(0.0);
            *most = most.max(value);
        }
    }
    sum
}

fn of_container(container: &Value, side: &str) -> BTreeMap<String, f64> {
    let read = |side: &str| {
        let pairs = container.pointer(&format!("/resources/{side}")).and_then(Value::as_object).into_iter().flatten();
        pairs.filter_map(|(key, value)| Some((key.clone(), quantity(value)?))).collect::<BTreeMap<_, _>>()
    };
    let mut found = read(side);
    if side == "requests" {
        for (key, value) in read("limits") {
            found.entry(key).or_insert(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(gpus: u32) -> Value {
        json!({"spec": {"nodeSelector": {"gpu": "h100"}, "containers": [
            {"resources": {"limits": {"nvidia.com/gpu": gpus, "memory": "1Gi"}, "requests": {"cpu": "500m"}}},
        ]}})
    }

    #[test]
    fn a_limit_without_a_request_is_a_request_and_the_largest_init_container_counts() {
        let object = json!({"kind": "Deployment", "metadata": {"name": "a"}, "spec": {"replicas": 2, "template": {"spec": {
            "initContainers": [{"resources": {"requests": {"cpu": "2"}}}],
            "containers": [{"resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "500m"}}}, {}],
        }}}});
        let demand = Demand::of(&[object]);
        assert_eq!(demand.total("pods"), 2.0);
        assert_eq!(demand.total("requests.cpu"), 4.0);
        assert_eq!(demand.total("memory"), 2.0 * 1024f64.powi(3));
        assert_eq!(demand.total("limits.cpu"), 0.0);
    }

    #[test]
    fn prefill_and_decode_and_all_nodes_of_a_worker_are_pods_in_either_version() {
        let new = json!({"kind": "DynamoGraphDeployment", "metadata": {"name": "g"}, "spec": {"components": [
            {"name": "Frontend", "type": "frontend"},
            {"name": "prefill", "type": "prefill", "replicas": 2, "podTemplate": pod(1)},
            {"name": "decode", "type": "decode", "multinode": {"nodeCount": 2}, "podTemplate": pod(4)},
        ]}});
        let old = json!({"kind": "DynamoGraphDeployment", "metadata": {"name": "g"}, "spec": {"services": {
            "prefill": {"replicas": 2, "resources": {"limits": {"gpu": "1"}}},
            "decode": {"multinode": {"nodeCount": 2}, "resources": {"limits": {"gpu": "4"}}},
        }}});
        assert_eq!(Demand::of(std::slice::from_ref(&new)).total("requests.nvidia.com/gpu"), 10.0);
        assert_eq!(Demand::of(&[old]).total("nvidia.com/gpu"), 10.0);
        assert_eq!(Demand::of(&[new]).total("pods"), 5.0);
        let others = json!({"kind": "DynamoGraphDeployment", "metadata": {"name": "g"}, "spec": {"services": {
            "decode": {"resources": {"limits": {"gpu": "4", "gpuType": "amd.com/gpu", "custom": {"rdma/ib": "1"}}}},
        }}});
        let demand = Demand::of(&[others]);
        assert_eq!(
            (demand.total("amd.com/gpu"), demand.total("nvidia.com/gpu"), demand.total("rdma/ib")),
            (4.0, 0.0, 1.0)
        );
    }

    #[test]
    fn what_only_an_operator_knows_is_said_to_be_unknown() {
        let demand = Demand::of(&[json!({"kind": "RayService", "metadata": {"name": "r"}})]);
        assert_eq!(demand.unknown, ["RayService r"]);
    }

    #[test]
    fn claims_and_their_storage_are_counted() {
        let claim = json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
            "spec": {"resources": {"requests": {"storage": "10Gi"}}}});
        let set = json!({"kind": "StatefulSet", "metadata": {"name": "s"}, "spec": {"replicas": 3,
            "volumeClaimTemplates": [{"spec": {"resources": {"requests": {"storage": "1Gi"}}}}]}});
        let demand = Demand::of(&[claim, set]);
        assert_eq!(demand.total("persistentvolumeclaims"), 4.0);
        assert_eq!(demand.total("requests.storage"), 13.0 * 1024f64.powi(3));
    }
}
