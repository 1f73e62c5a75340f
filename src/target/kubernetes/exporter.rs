//! Where a node tells what its GPUs do: pods of NVIDIA's DCGM exporter, found in whatever namespace they run by the labels
//! that its operator, its chart and the clouds give them.
//!
//! Listing pods of all namespaces is a right of its own. Without it nothing is known of the GPUs, and that is said.

use std::collections::{BTreeMap, BTreeSet};

use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::Value;

use super::super::contract::{MetricsUrl, TargetError};
use super::client::Cluster;
use super::disaggregated::{Role, role_of};
use super::fault::translate;
use super::pages;
use super::resource::Resource;
use super::service::{is_ready, port_named};

/// The fact's name in results.
pub(super) const FACT: &str = "gpu-exporter";
/// What to do where it may not be looked for.
pub(super) const HELP: &str = "`dynbench rbac` prints the ClusterRole for it (list pods)";

/// How its pods are labelled: by the chart, by Google's own, by the GPU operator, by its plain manifest.
const SELECTORS: [&str; 2] = [
    "app.kubernetes.io/name in (dcgm-exporter, gke-managed-dcgm-exporter)",
    "app in (nvidia-dcgm-exporter, dcgm-exporter)",
];
/// Name of its port, and the port itself where none has that name.
const PORT: (&str, u16) = ("metrics", 9400);

/// What was found of it in a cluster.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Exporters {
    /// Its pods, in all namespaces; there may be none.
    Found(Vec<Value>),
    /// Pods of other namespaces may not be listed.
    NoAccess,
}

/// Looks for it.
///
/// # Errors
/// When the API server does not answer, or refuses for another reason than missing rights.
pub(super) async fn find(cluster: &Cluster) -> Result<Exporters, TargetError> {
    let doing = "listing pods of the DCGM exporter";
    let pods: Api<DynamicObject> =
        Api::all_with(cluster.client.clone(), &Resource::known("v1", "Pod", "pods").api_resource());
    let mut found = BTreeMap::new();
    for selector in SELECTORS {
        match cluster.answered(doing, pods.list(&ListParams::default().labels(selector))).await? {
            Ok(listed) => found.extend(listed.items.into_iter().filter_map(|pod| {
                let key = (pod.metadata.namespace.clone(), pod.metadata.name.clone());
                Some((key, serde_json::to_value(pod).ok()?))
            })),
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => return Ok(Exporters::NoAccess),
            Err(error) => return Err(translate(&cluster.place, doing, &error)),
        }
    }
    Ok(Exporters::Found(found.into_values().collect()))
}

/// One pod of it, on a node where the deployment has pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exporter {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) node: String,
    pub(super) address: String,
    pub(super) port: u16,
}

impl Exporter {
    /// Its page at an address, for the GPUs of the deployment's pods.
    pub(super) fn page(&self, url: String, pods: &[Value]) -> MetricsUrl {
        MetricsUrl { url, role: None, gpus_of: by_part(pods) }
    }

    /// Its page as it is reached within the cluster.
    pub(super) fn own_page(&self, pods: &[Value]) -> MetricsUrl {
        self.page(format!("http://{}:{}", self.address, self.port), pods)
    }
}

/// `namespace/name` of the deployment's pods, with what each is a part of.
fn by_part(pods: &[Value]) -> BTreeMap<String, Option<String>> {
    let part = |pod: &Value| match (pages::role(pod), role_of(pod)) {
        (Some(role), _) => Some(role.to_owned()),
        (None, Some(Role::Prefill)) => Some("prefill".to_owned()),
        (None, Some(Role::Decode)) => Some("decode".to_owned()),
        (None, None) => None,
    };
    pods.iter()
        .map(|pod| (format!("{}/{}", text(pod, "/metadata/namespace"), text(pod, "/metadata/name")), part(pod)))
        .collect()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Those of its pods that are ready on a node of the deployment's pods.
pub(super) fn beside(exporters: &[Value], pods: &[Value]) -> Vec<Exporter> {
    let nodes = nodes_of(pods);
    let ready = exporters.iter().filter(|pod| is_ready(pod) && nodes.contains(text(pod, "/spec/nodeName")));
    ready
        .map(|pod| Exporter {
            namespace: text(pod, "/metadata/namespace").to_owned(),
            pod: text(pod, "/metadata/name").to_owned(),
            node: text(pod, "/spec/nodeName").to_owned(),
            address: text(pod, "/status/podIP").to_owned(),
            port: port_named(pod, PORT.0).unwrap_or(PORT.1),
        })
        .filter(|exporter| !exporter.address.is_empty())
        .collect()
}

fn nodes_of(pods: &[Value]) -> BTreeSet<&str> {
    pods.iter().map(|pod| text(pod, "/spec/nodeName")).filter(|node| !node.is_empty()).collect()
}

/// What is known of it, in words.
pub(super) fn fact(exporters: &Exporters, pods: &[Value]) -> String {
    let all = match exporters {
        Exporters::NoAccess => return "not checked: no access".to_owned(),
        Exporters::Found(all) => all,
    };
    let beside = beside(all, pods);
    let told: BTreeSet<&str> = beside.iter().map(|exporter| exporter.node.as_str()).collect();
    let untold: Vec<&str> = nodes_of(pods).into_iter().filter(|node| !told.contains(node)).collect();
    let told: Vec<&str> = told.into_iter().collect();
    match (told.is_empty(), untold.is_empty()) {
        (true, _) => "none on the deployment's nodes".to_owned(),
        (false, true) => format!("read on {}", told.join(", ")),
        (false, false) => format!("read on {}; none on {}", told.join(", "), untold.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(namespace: &str, name: &str, node: &str, ready: &str, ports: Value) -> Value {
        json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"nodeName": node, "containers": [{"name": "exporter", "ports": ports}]},
            "status": {"podIP": format!("10.0.0.{}", name.len()), "conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn ours() -> Vec<Value> {
        let mut prefill = pod("bench", "agg-prefill-0", "node-1", "True", json!([]));
        prefill["metadata"]["labels"] = json!({"nvidia.com/dynamo-component-type": "prefill"});
        let mut decode = pod("bench", "agg-1", "node-2", "True", json!([]));
        decode["spec"]["containers"][0]["args"] = json!(["--is-decode-worker"]);
        vec![prefill, decode]
    }

    #[test]
    fn exporters_on_the_nodes_of_the_deployment_are_read_at_their_port() {
        let exporters = [
            pod("gpu-operator", "dcgm-a", "node-1", "True", json!([{"name": "metrics", "containerPort": 9401}])),
            pod("gpu-operator", "dcgm-bb", "node-2", "True", json!([])),
            pod("gpu-operator", "dcgm-ccc", "node-3", "True", json!([])),
        ];
        let found = beside(&exporters, &ours());
        let pages: Vec<_> = found.iter().map(|exporter| exporter.own_page(&ours())).collect();
        let urls: Vec<_> = pages.iter().map(|page| page.url.as_str()).collect();
        assert_eq!(urls, ["http://10.0.0.6:9401", "http://10.0.0.7:9400"]);
        let parts: Vec<_> = pages[0].gpus_of.iter().map(|(pod, part)| (pod.as_str(), part.as_deref())).collect();
        assert_eq!(parts, [("bench/agg-1", Some("decode")), ("bench/agg-prefill-0", Some("prefill"))]);
        assert_eq!(fact(&Exporters::Found(exporters.to_vec()), &ours()), "read on node-1, node-2");
    }

    #[test]
    fn what_is_not_read_is_said() {
        let unready = pod("gpu-operator", "dcgm-a", "node-1", "False", json!([]));
        let other = pod("gpu-operator", "dcgm-b", "node-2", "True", json!([]));
        let fact = |exporters: Vec<Value>| fact(&Exporters::Found(exporters), &ours());
        assert_eq!(fact(vec![unready.clone(), other]), "read on node-2; none on node-1");
        assert_eq!(fact(vec![unready]), "none on the deployment's nodes");
        assert_eq!(super::fact(&Exporters::NoAccess, &ours()), "not checked: no access");
    }
}
