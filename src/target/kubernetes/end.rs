//! Everything of one deployment is deleted, and its absence is verified: of the objects, of every pod below them, and of
//! whatever carries our labels.
//!
//! One pass looks at everything and asks for what is still missing; passes are repeated until nothing is left. So it
//! does not matter where an earlier attempt stopped, and an API server that is away only costs time. Finalizers are
//! never taken off: who set them has to do its work.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::{DeleteParams, ListParams, ObjectMeta, Preconditions};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::super::contract::TargetError;
use super::client::Cluster;
use super::discover::{GRAPH, cluster_uid};
use super::family::{GRAPH_LABEL, Population, label, name, uid};
use super::handle::{Handle, Named};
use super::own;
use super::resource::Resource;

/// Time between two passes.
const TICK: Duration = Duration::from_secs(1);

/// Ends what a handle names.
///
/// # Errors
/// What is left and what it waits for, when cancelled; at once, what no waiting will change.
pub(super) async fn end(handle: &Value, cancel: &CancellationToken) -> Result<(), TargetError> {
    let handle = Handle::read(handle)?;
    let mut ending = Ending { handle: &handle, cluster: None, pods: BTreeSet::new() };
    loop {
        let left = match ending.pass().await {
            Ok(left) if left.is_empty() => return Ok(()),
            Ok(left) => TargetError {
                details: left,
                ..TargetError::passing(format!("not gone yet (namespace {})", ending.namespace()))
            },
            Err(error) if error.passing => error,
            Err(error) => return Err(error),
        };
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = cancel.cancelled() => return Err(left),
        }
    }
}

struct Ending<'a> {
    handle: &'a Handle,
    cluster: Option<Cluster>,
    /// Uids of all pods that were seen below the objects, as long as their owners could be asked.
    pods: BTreeSet<String>,
}

impl Ending<'_> {
    fn namespace(&self) -> &str {
        self.handle.whereabouts.namespace.as_deref().unwrap_or_default()
    }

    /// The connection, made at the first pass that can make it.
    async fn cluster(&mut self) -> Result<Cluster, TargetError> {
        if let Some(cluster) = &self.cluster {
            return Ok(cluster.clone());
        }
        let cluster = Cluster::connect(&self.handle.whereabouts).await?;
        let (here, there) = (cluster_uid(&cluster).await?, &self.handle.cluster_uid);
        if let (Some(here), Some(there)) = (&here, there)
            && here != there
        {
            return Err(TargetError {
                help: Some(format!("point KUBECONFIG at the cluster of {}", self.handle.server)),
                ..TargetError::new(format!("the context {} names another cluster now", cluster.place.context))
            });
        }
        self.cluster = Some(cluster.clone());
        Ok(cluster)
    }

    /// Looks at everything and deletes what is not being deleted; what is left, a line each.
    async fn pass(&mut self) -> Result<Vec<String>, TargetError> {
        let cluster = self.cluster().await?;
        let live = self.live(&cluster).await?;
        let graph = self.handle.objects.iter().find(|named| named.resource.kind == GRAPH);
        let dynamo = graph.map(|graph| graph.resource.api_version.clone());
        let population = Population::read(&cluster, dynamo).await?;
        let roots = live.iter().filter_map(|(_, metadata)| metadata.uid.clone()).collect();
        let below = population.below(&roots);
        // Recorded before anything is deleted: afterwards nobody knows whose they were.
        self.pods.extend(population.pods.iter().filter_map(uid).filter(|uid| below.contains(*uid)).map(str::to_owned));

        let mut left = Vec::new();
        // Against the order of applying: what uses others goes first.
        for (named, metadata) in live.iter().rev() {
            if metadata.deletion_timestamp.is_none() {
                left.extend(delete(&cluster, named, metadata).await?);
            } else {
                left.push(waiting(named, metadata));
            }
        }
        let graphs: Vec<&str> = self.graphs().collect();
        let ours = |pod: &&Value| {
            uid(pod).is_some_and(|uid| self.pods.contains(uid))
                || self.is_labelled(pod)
                || label(pod, GRAPH_LABEL).is_some_and(|graph| graphs.contains(&graph))
        };
        left.extend(population.pods.iter().filter(ours).map(ending_pod));
        Ok(left)
    }

    /// Names of the graphs: their operator's pods carry them.
    fn graphs(&self) -> impl Iterator<Item = &str> {
        let graphs = self.handle.objects.iter().filter(|named| named.resource.kind == GRAPH);
        graphs.map(|named| named.name.as_str())
    }

    fn is_labelled(&self, object: &Value) -> bool {
        label(object, own::RUN) == Some(&self.handle.run)
            && label(object, own::DEPLOYMENT) == Some(&self.handle.deployment)
            && label(object, own::ROLE) == self.handle.role.as_deref()
    }

    /// The objects that are there and ours, by name and by label, in the order of applying.
    async fn live(&self, cluster: &Cluster) -> Result<Vec<(Named, ObjectMeta)>, TargetError> {
        let mut found: Vec<(Named, ObjectMeta)> = Vec::new();
        for named in &self.handle.objects {
            let doing = format!("looking for {named}");
            let api = named.resource.of(cluster);
            if let Some(object) = cluster.call_opt(&doing, api.get_metadata(&named.name)).await? {
                let run = object.metadata.labels.as_ref().and_then(|labels| labels.get(own::RUN));
                // Somebody else's of the same name by now: ours is gone.
                if run == Some(&self.handle.run) {
                    found.push((named.clone(), object.metadata));
                }
            }
        }
        let kinds: BTreeSet<_> = self.handle.objects.iter().map(|named| &named.resource).collect();
        for resource in kinds {
            for metadata in self.labelled(cluster, resource).await? {
                let named = Named { resource: resource.clone(), name: metadata.name.clone().unwrap_or_default() };
                if !found.iter().any(|(known, _)| *known == named) {
                    found.push((named, metadata));
                }
            }
        }
        Ok(found)
    }

    /// Objects of one kind by our labels; none, if they may not be listed or the kind is gone.
    async fn labelled(&self, cluster: &Cluster, resource: &Resource) -> Result<Vec<ObjectMeta>, TargetError> {
        let params = ListParams::default().labels(&self.handle.selector());
        let doing = format!("listing {} by label", resource.plural);
        match cluster.answered(&doing, resource.of(cluster).list_metadata(&params)).await? {
            // Pods that came from a template carry its labels and belong to their owner, as other children do.
            Ok(found) => Ok(found
                .items
                .into_iter()
                .map(|item| item.metadata)
                .filter(|metadata| metadata.owner_references.as_ref().is_none_or(Vec::is_empty))
                .collect()),
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(Vec::new()),
            Err(error) => Err(super::fault::translate(&cluster.place, &doing, &error)),
        }
    }
}

/// Asks for one deletion; a line if it is not gone at once.
async fn delete(cluster: &Cluster, named: &Named, metadata: &ObjectMeta) -> Result<Option<String>, TargetError> {
    let params = match named.resource.kind.as_str() {
        // The Job controller has finalizers of its own on pods: in the foreground they can wait for each other.
        "Job" | "CronJob" => DeleteParams::background(),
        // The object itself stays until its last pod is gone, so that nobody takes its name before.
        _ => DeleteParams::foreground(),
    };
    let params = params.preconditions(Preconditions { uid: metadata.uid.clone(), resource_version: None });
    let doing = format!("deleting {named}");
    match cluster.answered(&doing, named.resource.of(cluster).delete(&named.name, &params)).await? {
        Ok(_) => Ok(Some(format!("{named}: deletion has begun"))),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        // Another object of that name by now: the next pass sees whose.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Some(format!("{named}: {}", status.message))),
        // No access: waiting does not help.
        Err(error @ kube::Error::Api(_)) if is_no_access(&error) => {
            Err(super::fault::translate(&cluster.place, &doing, &error))
        }
        // A webhook that refuses, for instance, and that may be back in a minute: the others are deleted meanwhile.
        Err(error) => {
            let told = super::fault::translate(&cluster.place, &doing, &error);
            Ok(Some(told.message))
        }
    }
}

/// Whether RBAC (and not some admission) says no.
fn is_no_access(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403 && status.message.contains("cannot delete resource"))
}

/// What an object that is being deleted waits for.
fn waiting(named: &Named, metadata: &ObjectMeta) -> String {
    let finalizers = metadata.finalizers.iter().flatten().map(String::as_str);
    let foreign: Vec<_> = finalizers.filter(|finalizer| *finalizer != "foregroundDeletion").collect();
    if foreign.is_empty() {
        format!("{named}: is being deleted, until all of it is gone")
    } else {
        format!("{named}: is being deleted, and waits for whoever set the finalizer {}", foreign.join(", "))
    }
}

fn ending_pod(pod: &Value) -> String {
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str);
    let place = node.map_or_else(String::new, |node| format!(" on {node}"));
    let ending = pod.pointer("/metadata/deletionTimestamp").is_some();
    let state = if ending { "is ending" } else { "is still there" };
    let grace = pod.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_u64).filter(|_| ending);
    let grace = grace.map_or_else(String::new, |seconds| format!(", with a grace time of {seconds} s"));
    format!("Pod {}{place}: {state}{grace}", name(pod))
}
