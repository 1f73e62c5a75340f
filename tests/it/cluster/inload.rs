//! Load from inside a cluster, on a real one: the Job, the carried binary, the forwarded port, several workers, and what
//! becomes of a level when dynbench dies.
//!
//! What is loaded is Dynamo's frontend, router and mocker in pods.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::room::{Room, mocker, own_image, shared, static_binary};
use crate::world::{PLAN, World};

/// Long enough for levels in which something happens.
const PATIENCE: Duration = Duration::from_secs(240);

/// A namespace of its own with Dynamo's mocker in it, and a plan that measures it with more lines for `[load]`.
fn room(name: &str, load: &str) -> Room {
    let room = Room::new(name).patient(PATIENCE);
    room.apply(&mocker("agg"));
    for deployment in ["deployment/agg-frontend", "deployment/agg-worker"] {
        room.kubectl(&["rollout", "status", deployment, "--timeout=120s"]);
    }
    room.world.write(PLAN, plan(name, load));
    room
}

/// A plan that measures the mocker of a namespace, with more lines for `[load]`.
fn plan(namespace: &str, load: &str) -> String {
    format!(
        r#"schema = 1
name = "inload"
model.id = "tiny-llama"

[workload]
isl = 60
osl = 20
concurrency = [2, 4]
requests = 40
warm-up-requests = 4

[target]
kind = "kubernetes"
namespace = "{namespace}"

[deployments.agg]
existing = "agg-frontend"
service = "agg-frontend:8000"

[load]
resources = {{ cpu = "100m", memory = "256Mi" }}
{load}

[plots]
set = []

[validity]
send-lag-ms = 10000.0
"#
    )
}

fn carried() -> String {
    format!("binary = \"{}\"", static_binary())
}

fn summary(world: &World, level: &str) -> Value {
    let file: Value = serde_json::from_str(&world.read(&format!("out/agg/{level}/results.json"))).unwrap();
    file["point"].clone()
}

const APPLY: &[&str] = &["apply", PLAN, "--output-dir", "out"];
const RESUME: &[&str] = &["apply", PLAN, "--output-dir", "out", "--resume"];

const WATCHED: &[&str] = &["apply", PLAN, "--output-dir", "out", "--events", "events.jsonl"];

/// Waits until a level has told of its first measured requests.
fn until_measuring(world: &World) {
    let measures = |event: &str| event.contains("load/c2") && event.contains("\"doing\":\"measuring\"");
    while !std::fs::read_to_string(world.path("events.jsonl")).is_ok_and(|events| events.lines().any(measures)) {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Levels long enough for something to happen in them.
fn with_long_levels(world: &World) {
    world.edit("requests = 40", "requests = 200");
    world.edit("osl = 20", "osl = 100");
}

/// The API server is away for some seconds, as in an upgrade.
fn api_server_away(seconds: u64) {
    let tool = shared("cluster/cluster");
    let does = |verb: &str| assert!(Command::new(&tool).args([verb, "kube-apiserver"]).status().unwrap().success());
    does("stop");
    std::thread::sleep(Duration::from_secs(seconds));
    does("start");
}

#[test]
#[ignore = "needs a cluster, and stops its API server"]
fn disturbs_an_api_server_that_is_away_spoils_no_level_in_the_cluster() {
    let room = room("inload-away", &carried());
    let world = &room.world;
    with_long_levels(world);
    let running = world.start(WATCHED);
    until_measuring(world);
    api_server_away(4);
    let ended = running.end(WATCHED);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let found = summary(world, "c2");
    assert_eq!((&found["counts"]["ok"], &found["invalid"]), (&serde_json::json!(200), &serde_json::json!([])));
    // Said while it lasted.
    assert!(world.read("events.jsonl").contains("its worker is out of reach"), "nobody was told");
}

#[test]
#[ignore = "needs a cluster, and stops its API server"]
fn disturbs_a_cut_of_the_forwarded_port_makes_the_point_invalid() {
    let room = room("inload-cut", "from = \"here\"");
    let world = &room.world;
    with_long_levels(world);
    world.edit("concurrency = [2, 4]", "concurrency = [2]");
    let running = world.start(WATCHED);
    until_measuring(world);
    api_server_away(2);
    let ended = running.end(WATCHED);
    // The moment was to blame, so that it is measured again at once.
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("transport: the forwarded port broke"), "{}", ended.stderr);
    let found = summary(world, "c2");
    assert_eq!((&found["meta"]["attempt"], &found["invalid"]), (&serde_json::json!(2), &serde_json::json!([])));
}

#[test]
#[ignore = "needs a cluster"]
fn a_job_with_the_binary_carried_into_it_measures_and_leaves_nothing() {
    let room = room("inload-carried", &carried());
    let world = &room.world;
    world.ends(0, APPLY);
    for level in ["c2", "c4"] {
        let found = summary(world, level);
        assert_eq!(found["meta"]["transport"], "in-cluster");
        assert_eq!(found["counts"]["ok"], 40);
        assert_eq!(found["invalid"], serde_json::json!([]));
        // Its own counters were read from inside, and are equal to ours.
        assert!(found["server_counters"].as_array().is_some_and(|checks| !checks.is_empty()), "{found:#}");
    }
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn two_workers_share_a_level_exactly() {
    let room = room("inload-two", &format!("workers = 2\n{}", carried()));
    let world = &room.world;
    world.ends(0, APPLY);
    let found = summary(world, "c4");
    assert_eq!(found["counts"]["ok"], 40);
    assert_eq!(found["health"]["workers"], 2);
    let doubt = found["health"]["clock_uncertainty_ms"].as_f64().unwrap();
    assert!(doubt > 0.0 && doubt < 500.0, "{doubt}");
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn a_level_goes_on_when_dynbench_is_killed_and_the_resume_uses_it() {
    let room = room("inload-killed", &carried());
    let world = &room.world;
    with_long_levels(world);
    let running = world.start(WATCHED);
    // Killed when the worker has told of its first requests: what is killed before that is only begun again.
    until_measuring(world);
    running.kill();
    world.ends(0, RESUME);
    let journal = world.read("out/.run/journal.jsonl");
    assert!(journal.contains("the load worker went on with attempt 1: its result is used"), "{journal}");
    let records = world.read("out/agg/c2/requests.jsonl");
    // The first line says what the file is.
    assert_eq!(records.lines().count(), 1 + 200);
    assert!(records.lines().skip(1).all(|record| record.contains("-r1-a1-")), "the first attempt's requests");
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn load_through_a_forwarded_port_says_so_in_every_result() {
    let room = room("inload-forward", "from = \"here\"");
    let world = &room.world;
    world.ends(0, APPLY);
    assert_eq!(summary(world, "c2")["meta"]["transport"], "port-forward");
    assert!(world.read("out/SUMMARY.txt").contains("transport port-forward"));
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn an_image_that_was_pushed_runs_as_it_is() {
    let reference = own_image("inload");
    let room = room("inload-image", &format!("image = \"{reference}\""));
    let world = &room.world;
    let pushed =
        world.ends(0, &["image", "--push", &reference, "--insecure", "--binary", &static_binary(), "-o", "image.tar"]);
    assert!(pushed.stdout.contains("@sha256:"), "{pushed:?}");
    assert!(Path::new(&world.path("image.tar")).is_file());
    world.ends(0, APPLY);
    assert_eq!(summary(world, "c2")["meta"]["transport"], "in-cluster");
}

#[test]
#[ignore = "needs a cluster"]
fn an_image_that_nobody_has_is_said_within_seconds() {
    let room = room("inload-noimage", "image = \"nowhere.invalid/dynbench:1\"");
    let world = &room.world;
    let failed = world.ends(3, APPLY);
    assert!(failed.stderr.contains("cannot start: ImagePullBackOff"), "{}", failed.stderr);
    assert!(failed.stderr.contains("load.image"), "{}", failed.stderr);
    assert_eq!(room.left_behind(), "");
}
