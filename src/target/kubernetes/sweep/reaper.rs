//! `policy.reaper`: a small Job with our binary that ends a run's objects when nobody else can: the laptop that started
//! them sleeps, burned, or lost its network for good.
//!
//! It watches the run's Lease by its own clock. When the Lease goes, the run is over and so is the reaper: the Lease owns
//! the Job, its account and its rights. When the Lease is not renewed for `policy.expires-after`, it deletes everything
//! with the run's label, and the Lease, and itself, last.

use std::time::Duration;

use kube::api::PostParams;
use serde_json::{Value, json};

use super::super::super::contract::{Ledger, Live, TargetError};
use super::super::client::{Cluster, Whereabouts};
use super::super::fault::translate;
use super::super::hold::{Health, Sign, Watcher, lease_of, leases, run_lease_name};
use super::super::load::{Awaited, pods_up};
use super::super::objects::objects_of;
use super::super::own::{MANAGED_BY, MANAGER, PLAN, ROLE, RUN};
use super::super::rbac::{for_reaper, rules_json};
use super::super::resource::Resource;
use super::super::settings::Settings;
use super::clean::{Swept, clean_run};
use crate::base::{Clock, SystemClock, format_duration};
use crate::render::image_for;

/// Value of [`ROLE`] on everything of it.
const REAPER: &str = "reaper";
/// How often it looks at the Lease.
const LOOK: Duration = Duration::from_secs(5);
/// How long its pod may take to start.
const STARTED: Duration = Duration::from_secs(300);
/// How long one attempt at deleting may take; it tries for ever.
const PATIENCE: Duration = Duration::from_secs(600);

/// What `dynbench reap` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaping {
    /// Id of the run.
    pub run: String,
    /// Its namespace; `None`: the pod's own.
    pub namespace: Option<String>,
    /// It is dead when its Lease was not renewed for so long.
    pub after: Duration,
}

/// Starts the reaper, if the plan asks for one and it is not there yet, and waits until it runs: one that cannot start
/// ends nothing.
///
/// # Errors
/// When there is no image for it, the API server refuses, or its pod does not start.
pub(in super::super) async fn start_reaper(
    cluster: &Cluster,
    live: Live<'_>,
    ledger: &dyn Ledger,
) -> Result<(), TargetError> {
    if !live.plan.policy.reaper {
        return Ok(());
    }
    let settings = Settings::of(live.deployment)?;
    let Some(image) = &live.plan.load.image else { return Err(no_image()) };
    let image = image_for(live.deployment, image);
    let name = run_lease_name(live.run);
    let lease = cluster.call("reading the run's Lease", leases(cluster).get(&name)).await?;
    let owner = json!([{
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": name, "uid": lease.metadata.uid,
    }]);
    // Every deployment's kinds: one reaper serves the whole run.
    let mut objects = Vec::new();
    for deployment in live.plan.deployments.values().filter(|deployment| deployment.target.kind == "kubernetes") {
        objects.extend(objects_of(live.plan, deployment)?);
    }
    for object in manifests(live, &settings, &image, &owner, &objects) {
        create(cluster, &object).await?;
    }
    let job = name_of(live.run);
    let awaited = Awaited { what: "reaper", job: &job, count: 1, replaced: true };
    let say = |doing: &str| ledger.doing(doing);
    tokio::select! {
        up = pods_up(cluster, &awaited, &say) => up.map(|_| ()),
        () = live.cancel.cancelled() => Err(TargetError::new("it was interrupted")),
        () = tokio::time::sleep(STARTED) => {
            let after = format_duration(STARTED);
            Err(TargetError {
                help: Some(format!("`kubectl describe job {job}` says more")),
                ..TargetError::new(format!("the reaper {job} was not up after {after} ({})", cluster.place))
            })
        }
    }
}

/// Name of its Job, and of all else of it.
fn name_of(run: &str) -> String {
    format!("dynbench-reaper-{}", run.to_lowercase())
}

/// What is missing for a reaper.
pub(in super::super) fn no_image() -> TargetError {
    TargetError {
        help: Some(
            "make one with `dynbench image --push REF` and set `load.image`, or take `policy.reaper` out".to_owned(),
        ),
        ..TargetError::new("`policy.reaper` needs an image with dynbench in it, and the plan names none")
    }
}

async fn create(cluster: &Cluster, object: &Value) -> Result<(), TargetError> {
    let field = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (field("/kind"), field("/metadata/name"));
    let resource = Resource::known(field("/apiVersion"), kind, &format!("{}s", kind.to_lowercase()));
    let doing = format!("creating {kind} {name}");
    let new = serde_json::from_value(object.clone()).map_err(|error| TargetError::new(format!("{doing}: {error}")))?;
    match cluster.answered(&doing, resource.of(cluster).create(&PostParams::default(), &new)).await? {
        // Made for an earlier deployment of the run.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(translate(&cluster.place, &doing, &error)),
        Ok(_) => Ok(()),
    }
}

fn manifests(live: Live<'_>, settings: &Settings, image: &str, owner: &Value, objects: &[Value]) -> Vec<Value> {
    let name = name_of(live.run);
    let labels = json!({
        MANAGED_BY: MANAGER, RUN: live.run, PLAN: live.plan.name.as_str(), ROLE: REAPER,
    });
    let metadata = json!({"name": name, "labels": labels, "ownerReferences": owner});
    let rbac = "rbac.authorization.k8s.io";
    let after = format!("{}s", live.plan.policy.expires_after.as_secs());
    let mut pod = json!({
        "serviceAccountName": name,
        "restartPolicy": "OnFailure",
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": REAPER,
            "image": image,
            "args": ["reap", "--run", live.run, "--after", after],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "resources": {
                "requests": {"cpu": "10m", "memory": "32Mi"},
                "limits": {"memory": "128Mi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        }],
    });
    // It has the image of the load workers, so it needs what they need to get it, and runs where they may.
    let load = &live.plan.load;
    if !load.image_pull_secrets.is_empty() {
        let names = load.image_pull_secrets.iter().map(|name| json!({"name": name}));
        pod["imagePullSecrets"] = names.collect();
    }
    if !load.node_selector.is_empty() {
        pod["nodeSelector"] = json!(load.node_selector);
    }
    if !load.tolerations.is_empty() {
        pod["tolerations"] = json!(load.tolerations);
    }
    if load.cpu_limit.is_some() {
        // Where a quota demands one.
        pod["containers"][0]["resources"]["limits"]["cpu"] = json!("100m");
    }
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": metadata,
            "rules": rules_json(&for_reaper(objects, settings)),
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name}],
        }),
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
            "spec": {
                // Evicted, or its node went away: it must come back.
                "backoffLimit": 1000,
                "ttlSecondsAfterFinished": 60,
                "template": {
                    "metadata": {"labels": labels},
                    "spec": pod,
                },
            },
        }),
    ]
}

/// What the reaper does, in its pod. `None`: the run ended by itself.
///
/// # Errors
/// When there is no cluster. An API server that is away is waited for.
pub async fn reap(order: &Reaping, say: &(dyn Fn(&str) + Sync)) -> Result<Option<Swept>, TargetError> {
    let to = Whereabouts { context: None, namespace: order.namespace.clone() };
    let cluster = Cluster::connect(&to).await?;
    let (clock, name) = (SystemClock::default(), run_lease_name(&order.run));
    let mut watcher = Watcher::default();
    loop {
        match lease_of(&cluster, &name).await {
            Ok(None) => return Ok(None),
            Ok(Some(sign)) => {
                let sign = Sign { duration: sign.duration.max(order.after), ..sign };
                match watcher.look(&sign, clock.elapsed()) {
                    Health::Alive | Health::Unknown(_) => {}
                    Health::Dead => {
                        let after = format_duration(sign.duration);
                        say(&format!("run {} gave no sign of life for {after}: ending it", order.run));
                        let swept = clean_run(&cluster, &order.run, Some(REAPER), PATIENCE, say).await;
                        match swept {
                            Ok(swept) if swept.is_clean() => return Ok(Some(swept)),
                            Ok(swept) => say(&format!("not gone yet: {}", swept.stays.join("; "))),
                            Err(error) => say(&error.message),
                        }
                    }
                }
            }
            // The Lease cannot be seen, so nothing can be said of it: an unchanged Lease is only one that was looked at.
            Err(error) => say(&error.message),
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::target::fixtures;

    #[test]
    fn a_reaper_gets_its_image_and_its_place_as_load_workers_do() {
        let mut plan = fixtures::plan(Path::new("/p"));
        plan.load.image_pull_secrets = vec!["pull".to_owned()];
        plan.load.node_selector.insert("pool".to_owned(), json!("cpu"));
        plan.load.tolerations = vec![json!({"key": "cpu", "operator": "Exists"})];
        let (deployment, cancel) = (fixtures::deployment(json!({"template": "vllm"})), CancellationToken::new());
        let live = Live { plan: &plan, deployment: &deployment, run: "r1", dir: Path::new(""), cancel: &cancel };
        let objects = manifests(live, &Settings::default(), "r.io/x:1", &json!([]), &[]);
        let job = objects.iter().find(|object| object["kind"] == "Job").unwrap();
        assert_eq!(job["metadata"]["name"], name_of("r1"));
        insta::assert_snapshot!(serde_json::to_string_pretty(&job["spec"]["template"]["spec"]).unwrap());
    }
}
