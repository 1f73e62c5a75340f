//! Every kind of a cluster that can be listed and deleted, Kubernetes' own and custom ones alike.

use kube::discovery::{Discovery, Scope, verbs};

use super::super::super::contract::TargetError;
use super::super::client::Cluster;
use super::super::resource::Resource;

/// The kinds that live in namespaces, each in the version that the cluster prefers.
///
/// # Errors
/// When the API server does not say what it has.
pub(in super::super) async fn listable(cluster: &Cluster) -> Result<Vec<Resource>, TargetError> {
    let doing = "asking which kinds there are";
    let discovery = || Discovery::new(cluster.client.clone()).exclude(&["metrics.k8s.io", "events.k8s.io"]);
    let found = match cluster.answered(doing, discovery().run_aggregated()).await? {
        Ok(found) => found,
        // Servers before 1.26 have no such question: one for each group then.
        Err(_) => cluster.call(doing, discovery().run()).await?,
    };
    let mut kinds: Vec<Resource> = found
        .groups()
        .flat_map(|group| group.recommended_resources())
        .filter(|(_, can)| can.scope == Scope::Namespaced)
        .filter(|(_, can)| can.supports_operation(verbs::LIST) && can.supports_operation(verbs::DELETE))
        .map(|(resource, _)| Resource {
            api_version: resource.api_version,
            kind: resource.kind,
            plural: resource.plural,
            namespaced: true,
        })
        .collect();
    kinds.sort();
    Ok(kinds)
}
