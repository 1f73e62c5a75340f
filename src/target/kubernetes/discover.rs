//! What a cluster offers, as far as it decides what is made in it.

use serde::{Deserialize, Serialize};

use super::super::contract::TargetError;
use super::client::Cluster;
use super::resource::{Catalog, Resource};

/// The group of Dynamo's custom resources.
pub(super) const DYNAMO: &str = "nvidia.com";
/// The kind that templates make.
pub(super) const GRAPH: &str = "DynamoGraphDeployment";
/// Its versions, the preferred one first: that is also the one that is stored, and can be read without its operator.
pub(super) const GRAPH_VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];

/// Facts about a cluster, frozen into the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Discovered {
    /// `v1.34.4`
    pub(super) kubernetes: String,
    /// Served versions of DynamoGraphDeployment, the preferred one first; empty: its CRD is not installed.
    pub(super) dgd_versions: Vec<String>,
    /// Uid of the namespace `kube-system`: names the cluster, however it is reached. `None`: no access.
    #[serde(default)]
    pub(super) cluster_uid: Option<String>,
}

/// Asks.
///
/// # Errors
/// When the API server cannot be asked.
pub(super) async fn discover(cluster: &Cluster) -> Result<Discovered, TargetError> {
    let version = cluster.call("asking for its version", cluster.client.apiserver_version()).await?;
    let mut catalog = Catalog::new(cluster);
    let mut dgd_versions = Vec::new();
    for version in GRAPH_VERSIONS {
        if catalog.find(&format!("{DYNAMO}/{version}"), GRAPH).await?.is_some() {
            dgd_versions.push(version.to_owned());
        }
    }
    Ok(Discovered { kubernetes: version.git_version, dgd_versions, cluster_uid: cluster_uid(cluster).await? })
}

/// Uid of `kube-system`, if it may be read.
///
/// # Errors
/// When the API server cannot be asked.
pub(super) async fn cluster_uid(cluster: &Cluster) -> Result<Option<String>, TargetError> {
    let namespaces = Resource { namespaced: false, ..Resource::known("v1", "Namespace", "namespaces") };
    let api = namespaces.of(cluster);
    match cluster.answered("reading which cluster this is", api.get_metadata("kube-system")).await? {
        Ok(found) => Ok(found.metadata.uid),
        // Only a name for the cluster: nobody needs the right to read it.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(None),
        Err(error) => Err(super::fault::translate(&cluster.place, "reading which cluster this is", &error)),
    }
}
