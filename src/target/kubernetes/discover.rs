//! What a cluster offers, as far as it decides what is made in it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::contract::TargetError;
use super::client::Cluster;
use super::resource::{Catalog, Resource};
use crate::render::{GraphVersion, LATE_FIELDS, in_version, without_fields};

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
    /// Fields that templates make use of and the oldest CRDs do not have. Only looked for where v1alpha1 is the only version.
    #[serde(default)]
    pub(super) dgd_lacks: Vec<String>,
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
    let only_old = dgd_versions.first().is_some_and(|version| version == GraphVersion::V1alpha1.as_str());
    let dgd_lacks = if only_old { lacks(cluster).await? } else { Vec::new() };
    let cluster_uid = cluster_uid(cluster).await?;
    Ok(Discovered { kubernetes: version.git_version, dgd_versions, dgd_lacks, cluster_uid })
}

impl Discovered {
    /// The version of graphs that is stored, and so can be read and deleted while the operator is away.
    pub(super) fn stored(&self) -> Option<String> {
        self.dgd_versions.first().map(|version| format!("{DYNAMO}/{version}"))
    }

    /// An object as this cluster takes it: graphs of templates in the version that it serves.
    pub(super) fn suited(&self, object: Value) -> Value {
        // Where none is served, the error names the version that Dynamo's operators have today.
        let version = GraphVersion::of_served(self.dgd_versions.iter().map(String::as_str)).unwrap_or_default();
        let newest = object.get("apiVersion").cloned();
        let mut object = in_version(object, version);
        // Whatever somebody wrote in the older version by hand is sent as it is.
        if object.get("apiVersion") != newest.as_ref() {
            without_fields(&mut object, &self.dgd_lacks);
        }
        object
    }
}

/// Which late fields the served CRD lacks, by the schema that every client may read; none where it may not.
async fn lacks(cluster: &Cluster) -> Result<Vec<String>, TargetError> {
    let doing = "reading the schema of DynamoGraphDeployment";
    let request = hyper::Request::get("/openapi/v3/apis/nvidia.com/v1alpha1").body(Vec::new());
    let request = request.expect("a path that is written here is one");
    match cluster.answered(doing, cluster.client.request_text(request)).await? {
        Ok(document) => Ok(lacking(&serde_json::from_str(&document).unwrap_or_default())),
        // Too young to be published, or closed to us: then it is taken for the newest, and the dry run says more.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(Vec::new()),
        Err(error) => Err(super::fault::translate(&cluster.place, doing, &error)),
    }
}

/// The late fields that the schema of graphs in an OpenAPI document does not have; none, if it is not among the schemas.
fn lacking(document: &Value) -> Vec<String> {
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object).into_iter().flatten();
    // Components of graphs are other kinds, and may be newer.
    let is_graph = |schema: &Value| {
        let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"] == GRAPH))
    };
    let Some((_, graph)) = schemas.into_iter().find(|(_, schema)| is_graph(schema)) else { return Vec::new() };
    let text = graph.to_string();
    let lacks = |field: &&str| !text.contains(&format!("\"{field}\":"));
    LATE_FIELDS.into_iter().filter(lacks).map(str::to_owned).collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_schema_of_graphs_lacks_is_not_made_up_for_by_that_of_another_kind() {
        let schema = |kind: &str, fields: Value| {
            json!({"x-kubernetes-group-version-kind": [{"group": "nvidia.com", "kind": kind, "version": "v1alpha1"}],
                "properties": {"spec": {"properties": fields}}})
        };
        let other = schema("DynamoComponentDeployment", json!({"subComponentType": {}, "gpuType": {}}));
        let document = |fields: Value| json!({"components": {"schemas": {"a": other, "b": schema(GRAPH, fields)}}});
        assert_eq!(lacking(&document(json!({"gpuType": {}}))), ["subComponentType"]);
        assert_eq!(lacking(&document(json!({"gpuType": {}, "subComponentType": {}}))), Vec::<String>::new());
        assert_eq!(lacking(&json!({})), Vec::<String>::new());
    }
}
