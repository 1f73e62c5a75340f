//! Makes the volume and the Job that fills it, and waits until it is full.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, LogParams, PostParams};
use serde_json::Value;

use super::super::super::contract::{Ledger, Live, TargetError};
use super::super::client::Cluster;
use super::super::fault::translate;
use super::super::objects::objects_of;
use super::super::settings::{ModelCache, Settings};
use super::job::{claim, job, job_name};
use crate::base::{Clock, SystemClock, format_duration};
use crate::render::image_for;

/// How often the Job is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long a pod may be unable to start, or the API server away, before waiting longer helps nobody.
const STUCK: Duration = Duration::from_secs(60);
/// Lines of the log that an error shows.
const LINES: i64 = 15;

/// Fills the plan's model cache, if it has one and it is not full yet.
///
/// # Errors
/// When it cannot be filled: with the last lines of the download's log.
pub(in super::super) async fn fill(
    cluster: &Cluster,
    settings: &Settings,
    live: Live<'_>,
    ledger: &dyn Ledger,
) -> Result<(), TargetError> {
    let Some(cache) = &settings.model_cache else { return Ok(()) };
    let objects = objects_of(live.plan, live.deployment)?;
    let user = user(&objects).unwrap_or(&Value::Null);
    let image = image(live, cache, user, &objects)?;
    let uid = ensure_claim(cluster, cache).await?;
    let model = &live.plan.model.id;
    let name = job_name(cache, model, &image, &uid);
    let wanted = job(cache, model, &image, &name, user);
    wait(cluster, cache, &name, &wanted, live, ledger).await
}

/// The pod that will use the volume: the first that asks for a device, or the first of all. The download runs where it
/// may run: a volume that is bound to a zone at its first use must be where the GPUs are.
fn user(objects: &[Value]) -> Option<&Value> {
    let mut pods = Vec::new();
    objects.iter().for_each(|object| pods_in(object, &mut pods));
    pods.iter().find(|pod| asks_for_device(pod)).or(pods.first()).copied()
}

/// Specs of pods, wherever an object has them.
fn pods_in<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) if map.get("containers").is_some_and(Value::is_array) => found.push(value),
        // v1alpha1 of Dynamo's graphs.
        Value::Object(map) if map.contains_key("mainContainer") => found.push(value),
        Value::Object(map) => map.values().for_each(|inner| pods_in(inner, found)),
        Value::Array(items) => items.iter().for_each(|item| pods_in(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn asks_for_device(pod: &Value) -> bool {
    let containers = pod.get("containers").and_then(Value::as_array).into_iter().flatten();
    let limits = containers.filter_map(|one| one.pointer("/resources/limits")?.as_object());
    limits.flat_map(|limits| limits.keys()).any(|resource| resource.contains('/'))
}

/// The image that downloads: the plan's, or that of the pod that will use the volume.
fn image(live: Live<'_>, cache: &ModelCache, user: &Value, objects: &[Value]) -> Result<String, TargetError> {
    let first = || first_image(user).or_else(|| objects.iter().find_map(first_image));
    let named = cache.image.as_ref().map(|image| image_for(live.deployment, image));
    named.or_else(first).ok_or_else(|| TargetError {
        help: Some("name one: `image` of [target.model-cache]".to_owned()),
        key: Some("model-cache".to_owned()),
        ..TargetError::new("nothing says which image downloads the model")
    })
}

fn first_image(value: &Value) -> Option<String> {
    match value {
        Value::Object(map) => {
            let own = map.get("image").and_then(Value::as_str).map(str::to_owned);
            own.or_else(|| map.values().find_map(first_image))
        }
        Value::Array(items) => items.iter().find_map(first_image),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn typed<T: serde::de::DeserializeOwned>(object: Value) -> Result<T, TargetError> {
    serde_json::from_value(object).map_err(|error| TargetError {
        key: Some("model-cache".to_owned()),
        ..TargetError::new(format!("[target.model-cache] makes no object that Kubernetes takes: {error}"))
    })
}

/// Makes the claim unless it is there; its uid.
async fn ensure_claim(cluster: &Cluster, cache: &ModelCache) -> Result<String, TargetError> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    let doing = format!("making PersistentVolumeClaim {}", cache.pvc);
    let new = typed(claim(cache))?;
    loop {
        let found = match cluster.call_opt(&doing, api.get(&cache.pvc)).await? {
            Some(found) => found,
            None => match cluster.answered(&doing, api.create(&PostParams::default(), &new)).await? {
                Ok(made) => made,
                Err(kube::Error::Api(status)) if status.code == 409 => continue,
                Err(error) => return Err(translate(&cluster.place, &doing, &error)),
            },
        };
        return Ok(found.metadata.uid.unwrap_or_default());
    }
}

/// How a Job stands.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Succeeded,
    Failed(String),
    Going,
}

fn standing(job: &Job) -> Standing {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    for condition in conditions.into_iter().flatten().filter(|condition| condition.status == "True") {
        match condition.type_.as_str() {
            "Complete" => return Standing::Succeeded,
            "Failed" => {
                let (reason, message) = (condition.reason.clone(), condition.message.clone());
                let text = [reason, message].into_iter().flatten().collect::<Vec<_>>();
                return Standing::Failed(text.join(": "));
            }
            _ => {}
        }
    }
    Standing::Going
}

async fn wait(
    cluster: &Cluster,
    cache: &ModelCache,
    name: &str,
    wanted: &Value,
    live: Live<'_>,
    ledger: &dyn Ledger,
) -> Result<(), TargetError> {
    let api: Api<Job> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    let new = typed(wanted.clone())?;
    let clock = SystemClock::default();
    let doing = format!("filling the model cache {}", cache.pvc);
    let mut fresh = false;
    let mut stuck: Option<(String, Duration)> = None;
    loop {
        match cluster.call_opt(&doing, api.get(name)).await? {
            None => match cluster.answered(&doing, api.create(&PostParams::default(), &new)).await? {
                Ok(_) => fresh = true,
                // Another run was faster: its Job is as good.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(translate(&cluster.place, &doing, &error)),
            },
            Some(job) => match standing(&job) {
                Standing::Succeeded => return Ok(()),
                // A failure of an earlier day is no answer for today.
                Standing::Failed(_) if !fresh => {
                    cluster.call_opt(&doing, api.delete(name, &DeleteParams::foreground())).await?;
                    gone(cluster, &api, name, live).await?;
                }
                Standing::Failed(why) => return Err(failed(cluster, cache, name, &why).await),
                Standing::Going => fresh = true,
            },
        }
        let hindrance = hindrance(cluster, name).await?;
        match (&hindrance, &stuck) {
            (Some(now), Some((before, since))) if now == before => {
                if clock.elapsed().saturating_sub(*since) > STUCK {
                    return Err(failed(cluster, cache, name, now).await);
                }
            }
            (Some(now), _) => stuck = Some((now.clone(), clock.elapsed())),
            (None, _) => stuck = None,
        }
        let elapsed = format_duration(clock.elapsed());
        ledger.doing(&format!(
            "{doing}, Job {name}, {elapsed}{}",
            hindrance.map_or_else(String::new, |what| format!(": {what}"))
        ));
        if clock.elapsed() > cache.deadline {
            let why = format!("not done after {}", format_duration(cache.deadline));
            return Err(failed(cluster, cache, name, &why).await);
        }
        tokio::select! {
            () = live.cancel.cancelled() => {
                // It goes on without us, and a resume finds it.
                return Err(TargetError::new(format!("interrupted while {doing}; Job {name} goes on by itself")));
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn gone(cluster: &Cluster, api: &Api<Job>, name: &str, live: Live<'_>) -> Result<(), TargetError> {
    while cluster.call_opt("waiting until a failed download is gone", api.get(name)).await?.is_some() {
        tokio::select! {
            () = live.cancel.cancelled() => return Err(TargetError::new("interrupted while removing a failed download")),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    Ok(())
}

async fn pods(cluster: &Cluster, job: &str) -> Result<Vec<Pod>, TargetError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    let params = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    Ok(cluster.call("looking at the download's pods", api.list(&params)).await?.items)
}

/// Why the download's pod does not start, if it does not.
async fn hindrance(cluster: &Cluster, job: &str) -> Result<Option<String>, TargetError> {
    Ok(pods(cluster, job).await?.iter().find_map(|pod| {
        let status = pod.status.as_ref()?;
        let unschedulable =
            status.conditions.iter().flatten().find(|one| one.type_ == "PodScheduled" && one.status == "False");
        if let Some(condition) = unschedulable {
            return condition.message.clone();
        }
        let waiting =
            status.container_statuses.iter().flatten().find_map(|one| one.state.as_ref()?.waiting.as_ref())?;
        let reason = waiting.reason.clone()?;
        let harmless = ["ContainerCreating", "PodInitializing"].contains(&reason.as_str());
        // Back-off alternates two reasons and two messages about one fault: the image is what stays.
        let image = pod.spec.as_ref()?.containers.first()?.image.clone().unwrap_or_default();
        let pulling = reason.contains("Image");
        (!harmless).then(|| {
            if pulling {
                format!("image {image} cannot be pulled")
            } else {
                format!("{reason}: {}", waiting.message.clone().unwrap_or_default())
            }
        })
    }))
}

/// The failure, with the last lines of the newest pod's log.
async fn failed(cluster: &Cluster, cache: &ModelCache, job: &str, why: &str) -> TargetError {
    let mut details = Vec::new();
    if let Ok(mut pods) = pods(cluster, job).await {
        pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone().map(|time| time.0));
        if let Some(name) = pods.last().and_then(|pod| pod.metadata.name.clone()) {
            let api: Api<Pod> = Api::namespaced(cluster.client.clone(), cluster.namespace());
            let params = LogParams { tail_lines: Some(LINES), ..LogParams::default() };
            if let Ok(Ok(text)) = cluster.answered("reading its log", api.logs(&name, &params)).await {
                details.extend(text.lines().map(str::to_owned));
            }
        }
    }
    TargetError {
        details,
        help: Some(format!(
            "`kubectl -n {} describe job {job}` says more; the volume {} is kept, and the next run tries again",
            cluster.namespace(),
            cache.pvc
        )),
        key: Some("model-cache".to_owned()),
        ..TargetError::new(format!("the model cache {} was not filled ({}): {why}", cache.pvc, cluster.place))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pod_with_the_gpus_is_the_one_that_uses_the_volume() {
        let pod = |image: &str, limits: Value| json!({"spec": {"containers": [{"image": image, "resources": {"limits": limits}}]}});
        let graph = json!({"spec": {"components": [
            {"name": "Frontend", "podTemplate": pod("frontend:1", json!({"memory": "1Gi"}))},
            {"name": "Worker", "podTemplate": pod("engine:1", json!({"nvidia.com/gpu": 1}))},
        ]}});
        let first = |objects: &[Value]| first_image(user(objects).unwrap()).unwrap();
        assert_eq!(first(std::slice::from_ref(&graph)), "engine:1");
        let plain = json!({"spec": {"template": pod("plain:1", json!({}))}});
        assert_eq!(first(&[plain, graph.clone()]), "engine:1");
        assert_eq!(first(&[json!({"spec": {"template": pod("plain:1", json!({}))}})]), "plain:1");
        assert!(user(&[json!({"kind": "Service"})]).is_none());
    }
}
