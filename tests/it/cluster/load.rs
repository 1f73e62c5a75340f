//! Whether load can work is known before anything is deployed; what goes wrong with it later is said early; the ways to
//! a deployment.

use std::time::Duration;

use serde_json::Value;

use super::room::{LOAD, Room, mocker, plan, static_binary};

/// Far below the 30 minutes that a plan gives a deployment.
const EARLY: Duration = Duration::from_secs(200);

/// A namespace in which Dynamo's mocker runs already.
fn with_mocker(name: &str) -> Room {
    let room = Room::new(name).patient(EARLY);
    room.apply(&mocker("agg"));
    room.kubectl(&["rollout", "status", "deployment/agg-frontend", "--timeout=120s"]);
    room.kubectl(&["rollout", "status", "deployment/agg-worker", "--timeout=120s"]);
    room
}

/// A plan that measures it, with these lines for the whole plan and for the deployment.
fn measures(room: &Room, whole: &str, deployment: &str) -> String {
    format!(
        r#"schema = 1
name = "ways"
model.id = "tiny-llama"
{whole}

[workload]
isl = 60
osl = 20
concurrency = [2]
requests = 20
warm-up-requests = 2

[target]
kind = "kubernetes"
namespace = "{}"

[deployments.agg]
existing = "agg-frontend"
service = "agg-frontend:8000"
{deployment}

[plots]
set = []

[validity]
send-lag-ms = 10000.0
"#,
        room.namespace
    )
}

#[test]
#[ignore = "needs a cluster"]
fn a_binary_that_is_not_static_is_said_before_anything_is_made() {
    let room = Room::new("load-dynamic");
    room.world.write("plan.toml", plan("p", &room.namespace, "").replace(LOAD, ""));
    let ran = room.world.ends(7, &["apply", "plan.toml"]);
    assert!(ran.stderr.contains("load workers cannot be given dynbench"), "{}", ran.stderr);
    assert!(ran.stderr.contains("is not static"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("start    web/deploy"), "{}", ran.stderr);
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn the_pods_of_the_load_count_in_a_quota() {
    let room = Room::new("load-quota");
    let binary = static_binary();
    let text = plan("p", &room.namespace, "").replace(LOAD, &format!("load.binary = \"{binary}\"\nload.workers = 2"));
    room.world.write("plan.toml", text);
    room.kubectl(&["create", "quota", "small", "--hard=pods=2"]);
    room.until("the quota counts", || room.get(&["quota", "small"])["status"]["used"].is_object());
    let ran = room.world.ends(7, &["apply", "plan.toml"]);
    assert!(ran.stderr.contains("pods: needs 3, 2 is left (0 of 2 used)"), "{}", ran.stderr);
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn load_workers_that_the_cluster_refuses_to_make_are_said_early() {
    let room = with_mocker("load-refused");
    let binary = static_binary();
    room.world.write("plan.toml", measures(&room, &format!("load.binary = \"{binary}\""), ""));
    room.apply(
        "apiVersion: v1\nkind: LimitRange\nmetadata: {name: small}\n\
         spec: {limits: [{type: Container, max: {memory: 512Mi}}]}\n",
    );
    let ran = room.world.ends(3, &["apply", "plan.toml"]);
    let said = ran.stderr.lines().find(|line| line.starts_with("failed "));
    let said = said.unwrap_or_else(|| panic!("{}", ran.stderr));
    assert!(said.contains("Job load-") && said.contains("the cluster refuses to make its pods"), "{said}");
    assert!(said.contains("maximum memory usage per Container is 512Mi, but limit is 1Gi"), "{said}");
    assert!(said.contains(&format!(", namespace {})", room.namespace)), "{said}");
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn what_sent_the_load_and_what_ran_already_are_kept() {
    let room = with_mocker("load-kept");
    let binary = static_binary();
    let whole = format!("load.binary = \"{binary}\"\nload.resources = {{ cpu = \"100m\", memory = \"256Mi\" }}");
    room.world.write("plan.toml", measures(&room, &whole, ""));
    room.world.ends(0, &["apply", "plan.toml"]);
    let logs = "results/ways/latest/logs/agg";
    let objects = room.world.read(&format!("{logs}/objects.yaml"));
    for kind in ["kind: Deployment\n", "kind: Service\n", "kind: Job\n"] {
        assert!(objects.contains(kind), "{kind}: {objects}");
    }
    assert!(!objects.contains("last-applied-configuration"), "{objects}");
    let files = std::fs::read_dir(room.world.path(logs)).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let log = files.iter().find(|name| name.starts_with("load-") && name.ends_with(".load.log"));
    let log = room.world.read(&format!("{logs}/{}", log.unwrap_or_else(|| panic!("{files:?}"))));
    assert!(log.contains("listens at"), "{log}");
    assert!(room.world.read(&format!("{logs}/events.txt")).contains("Job/load-"));
    assert_eq!(room.left_behind(), "");
}

/// Measures through a URL from here, and looks whether all results say so.
fn through(room: &Room, url: &str) {
    let plan = measures(room, "", &format!("url = \"{url}\""));
    room.world.write("plan.toml", plan.replace("set = []", "set = [\"timeline\"]"));
    room.world.ends(0, &["apply", "plan.toml"]);
    let point: Value = serde_json::from_str(&room.world.read("results/ways/latest/agg/c2/results.json")).unwrap();
    let meta = &point["point"]["meta"];
    assert_eq!((&meta["transport"], &meta["url"]), (&"url".into(), &url.into()));
    assert_eq!(point["point"]["counts"]["ok"], 20);
    assert!(room.world.read("results/ways/latest/plots/timeline.svg").contains("transport: url"));
    let summary = room.world.read("results/ways/latest/SUMMARY.txt");
    assert!(summary.contains("transport url"), "{summary}");
    assert_eq!(room.left_behind(), "");
}

/// An address of a node.
fn node(room: &Room) -> String {
    let node = room.get(&["nodes"])["items"][0].clone();
    let address = node["status"]["addresses"].as_array().unwrap().iter().find(|one| one["type"] == "InternalIP");
    address.unwrap()["address"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs a cluster"]
fn a_node_port_is_measured_from_here() {
    let room = with_mocker("load-nodeport");
    room.kubectl(&["patch", "service", "agg-frontend", "-p", r#"{"spec":{"type":"NodePort"}}"#]);
    let port = room.get(&["service", "agg-frontend"])["spec"]["ports"][0]["nodePort"].clone();
    through(&room, &format!("http://{}:{port}", node(&room)));
}

#[test]
#[ignore = "needs a cluster"]
fn a_load_balancer_is_measured_from_here() {
    let room = with_mocker("load-balancer");
    room.kubectl(&["patch", "service", "agg-frontend", "-p", r#"{"spec":{"type":"LoadBalancer"}}"#]);
    // What a cloud's controller would write: the balancer has an address that leads to the nodes.
    let address = node(&room);
    let status = format!(r#"{{"status":{{"loadBalancer":{{"ingress":[{{"ip":"{address}"}}]}}}}}}"#);
    room.kubectl(&["patch", "service", "agg-frontend", "--subresource=status", "-p", &status]);
    let ingress = room.get(&["service", "agg-frontend"])["status"]["loadBalancer"]["ingress"][0]["ip"].clone();
    through(&room, &format!("http://{}:8000", ingress.as_str().unwrap()));
}
