//! There are nodes with the devices that the pods need, and the pods fit on them.
//!
//! What others use at the moment is not counted against the plan: it may be gone when it runs, and the scheduler will say
//! so if not. What can never fit is a problem now.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;

use super::super::super::contract::TargetError;
use super::super::quantity::parse;
use super::check::Finding;
use super::demand::{Demand, PodDemand, is_device};
use super::scene::{Answer, Scene};

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    let demand = Demand::of(&scene.objects);
    let mut findings: Vec<Finding> = demand
        .unknown
        .iter()
        .map(|what| Finding::Unknown(format!("what {what} starts"), "only its operator knows".to_owned()))
        .collect();
    let mut wanted: Vec<&String> = demand.pods.iter().flat_map(|pod| pod.requests.keys()).collect();
    wanted.retain(|resource| is_device(resource));
    wanted.sort();
    wanted.dedup();
    if wanted.is_empty() {
        return Ok(findings);
    }
    let nodes: Vec<Room> = match &scene.nodes {
        Answer::Found(nodes) => nodes.iter().filter(|node| takes_pods(node)).map(Room::of).collect(),
        Answer::Absent | Answer::NoAccess => {
            let what = wanted.iter().map(|resource| format!("{} {resource}", demand.total(resource)));
            findings.push(Finding::no_access(format!("nodes with {}", what.collect::<Vec<_>>().join(", "))));
            return Ok(findings);
        }
    };
    for resource in wanted {
        findings.push(match unfit(&demand.pods, resource, &nodes) {
            None => {
                Finding::Fine(format!("{} {resource} needed, {}", demand.total(resource), having(resource, &nodes)))
            }
            Some(what) => Finding::Problem(TargetError {
                details: vec![having(resource, &nodes)],
                help: Some("add nodes, ask for less, or look at node selectors and the device plugin".to_owned()),
                ..TargetError::new(what)
            }),
        });
    }
    Ok(findings)
}

/// A node, as far as pods must fit on it.
#[derive(Debug, Clone)]
pub(super) struct Room {
    name: String,
    labels: BTreeMap<String, String>,
    free: BTreeMap<String, f64>,
}

impl Room {
    pub(super) fn of(node: &Node) -> Self {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let free = allocatable.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), parse(&value.0)?)));
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            free: free.collect(),
        }
    }

    pub(super) fn has(&self, resource: &str) -> f64 {
        self.free.get(resource).copied().unwrap_or(0.0)
    }

    pub(super) fn suits(&self, pod: &PodDemand) -> bool {
        pod.node_selector.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

/// Neither cordoned nor gone.
pub(super) fn takes_pods(node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    ready && !cordoned
}

/// `nodes have 8 (node-1: 8, node-2: 0)`
fn having(resource: &str, nodes: &[Room]) -> String {
    let each: Vec<_> = nodes.iter().map(|node| format!("{}: {}", node.name, node.has(resource))).collect();
    let total: f64 = nodes.iter().map(|node| node.has(resource)).sum();
    format!("ready nodes have {total} ({})", each.join(", "))
}

/// Why the pods do not fit, looking at one resource alone; largest pods first, each on the fullest node that takes it.
fn unfit(pods: &[PodDemand], resource: &str, nodes: &[Room]) -> Option<String> {
    let mut rooms = nodes.to_vec();
    let each = |pod: &PodDemand| pod.requests.get(resource).copied().unwrap_or(0.0);
    let mut wanted: Vec<&PodDemand> = pods.iter().filter(|pod| each(pod) > 0.0 && pod.count > 0.0).collect();
    wanted.sort_by(|a, b| each(b).total_cmp(&each(a)));
    for pod in wanted {
        let size = each(pod);
        for placed in 0..pod.count as u64 {
            let suitable = rooms.iter_mut().filter(|room| room.suits(pod) && room.has(resource) >= size);
            let Some(room) = suitable.min_by(|a, b| a.has(resource).total_cmp(&b.has(resource))) else {
                let total: f64 = pods.iter().map(|pod| pod.count * each(pod)).sum();
                let selector: Vec<_> = pod.node_selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let on =
                    if selector.is_empty() { String::new() } else { format!(" on nodes with {}", selector.join(",")) };
                return Some(format!(
                    "{total} {resource} needed, and they do not fit: pod {} of {} of {}{on} finds no node with {size} free",
                    placed + 1,
                    pod.count,
                    pod.of,
                ));
            };
            if let Some(free) = room.free.get_mut(resource) {
                *free -= size;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: &str = "nvidia.com/gpu";

    fn room(name: &str, gpus: f64) -> Room {
        let labels = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        Room { name: name.to_owned(), labels, free: BTreeMap::from([(GPU.to_owned(), gpus)]) }
    }

    fn pods(count: f64, gpus: f64) -> PodDemand {
        PodDemand {
            of: "Deployment a".to_owned(),
            count,
            requests: BTreeMap::from([(GPU.to_owned(), gpus)]),
            limits: BTreeMap::new(),
            node_selector: BTreeMap::new(),
        }
    }

    #[test]
    fn enough_in_total_is_not_enough_when_no_node_can_hold_one_pod() {
        let nodes = [room("n1", 4.0), room("n2", 4.0)];
        assert_eq!(unfit(&[pods(2.0, 4.0)], GPU, &nodes), None);
        let why = unfit(&[pods(1.0, 8.0)], GPU, &nodes).unwrap();
        assert!(why.starts_with("8 nvidia.com/gpu needed, and they do not fit: pod 1 of 1 of Deployment a"), "{why}");
        assert_eq!(having(GPU, &nodes), "ready nodes have 8 (n1: 4, n2: 4)");
    }

    #[test]
    fn large_pods_are_placed_first_and_leave_whole_nodes_to_each_other() {
        let nodes = [room("n1", 8.0), room("n2", 2.0)];
        assert_eq!(unfit(&[pods(2.0, 1.0), pods(1.0, 8.0)], GPU, &nodes), None);
        assert!(unfit(&[pods(3.0, 1.0), pods(1.0, 8.0)], GPU, &nodes).is_some());
    }

    #[test]
    fn only_nodes_that_the_selector_names_count() {
        let nodes = [room("n1", 0.0), room("n2", 8.0)];
        let selector = BTreeMap::from([("name".to_owned(), "n1".to_owned())]);
        let pod = PodDemand { node_selector: selector, ..pods(1.0, 1.0) };
        assert!(unfit(&[pod], GPU, &nodes).unwrap().contains("on nodes with name=n1"));
    }
}
