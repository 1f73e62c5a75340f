//! What the nodes of the current cluster are, for programs that are to run there.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;

use super::client::{Cluster, Whereabouts};

/// Nobody waits longer for something that is only good to know.
const PATIENCE: Duration = Duration::from_secs(5);

/// The nodes of a cluster by their processors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machines {
    /// Context of the kubeconfig.
    pub context: String,
    /// Nodes by architecture, `amd64`.
    pub architectures: BTreeMap<String, usize>,
}

/// Asks the cluster of the current context.
///
/// # Errors
/// Why nobody knows: no kubeconfig, no answer, no access.
pub async fn machines() -> Result<Machines, String> {
    let cluster = Cluster::connect(&Whereabouts::default()).await.map_err(|error| error.message)?;
    let context = cluster.place.context.clone();
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let listed = match tokio::time::timeout(PATIENCE, nodes.list(&ListParams::default())).await {
        Ok(Ok(listed)) => listed.items,
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            return Err(format!("no access to nodes of {context}"));
        }
        Ok(Err(error)) => return Err(format!("the cluster of {context} does not answer: {error}")),
        Err(_) => return Err(format!("the cluster of {context} gave no answer within {} s", PATIENCE.as_secs())),
    };
    let mut architectures = BTreeMap::new();
    for info in listed.iter().filter_map(|node| node.status.as_ref()?.node_info.as_ref()) {
        *architectures.entry(info.architecture.clone()).or_default() += 1;
    }
    Ok(Machines { context, architectures })
}
