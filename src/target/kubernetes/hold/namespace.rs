//! A namespace that a run makes, and deletes only if nothing of anybody else is in it.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::core::ObjectMeta;
use kube::{Api, Resource as _};
use std::collections::BTreeMap;
use std::time::Duration;

use super::super::super::contract::TargetError;
use super::super::client::Cluster;
use super::super::fault::translate;
use super::super::own::{MANAGED_BY, MANAGER, PLAN, RUN};
use super::super::sweep::listable;

/// How often a namespace that is going is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What every namespace has from its first second on.
const GIVEN: &[(&str, &str)] = &[("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")];

fn namespaces(cluster: &Cluster) -> Api<Namespace> {
    Api::all(cluster.client.clone())
}

/// Makes the namespace unless it is there; whose it is is for its labels to say.
///
/// # Errors
/// When it cannot be made.
pub(super) async fn ensure(cluster: &Cluster, run: &str, plan: &str) -> Result<(), TargetError> {
    let (api, name) = (namespaces(cluster), cluster.namespace());
    let labels = [(MANAGED_BY, MANAGER), (RUN, run), (PLAN, plan)];
    let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>();
    let new = Namespace {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    let doing = format!("creating namespace {name}");
    loop {
        match cluster.call_opt(&doing, api.get(name)).await? {
            // An earlier run's is on its way out: ours can only come after it.
            Some(found) if found.meta().deletion_timestamp.is_some() => tokio::time::sleep(LOOK).await,
            Some(_) => return Ok(()),
            None => match cluster.answered(&doing, api.create(&PostParams::default(), &new)).await? {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(translate(&cluster.place, &doing, &error)),
                Ok(_) => return Ok(()),
            },
        }
    }
}

/// Deletes the namespace if that run made it and nothing is in it any more, and waits until it is gone. Otherwise, what
/// keeps it.
///
/// # Errors
/// When the API server refuses or does not answer. No access to namespaces is no error: then it is not ours.
pub(in super::super) async fn delete_if_ours(cluster: &Cluster, run: &str) -> Result<Option<String>, TargetError> {
    let (api, name) = (namespaces(cluster), cluster.namespace());
    let doing = format!("deleting namespace {name}");
    let found = match cluster.answered(&doing, api.get(name)).await? {
        Ok(found) => found,
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => return Ok(None),
        Err(error) => return Err(translate(&cluster.place, &doing, &error)),
    };
    if found.metadata.labels.as_ref().and_then(|labels| labels.get(RUN)).map(String::as_str) != Some(run) {
        return Ok(None);
    }
    if let Some(other) = first_other(cluster).await? {
        return Ok(Some(format!("namespace {name} stays: {other} is in it")));
    }
    let exactly = Preconditions { uid: found.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(exactly), ..DeleteParams::background() };
    cluster.call_opt(&doing, api.delete(name, &params)).await?;
    loop {
        let now = cluster.call_opt(&doing, api.get(name)).await?;
        if now.is_none_or(|now| now.metadata.uid != found.metadata.uid) {
            return Ok(None);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Something in the namespace that did not come with it.
async fn first_other(cluster: &Cluster) -> Result<Option<String>, TargetError> {
    for resource in listable(cluster).await? {
        // Events and endpoints come and go with what they are about.
        if ["Event", "Endpoints", "EndpointSlice"].contains(&resource.kind.as_str()) {
            continue;
        }
        let api = resource.of(cluster);
        let doing = format!("listing {}", resource.plural);
        let listed = cluster.answered(&doing, api.list_metadata(&ListParams::default())).await?;
        // What we may not see we did not make, but it may be somebody's: then the namespace stays.
        let listed = match listed {
            Ok(listed) => listed,
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 405) => continue,
            Err(error) => return Err(translate(&cluster.place, &doing, &error)),
        };
        let other = listed.items.iter().filter_map(|item| item.metadata.name.as_deref());
        let mut other = other.filter(|name| !GIVEN.contains(&(resource.kind.as_str(), *name)));
        if let Some(name) = other.next() {
            return Ok(Some(format!("{} {name}", resource.kind)));
        }
    }
    Ok(None)
}
