//! The Job of the load workers: found again or made, its pods up, a port to each.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{ListParams, Patch};
use serde_json::Value;

use super::super::super::contract::{Ledger, Live, TargetError};
use super::super::super::image::Program;
use super::super::apply::{params, refused};
use super::super::client::Cluster;
use super::super::discover::cluster_uid;
use super::super::end::end;
use super::super::family::{list, name, uid};
use super::super::forward::Forward;
use super::super::handle::{Handle, Named};
use super::super::own;
use super::super::resource::Resource;
use super::carry::carry;
use super::job::{self, PORT, ROLE, Wanted};
use super::needs::carries;
use crate::base::{Digest, digest_file, format_duration};
use crate::load::{Lifeline, Worker};
use crate::render::image_for;

/// How often pods that come up are looked at.
const LOOK: Duration = Duration::from_millis(400);
/// How long a pod may find no node.
const SCHEDULED: Duration = Duration::from_secs(60);

/// The workers of a deployment, every one answering. `serving` is a pod of the deployment.
///
/// # Errors
/// Why they cannot be had: the image, the node, the rights, the binary.
pub(super) async fn workers(
    cluster: &Cluster,
    live: Live<'_>,
    serving: &Value,
    ledger: &dyn Ledger,
) -> Result<Vec<Worker>, TargetError> {
    let load = &live.plan.load;
    let carried = if carries(load) { Some(Carried::find(load.binary.clone()).await?) } else { None };
    let host = Host::find(live, serving);
    let wanted = Wanted {
        plan: live.plan,
        deployment: live.deployment,
        run: live.run,
        namespace: cluster.namespace(),
        image: &host.image,
        pull_secrets: &host.pull_secrets,
        binary: carried.as_ref().map(|carried| &carried.digest),
    };
    let object = job::job(&wanted);
    let deadline = tokio::time::sleep(live.plan.policy.ready_deadline);
    tokio::pin!(deadline);
    let up = async {
        if !is_there(cluster, live, &object).await? {
            make(cluster, live, &object, ledger).await?;
        }
        pods_up(cluster, &object, load.workers, ledger).await
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
    async fn find(binary: Option<PathBuf>) -> Result<Self, TargetError> {
        let own = || std::env::current_exe();
        let path = binary.map_or_else(own, Ok);
        let path = path.map_err(|error| TargetError::new(format!("this program cannot be found: {error}")))?;
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
        Program::read(&self.path).map_err(|error| TargetError {
            help: error.help(),
            key: Some("load.binary".to_owned()),
            ..TargetError::new(error.to_string())
        })
    }
}

/// The image that workers run in.
struct Host {
    image: String,
    pull_secrets: Vec<String>,
}

impl Host {
    fn find(live: Live<'_>, serving: &Value) -> Self {
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

fn jobs() -> Resource {
    Resource::known("batch/v1", "Job", "jobs")
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
    if !ending && !has_ended(&found) && text(&found, &sent) == text(object, &sent) {
        return Ok(true);
    }
    end(&handle(cluster, live, object).await?.to_value(), live.cancel).await?;
    Ok(false)
}

/// Whether a Job will do nothing any more.
fn has_ended(job: &Value) -> bool {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        let kind = condition["type"].as_str().unwrap_or_default();
        ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"].contains(&kind) && condition["status"] == "True"
    })
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

/// Waits until every worker's pod runs.
async fn pods_up(
    cluster: &Cluster,
    object: &Value,
    count: u32,
    ledger: &dyn Ledger,
) -> Result<Vec<Value>, TargetError> {
    let selector = format!("batch.kubernetes.io/job-name={}", name(object));
    let pods = Resource::known("v1", "Pod", "pods");
    let began = tokio::time::Instant::now();
    loop {
        let mut found = list(cluster, &pods, &ListParams::default().labels(&selector)).await?;
        found.retain(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
        found.sort_by_key(place_of);
        for pod in &found {
            if let Some(trouble) = trouble(pod, began.elapsed()) {
                return Err(trouble);
            }
        }
        let running = found.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
        if running == found.len() && found.len() == count as usize {
            return Ok(found);
        }
        ledger.doing(&format!("{running} of {count} load workers run"));
        tokio::time::sleep(LOOK).await;
    }
}

/// Which worker a pod is, by its index in the Job.
fn place_of(pod: &Value) -> u64 {
    let index = pod.pointer("/metadata/annotations/batch.kubernetes.io~1job-completion-index");
    index.and_then(Value::as_str).and_then(|index| index.parse().ok()).unwrap_or(u64::MAX)
}

/// Why a worker's pod will not run.
fn trouble(pod: &Value, waited: Duration) -> Option<TargetError> {
    let who = name(pod);
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
    for status in statuses.into_iter().flatten() {
        if let Some(waiting) = status.pointer("/state/waiting") {
            let reason = text(waiting, "reason");
            let help = match reason.as_str() {
                "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
                    "correct `load.image` (or `load.carrier`), or name a secret in `load.image-pull-secrets`"
                }
                "CreateContainerConfigError" => "correct `load.env`: the Secret or its key is not there",
                _ => continue,
            };
            let message = format!("the load worker {who} cannot start: {reason}: {}", text(waiting, "message"));
            return Some(TargetError { help: Some(help.to_owned()), ..TargetError::new(message) });
        }
        if let Some(ended) = status.pointer("/state/terminated") {
            let said = text(ended, "message");
            let help = if said.contains("/bin/sh") {
                "this image has no shell to carry dynbench into: set `load.carrier` to one that has, or `load.image`"
            } else {
                "look at its log: `kubectl logs` with the pod's name"
            };
            let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or(-1);
            let message =
                format!("the load worker {who} has ended: {} (exit code {code}): {said}", text(ended, "reason"));
            return Some(TargetError { help: Some(help.to_owned()), ..TargetError::new(message) });
        }
    }
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let unscheduled = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False")?;
    (waited >= SCHEDULED).then(|| TargetError {
        help: Some(
            "ask for less in `load.resources`, or correct `load.node-selector` and `load.tolerations`".to_owned(),
        ),
        ..TargetError::new(format!("no node takes the load worker {who}: {}", text(unscheduled, "message")))
    })
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

    fn waiting(reason: &str) -> Value {
        pod(json!({"containerStatuses": [{"state": {"waiting": {"reason": reason, "message": "m"}}}]}))
    }

    #[test]
    fn a_worker_that_cannot_start_says_why_and_one_that_is_starting_is_waited_for() {
        let said = |pod: &Value, waited| trouble(pod, Duration::from_secs(waited)).map(|error| error.message);
        assert!(said(&waiting("ImagePullBackOff"), 0).unwrap().contains("cannot start: ImagePullBackOff"));
        assert!(said(&waiting("CreateContainerConfigError"), 0).is_some());
        assert_eq!(said(&waiting("ContainerCreating"), 1000), None);
        assert_eq!(said(&waiting("ErrImagePull"), 0), None);
        let unscheduled = pod(json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available: 2 Insufficient cpu."},
        ]}));
        assert_eq!(said(&unscheduled, 5), None);
        assert!(said(&unscheduled, 60).unwrap().contains("2 Insufficient cpu"));
    }

    #[test]
    fn an_image_without_a_shell_is_named_as_such() {
        let ended = pod(json!({"containerStatuses": [{"state": {"terminated": {
            "reason": "StartError", "exitCode": 128, "message": "exec: \"/bin/sh\": stat /bin/sh: no such file"}}}]}));
        assert!(trouble(&ended, Duration::ZERO).unwrap().help.unwrap().contains("has no shell"));
    }

    #[test]
    fn a_job_that_has_ended_is_made_anew() {
        let job = |kind: &str, status: &str| json!({"status": {"conditions": [{"type": kind, "status": status}]}});
        assert!(has_ended(&job("Complete", "True")) && has_ended(&job("Failed", "True")));
        assert!(!has_ended(&job("Suspended", "True")) && !has_ended(&job("Failed", "False")) && !has_ended(&json!({})));
    }

    #[test]
    fn a_worker_that_ran_out_of_memory_says_what_to_raise() {
        let ended = pod(json!({"containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled"}}}]}));
        assert!(why_ended(&ended).contains("OOMKilled; give it more in `load.resources`"));
        let evicted = pod(json!({"reason": "Evicted", "message": "The node was low on resource: memory."}));
        assert!(why_ended(&evicted).contains("Evicted The node was low"));
    }
}
