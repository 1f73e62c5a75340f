//! This life of a deployment: which pods on which nodes, of which images, and since when each container runs.
//!
//! Equal only while nothing was replaced: a restarted container, another image, another node and a new pod all show.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::family::{name, uid};
use crate::base::fact::GPU_PRODUCT;
use crate::render::gpus;

/// Label by which the GPU operator's feature discovery names a node's GPUs.
const PRODUCT: &str = "nvidia.com/gpu.product";

/// The incarnation that these pods are.
pub(super) fn incarnation(pods: &[Value]) -> Value {
    let mut lives: Vec<Value> = pods.iter().filter(|pod| !is_over(pod)).map(life).collect();
    lives.sort_by(|one, other| one["pod"].as_str().cmp(&other["pod"].as_str()));
    Value::Array(lives)
}

/// What became of the pods between two incarnations, a line for each that is another now.
pub(super) fn difference(before: &Value, now: &Value) -> Vec<String> {
    let lives = |incarnation: &Value| -> BTreeMap<String, Value> {
        let pods = incarnation.as_array().into_iter().flatten();
        pods.map(|life| (life["pod"].as_str().unwrap_or_default().to_owned(), life.clone())).collect()
    };
    let (before, now) = (lives(before), lives(now));
    let mut lines = Vec::new();
    for (pod, was) in &before {
        lines.extend(match now.get(pod) {
            None => Some(format!("pod {pod} is gone")),
            Some(is) if is == was => None,
            Some(is) => Some(changed(pod, was, is)),
        });
    }
    lines.extend(now.keys().filter(|pod| !before.contains_key(*pod)).map(|pod| format!("pod {pod} is new")));
    lines
}

fn changed(pod: &str, was: &Value, is: &Value) -> String {
    if was["uid"] != is["uid"] {
        return format!("pod {pod} is another of the same name");
    }
    if is["ending"] == true {
        return format!("pod {pod} is ending");
    }
    let containers = |life: &Value| life["containers"].as_array().cloned().unwrap_or_default();
    let pairs = containers(was).into_iter().zip(containers(is));
    let mut changes = pairs.filter(|(was, is)| was != is).map(|(was, is)| {
        let name = is["name"].as_str().unwrap_or_default().to_owned();
        match (was["image"] == is["image"], was["restarts"] == is["restarts"]) {
            (false, _) => format!("container {name} of pod {pod} has another image"),
            (true, false) => format!("container {name} of pod {pod} was restarted"),
            (true, true) => format!("container {name} of pod {pod} has another life"),
        }
    });
    changes.next().unwrap_or_else(|| format!("pod {pod} is on another node"))
}

/// Whether a pod has ended for good: what is left of it serves nobody.
fn is_over(pod: &Value) -> bool {
    matches!(pod.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"))
}

fn life(pod: &Value) -> Value {
    let containers: Vec<Value> = statuses(pod)
        .map(|status| {
            json!({
                "name": status.get("name"),
                "image": image_of(status),
                "restarts": status.get("restartCount"),
                "started": status.pointer("/state/running/startedAt"),
            })
        })
        .collect();
    json!({
        "pod": name(pod),
        "uid": uid(pod),
        "node": pod.pointer("/spec/nodeName"),
        // An ending pod still answers for a while, and is another life all the same.
        "ending": pod.pointer("/metadata/deletionTimestamp").is_some(),
        "containers": containers,
    })
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten()
}

/// The image by digest, as far as the runtime tells.
fn image_of(status: &Value) -> &str {
    let text = |key: &str| status.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    text("imageID").or_else(|| text("image")).unwrap_or_default()
}

/// What is worth keeping about pods that are ready: images by digest, nodes, GPUs.
pub(super) fn facts(pods: &[Value], nodes: &[Value]) -> BTreeMap<String, String> {
    let live: Vec<&Value> = pods.iter().filter(|pod| !is_over(pod)).collect();
    let images: BTreeSet<&str> = live.iter().flat_map(|pod| statuses(pod)).map(image_of).collect();
    let placed: BTreeSet<&str> = live.iter().filter_map(|pod| pod.pointer("/spec/nodeName")?.as_str()).collect();
    let mut facts = BTreeMap::from([
        ("images".to_owned(), images.into_iter().collect::<Vec<_>>().join(", ")),
        ("nodes".to_owned(), placed.iter().copied().collect::<Vec<_>>().join(", ")),
        ("pods".to_owned(), live.len().to_string()),
    ]);
    let products: Vec<String> =
        nodes.iter().filter(|node| placed.contains(name(node))).filter_map(gpu_of_node).collect();
    if !products.is_empty() {
        facts.insert("gpu-nodes".to_owned(), products.join(", "));
    }
    if let Some(product) = gpu_product(&live, nodes) {
        facts.insert(GPU_PRODUCT.to_owned(), product);
    }
    if let Some(bound) = bound_gpus(pods) {
        facts.insert("gpus-bound".to_owned(), bound.to_string());
    }
    facts
}

/// Products of the GPUs that pods hold, as their nodes tell them.
fn gpu_product(pods: &[&Value], nodes: &[Value]) -> Option<String> {
    let holding = pods.iter().filter(|pod| bound_gpus(&[(**pod).clone()]).is_some());
    let placed: BTreeSet<&str> = holding.filter_map(|pod| pod.pointer("/spec/nodeName")?.as_str()).collect();
    let held = nodes.iter().filter(|node| placed.contains(name(node)));
    let products: Option<BTreeSet<&str>> = held.map(|node| super::family::label(node, PRODUCT)).collect();
    products.filter(|products| !products.is_empty()).map(|all| all.into_iter().collect::<Vec<_>>().join(" + "))
}

/// `node-1: 8 x NVIDIA-H100-80GB-HBM3`
fn gpu_of_node(node: &Value) -> Option<String> {
    let capacity = node.pointer("/status/allocatable")?.as_object()?;
    let gpus: Vec<String> = capacity
        .iter()
        .filter(|(name, count)| {
            let vendor = ["nvidia.com/", "amd.com/gpu", "gpu.intel.com/"].iter().any(|vendor| name.starts_with(vendor));
            vendor && count.as_str() != Some("0")
        })
        .map(|(resource, count)| {
            let product = super::family::label(node, PRODUCT).unwrap_or(resource);
            format!("{} x {product}", count.as_str().unwrap_or_default())
        })
        .collect();
    (!gpus.is_empty()).then(|| format!("{}: {}", name(node), gpus.join(" + ")))
}

/// GPUs of pods that have a node, ending ones included: those hold theirs. `None`: none at all, or not to be known.
pub(super) fn bound_gpus(pods: &[Value]) -> Option<f64> {
    let bound: Vec<Value> = pods
        .iter()
        .filter(|pod| !is_over(pod) && pod.pointer("/spec/nodeName").is_some())
        .map(|pod| json!({"kind": "Pod", "spec": pod.get("spec")}))
        .collect();
    gpus(&bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({
            "metadata": {"name": "agg-0", "uid": "u1"},
            "spec": {"nodeName": "node-1", "containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}]},
            "status": {"phase": "Running", "containerStatuses": [{
                "name": "main", "imageID": "r/x@sha256:1", "restartCount": 0,
                "state": {"running": {"startedAt": "2026-11-25T02:00:00Z"}},
            }]},
        })
    }

    #[test]
    fn whatever_was_replaced_is_another_incarnation() {
        let first = incarnation(&[pod()]);
        assert_eq!(first, incarnation(&[pod()]));
        let changes = [
            ("/metadata/uid", json!("u2")),
            ("/spec/nodeName", json!("node-2")),
            ("/status/containerStatuses/0/imageID", json!("r/x@sha256:2")),
            ("/status/containerStatuses/0/restartCount", json!(1)),
            ("/status/containerStatuses/0/state/running/startedAt", json!("2026-11-25T02:00:09Z")),
        ];
        for (pointer, value) in changes {
            let mut other = pod();
            *other.pointer_mut(pointer).unwrap() = value;
            assert_ne!(first, incarnation(&[other]), "{pointer}");
        }
        assert_ne!(first, incarnation(&[pod(), pod()]));
    }

    #[test]
    fn what_was_replaced_is_said_pod_by_pod() {
        let first = incarnation(&[pod()]);
        let after = |pointer: &str, value: Value| {
            let mut other = pod();
            *other.pointer_mut(pointer).unwrap() = value;
            difference(&first, &incarnation(&[other])).join("; ")
        };
        assert_eq!(
            after("/status/containerStatuses/0/restartCount", json!(1)),
            "container main of pod agg-0 was restarted"
        );
        assert_eq!(
            after("/status/containerStatuses/0/imageID", json!("x")),
            "container main of pod agg-0 has another image"
        );
        assert_eq!(after("/metadata/uid", json!("u2")), "pod agg-0 is another of the same name");
        assert_eq!(after("/spec/nodeName", json!("node-2")), "pod agg-0 is on another node");
        assert_eq!(after("/metadata/name", json!("agg-1")), "pod agg-0 is gone; pod agg-1 is new");
        assert_eq!(difference(&first, &first), Vec::<String>::new());
    }

    #[test]
    fn pods_in_another_order_are_the_same_incarnation() {
        let mut second = pod();
        second["metadata"]["name"] = json!("agg-1");
        assert_eq!(incarnation(&[pod(), second.clone()]), incarnation(&[second, pod()]));
    }

    #[test]
    fn gpus_are_counted_on_pods_that_have_a_node() {
        let mut pending = pod();
        pending["spec"].as_object_mut().unwrap().remove("nodeName");
        let mut over = pod();
        over["status"]["phase"] = json!("Failed");
        let mut ending = pod();
        ending["metadata"]["deletionTimestamp"] = json!("2026-11-25T02:00:00Z");
        assert_eq!(bound_gpus(&[pod(), pending, over, ending]), Some(4.0));
        assert_eq!(bound_gpus(&[]), None);
    }

    #[test]
    fn the_product_of_the_gpus_is_told_for_nodes_that_are_used() {
        let node = |name: &str| {
            json!({
                "metadata": {"name": name, "labels": {"nvidia.com/gpu.product": "H100"}},
                "status": {"allocatable": {"cpu": "8", "nvidia.com/gpu": "8"}},
            })
        };
        let mut idle = pod();
        idle["spec"]["containers"] = json!([{}]);
        assert_eq!(facts(&[idle], &[node("node-1")]).get("gpu-product"), None, "it holds none");
        let facts = facts(&[pod()], &[node("node-1"), node("node-2")]);
        assert_eq!(facts["gpu-nodes"], "node-1: 8 x H100");
        assert_eq!(facts["gpus-bound"], "2");
        assert_eq!(facts["gpu-product"], "H100");
        assert_eq!(facts["images"], "r/x@sha256:1");
    }
}
