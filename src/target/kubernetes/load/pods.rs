//! The pods of a Job of ours come up, or it is said why they never will.

use std::time::Duration;

use kube::api::ListParams;
use serde_json::Value;

use super::super::super::contract::TargetError;
use super::super::client::Cluster;
use super::super::family::{list, name, uid, whole};
use super::super::look::events;
use super::super::resource::Resource;
use super::super::rules::{History, judge};
use super::super::seen::{Applied, Judgement, Patience, Seen, SeenObject};

/// How often pods that come up are looked at.
const LOOK: Duration = Duration::from_millis(400);
/// How long a pod may find no node.
const SCHEDULED: Duration = Duration::from_secs(60);

/// Jobs.
pub(super) fn jobs() -> Resource {
    Resource::known("batch/v1", "Job", "jobs")
}

/// Pods that are awaited.
pub(in super::super) struct Awaited<'a> {
    /// What each is, for messages: `load worker`.
    pub(in super::super) what: &'static str,
    /// Name of their Job.
    pub(in super::super) job: &'a str,
    /// How many.
    pub(in super::super) count: usize,
    /// Whether one that has failed is replaced: then it is no matter.
    pub(in super::super) replaced: bool,
}

/// Waits until every pod runs; in the order of their indexes.
///
/// # Errors
/// Why one will not, as soon as that is known.
pub(in super::super) async fn pods_up(
    cluster: &Cluster,
    awaited: &Awaited<'_>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Value>, TargetError> {
    let Awaited { what, job, count, replaced } = *awaited;
    let selector = format!("batch.kubernetes.io/job-name={job}");
    let pods = Resource::known("v1", "Pod", "pods");
    let began = tokio::time::Instant::now();
    let mut history = History::default();
    loop {
        let mut found = list(cluster, &pods, &ListParams::default().labels(&selector)).await?;
        found.retain(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
        found.retain(|pod| !(replaced && pod["status"]["phase"] == "Failed"));
        found.sort_by_key(place_of);
        for pod in &found {
            if let Some(trouble) = trouble(what, pod, began.elapsed()) {
                return Err(trouble);
            }
        }
        let running = found.iter().filter(|pod| is_up(pod)).count();
        if running == found.len() && found.len() == count {
            return Ok(found);
        }
        let mut doing = format!("{running} of {count} {what}s run");
        if found.len() < count {
            let (job, events) = job_and_events(cluster, job).await?;
            doing = format!("{doing} ({})", missing(what, job, events, &mut history, began.elapsed())?);
        }
        say(&doing);
        tokio::time::sleep(LOOK).await;
    }
}

/// The Job as it is now, and what the cluster said about it.
async fn job_and_events(cluster: &Cluster, name: &str) -> Result<(Value, Vec<Value>), TargetError> {
    let doing = format!("reading Job {name}");
    let Some(job) = cluster.call_opt(&doing, jobs().of(cluster).get(name)).await? else {
        return Err(TargetError::new(format!("Job {name} is gone: somebody deleted it")));
    };
    let job = whole(&jobs(), job);
    let events = events(cluster, &uid(&job).map(str::to_owned).into_iter().collect()).await?;
    Ok((job, events))
}

/// What pods of a Job that are not there wait for.
///
/// # Errors
/// Why they never will be: the Job has ended, or the cluster refuses to make them.
fn missing(
    what: &str,
    job: Value,
    events: Vec<Value>,
    history: &mut History,
    elapsed: Duration,
) -> Result<String, TargetError> {
    if let Some(end) = end_of(&job) {
        let text = |key: &str| end.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, reason, message) = (name(&job), text("reason"), text("message"));
        return Err(TargetError::passing(format!("Job {name} of the {what}s has ended: {reason}: {message}")));
    }
    let applied = Applied {
        api_version: jobs().api_version,
        kind: jobs().kind,
        name: name(&job).to_owned(),
        uid: uid(&job).unwrap_or_default().to_owned(),
        sent: String::new(),
        generation: None,
    };
    let objects = vec![SeenObject { applied, live: Some(job) }];
    let seen = Seen { objects, events, ..Seen::default() };
    match judge(&seen, None, &Patience::default(), history, elapsed) {
        Judgement::Ready => Ok("its pods are awaited".to_owned()),
        Judgement::NotYet(what) => Ok(what),
        Judgement::Failed(failure) => Err(TargetError {
            details: failure.details,
            help: failure.help.map(|help| format!("{help}; what a {what} asks for stands in `[load]`")),
            passing: failure.passing,
            ..TargetError::new(failure.message)
        }),
    }
}

/// Which worker a pod is, by its index in the Job.
fn place_of(pod: &Value) -> u64 {
    let index = pod.pointer("/metadata/annotations/batch.kubernetes.io~1job-completion-index");
    index.and_then(Value::as_str).and_then(|index| index.parse().ok()).unwrap_or(u64::MAX)
}

/// Whether a pod's containers run: its phase says so too while one of them is started again and again.
fn is_up(pod: &Value) -> bool {
    let mut statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
    pod["status"]["phase"] == "Running" && statuses.all(|one| one.pointer("/state/running").is_some())
}

/// Why a pod will not run.
fn trouble(what: &str, pod: &Value, waited: Duration) -> Option<TargetError> {
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
                "CreateContainerError" | "RunContainerError" => "is there a dynbench in `load.image`?",
                _ => "",
            };
            if !help.is_empty() {
                let message = format!("the {what} {who} cannot start: {reason}: {}", text(waiting, "message"));
                return Some(TargetError { help: Some(help.to_owned()), ..TargetError::new(message) });
            }
        }
        let looping = status.pointer("/state/waiting/reason").is_some_and(|reason| reason == "CrashLoopBackOff");
        let before = if looping { status.pointer("/lastState/terminated") } else { None };
        if let Some(ended) = status.pointer("/state/terminated").or(before) {
            let said = text(ended, "message");
            let help = if said.contains("/bin/sh") {
                "this image has no shell to carry dynbench into: set `load.carrier` to one that has, or `load.image`"
            } else {
                "look at its log: `kubectl logs` with the pod's name"
            };
            let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or(-1);
            let message = format!("the {what} {who} has ended: {} (exit code {code}): {said}", text(ended, "reason"));
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
        ..TargetError::new(format!("no node takes the {what} {who}: {}", text(unscheduled, "message")))
    })
}

/// The condition by which a Job will do nothing any more.
pub(super) fn end_of(job: &Value) -> Option<&Value> {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().find(|condition| {
        let kind = condition["type"].as_str().unwrap_or_default();
        ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"].contains(&kind) && condition["status"] == "True"
    })
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
        let said =
            |pod: &Value, waited| trouble("load worker", pod, Duration::from_secs(waited)).map(|error| error.message);
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
    fn a_pod_that_is_started_again_and_again_does_not_run() {
        let looping = pod(json!({"phase": "Running", "containerStatuses": [{
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 2, "message": "unknown command `reap`"}},
        }]}));
        assert!(!is_up(&looping));
        let error = trouble("reaper", &looping, Duration::ZERO).unwrap();
        assert_eq!(error.message, "the reaper load-x-0 has ended: Error (exit code 2): unknown command `reap`");
        let up = pod(json!({"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}));
        assert!(is_up(&up) && trouble("reaper", &up, Duration::ZERO).is_none());
    }

    #[test]
    fn an_image_without_a_shell_is_named_as_such() {
        let ended = pod(json!({"containerStatuses": [{"state": {"terminated": {
            "reason": "StartError", "exitCode": 128, "message": "exec: \"/bin/sh\": stat /bin/sh: no such file"}}}]}));
        assert!(trouble("load worker", &ended, Duration::ZERO).unwrap().help.unwrap().contains("has no shell"));
    }

    #[test]
    fn a_job_that_has_ended_is_made_anew() {
        let job = |kind: &str, status: &str| json!({"status": {"conditions": [{"type": kind, "status": status}]}});
        let has_ended = |job: &Value| end_of(job).is_some();
        assert!(has_ended(&job("Complete", "True")) && has_ended(&job("Failed", "True")));
        assert!(!has_ended(&job("Suspended", "True")) && !has_ended(&job("Failed", "False")) && !has_ended(&json!({})));
    }

    #[test]
    fn pods_that_the_cluster_refuses_to_make_are_not_awaited_for_ever() {
        let job = |status: Value| {
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "load-x", "uid": "u"},
                "spec": {"parallelism": 2, "completions": 2}, "status": status})
        };
        let refused = json!({"type": "Warning", "reason": "FailedCreate", "involvedObject": {"uid": "u"},
            "message": "Error creating: pods \"load-x-0-\" is forbidden: exceeded quota: q, requested: pods=1"});
        let mut history = History::default();
        let mut look = |job: Value, events: &[Value], seconds| {
            missing("load worker", job, events.to_vec(), &mut history, Duration::from_secs(seconds))
        };
        assert!(look(job(json!({})), &[], 0).is_ok());
        // One of two is there: the other is refused all the same.
        let half = job(json!({"active": 1}));
        assert!(look(half.clone(), std::slice::from_ref(&refused), 1).is_ok());
        let error = look(half, std::slice::from_ref(&refused), 7).unwrap_err();
        assert!(
            error.message.contains("Job load-x: the cluster refuses to make its pods: exceeded quota: q"),
            "{error}"
        );
        assert!(error.help.unwrap().contains("`[load]`"));
        let ended = job(json!({"conditions": [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}]}));
        assert!(look(ended, &[], 8).unwrap_err().message.contains("has ended: PodFailurePolicy"));
    }
}
