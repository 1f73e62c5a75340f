//! Objects are sent, in an order in which none waits for a later one.
//!
//! Nothing that others made is touched: an object that exists without our run's label is refused, and fields that
//! another manager owns are conflicts, never forced. What this run sent before, unchanged, is not sent again: operators
//! rewrite what they are given, and sending it again would start a new rollout.

use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::core::Status;
use serde_json::{Value, json};

use super::super::contract::{Deployed, Endpoint, Ledger, Live, TargetError};
use super::client::Cluster;
use super::discover::{self, Discovered};
use super::fault::translate;
use super::handle::{Handle, Named, State};
use super::kind;
use super::objects::objects_to_apply;
use super::own;
use super::resource::{Catalog, Resource};
use super::seen::Applied;
use crate::base::digest_json;

/// An object, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    /// How it is addressed.
    pub(super) resource: Resource,
    /// Its name.
    pub(super) name: String,
    /// The object, with labels and annotations of ours.
    pub(super) object: Value,
    /// Digest of what is sent.
    pub(super) sent: String,
}

/// What is there under a name that we need.
enum Present {
    Nothing,
    /// This run's, of this digest.
    Ours {
        stored: Stored,
        sent: Option<String>,
    },
}

/// By what an object in the cluster is known again.
struct Stored {
    uid: String,
    generation: Option<i64>,
}

impl Stored {
    fn of(metadata: &ObjectMeta) -> Self {
        Self { uid: metadata.uid.clone().unwrap_or_default(), generation: metadata.generation }
    }
}

/// Everything of a deployment, in the order of applying.
///
/// # Errors
/// When it cannot be rendered, or holds what the cluster does not serve or what we never make.
pub(super) async fn pieces(
    cluster: &Cluster,
    live: Live<'_>,
    discovered: &Discovered,
) -> Result<Vec<Piece>, TargetError> {
    let mut catalog = Catalog::new(cluster);
    let mut pieces = Vec::new();
    for mut object in objects_to_apply(live, discovered)? {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        let resource =
            catalog.find(&api_version, &kind).await?.ok_or_else(|| not_served(cluster, &api_version, &kind))?;
        if resource.namespaced {
            object["metadata"]["namespace"] = json!(cluster.namespace());
        }
        let sent = digest_json(&object).short().to_owned();
        object["metadata"]["annotations"][own::SENT] = json!(sent);
        pieces.push(Piece { resource, name, object, sent });
    }
    // Stable: objects of one rank stay in the order of their texts.
    pieces.sort_by_key(|piece| rank(&piece.resource.kind));
    Ok(pieces)
}

fn not_served(cluster: &Cluster, api_version: &str, kind: &str) -> TargetError {
    let help = (kind == discover::GRAPH).then(|| "is the Dynamo operator installed in this cluster?".to_owned());
    TargetError {
        help,
        ..TargetError::new(format!("the cluster serves no {kind} of {api_version} ({})", cluster.place))
    }
}

/// Where a kind stands in the order of applying.
fn rank(kind: &str) -> u8 {
    match kind {
        "ServiceAccount" => 0,
        "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => 1,
        "ConfigMap" | "Secret" | "PersistentVolumeClaim" => 2,
        "Service" => 3,
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" | "CronJob" | "Pod" => 4,
        // Custom resources: their operators look for all of the above.
        _ => 5,
    }
}

/// Brings a deployment's objects into the cluster; for one that runs already, only finds out where it is.
///
/// # Errors
/// What is in the way (before anything was written down or made), or what the API server refused.
pub(super) async fn deploy(live: Live<'_>, ledger: &dyn Ledger) -> Result<Deployed, TargetError> {
    let cluster = Cluster::connect(&kind::whereabouts(live.deployment)?).await?;
    ledger.doing(&format!("reading the cluster ({})", cluster.place));
    let discovered = discover::discover(&cluster).await?;
    let plan = kind::read(live.deployment)?;
    let pieces = if plan.existing.is_some() { Vec::new() } else { pieces(&cluster, live, &discovered).await? };
    let handle = handle_of(&cluster, live, &discovered, &pieces);
    let mut applied = Vec::new();
    if !pieces.is_empty() {
        let mut present = Vec::new();
        for piece in &pieces {
            present.push(look_for(&cluster, piece, live.run).await?);
        }
        let what = format!("{} objects of {} ({})", pieces.len(), live.deployment.name, cluster.place);
        ledger.open(what, handle.to_value()).await?;
        for (number, (piece, present)) in pieces.iter().zip(present).enumerate() {
            ledger.doing(&format!("{} {} ({} of {})", piece.resource.kind, piece.name, number + 1, pieces.len()));
            let stored = match present {
                Present::Ours { stored, sent: Some(sent) } if sent == piece.sent => stored,
                Present::Ours { .. } | Present::Nothing => send(&cluster, piece).await?,
            };
            applied.push(Applied {
                api_version: piece.resource.api_version.clone(),
                kind: piece.resource.kind.clone(),
                name: piece.name.clone(),
                uid: stored.uid,
                sent: piece.sent.clone(),
                generation: stored.generation,
            });
        }
    }
    let state = State { handle, applied, existing: plan.existing, service: plan.service, discovered };
    let endpoint = Endpoint {
        // Known when `wait` has found what serves.
        url: String::new(),
        headers_env: std::collections::BTreeMap::new(),
        api_key_env: None,
        ca_file: None,
        model: super::super::served_model(live.plan, live.deployment).to_owned(),
        metrics_urls: Vec::new(),
    };
    Ok(Deployed { endpoint, state: serde_json::to_value(state).expect("the state is plain data") })
}

fn handle_of(cluster: &Cluster, live: Live<'_>, discovered: &Discovered, pieces: &[Piece]) -> Handle {
    Handle {
        whereabouts: cluster.whereabouts(),
        server: cluster.server.clone(),
        cluster_uid: discovered.cluster_uid.clone(),
        run: live.run.to_owned(),
        deployment: live.deployment.name.as_str().to_owned(),
        objects: pieces
            .iter()
            .map(|piece| {
                // Another version than the stored one could only be read and deleted while its operator answers.
                let stored = discovered.stored().filter(|_| piece.resource.kind == discover::GRAPH);
                let api_version = stored.unwrap_or_else(|| piece.resource.api_version.clone());
                Named { resource: Resource { api_version, ..piece.resource.clone() }, name: piece.name.clone() }
            })
            .collect(),
        role: None,
    }
}

/// Looks whether a name is free, or this run's own.
async fn look_for(cluster: &Cluster, piece: &Piece, run: &str) -> Result<Present, TargetError> {
    let doing = format!("looking for {} {}", piece.resource.kind, piece.name);
    let api = piece.resource.of(cluster);
    let Some(found) = cluster.call_opt(&doing, api.get_metadata(&piece.name)).await? else {
        return Ok(Present::Nothing);
    };
    let labels = found.metadata.labels.clone().unwrap_or_default();
    let what = format!("{} {} exists already ({})", piece.resource.kind, piece.name, cluster.place);
    if labels.get(own::RUN).map(String::as_str) != Some(run) {
        let help = match labels.get(own::RUN) {
            Some(other) => format!("end that run first: `dynbench cleanup --run {other}`"),
            None => "dynbench never takes over what it did not make: rename yours, or delete that one".to_owned(),
        };
        return Err(TargetError {
            help: Some(help),
            ..TargetError::new(format!("{what}, {}", owner(&found.metadata)))
        });
    }
    if found.metadata.deletion_timestamp.is_some() {
        return Err(TargetError::passing(format!("{what} and is still being deleted")));
    }
    let stored = Stored::of(&found.metadata);
    let sent = found.metadata.annotations.and_then(|annotations| annotations.get(own::SENT).cloned());
    Ok(Present::Ours { stored, sent })
}

/// Who made an object, as far as it tells.
fn owner(metadata: &ObjectMeta) -> String {
    let labels = metadata.labels.iter().flatten();
    let label = |name: &str| labels.clone().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
    if let Some(run) = label(own::RUN) {
        return format!("made by the run {run} of the plan {}", label(own::PLAN).unwrap_or_else(|| "?".to_owned()));
    }
    if let Some(owner) = metadata.owner_references.iter().flatten().next() {
        return format!("owned by {} {}", owner.kind, owner.name);
    }
    let managers = metadata.managed_fields.iter().flatten().filter_map(|entry| entry.manager.as_deref());
    let mut managers: Vec<_> = managers.collect();
    managers.sort_unstable();
    managers.dedup();
    match label(own::MANAGED_BY) {
        Some(by) => format!("managed by {by}"),
        None if managers.is_empty() => "made by somebody else".to_owned(),
        None => format!("made by {}", managers.join(", ")),
    }
}

/// The way in which everything is sent.
pub(super) fn params() -> PatchParams {
    PatchParams::apply(own::MANAGER).validation_strict()
}

/// Sends one object.
async fn send(cluster: &Cluster, piece: &Piece) -> Result<Stored, TargetError> {
    let doing = format!("applying {} {}", piece.resource.kind, piece.name);
    let api = piece.resource.of(cluster);
    match cluster.answered(&doing, api.patch(&piece.name, &params(), &Patch::Apply(&piece.object))).await? {
        Ok(stored) => Ok(Stored::of(&stored.metadata)),
        Err(error) => Err(refused(cluster, &doing, &error)),
    }
}

/// A refusal, with what can be done about it.
pub(super) fn refused(cluster: &Cluster, doing: &str, error: &kube::Error) -> TargetError {
    let mut told = translate(&cluster.place, doing, error);
    if let kube::Error::Api(status) = error
        && let Some(help) = advice(status)
    {
        told.help = Some(help.to_owned());
    }
    told
}

/// What to do about a refusal.
fn advice(status: &Status) -> Option<&'static str> {
    if status.code == 409 {
        return Some("another manager owns these fields: take them out of the manifest, or the other manager away");
    }
    let said = status.message.as_str();
    [
        ("exceeded quota", "the namespace's quota is used up: free something, ask for less, or have it raised"),
        ("admission webhook", "a rule of this cluster (an admission webhook) refuses the object: change what it names"),
        ("ValidatingAdmissionPolicy", "a rule of this cluster refuses the object: change what it names"),
        ("violates PodSecurity", "the namespace enforces a Pod Security level: set the securityContext that it names"),
        ("is being terminated", "the namespace is being deleted: wait until it is gone and make it again"),
        ("namespaces \"", "make the namespace, or correct `namespace` of `[target]`"),
        ("field not declared in schema", "the cluster's version of this kind has no such field"),
        ("strict decoding error", "the cluster's version of this kind has no such field"),
    ]
    .into_iter()
    .find(|(text, _)| said.contains(text))
    .map(|(_, help)| help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_applied_before_what_it_needs() {
        let order =
            ["DynamoGraphDeployment", "Deployment", "Service", "PersistentVolumeClaim", "Role", "ServiceAccount"];
        let ranks: Vec<_> = order.iter().map(|kind| rank(kind)).collect();
        assert_eq!(ranks, [5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn a_refusal_comes_with_advice() {
        let status = |code, message: &str| Status { code, message: message.to_owned(), ..Status::default() };
        assert!(advice(&status(409, "Apply failed with 1 conflict")).unwrap().contains("another manager"));
        assert!(advice(&status(403, "pods \"x\" is forbidden: exceeded quota: q")).unwrap().contains("quota"));
        assert!(advice(&status(404, "namespaces \"x\" not found")).unwrap().contains("`namespace`"));
        assert_eq!(advice(&status(422, "spec.replicas: Invalid value")), None);
    }
}
