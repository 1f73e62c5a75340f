//! Looks made up where nothing was recorded: one kind or one sign at a time.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::super::seen::{Applied, Failure, Judgement, Patience, Seen, SeenObject};
use super::super::{Asked, History, judge};

/// One applied object, alive.
fn object(kind: &str, api_version: &str, rest: Value) -> SeenObject {
    let mut live = json!({"apiVersion": api_version, "kind": kind,
        "metadata": {"name": "x", "uid": "u", "generation": 2}});
    merge(&mut live, rest);
    let applied = Applied {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: "x".to_owned(),
        uid: "u".to_owned(),
        sent: String::new(),
        generation: None,
    };
    SeenObject { applied, live: Some(live) }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn seen(kind: &str, api_version: &str, rest: Value) -> Seen {
    Seen { objects: vec![object(kind, api_version, rest)], ..Seen::default() }
}

fn after(seen: &Seen, seconds: u64) -> Judgement {
    let mut history = History::default();
    judge(seen, None, &Patience::default(), &mut history, Duration::ZERO);
    judge(seen, None, &Patience::default(), &mut history, Duration::from_secs(seconds))
}

fn awaited(seen: &Seen) -> String {
    match after(seen, 0) {
        Judgement::NotYet(what) => what,
        other @ (Judgement::Ready | Judgement::Failed(_)) => panic!("{other:?}"),
    }
}

fn failure(seen: &Seen, seconds: u64) -> Failure {
    match after(seen, seconds) {
        Judgement::Failed(failure) => failure,
        other @ (Judgement::Ready | Judgement::NotYet(_)) => panic!("{other:?}"),
    }
}

fn deployment(status: Value) -> Seen {
    seen("Deployment", "apps/v1", json!({"spec": {"replicas": 2}, "status": status}))
}

#[test]
fn a_deployment_is_ready_when_this_version_of_it_is_there_and_no_other() {
    let good = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
    let but = |change: Value| {
        let mut status = good.clone();
        merge(&mut status, change);
        deployment(status)
    };
    assert_eq!(after(&but(json!({})), 0), Judgement::Ready);
    assert!(awaited(&but(json!({"observedGeneration": 1}))).contains("not seen by its controller"));
    assert!(awaited(&but(json!({"updatedReplicas": 1}))).contains("1 of 2 pods are of this version"));
    assert!(awaited(&but(json!({"replicas": 3}))).contains("1 pods of an older version"));
    assert!(awaited(&but(json!({"availableReplicas": 1}))).contains("1 of 2 pods are available"));
    assert!(awaited(&deployment(json!({}))).contains("not seen by its controller"));
    // Kubernetes' own deadline is not ours: the pods may still come.
    let late = json!({"availableReplicas": 0, "conditions": [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}]});
    assert!(awaited(&but(late)).contains("timed out"));
}

#[test]
fn a_stateful_set_is_ready_when_all_its_pods_are_of_its_newest_revision() {
    let set = |status: Value| seen("StatefulSet", "apps/v1", json!({"spec": {"replicas": 2}, "status": status}));
    let good = json!({"observedGeneration": 2, "replicas": 2, "readyReplicas": 2, "currentRevision": "a",
        "updateRevision": "a"});
    assert_eq!(after(&set(good.clone()), 0), Judgement::Ready);
    let mut rolling = good;
    merge(&mut rolling, json!({"updateRevision": "b", "updatedReplicas": 1}));
    assert!(awaited(&set(rolling)).contains("1 of 2 pods are of this version"));
}

#[test]
fn a_job_is_ready_when_complete_and_fails_by_its_own_word_only() {
    let job = |status: Value| seen("Job", "batch/v1", json!({"spec": {"completions": 1}, "status": status}));
    let condition =
        |kind: &str| json!({"conditions": [{"type": kind, "status": "True", "reason": "R", "message": "m"}]});
    assert_eq!(after(&job(condition("Complete")), 0), Judgement::Ready);
    assert!(awaited(&job(json!({"failed": 3}))).contains("0 of 1 pods have done their work"));
    assert_eq!(failure(&job(condition("Failed")), 0).message, "Job x failed (R): m");
    let queued = seen("Job", "batch/v1", json!({"spec": {"suspend": true}}));
    assert!(awaited(&queued).contains("suspended"));
}

#[test]
fn a_claim_that_waits_for_its_first_pod_is_not_waited_for() {
    let mut claim = seen("PersistentVolumeClaim", "v1", json!({"status": {"phase": "Pending"}}));
    assert!(awaited(&claim).contains("not bound yet"));
    claim.events.push(json!({"type": "Normal", "reason": "WaitForFirstConsumer", "message": "m",
        "involvedObject": {"uid": "u"}}));
    assert_eq!(after(&claim, 0), Judgement::Ready);
    let bound = seen("PersistentVolumeClaim", "v1", json!({"status": {"phase": "Bound"}}));
    assert_eq!(after(&bound, 0), Judgement::Ready);
}

#[test]
fn a_claim_without_a_storage_class_fails_soon_and_a_provisioners_trouble_later() {
    let mut claim = seen(
        "PersistentVolumeClaim",
        "v1",
        json!({"status": {"phase": "Pending"}, "spec": {"storageClassName": "fast"}}),
    );
    let event = |message: &str| {
        json!({"type": "Warning", "reason": "ProvisioningFailed", "message": message,
        "involvedObject": {"uid": "u"}})
    };
    claim.events = vec![event("storageclass.storage.k8s.io \"fast\" not found")];
    let failed = failure(&claim, 10);
    assert_eq!(
        failed.message,
        "PersistentVolumeClaim x (storage class fast): no volume can be had: \
        storageclass.storage.k8s.io \"fast\" not found"
    );
    claim.events = vec![event("rpc error: busy")];
    assert!(matches!(after(&claim, 60), Judgement::NotYet(_)));
    assert!(failure(&claim, 180).passing);
}

#[test]
fn a_load_balancer_is_ready_when_it_has_an_address() {
    let service = |rest: Value| seen("Service", "v1", rest);
    assert_eq!(after(&service(json!({"spec": {"type": "ClusterIP"}})), 0), Judgement::Ready);
    assert!(awaited(&service(json!({"spec": {"type": "LoadBalancer"}}))).contains("no address yet"));
    let addressed =
        json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}});
    assert_eq!(after(&service(addressed), 0), Judgement::Ready);
}

#[test]
fn a_leader_worker_set_is_ready_when_every_group_is() {
    let set = |status: Value| {
        seen("LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1", json!({"spec": {"replicas": 2}, "status": status}))
    };
    let good =
        json!({"readyReplicas": 2, "updatedReplicas": 2, "conditions": [{"type": "Available", "status": "True"}]});
    assert_eq!(after(&set(good), 0), Judgement::Ready);
    assert!(awaited(&set(json!({"readyReplicas": 1, "updatedReplicas": 2}))).contains("1 of 2 groups are ready"));
}

#[test]
fn any_custom_resource_is_judged_by_its_conditions_of_this_generation() {
    let thing = |status: Value| seen("Thing", "x.io/v1", json!({"status": status}));
    let condition = |kind: &str, status: &str, generation: i64| {
        json!({"observedGeneration": 2, "conditions": [
        {"type": kind, "status": status, "message": "m", "observedGeneration": generation}]})
    };
    assert_eq!(after(&thing(condition("Ready", "True", 2)), 0), Judgement::Ready);
    assert!(awaited(&thing(condition("Ready", "True", 1))).contains("an older version"));
    assert!(awaited(&thing(condition("Ready", "False", 2))).contains("not Ready: m"));
    assert_eq!(after(&thing(condition("Available", "True", 2)), 0), Judgement::Ready);
    assert!(awaited(&thing(json!({"observedGeneration": 1}))).contains("has not seen this version"));
    assert!(failure(&thing(condition("Stalled", "True", 2)), 0).message.contains("stalled: m"));
    assert!(awaited(&thing(condition("Reconciling", "True", 2))).contains("being worked on"));
    // A failed state may heal, for a while.
    assert!(awaited(&thing(json!({"state": "Failed"}))).contains("may heal"));
    assert!(failure(&thing(json!({"state": "Failed"})), 15).message.contains("Thing x failed"));
    // One that says nothing counts after a grace: the endpoint decides.
    assert!(awaited(&thing(json!({}))).contains("no condition yet"));
    assert_eq!(after(&thing(json!({})), 30), Judgement::Ready);
    assert_eq!(after(&seen("ConfigMap", "v1", json!({})), 0), Judgement::Ready);
}

#[test]
fn the_plans_own_rule_comes_before_ours_for_custom_resources() {
    let graph = seen("DynamoGraphDeployment", "nvidia.com/v1beta1", json!({"status": {"state": "successful"}}));
    let asked = Asked::parse(&json!({"path": "status.state", "equals": "successful"})).unwrap();
    let judged = |asked| judge(&graph, asked, &Patience::default(), &mut History::default(), Duration::ZERO);
    assert_eq!(judged(Some(&asked)), Judgement::Ready);
    assert!(matches!(judged(None), Judgement::NotYet(_)));
}

/// A graph as v1alpha1 says it, with the pods of its one worker component.
fn alpha(status: Value) -> Seen {
    let services = json!({"Frontend": {"componentType": "frontend"},
        "Decode": {"componentType": "worker", "subComponentType": "decode", "replicas": 1}});
    let mut graph = seen(
        "DynamoGraphDeployment",
        "nvidia.com/v1alpha1",
        json!({"spec": {"services": services},
        "status": status}),
    );
    for component in ["Frontend", "Decode"] {
        graph.pods.push(json!({"kind": "Pod", "metadata": {"name": component, "uid": component, "labels": {
            "nvidia.com/dynamo-graph-deployment-name": "x", "nvidia.com/dynamo-component": component}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}));
    }
    graph
}

#[test]
fn a_graph_is_read_alike_in_both_versions() {
    let counts = json!({"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1});
    let ready = json!([{"type": "Ready", "status": "True", "observedGeneration": 2}]);
    let status = json!({"state": "successful", "observedGeneration": 2, "conditions": ready,
        "services": {"Frontend": counts, "Decode": counts}});
    assert_eq!(after(&alpha(status.clone()), 0), Judgement::Ready);
    let mut missing = status.clone();
    missing["services"].as_object_mut().unwrap().remove("Decode");
    assert!(awaited(&alpha(missing)).contains("no status of component Decode"));
    let mut gone = alpha(status);
    gone.pods.pop();
    assert!(awaited(&gone).contains("component Decode: 0 of 1 pods are there"));
}

#[test]
fn a_graph_of_an_old_operator_is_judged_by_its_state_and_its_pods() {
    // Up to 0.5: no generations, no components.
    let status = json!({"state": "successful", "conditions": [{"type": "Ready", "status": "True"}]});
    assert_eq!(after(&alpha(status.clone()), 0), Judgement::Ready);
    let mut unready = alpha(status);
    unready.pods[1]["status"]["conditions"][0]["status"] = json!("False");
    assert!(awaited(&unready).starts_with("pod Decode"));
}

#[test]
fn a_graph_without_a_frontend_is_never_ready_alone() {
    let mut graph = alpha(json!({"state": "successful", "conditions": [{"type": "Ready", "status": "True"}]}));
    let spec = &mut graph.objects[0].live.as_mut().unwrap()["spec"]["services"];
    spec.as_object_mut().unwrap().remove("Frontend");
    graph.pods.remove(0);
    assert!(awaited(&graph).contains("no component of type frontend"));
    graph.objects.push(SeenObject {
        applied: Applied { kind: "Deployment".to_owned(), ..graph.objects[0].applied.clone() },
        live: deployment(json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}))
            .objects
            .remove(0)
            .live,
    });
    assert_eq!(after(&graph, 0), Judgement::Ready);
}

#[test]
fn what_was_applied_must_still_be_there() {
    let mut gone = deployment(json!({}));
    gone.objects[0].live = None;
    assert_eq!(failure(&gone, 0).message, "Deployment x is gone: somebody deleted it");
    let mut other = deployment(json!({}));
    other.objects[0].applied.uid = "other".to_owned();
    assert!(failure(&other, 0).message.contains("somebody replaced it"));
    let ending = seen("Deployment", "apps/v1", json!({"metadata": {"deletionTimestamp": "t"}}));
    assert_eq!(failure(&ending, 0).message, "Deployment x is being deleted");
    let namespace = Seen { namespace_phase: Some("Terminating".to_owned()), ..Seen::default() };
    assert_eq!(failure(&namespace, 0).message, "the namespace is being deleted");
}

/// A Deployment that is not ready, with one pod.
fn with_pod(status: Value) -> Seen {
    let mut world = deployment(json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2}));
    let mut pod = json!({"kind": "Pod", "metadata": {"name": "p", "uid": "p"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main", "startupProbe": {"failureThreshold": 6,
            "periodSeconds": 5}}]},
        "status": {"phase": "Running"}});
    merge(&mut pod["status"], status);
    world.pods.push(pod);
    world
}

fn container(state: Value, restarts: i64, previous: Value) -> Value {
    json!({"name": "main", "image": "i:1", "ready": false, "restartCount": restarts, "state": state,
        "lastState": previous})
}

fn event(reason: &str, message: &str) -> Value {
    json!({"type": "Warning", "reason": reason, "message": message, "involvedObject": {"uid": "p"}})
}

#[test]
fn a_registry_with_a_bad_moment_is_given_time_and_a_wrong_name_is_not() {
    let waiting = |reason: &str, message: &str| {
        let state = json!({"waiting": {"reason": reason, "message": message}});
        with_pod(json!({"containerStatuses": [container(state, 0, Value::Null)]}))
    };
    let busy = waiting("ImagePullBackOff", "Back-off pulling image: unexpected status code: 503 Service Unavailable");
    assert!(matches!(after(&busy, 60), Judgement::NotYet(_)));
    assert!(failure(&busy, 300).passing);
    let wrong = waiting("ErrImagePull", "failed to resolve reference \"i:1\": i:1: not found");
    assert!(matches!(after(&wrong, 9), Judgement::NotYet(_)));
    assert!(failure(&wrong, 10).help.unwrap().contains("no such image"));
    let login = waiting("ImagePullBackOff", "unexpected status from GET request: 401 Unauthorized");
    assert!(failure(&login, 0).help.unwrap().contains("image-pull-secrets"));
    let never = waiting("ErrImageNeverPull", "image is not present with pull policy of Never");
    assert!(failure(&never, 0).message.contains("the image i:1 of container main cannot be pulled on node-1"));
}

#[test]
fn a_command_that_cannot_start_fails_at_once_with_the_runtimes_word() {
    let ended = json!({"terminated": {"reason": "StartError", "exitCode": 128, "message": "failed to create containerd \
        task: runc create failed: unable to start container process: exec: \"nope\": executable file not found in $PATH"}});
    let world = with_pod(json!({"containerStatuses": [container(ended, 0, Value::Null)]}));
    let failed = failure(&world, 0);
    assert_eq!(
        failed.message,
        "pod p: container main cannot be started on node-1: exec: \"nope\": executable file not \
        found in $PATH"
    );
    assert!(failed.help.unwrap().contains("`command`"));
}

#[test]
fn an_init_container_that_crashes_counts_and_one_that_is_done_does_not() {
    let crash = container(
        json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        1,
        json!({"terminated": {"reason": "Error", "exitCode": 7}}),
    );
    let failed = failure(&with_pod(json!({"initContainerStatuses": [crash]})), 0);
    assert!(failed.message.contains("ended 2 times, last with Error, exit code 7"), "{}", failed.message);
    let done = container(json!({"terminated": {"reason": "Completed", "exitCode": 0}}), 3, Value::Null);
    assert!(matches!(after(&with_pod(json!({"initContainerStatuses": [done]})), 0), Judgement::NotYet(_)));
}

#[test]
fn a_startup_probe_that_kills_is_named_with_its_time() {
    let crash = container(json!({"running": {}}), 2, json!({"terminated": {"reason": "Error", "exitCode": 137}}));
    let mut world = with_pod(json!({"containerStatuses": [crash]}));
    world.events.push(event("Unhealthy", "Startup probe failed: connection refused"));
    assert!(!failure(&world, 0).message.contains("startup probe"));
    world.events.push(event("Killing", "Container main failed startup probe, will be restarted"));
    let failed = failure(&world, 0);
    assert!(failed.message.contains("was killed 2 times by its startup probe: Startup probe failed"), "{failed:?}");
    assert!(failed.help.unwrap().contains("the 30 s that its startup probe waits"));
}

#[test]
fn one_restart_is_no_failure() {
    let once = container(json!({"running": {}}), 1, json!({"terminated": {"reason": "Error", "exitCode": 1}}));
    assert!(matches!(after(&with_pod(json!({"containerStatuses": [once]})), 60), Judgement::NotYet(_)));
}

#[test]
fn a_secret_missing_from_a_volume_fails_and_a_slow_node_does_not() {
    let creating = container(json!({"waiting": {"reason": "ContainerCreating"}}), 0, Value::Null);
    let mut world = with_pod(json!({"phase": "Pending", "containerStatuses": [creating]}));
    world.events =
        vec![event("FailedMount", "MountVolume.SetUp failed for volume \"t\" : failed to sync secret cache")];
    assert!(matches!(after(&world, 200), Judgement::NotYet(_)));
    world.events = vec![event("FailedMount", "MountVolume.SetUp failed for volume \"t\" : secret \"tls\" not found")];
    assert!(failure(&world, 10).message.ends_with("secret \"tls\" not found"));
}

#[test]
fn a_refusal_to_make_pods_names_its_cause() {
    let refused = |message: &str| {
        let mut world = deployment(json!({"observedGeneration": 2, "conditions": [
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]}));
        world.events.push(event("FailedCreate", message));
        world
    };
    let policy = refused("pods \"x-1\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true");
    let failed = failure(&policy, 5);
    assert_eq!(
        failed.message,
        "Deployment x: the cluster refuses to make its pods: violates PodSecurity \
        \"restricted:latest\": runAsNonRoot != true"
    );
    let account =
        refused("pods \"x-1\" is forbidden: error looking up service account ns/sa: serviceaccount \"sa\" not found");
    assert!(matches!(after(&account, 4), Judgement::NotYet(_)));
    assert!(failure(&account, 5).help.unwrap().contains("ServiceAccount"));
    let webhook = refused("Internal error occurred: failed calling webhook \"w\": connection refused");
    assert!(matches!(after(&webhook, 30), Judgement::NotYet(_)));
    assert!(failure(&webhook, 60).passing);
}

#[test]
fn a_stateful_set_whose_pods_are_refused_fails_by_its_events() {
    let mut world = seen(
        "StatefulSet",
        "apps/v1",
        json!({"spec": {"replicas": 2},
        "status": {"observedGeneration": 2, "replicas": 0}}),
    );
    world.events.push(json!({"type": "Warning", "reason": "FailedCreate", "involvedObject": {"uid": "u"},
        "message": "create Pod x-0 in StatefulSet x failed error: pods \"x-0\" is forbidden: exceeded quota: q"}));
    let failed = failure(&world, 5);
    assert!(failed.message.contains("exceeded quota: q"), "{}", failed.message);
}

#[test]
fn two_evicted_pods_are_too_many() {
    let mut world = with_pod(json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}));
    assert!(matches!(after(&world, 60), Judgement::NotYet(_)));
    let mut second = world.pods[0].clone();
    second["metadata"] = json!({"name": "q", "uid": "q"});
    world.pods.push(second);
    assert_eq!(failure(&world, 0).message, "2 pods were evicted, last q on node-1: low on memory");
}

#[test]
fn a_pod_held_by_a_queue_is_said_to_be_queued() {
    let mut world = with_pod(json!({"phase": "Pending"}));
    world.pods[0]["spec"]["schedulingGates"] = json!([{"name": "kueue.x-k8s.io/admission"}]);
    assert_eq!(awaited(&world), "pod p: queued, held by the scheduling gate kueue.x-k8s.io/admission");
}

#[test]
fn pods_of_an_older_revision_are_no_evidence_and_must_go() {
    let mut world =
        deployment(json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}));
    world.objects[0].live.as_mut().unwrap()["metadata"]["annotations"] =
        json!({"deployment.kubernetes.io/revision": "2"});
    let set = |name: &str, revision: &str| {
        json!({"kind": "ReplicaSet", "metadata": {"name": name, "uid": name,
        "annotations": {"deployment.kubernetes.io/revision": revision},
        "ownerReferences": [{"kind": "Deployment", "name": "x", "uid": "u", "controller": true}]}})
    };
    world.owned = vec![set("old", "1"), set("new", "2")];
    let pod = |name: &str, set: &str| {
        json!({"kind": "Pod", "metadata": {"name": name, "uid": name,
        "ownerReferences": [{"kind": "ReplicaSet", "name": set, "uid": set, "controller": true}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
    };
    world.pods = vec![pod("a", "new"), pod("b", "new")];
    assert_eq!(after(&world, 0), Judgement::Ready);
    world.pods.push(pod("c", "old"));
    assert_eq!(awaited(&world), "pod c: of an older revision, and not gone yet");
}
