//! Load from inside a cluster, on a real one: the Job, the carried binary, the forwarded port, several workers, and what
//! becomes of a level when dynbench dies.
//!
//! Left out without a cluster: they are ignored, and `DYNBENCH_TEST_CLUSTER` names the kubeconfig for those who ask. Load
//! workers need a static binary: `DYNBENCH_STATIC`. What is loaded is Dynamo's frontend, router and mocker in pods, from the
//! manifests at `DYNBENCH_TEST_MOCKER`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::world::{PLAN, World};

/// A namespace of its own with Dynamo's mocker in it; gone with the value.
struct Namespace {
    name: String,
    kubeconfig: String,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must be set for tests on a cluster"))
}

impl Namespace {
    fn with_mocker(name: &str) -> Self {
        let namespace = Self::empty(name);
        namespace.kubectl(&["apply", "-f", &variable("DYNBENCH_TEST_MOCKER")]);
        namespace.kubectl(&["rollout", "status", "deployment/agg-frontend", "--timeout=120s"]);
        namespace.kubectl(&["rollout", "status", "deployment/agg-worker", "--timeout=120s"]);
        namespace
    }

    fn empty(name: &str) -> Self {
        let namespace = Self { name: name.to_owned(), kubeconfig: variable("DYNBENCH_TEST_CLUSTER") };
        namespace.kubectl(&["create", "namespace", name]);
        namespace
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let ran = Command::new("kubectl")
            .args(["--kubeconfig", &self.kubeconfig, "--namespace", &self.name])
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(ran.status.success(), "kubectl {arguments:?}");
        String::from_utf8(ran.stdout).unwrap()
    }

    /// Names of what carries a label of ours: jobs and pods.
    fn ours(&self) -> Vec<String> {
        let listed = self.kubectl(&["get", "jobs,pods", "-l", "app.kubernetes.io/managed-by=dynbench", "-o", "name"]);
        listed.lines().map(str::to_owned).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A test that fails leaves nothing behind either; a namespace that stays is seen by the next run.
        drop(
            Command::new("kubectl")
                .args(["--kubeconfig", &self.kubeconfig, "delete", "namespace", &self.name, "--wait=true"])
                .stdout(Stdio::null())
                .status(),
        );
    }
}

/// A plan that measures the mocker of a namespace, with more lines for `[load]`.
fn plan(namespace: &Namespace, load: &str) -> String {
    let name = &namespace.name;
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
namespace = "{name}"

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
    format!("binary = \"{}\"", variable("DYNBENCH_STATIC"))
}

fn world(namespace: &Namespace, load: &str) -> World {
    World::new(&plan(namespace, load)).with("KUBECONFIG", &namespace.kubeconfig).patient(Duration::from_secs(240))
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
    let tool = variable("DYNBENCH_TEST_CLUSTER_TOOL");
    let does = |verb: &str| assert!(Command::new(&tool).args([verb, "kube-apiserver"]).status().unwrap().success());
    does("stop");
    std::thread::sleep(Duration::from_secs(seconds));
    does("start");
}

#[test]
#[ignore = "needs a cluster, and stops its API server"]
fn cluster_a_level_in_the_cluster_is_not_disturbed_when_the_api_server_goes_away() {
    let namespace = Namespace::with_mocker("inload-away");
    let world = world(&namespace, &carried());
    with_long_levels(&world);
    let running = world.start(WATCHED);
    until_measuring(&world);
    api_server_away(4);
    let ended = running.end(WATCHED);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let found = summary(&world, "c2");
    assert_eq!((&found["counts"]["ok"], &found["invalid"]), (&serde_json::json!(200), &serde_json::json!([])));
    // Said while it lasted.
    assert!(world.read("events.jsonl").contains("its worker is out of reach"), "nobody was told");
}

#[test]
#[ignore = "needs a cluster, and stops its API server"]
fn cluster_a_cut_of_the_forwarded_port_makes_the_point_invalid() {
    let namespace = Namespace::with_mocker("inload-cut");
    let world = world(&namespace, "from = \"here\"");
    with_long_levels(&world);
    world.edit("concurrency = [2, 4]", "concurrency = [2]");
    let running = world.start(WATCHED);
    until_measuring(&world);
    api_server_away(2);
    let ended = running.end(WATCHED);
    // The moment was to blame, so that it is measured again at once.
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("transport: the forwarded port broke"), "{}", ended.stderr);
    let found = summary(&world, "c2");
    assert_eq!((&found["meta"]["attempt"], &found["invalid"]), (&serde_json::json!(2), &serde_json::json!([])));
}

#[test]
#[ignore = "needs a cluster"]
fn cluster_a_job_with_the_binary_carried_into_it_measures_and_leaves_nothing() {
    let namespace = Namespace::with_mocker("inload-carried");
    let world = world(&namespace, &carried());
    world.ends(0, APPLY);
    for level in ["c2", "c4"] {
        let found = summary(&world, level);
        assert_eq!(found["meta"]["transport"], "in-cluster");
        assert_eq!(found["counts"]["ok"], 40);
        assert_eq!(found["invalid"], serde_json::json!([]));
        // Its own counters were read from inside, and are equal to ours.
        assert!(found["server_counters"].as_array().is_some_and(|checks| !checks.is_empty()), "{found:#}");
    }
    assert_eq!(namespace.ours(), Vec::<String>::new());
}

#[test]
#[ignore = "needs a cluster"]
fn cluster_two_workers_share_a_level_exactly() {
    let namespace = Namespace::with_mocker("inload-two");
    let world = world(&namespace, &format!("workers = 2\n{}", carried()));
    world.ends(0, APPLY);
    let found = summary(&world, "c4");
    assert_eq!(found["counts"]["ok"], 40);
    assert_eq!(found["health"]["workers"], 2);
    let doubt = found["health"]["clock_uncertainty_ms"].as_f64().unwrap();
    assert!(doubt > 0.0 && doubt < 500.0, "{doubt}");
    assert_eq!(namespace.ours(), Vec::<String>::new());
}

#[test]
#[ignore = "needs a cluster"]
fn cluster_a_level_goes_on_when_dynbench_is_killed_and_the_resume_uses_it() {
    let namespace = Namespace::with_mocker("inload-killed");
    let world = world(&namespace, &carried());
    with_long_levels(&world);
    let running = world.start(WATCHED);
    // Killed when the worker has told of its first requests: what is killed before that is only begun again.
    until_measuring(&world);
    running.kill();
    world.ends(0, RESUME);
    let journal = world.read("out/.run/journal.jsonl");
    assert!(journal.contains("the load worker went on with attempt 1: its result is used"), "{journal}");
    let records = world.read("out/agg/c2/requests.jsonl");
    // The first line says what the file is.
    assert_eq!(records.lines().count(), 1 + 200);
    assert!(records.lines().skip(1).all(|record| record.contains("-r1-a1-")), "the first attempt's requests");
    assert_eq!(namespace.ours(), Vec::<String>::new());
}

#[test]
#[ignore = "needs a cluster"]
fn cluster_load_through_a_forwarded_port_says_so_in_every_result() {
    let namespace = Namespace::with_mocker("inload-forward");
    let world = world(&namespace, "from = \"here\"");
    world.ends(0, APPLY);
    assert_eq!(summary(&world, "c2")["meta"]["transport"], "port-forward");
    assert!(world.read("out/SUMMARY.txt").contains("transport port-forward"));
    assert_eq!(namespace.ours(), Vec::<String>::new());
}

#[test]
#[ignore = "needs a cluster"]
fn cluster_an_image_that_was_pushed_runs_as_it_is() {
    let namespace = Namespace::with_mocker("inload-image");
    let registry = variable("DYNBENCH_TEST_REGISTRY");
    let reference = format!("{registry}/inload/dynbench:test");
    let world = world(&namespace, &format!("image = \"{reference}\""));
    let pushed = world.ends(
        0,
        &["image", "--push", &reference, "--insecure", "--binary", &variable("DYNBENCH_STATIC"), "-o", "image.tar"],
    );
    assert!(pushed.stdout.contains("@sha256:"), "{pushed:?}");
    assert!(Path::new(&world.path("image.tar")).is_file());
    world.ends(0, APPLY);
    assert_eq!(summary(&world, "c2")["meta"]["transport"], "in-cluster");
}

#[test]
#[ignore = "needs a cluster"]
fn cluster_an_image_that_nobody_has_is_said_within_seconds() {
    let namespace = Namespace::with_mocker("inload-noimage");
    let world = world(&namespace, "image = \"nowhere.invalid/dynbench:1\"");
    let failed = world.ends(3, APPLY);
    assert!(failed.stderr.contains("cannot start: ImagePullBackOff"), "{}", failed.stderr);
    assert!(failed.stderr.contains("load.image"), "{}", failed.stderr);
    assert_eq!(namespace.ours(), Vec::<String>::new());
}
