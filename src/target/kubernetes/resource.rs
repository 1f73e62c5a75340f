//! How objects of one kind are addressed, found out from the cluster itself: plurals and scopes of custom kinds are
//! known to nobody else.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use serde::{Deserialize, Serialize};

use super::super::contract::TargetError;
use super::client::Cluster;

/// A kind, as the API server's paths name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Resource {
    /// `apps/v1`
    pub(super) api_version: String,
    /// `Deployment`
    pub(super) kind: String,
    /// `deployments`
    pub(super) plural: String,
    /// Whether its objects live in a namespace.
    pub(super) namespaced: bool,
}

impl Resource {
    /// A kind of Kubernetes' own that lives in a namespace.
    pub(super) fn known(api_version: &str, kind: &str, plural: &str) -> Self {
        Self { api_version: api_version.to_owned(), kind: kind.to_owned(), plural: plural.to_owned(), namespaced: true }
    }

    /// The same in the kube crate's words.
    pub(super) fn api_resource(&self) -> ApiResource {
        let (group, version) = self.api_version.rsplit_once('/').unwrap_or(("", &self.api_version));
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        }
    }

    /// Objects of this kind.
    pub(super) fn of(&self, cluster: &Cluster) -> Api<DynamicObject> {
        cluster.objects(&self.api_resource(), self.namespaced)
    }
}

/// What a cluster serves, asked once per API version.
pub(super) struct Catalog<'a> {
    cluster: &'a Cluster,
    served: BTreeMap<String, Option<Vec<APIResource>>>,
}

impl<'a> Catalog<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, served: BTreeMap::new() }
    }

    /// The kind of an object; `None`: the cluster does not serve it.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub(super) async fn find(&mut self, api_version: &str, kind: &str) -> Result<Option<Resource>, TargetError> {
        if !self.served.contains_key(api_version) {
            let client = &self.cluster.client;
            let doing = format!("asking what {api_version} has");
            let listed = if api_version.contains('/') {
                self.cluster.call_opt(&doing, client.list_api_group_resources(api_version)).await?
            } else {
                self.cluster.call_opt(&doing, client.list_core_api_resources(api_version)).await?
            };
            self.served.insert(api_version.to_owned(), listed.map(|list| list.resources));
        }
        let resources = self.served.get(api_version).and_then(Option::as_ref);
        // Names with a slash are parts of objects, such as `deployments/scale`.
        let found =
            resources.into_iter().flatten().find(|resource| resource.kind == kind && !resource.name.contains('/'));
        Ok(found.map(|resource| Resource {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: resource.name.clone(),
            namespaced: resource.namespaced,
        }))
    }
}
