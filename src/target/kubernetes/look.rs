//! One look at a deployment: a few lists, put together for the rules.
//!
//! Lists and not watches: each answer is whole, and after an API server was away nothing has to be put right.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::contract::TargetError;
use super::client::Cluster;
use super::discover::GRAPH;
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
    let (objects, population) = tokio::try_join!(objects(cluster, state), Population::read(cluster, dynamo_of(state)))?;
    let named = |object: &&Value| state.existing.as_deref() == Some(name(object));
    let applied = objects.iter().filter_map(|object| object.live.as_ref());
    let roots = applied.chain(population.middle.iter().filter(named)).filter_map(uid).map(str::to_owned).collect();
    let below = population.below(&roots);
    let selector = existing_selector(cluster, state).await?;
    let is_below = |object: &Value| uid(object).is_some_and(|uid| below.contains(uid));
    let graphs: BTreeSet<&str> = graphs(state).collect();
    let Population { middle, pods } = population;
    let pods: Vec<Value> = pods
        .into_iter()
        .filter(|pod| {
            is_below(pod)
                || is_labelled(state, pod)
                || label(pod, GRAPH_LABEL).is_some_and(|graph| graphs.contains(graph))
                || selector.as_ref().is_some_and(|selector| is_selected(pod, selector))
                || state.existing.as_deref().is_some_and(|existing| is_called(pod, existing))
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

/// The version in which the operator's kinds have to be looked at; `None`: there are none of them.
fn dynamo_of(state: &State) -> Option<String> {
    let may_have_graphs = graphs(state).next().is_some() || state.existing.is_some();
    state.discovered.stored().filter(|_| may_have_graphs)
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

/// What the Service of a deployment that runs already selects: pods without which nothing would be known of it.
async fn existing_selector(
    cluster: &Cluster,
    state: &State,
) -> Result<Option<serde_json::Map<String, Value>>, TargetError> {
    let Some(existing) = &state.existing else { return Ok(None) };
    let name = state.service.as_deref().and_then(|service| service.split(':').next()).unwrap_or(existing);
    let services = Resource::known("v1", "Service", "services");
    let found = cluster.call_opt(&format!("reading Service {name}"), services.of(cluster).get(name)).await?;
    Ok(found.and_then(|service| service.data.pointer("/spec/selector")?.as_object().cloned()))
}

/// Labels by which people say what a pod is a part of.
const CALLED: [&str; 4] = ["app", "app.kubernetes.io/instance", "app.kubernetes.io/name", "app.kubernetes.io/part-of"];

/// Whether a pod belongs to what runs already, by what people call it: a Service in front of it selects only those pods
/// that answer, and a worker behind them that is restarted changes what is measured as well.
fn is_called(pod: &Value, existing: &str) -> bool {
    label(pod, own::ROLE).is_none() && CALLED.iter().any(|name| label(pod, name) == Some(existing))
}

/// Whether a pod has all labels of a selector.
fn is_selected(pod: &Value, selector: &serde_json::Map<String, Value>) -> bool {
    !selector.is_empty() && selector.iter().all(|(name, value)| label(pod, name) == value.as_str())
}

async fn objects(cluster: &Cluster, state: &State) -> Result<Vec<SeenObject>, TargetError> {
    let mut objects = Vec::new();
    for applied in &state.applied {
        let Some(resource) = state.resource(applied) else { continue };
        let doing = format!("reading {} {}", applied.kind, applied.name);
        let api = resource.of(cluster);
        let live = if applied.kind == "Secret" {
            // Only whether it is there: its data are nobody's business here.
            let found = cluster.call_opt(&doing, api.get_metadata(&applied.name)).await?;
            found.map(|found| json!({"apiVersion": "v1", "kind": "Secret", "metadata": found.metadata}))
        } else {
            cluster.call_opt(&doing, api.get(&applied.name)).await?.map(|object| whole(resource, object))
        };
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
///
/// # Errors
/// When the API server cannot be asked.
pub(super) async fn events(cluster: &Cluster, uids: &BTreeSet<String>) -> Result<Vec<Value>, TargetError> {
    let found = list_if_allowed(cluster, &Resource::known("v1", "Event", "events")).await?;
    let about = |event: &Value| {
        event.pointer("/involvedObject/uid").and_then(Value::as_str).is_some_and(|uid| uids.contains(uid))
    };
    let mut events: Vec<Value> = found.into_iter().filter(about).collect();
    events.sort_by(|one, other| last_seen(one).cmp(last_seen(other)));
    Ok(events)
}

/// When an event was last seen: which field says it depends on who wrote it.
pub(super) fn last_seen(event: &Value) -> &str {
    ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"]
        .into_iter()
        .find_map(|pointer| event.pointer(pointer)?.as_str())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_already_is_known_by_the_labels_that_people_give_and_our_own_pods_are_no_part_of_it() {
        let pod = |labels: Value| json!({"metadata": {"labels": labels}});
        assert!(is_called(&pod(json!({"app": "agg", "role": "worker"})), "agg"));
        assert!(is_called(&pod(json!({"app.kubernetes.io/instance": "agg"})), "agg"));
        assert!(!is_called(&pod(json!({"app": "agg-2"})), "agg"));
        assert!(!is_called(&pod(json!({"app": "agg", own::ROLE: "load"})), "agg"));
    }
}
