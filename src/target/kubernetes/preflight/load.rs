//! Load from inside the cluster can work: the binary that is carried runs there, and a node takes the workers.
//!
//! It is asked for only when everything is deployed, with all GPUs taken: what can be known before is said here. What the
//! workers name (images, Secrets, an account) and what they take of quotas is looked at beside the deployment's own.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::Node;
use serde_json::Value;

use super::super::super::contract::TargetError;
use super::super::super::image::{Architecture, Program};
use super::super::load::{Foreseen, carried_program};
use super::check::Finding;
use super::demand::{Demand, PodDemand};
use super::nodes::{Room, takes_pods};
use super::quota::shown;
use super::scene::{Answer, Scene};

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    let Some(Foreseen { job, carried }) = &scene.load else { return Ok(Vec::new()) };
    let program = match carried {
        None => None,
        Some(path) => match read(path).await {
            Ok(program) => Some(program.architecture),
            Err(error) => {
                let message = format!("load workers cannot be given dynbench: {}", error.message);
                return Ok(vec![Finding::Problem(TargetError { message, ..error })]);
            }
        },
    };
    let Answer::Found(nodes) = &scene.nodes else { return Ok(vec![Finding::no_access("nodes for load workers")]) };
    let tolerations = job.pointer("/spec/template/spec/tolerations").and_then(Value::as_array);
    let tolerations = tolerations.map_or(&[][..], Vec::as_slice);
    let open: Vec<&Node> = nodes.iter().filter(|node| takes_pods(node) && bears(tolerations, node)).collect();
    let demand = Demand::of(std::slice::from_ref(job));
    Ok(demand.pods.iter().map(|pod| judge(pod, program, &open)).collect())
}

/// Its bytes are many: read beside everything else.
async fn read(path: &Path) -> Result<Program, TargetError> {
    let path = path.to_owned();
    match tokio::task::spawn_blocking(move || carried_program(&path)).await {
        Ok(program) => program,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Whether tolerations bear all taints of a node that keep pods away.
fn bears(tolerations: &[Value], node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    let mut taints = taints.filter(|taint| taint.effect != "PreferNoSchedule");
    taints.all(|taint| {
        tolerations.iter().any(|one| {
            let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default();
            let any_value = text("operator") == "Exists";
            // Without a key any taint is meant.
            (text("key") == taint.key || (text("key").is_empty() && any_value))
                && (any_value || text("value") == taint.value.as_deref().unwrap_or_default())
                && (text("effect").is_empty() || text("effect") == taint.effect)
        })
    })
}

/// Whether one of these nodes takes a worker.
fn judge(pod: &PodDemand, program: Option<Architecture>, nodes: &[&Node]) -> Finding {
    let suits = |node: &&Node| Room::of(node).suits(pod);
    let suitable: Vec<&Node> = nodes.iter().copied().filter(suits).collect();
    let selector: Vec<_> = pod.node_selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let on = if selector.is_empty() { String::new() } else { format!(" with {}", selector.join(",")) };
    if suitable.is_empty() {
        return Finding::problem(
            format!("no ready node{on} takes load workers"),
            "correct `load.node-selector`, or bear the nodes' taints with `load.tolerations`",
        );
    }
    let has_room = |node: &&Node| pod.requests.iter().all(|(resource, each)| Room::of(node).has(resource) >= *each);
    if !suitable.iter().any(has_room) {
        let asked: Vec<_> =
            pod.requests.iter().map(|(resource, each)| format!("{} {resource}", shown(*each))).collect();
        return Finding::problem(
            format!("no ready node{on} is large enough for a load worker, which asks for {}", asked.join(" and ")),
            "ask for less in `load.resources`",
        );
    }
    let Some(program) = program else { return Finding::Fine(format!("nodes{on} take load workers")) };
    let mut of_nodes: BTreeMap<&str, usize> = BTreeMap::new();
    for info in suitable.iter().filter_map(|node| node.status.as_ref()?.node_info.as_ref()) {
        *of_nodes.entry(&info.architecture).or_default() += 1;
    }
    let others: Vec<_> = of_nodes.iter().map(|(architecture, count)| format!("{architecture} ({count})")).collect();
    let others = others.join(", ");
    if !of_nodes.contains_key(program.as_str()) && !of_nodes.is_empty() {
        return Finding::problem(
            format!("dynbench is for {program}, and the nodes{on} that load workers may run on are {others}"),
            "name a static dynbench for them with `load.binary`, or other nodes with `load.node-selector`",
        );
    }
    if of_nodes.len() > 1 {
        return Finding::Fine(format!(
            "dynbench for {program} is carried into load workers; nodes are {others}: choose them by `load.node-selector`"
        ));
    }
    Finding::Fine(format!("dynbench for {program} is carried into load workers, and nodes{on} take them"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(architecture: &str, cpu: &str, labels: serde_json::Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": labels},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "allocatable": {"cpu": cpu, "memory": "8Gi"},
                "nodeInfo": {"architecture": architecture, "operatingSystem": "linux", "bootID": "", "machineID": "",
                    "systemUUID": "", "kernelVersion": "", "osImage": "", "containerRuntimeVersion": "",
                    "kubeletVersion": "", "kubeProxyVersion": ""},
            },
        }))
        .unwrap()
    }

    fn worker(selector: serde_json::Value) -> PodDemand {
        let job = json!({"kind": "Job", "metadata": {"name": "load-x"}, "spec": {"parallelism": 2, "template": {"spec": {
            "nodeSelector": selector, "containers": [{"resources": {"requests": {"cpu": "2", "memory": "1Gi"}}}]}}}});
        Demand::of(&[job]).pods.remove(0)
    }

    fn said(finding: Finding) -> String {
        match finding {
            Finding::Fine(line) => line,
            Finding::Problem(error) => format!("problem: {error}"),
            Finding::Unknown(..) => panic!("{finding:?}"),
        }
    }

    #[test]
    fn a_tainted_node_takes_workers_only_if_they_bear_the_taint() {
        let mut gpu = node("amd64", "4", json!({}));
        gpu.spec = serde_json::from_value(json!({"taints": [
            {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},
            {"key": "slow", "effect": "PreferNoSchedule"},
        ]}))
        .unwrap();
        let bears = |tolerations: Value| bears(tolerations.as_array().unwrap(), &gpu);
        assert!(!bears(json!([])));
        assert!(!bears(json!([{"key": "nvidia.com/gpu", "value": "other"}])));
        assert!(!bears(json!([{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"}])));
        assert!(bears(json!([{"key": "nvidia.com/gpu", "value": "present"}])));
        assert!(bears(json!([{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}])));
        assert!(bears(json!([{"operator": "Exists"}])));
    }

    #[test]
    fn a_binary_for_other_processors_is_a_problem_before_anything_is_made() {
        let (amd, arm) = (node("amd64", "4", json!({})), node("arm64", "4", json!({})));
        let said = |nodes: &[&Node]| said(judge(&worker(json!({})), Some(Architecture::Amd64), nodes));
        assert_eq!(
            said(&[&arm]),
            "problem: dynbench is for amd64, and the nodes that load workers may run on are arm64 (1)"
        );
        assert!(said(&[&amd, &arm]).contains("nodes are amd64 (1), arm64 (1): choose them by `load.node-selector`"));
        assert_eq!(said(&[&amd]), "dynbench for amd64 is carried into load workers, and nodes take them");
    }

    #[test]
    fn only_nodes_that_are_large_enough_and_chosen_take_workers() {
        let said = |selector, nodes: &[&Node]| said(judge(&worker(selector), None, nodes));
        let small = node("amd64", "1", json!({"pool": "cpu"}));
        assert_eq!(
            said(json!({}), &[&small]),
            "problem: no ready node is large enough for a load worker, which asks for 2 cpu and 1.0Gi memory"
        );
        let large = node("amd64", "4", json!({}));
        assert_eq!(said(json!({}), &[&small, &large]), "nodes take load workers");
        assert_eq!(
            said(json!({"pool": "gpu"}), &[&small, &large]),
            "problem: no ready node with pool=gpu takes load workers"
        );
    }
}
