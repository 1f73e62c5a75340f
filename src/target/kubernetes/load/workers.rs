//! The Job of the load workers: found again or made, its pods up, a port to each.

use std::path::PathBuf;
use std::sync::Arc;

use kube::api::Patch;
use serde_json::{Map, Value};

use super::super::super::contract::{Ledger, Live, TargetError};
use super::super::super::image::Program;
use super::super::apply::{params, refused};
use super::super::client::Cluster;
use super::super::discover::cluster_uid;
use super::super::end::end;
use super::super::family::{name, uid};
use super::super::forward::Forward;
use super::super::handle::{Handle, Named};
use super::super::own;
use super::super::resource::Resource;
use super::carry::carry;
use super::job::{self, PORT, ROLE, Wanted};
use super::needs::{carried_path, carried_program, carries};
use super::pods::{Awaited, end_of, jobs, pods_up};
use crate::base::{Digest, digest_file, format_duration};
use crate::load::{Lifeline, Worker};
use crate::plan::LoadSource;
use crate::render::image_for;

/// The workers of a deployment, every one answering. `serving` is a pod of the deployment, `tested` the labels of all of
/// its pods where they are not ours.
///
/// # Errors
/// Why they cannot be had: the image, the node, the rights, the binary.
pub(super) async fn workers(
    cluster: &Cluster,
    live: Live<'_>,
    serving: &Value,
    tested: Option<&Map<String, Value>>,
    ledger: &dyn Ledger,
) -> Result<Vec<Worker>, TargetError> {
    let load = &live.plan.load;
    let carried = if carries(load) { Some(Carried::find(load).await?) } else { None };
    let host = Host::find(live, serving);
    let wanted = Wanted {
        plan: live.plan,
        deployment: live.deployment,
        run: live.run,
        namespace: cluster.namespace(),
        image: &host.image,
        pull_secrets: &host.pull_secrets,
        tested,
        binary: carried.as_ref().map(|carried| &carried.digest),
    };
    let object = job::job(&wanted);
    let deadline = tokio::time::sleep(live.plan.policy.ready_deadline);
    tokio::pin!(deadline);
    let up = async {
        if !is_there(cluster, live, &object).await? {
            make(cluster, live, &object, ledger).await?;
        }
        let (job, count) = (name(&object), load.workers as usize);
        let awaited = Awaited { what: "load worker", job, count, replaced: false };
        pods_up(cluster, &awaited, &|doing| ledger.doing(doing)).await
    };
    let pods = tokio::select! {
        pods = up => pods?,
        () = live.cancel.cancelled() => return Err(TargetError::new("it was interrupted")),
        () = &mut deadline => {
            let after = format_duration(live.plan.policy.ready_deadline);
            return Err(TargetError::new(format!("the load workers were not up after {after} ({})", cluster.place)));
        }
    };
    let mut workers = Vec::new();
    for pod in pods {
        if let Some(carried) = &carried {
            carry(cluster, name(&pod), &carried.program()?, &carried.digest, ledger).await?;
        }
        let worker = open(cluster, &pod).await?;
        ledger.doing(&format!("waiting for the load worker {}", worker.name));
        let failed = |error: crate::load::LoadError| TargetError {
            details: error.details(),
            help: error.help(),
            ..TargetError::passing(error.to_string())
        };
        let status = worker.status().await.map_err(failed)?;
        if let Some(carried) = &carried
            && status.binary != carried.digest
        {
            return Err(TargetError::new(format!("the binary in pod {} is not the one that was sent", worker.name)));
        }
        workers.push(worker);
    }
    Ok(workers)
}

/// The binary that is carried into workers.
struct Carried {
    path: PathBuf,
    digest: Digest,
}

impl Carried {
    /// The plan's, or this program's own.
    async fn find(load: &LoadSource) -> Result<Self, TargetError> {
        let path = carried_path(load)?;
        let digested = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || digest_file(&path)).await
        };
        match digested {
            Ok(Ok((digest, _))) => Ok(Self { path, digest }),
            Ok(Err(error)) => Err(TargetError::new(error.to_string())),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Its bytes; read only when they are to be sent.
    fn program(&self) -> Result<Program, TargetError> {
        carried_program(&self.path)
    }
}

/// The image that workers run in.
pub(super) struct Host {
    pub(super) image: String,
    pub(super) pull_secrets: Vec<String>,
}

impl Host {
    /// The plan's, or that of a pod under test.
    pub(super) fn find(live: Live<'_>, serving: &Value) -> Self {
        let load = &live.plan.load;
        if let Some(image) = load.image.as_ref().or(load.carrier.as_ref()) {
            return Self { image: image_for(live.deployment, image), pull_secrets: load.image_pull_secrets.clone() };
        }
        // The deployment's own: the nodes have it, or know how to get it.
        let image = serving.pointer("/spec/containers/0/image").and_then(Value::as_str).unwrap_or_default().to_owned();
        let secrets = serving.pointer("/spec/imagePullSecrets").and_then(Value::as_array);
        let names = secrets.into_iter().flatten().filter_map(|secret| Some(secret.get("name")?.as_str()?.to_owned()));
        let mut pull_secrets = load.image_pull_secrets.clone();
        pull_secrets.extend(names);
        pull_secrets.sort_unstable();
        pull_secrets.dedup();
        Self { image, pull_secrets }
    }
}

async fn handle(cluster: &Cluster, live: Live<'_>, object: &Value) -> Result<Handle, TargetError> {
    Ok(Handle {
        whereabouts: cluster.whereabouts(),
        server: cluster.server.clone(),
        cluster_uid: cluster_uid(cluster).await?,
        run: live.run.to_owned(),
        deployment: live.deployment.name.as_str().to_owned(),
        objects: vec![Named { resource: jobs(), name: name(object).to_owned() }],
        role: Some(ROLE.to_owned()),
    })
}

/// Whether the Job is there, alive and as we would make it. One of ours that is not is ended first.
async fn is_there(cluster: &Cluster, live: Live<'_>, object: &Value) -> Result<bool, TargetError> {
    let doing = format!("looking for Job {}", name(object));
    let found = cluster.call_opt(&doing, jobs().of(cluster).get(name(object))).await?;
    let Some(found) = found.and_then(|found| serde_json::to_value(found).ok()) else { return Ok(false) };
    let text = |object: &Value, path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let run = super::super::family::label(&found, own::RUN);
    if run != Some(live.run) {
        let message = format!("Job {} exists already and is not this run's ({})", name(object), cluster.place);
        return Err(TargetError { help: Some("delete it".to_owned()), ..TargetError::new(message) });
    }
    let ending = found.pointer("/metadata/deletionTimestamp").is_some();
    let sent = format!("/metadata/annotations/{}", own::SENT.replace('/', "~1"));
    if !ending && end_of(&found).is_none() && text(&found, &sent) == text(object, &sent) {
        return Ok(true);
    }
    end(&handle(cluster, live, object).await?.to_value(), live.cancel).await?;
    Ok(false)
}

/// Makes the Job, announced first.
async fn make(cluster: &Cluster, live: Live<'_>, object: &Value, ledger: &dyn Ledger) -> Result<(), TargetError> {
    let handle = handle(cluster, live, object).await?;
    let life = job::life(live.plan);
    let what = format!("Job {} of load workers ({}; ends by itself after {life})", name(object), cluster.place);
    ledger.open(what, handle.to_value()).await?;
    let doing = format!("making Job {}", name(object));
    ledger.doing(&doing);
    let api = jobs().of(cluster);
    match cluster.answered(&doing, api.patch(name(object), &params(), &Patch::Apply(object))).await? {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(cluster, &doing, &error)),
    }
}

/// The way to a worker.
async fn open(cluster: &Cluster, pod: &Value) -> Result<Worker, TargetError> {
    let forward = Forward::open(cluster, name(pod), PORT).await?;
    let url = forward.url();
    let life = PodLife {
        cluster: cluster.clone(),
        pod: name(pod).to_owned(),
        uid: uid(pod).unwrap_or_default().to_owned(),
        _forward: forward,
    };
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).map(str::to_owned);
    Ok(Worker::new(name(pod), &url, Some(Arc::new(life))).on(node))
}

/// A worker's pod, asked when the worker itself does not answer. The forwarded port lives as long.
struct PodLife {
    cluster: Cluster,
    pod: String,
    uid: String,
    _forward: Forward,
}

impl Lifeline for PodLife {
    fn check(&self) -> crate::load::Alive<'_> {
        Box::pin(async move {
            let pods = Resource::known("v1", "Pod", "pods");
            let doing = format!("looking for pod {}", self.pod);
            // An API server that does not answer says nothing about the pod.
            let Ok(found) = self.cluster.call_opt(&doing, pods.of(&self.cluster).get(&self.pod)).await else {
                return Ok(());
            };
            let Some(found) = found.and_then(|found| serde_json::to_value(found).ok()) else {
                return Err("its pod was deleted".to_owned());
            };
            if uid(&found) != Some(&self.uid) {
                return Err("its pod was replaced".to_owned());
            }
            if found.pointer("/metadata/deletionTimestamp").is_some() {
                return Err("its pod is being deleted".to_owned());
            }
            match found["status"]["phase"].as_str() {
                Some("Failed" | "Succeeded") => Err(why_ended(&found)),
                Some(_) | None => Ok(()),
            }
        })
    }
}

/// Why a pod has ended, as far as it tells.
fn why_ended(pod: &Value) -> String {
    let ended = pod.pointer("/status/containerStatuses/0/state/terminated");
    let of_container = ended.and_then(|ended| ended.get("reason")?.as_str());
    let of_pod = pod.pointer("/status/reason").and_then(Value::as_str);
    let message = pod.pointer("/status/message").and_then(Value::as_str).unwrap_or_default();
    let reason = of_pod.or(of_container).unwrap_or("for no reason that is told");
    let help = if of_container == Some("OOMKilled") { "; give it more in `load.resources`" } else { "" };
    format!("its pod has ended: {reason} {message}").trim().to_owned() + help
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: Value) -> Value {
        json!({"metadata": {"name": "load-x-0"}, "status": status})
    }

    #[test]
    fn a_worker_that_ran_out_of_memory_says_what_to_raise() {
        let ended = pod(json!({"containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled"}}}]}));
        assert!(why_ended(&ended).contains("OOMKilled; give it more in `load.resources`"));
        let evicted = pod(json!({"reason": "Evicted", "message": "The node was low on resource: memory."}));
        assert!(why_ended(&evicted).contains("Evicted The node was low"));
    }
}
