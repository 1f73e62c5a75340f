//! Who belongs to whom: everything below some objects, found by owner references and by labels.
//!
//! Operators do not always pass labels on, and an owner that is gone cannot be asked any more, so both ways are gone.

use std::collections::BTreeSet;

use kube::api::ListParams;
use serde_json::Value;

use super::super::contract::TargetError;
use super::client::Cluster;
use super::fault::translate;
use super::resource::Resource;

/// Label by which Dynamo's operator marks the pods of a graph.
pub(super) const GRAPH_LABEL: &str = "nvidia.com/dynamo-graph-deployment-name";

/// Everything of a namespace that can stand between an applied object and its pods, and the pods.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Population {
    /// ReplicaSets, Deployments and the like, whole and with `kind`.
    pub(super) middle: Vec<Value>,
    /// All pods.
    pub(super) pods: Vec<Value>,
}

/// Kinds between an applied object and its pods.
fn middle_kinds(dynamo: Option<&str>) -> Vec<Resource> {
    let mut kinds = vec![
        Resource::known("apps/v1", "Deployment", "deployments"),
        Resource::known("apps/v1", "ReplicaSet", "replicasets"),
        Resource::known("apps/v1", "StatefulSet", "statefulsets"),
        Resource::known("batch/v1", "Job", "jobs"),
    ];
    kinds.extend(
        dynamo.map(|version| Resource::known(version, "DynamoComponentDeployment", "dynamocomponentdeployments")),
    );
    kinds
}

impl Population {
    /// Reads a namespace, with the kinds of Dynamo's operator in their stored version if there is one. Kinds that may not be
    /// read, or that the cluster does not have, are left out; pods may not be.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub(super) async fn read(cluster: &Cluster, dynamo: Option<String>) -> Result<Self, TargetError> {
        let mut middle = Vec::new();
        for resource in middle_kinds(dynamo.as_deref()) {
            middle.extend(list_if_allowed(cluster, &resource).await?);
        }
        let pods = list(cluster, &Resource::known("v1", "Pod", "pods"), &ListParams::default()).await?;
        Ok(Self { middle, pods })
    }

    /// Uids of `roots` and of everything below them.
    pub(super) fn below(&self, roots: &BTreeSet<String>) -> BTreeSet<String> {
        let mut known = roots.clone();
        loop {
            let before = known.len();
            let owned = |object: &&Value| owners(object).any(|owner| known.contains(owner));
            let found: Vec<_> = self.middle.iter().chain(&self.pods).filter(owned).filter_map(uid).collect();
            let found: Vec<String> = found.into_iter().map(str::to_owned).collect();
            known.extend(found);
            if known.len() == before {
                return known;
            }
        }
    }
}

/// Objects of a kind, whole and with `kind`.
///
/// # Errors
/// When they cannot be listed.
pub(super) async fn list(
    cluster: &Cluster,
    resource: &Resource,
    params: &ListParams,
) -> Result<Vec<Value>, TargetError> {
    let doing = format!("listing {}", resource.plural);
    let found = cluster.call(&doing, resource.of(cluster).list(params)).await?;
    Ok(found.items.into_iter().map(|object| whole(resource, object)).collect())
}

/// The same; nothing, if it may not be listed or there is no such kind.
///
/// # Errors
/// When the API server cannot be asked.
pub(super) async fn list_if_allowed(cluster: &Cluster, resource: &Resource) -> Result<Vec<Value>, TargetError> {
    let doing = format!("listing {}", resource.plural);
    match cluster.answered(&doing, resource.of(cluster).list(&ListParams::default())).await? {
        Ok(found) => Ok(found.items.into_iter().map(|object| whole(resource, object)).collect()),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(Vec::new()),
        Err(error) => Err(translate(&cluster.place, &doing, &error)),
    }
}

/// An object as JSON; items of a list come without their kind.
pub(super) fn whole(resource: &Resource, object: kube::api::DynamicObject) -> Value {
    let mut object = serde_json::to_value(object).expect("an object came as JSON");
    object["apiVersion"] = resource.api_version.clone().into();
    object["kind"] = resource.kind.clone().into();
    object
}

/// `metadata.uid`
pub(super) fn uid(object: &Value) -> Option<&str> {
    object.pointer("/metadata/uid")?.as_str()
}

/// `metadata.name`
pub(super) fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// A label's value.
pub(super) fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(name)?.as_str()
}

/// Uids of an object's owners.
pub(super) fn owners(object: &Value) -> impl Iterator<Item = &str> {
    let references = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    references.into_iter().flatten().filter_map(|owner| owner.get("uid")?.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_below_an_object_is_found_through_its_owners() {
        let object = |uid: &str, owner: &str| json!({"metadata": {"uid": uid, "name": uid, "ownerReferences": [{"uid": owner}]}});
        let population = Population {
            // The ReplicaSet comes first: the order of lists must not matter.
            middle: vec![object("rs", "deploy"), object("deploy", "graph"), object("other-rs", "other")],
            pods: vec![object("pod", "rs"), object("stranger", "other-rs")],
        };
        let below = population.below(&BTreeSet::from(["graph".to_owned()]));
        assert_eq!(below, ["deploy", "graph", "pod", "rs"].map(str::to_owned).into());
    }
}
