//! One look at a deployment: a few lists, put together for the rules.
//!
//! Lists and not watches: each answer is whole, and after an API server was away nothing has to be put right.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::contract::TargetError;
use super::client::Cluster;
use super::discover::{DYNAMO, GRAPH};
use super::family::{GRAPH_LABEL, Population, label, list_if_allowed, name, uid, whole};
use super::handle::State;
use super::own;
use super::resource::Resource;
use super::seen::{Seen, SeenObject};

/// Looks.
///
/// # Errors
/// When the API server cannot be asked.
pub(super) async fn look(cluster: &Cluster, state: &State) -> Result<Seen, TargetError> {
    let (objects, population) =
        tokio::try_join!(objects(cluster, state), Population::read(cluster, has_graphs(state)))?;
    let roots = objects.iter().filter_map(|object| uid(object.live.as_ref()?)).map(str::to_owned).collect();
    let below = population.below(&roots);
    let is_below = |object: &Value| uid(object).is_some_and(|uid| below.contains(uid));
    let graphs: BTreeSet<&str> = graphs(state).collect();
    let Population { middle, pods } = population;
    let pods: Vec<Value> = pods
        .into_iter()
        .filter(|pod| {
            is_below(pod)
                || is_labelled(state, pod)
                || label(pod, GRAPH_LABEL).is_some_and(|graph| graphs.contains(graph))
        })
        .collect();
    // An applied object is in `objects` already.
    let mut owned: Vec<Value> = middle
        .into_iter()
        .filter(|object| is_below(object) && !uid(object).is_some_and(|uid| roots.contains(uid)))
        .collect();
    let (claims, nodes, namespace_phase) =
        tokio::try_join!(claims(cluster, &pods, &objects), nodes(cluster, &pods), namespace_phase(cluster))?;
    owned.extend(claims);
    let live = objects.iter().filter_map(|object| object.live.as_ref());
    let uids = live.chain(&owned).chain(&pods).filter_map(uid).map(str::to_owned).collect();
    let events = events(cluster, &uids).await?;
    Ok(Seen { objects, owned, pods, events, namespace_phase, nodes })
}

/// Whether the operator's kinds have to be looked at.
pub(super) fn has_graphs(state: &State) -> bool {
    graphs(state).next().is_some() || (state.existing.is_some() && !state.discovered.dgd_versions.is_empty())
}

/// Names of the DynamoGraphDeployments: a plan's own, or what runs already and may be one.
pub(super) fn graphs(state: &State) -> impl Iterator<Item = &str> {
    let applied = state.applied.iter().filter(|applied| applied.kind == GRAPH).map(|applied| applied.name.as_str());
    applied.chain(state.existing.as_deref())
}

/// Whether our labels say that it is the deployment's own: not a pod that sends load, for instance.
fn is_labelled(state: &State, object: &Value) -> bool {
    label(object, own::RUN) == Some(&state.handle.run)
        && label(object, own::DEPLOYMENT) == Some(&state.handle.deployment)
        && label(object, own::ROLE).is_none()
}

async fn objects(cluster: &Cluster, state: &State) -> Result<Vec<SeenObject>, TargetError> {
    let mut objects = Vec::new();
    for applied in &state.applied {
        let Some(resource) = state.resource(applied) else { continue };
        // Another version than the stored one could only be read while its operator answers.
        let stored = (applied.kind == GRAPH).then(|| state.discovered.dgd_versions.first()).flatten();
        let resource = match stored {
            Some(version) => Resource { api_version: format!("{DYNAMO}/{version}"), ..resource.clone() },
            None => resource.clone(),
        };
        let doing = format!("reading {} {}", applied.kind, applied.name);
        let found = cluster.call_opt(&doing, resource.of(cluster).get(&applied.name)).await?;
        let live = found.map(|object| whole(&resource, object));
        objects.push(SeenObject { applied: applied.clone(), live });
    }
    Ok(objects)
}

/// The claims that pods use, unless they are applied objects.
async fn claims(cluster: &Cluster, pods: &[Value], objects: &[SeenObject]) -> Result<Vec<Value>, TargetError> {
    let volumes = pods.iter().filter_map(|pod| pod.pointer("/spec/volumes")?.as_array()).flatten();
    let used: BTreeSet<&str> =
        volumes.filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName")?.as_str()).collect();
    let applied = |claim: &str| {
        objects.iter().any(|object| object.applied.kind == "PersistentVolumeClaim" && object.applied.name == claim)
    };
    if used.iter().all(|claim| applied(claim)) {
        return Ok(Vec::new());
    }
    let claims = Resource::known("v1", "PersistentVolumeClaim", "persistentvolumeclaims");
    let found = list_if_allowed(cluster, &claims).await?;
    Ok(found.into_iter().filter(|claim| used.contains(name(claim)) && !applied(name(claim))).collect())
}

/// All nodes, when a pod has none yet: only then are they looked at.
async fn nodes(cluster: &Cluster, pods: &[Value]) -> Result<Vec<Value>, TargetError> {
    if pods.iter().all(|pod| pod.pointer("/spec/nodeName").is_some()) {
        return Ok(Vec::new());
    }
    list_if_allowed(cluster, &node_kind()).await
}

/// Nodes.
pub(super) fn node_kind() -> Resource {
    Resource { namespaced: false, ..Resource::known("v1", "Node", "nodes") }
}

async fn namespace_phase(cluster: &Cluster) -> Result<Option<String>, TargetError> {
    let namespaces = Resource { namespaced: false, ..Resource::known("v1", "Namespace", "namespaces") };
    let doing = "reading the namespace";
    match cluster.answered(doing, namespaces.of(cluster).get(cluster.namespace())).await? {
        Ok(found) => Ok(found.data.pointer("/status/phase").and_then(Value::as_str).map(str::to_owned)),
        // Without access it is not known; when it is gone, so are the objects.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(None),
        Err(error) => Err(super::fault::translate(&cluster.place, doing, &error)),
    }
}

/// Events of these objects, newest last.
async fn events(cluster: &Cluster, uids: &BTreeSet<String>) -> Result<Vec<Value>, TargetError> {
    let found = list_if_allowed(cluster, &Resource::known("v1", "Event", "events")).await?;
    let about = |event: &Value| {
        event.pointer("/involvedObject/uid").and_then(Value::as_str).is_some_and(|uid| uids.contains(uid))
    };
    let mut events: Vec<Value> = found.into_iter().filter(about).collect();
    events.sort_by(|one, other| last_seen(one).cmp(last_seen(other)));
    Ok(events)
}

/// When an event was last seen: which field says it depends on who wrote it.
fn last_seen(event: &Value) -> &str {
    ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"]
        .into_iter()
        .find_map(|pointer| event.pointer(pointer)?.as_str())
        .unwrap_or_default()
}
