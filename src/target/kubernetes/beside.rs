//! What is kept of a deployment beside its own objects and pods: the state of what ran already, and the workers that sent
//! load to it, which say why a level ended when they ran out of memory or were evicted.

use kube::api::ListParams;
use serde_json::Value;

use super::super::contract::TargetError;
use super::client::Cluster;
use super::discover::{DYNAMO, GRAPH};
use super::family::{label, list, list_if_allowed, name, uid, whole};
use super::fault::translate;
use super::handle::{Handle, State};
use super::load::LOAD;
use super::look::events;
use super::own;
use super::resource::Resource;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) objects: Vec<Value>,
    pub(super) pods: Vec<Value>,
    pub(super) events: Vec<Value>,
}

/// Looks.
///
/// # Errors
/// When the API server cannot be asked.
pub(super) async fn beside(cluster: &Cluster, state: &State) -> Result<Beside, TargetError> {
    let mut objects = existing(cluster, state).await?;
    let jobs = list_if_allowed(cluster, &Resource::known("batch/v1", "Job", "jobs")).await?;
    objects.extend(jobs.into_iter().filter(|job| is_load(state, job)));
    let selector = Handle { role: Some(LOAD.to_owned()), ..state.handle.clone() }.selector();
    let pods = list(cluster, &Resource::known("v1", "Pod", "pods"), &ListParams::default().labels(&selector)).await?;
    let uids = objects.iter().chain(&pods).filter_map(uid).map(str::to_owned).collect();
    let events = events(cluster, &uids).await?;
    Ok(Beside { objects, pods, events })
}

/// Whether it is the deployment's load.
fn is_load(state: &State, object: &Value) -> bool {
    label(object, own::RUN) == Some(&state.handle.run)
        && label(object, own::DEPLOYMENT) == Some(&state.handle.deployment)
        && label(object, own::ROLE) == Some(LOAD)
}

/// What ran already, under every kind that it may have, and its Service.
async fn existing(cluster: &Cluster, state: &State) -> Result<Vec<Value>, TargetError> {
    let Some(existing) = &state.existing else { return Ok(Vec::new()) };
    let mut kinds = vec![
        Resource::known("apps/v1", "Deployment", "deployments"),
        Resource::known("apps/v1", "StatefulSet", "statefulsets"),
    ];
    let served = state.discovered.dgd_versions.first();
    kinds
        .extend(served.map(|version| Resource::known(&format!("{DYNAMO}/{version}"), GRAPH, "dynamographdeployments")));
    let mut found = Vec::new();
    for kind in kinds {
        found.extend(get(cluster, &kind, existing).await?);
    }
    let service = state.service.as_deref().and_then(|service| service.split(':').next()).unwrap_or(existing);
    found.extend(get(cluster, &Resource::known("v1", "Service", "services"), service).await?);
    found.sort_by(|one, other| name(one).cmp(name(other)));
    Ok(found)
}

/// One object; nothing, if it is not there or may not be read.
async fn get(cluster: &Cluster, kind: &Resource, name: &str) -> Result<Option<Value>, TargetError> {
    let doing = format!("reading {} {name}", kind.kind);
    match cluster.answered(&doing, kind.of(cluster).get(name)).await? {
        Ok(found) => Ok(Some(whole(kind, found))),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(None),
        Err(error) => Err(translate(&cluster.place, &doing, &error)),
    }
}
