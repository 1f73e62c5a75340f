//! What runs already is measured from inside and left as it is; a restart in the middle of a point makes it invalid; GPUs of
//! bound pods are compared with those of the plan.

use std::time::Duration;

use serde_json::{Value, json};

use super::devices::Devices;
use super::room::{Room, mocker};

const PATIENCE: Duration = Duration::from_secs(240);

fn plan(namespace: &str, deployment: &str) -> String {
    format!(
        r#"schema = 1
name = "existing"
model.id = "tiny-llama"

[workload]
isl = 40
osl = 20
concurrency = [2]
requests = 20
warm-up-requests = 2

[load]
from = "here"

[target]
kind = "kubernetes"
namespace = "{namespace}"

[deployments.agg]
{deployment}

[plots]
set = []

[validity]
send-lag-ms = 10000.0
"#
    )
}

const EXISTING: &str = "existing = \"agg\"\nservice = \"agg-frontend:8000\"";

/// A namespace in which Dynamo's frontend and two mockers run, all labelled `app: agg`.
fn room(name: &str) -> Room {
    let room = Room::new(name).patient(PATIENCE);
    room.apply(&mocker("agg"));
    for deployment in ["deployment/agg-frontend", "deployment/agg-worker"] {
        room.kubectl(&["rollout", "status", deployment, "--timeout=120s"]);
    }
    room
}

/// Everything of a namespace that somebody could have changed, as far as it does not change by itself.
fn state(room: &Room) -> Value {
    let all = room.get(&["deployments,replicasets,pods,services,configmaps,persistentvolumeclaims,leases,jobs"]);
    let one = |object: &Value| {
        let metadata = &object["metadata"];
        let restarts: Vec<_> = object["status"]["containerStatuses"].as_array().into_iter().flatten().collect();
        let restarts: Vec<_> = restarts.iter().map(|status| status["restartCount"].clone()).collect();
        json!([
            object["kind"],
            metadata["name"],
            metadata["uid"],
            metadata["generation"],
            metadata["labels"],
            metadata["annotations"],
            object["spec"],
            restarts
        ])
    };
    all["items"].as_array().unwrap().iter().map(one).collect()
}

fn point(room: &Room) -> Value {
    let file = room.world.read("results/existing/latest/agg/c2/results.json");
    serde_json::from_str::<Value>(&file).unwrap()["point"].clone()
}

fn journal(room: &Room) -> String {
    room.world.read("results/existing/latest/.run/journal.jsonl")
}

#[test]
#[ignore = "needs a cluster"]
fn what_runs_already_is_measured_and_nothing_of_it_is_touched() {
    let room = room("rules-existing");
    let before = state(&room);
    room.world.write("plan.toml", plan(&room.namespace, EXISTING));
    room.world.ends(0, &["apply", "plan.toml"]);
    assert_eq!(point(&room)["invalid"], json!([]));
    let journal = journal(&room);
    // The workers behind the frontend are watched as well.
    assert!(journal.contains("\"pods\":\"3\""), "{journal}");
    let after = state(&room);
    assert_eq!(after, before);
}

#[test]
#[ignore = "needs a cluster"]
fn a_worker_that_is_restarted_in_the_middle_of_a_point_makes_it_invalid_and_the_next_life_is_measured() {
    let room = room("rules-restart");
    let long =
        plan(&room.namespace, EXISTING).replace("requests = 20", "requests = 300").replace("osl = 20", "osl = 100");
    room.world.write("plan.toml", long);
    let arguments = ["apply", "plan.toml", "--events", "events.jsonl"];
    let running = room.world.start(&arguments);
    room.until("it measures", || {
        let measures = |event: &str| event.contains("load/c2") && event.contains("\"doing\":\"measuring\"");
        std::fs::read_to_string(room.world.path("events.jsonl")).is_ok_and(|events| events.lines().any(measures))
    });
    // Its first process ends, and Kubernetes starts the container again.
    room.kubectl(&["exec", "deployment/agg-worker", "--", "python3", "-c", "import os; os.kill(1, 15)"]);
    let ran = running.end(&arguments);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let said = "the deployment was restarted, replaced or ended during the point: container main of pod agg-worker-";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    assert!(ran.stderr.contains("is not what became ready any more"), "{}", ran.stderr);
    room.world.ends(0, &["apply", "plan.toml", "--resume"]);
    let point = point(&room);
    assert_eq!(point["invalid"], json!([]));
    assert!(point["meta"]["attempt"].as_u64().unwrap() > 1, "{point}");
}

#[test]
#[ignore = "needs a cluster"]
fn gpus_of_bound_pods_that_are_not_those_of_the_plan_are_said() {
    let room = Room::new("rules-gpus").patient(PATIENCE);
    let _devices = Devices::new(&room, "dynbench.test/gpu", 4);
    let worker = "command: [python3, -m, dynamo.mocker, --model-path";
    let asking =
        mocker("agg").replace(worker, &format!("resources: {{limits: {{dynbench.test/gpu: 1}}}}\n          {worker}"));
    room.world.write("objects.yaml", asking);
    let deployment = "manifests = [\"objects.yaml\"]\nservice = \"agg-frontend:8000\"";
    room.world.write("plan.toml", plan(&room.namespace, &format!("{deployment}\ngpus = 4")));
    room.world.ends(0, &["apply", "plan.toml"]);
    let told = journal(&room);
    // As the plan counts by itself.
    room.world.write("plan.toml", plan(&room.namespace, deployment));
    room.world.ends(0, &["apply", "plan.toml", "--new"]);
    assert!(told.contains("GPUs: the plan counts 4, the bound pods hold 2"), "{told}");
    assert!(!journal(&room).contains("the bound pods hold"));
}
