//! Logs of containers: the last lines for a message, or as much as is worth keeping.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;

use super::super::contract::TargetError;
use super::client::Cluster;

/// Lines that a message shows.
const TAIL: i64 = 40;

/// The last lines of a container's log: of the one before, if it was restarted, since that one tells why.
pub(super) async fn tail(cluster: &Cluster, pod: &str, container: &str) -> Vec<String> {
    for previous in [true, false] {
        let params = LogParams { tail_lines: Some(TAIL), ..params(container, previous) };
        if let Ok(text) = read(cluster, pod, &params).await
            && !text.trim().is_empty()
        {
            return text.lines().map(str::to_owned).collect();
        }
    }
    Vec::new()
}

/// Which log of a container.
pub(super) fn params(container: &str, previous: bool) -> LogParams {
    LogParams { container: Some(container.to_owned()), previous, ..LogParams::default() }
}

/// Reads a log.
///
/// # Errors
/// When there is none, or the API server or the node cannot be asked.
pub(super) async fn read(cluster: &Cluster, pod: &str, params: &LogParams) -> Result<String, TargetError> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    let container = params.container.as_deref().unwrap_or_default();
    cluster.call(&format!("reading the log of {pod}/{container}"), pods.logs(pod, params)).await
}
