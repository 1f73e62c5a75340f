//! Cleaning up from labels alone, on a machine without the run's folder.

use super::room::{DEADLINE, LOAD, OBJECTS, Room, STUCK, kubeconfig, own_image, plan, static_binary};

const RUN: &str = "20261125-000000-abcd";

/// A plan with one more line of policy.
fn with_policy(room: &Room, line: &str) -> String {
    plan("p", &room.namespace, "").replace(DEADLINE, &format!("{DEADLINE}\npolicy.{line}"))
}

fn label(room: &Room, what: &[&str]) {
    let run = format!("dynbench.dev/run={RUN}");
    let labels = ["label", "--overwrite", &run, "dynbench.dev/plan=p"];
    room.kubectl(&[&labels[..1], what, &labels[1..]].concat());
}

#[test]
#[ignore = "needs a cluster"]
fn what_carries_a_runs_label_goes_and_nothing_else() {
    let room = Room::new("preflight-labels");
    room.apply(OBJECTS);
    room.kubectl(&["create", "configmap", "foreign"]);
    room.kubectl(&["create", "configmap", "ours"]);
    label(&room, &["deployment/web", "service/web", "configmap/ours"]);
    let scope = ["cleanup", "--run", RUN, "--namespace", &room.namespace];
    let dry = room.world.ends(0, &[&scope[..], &["--dry-run"]].concat());
    assert!(dry.stdout.contains("would delete Deployment web"), "{}", dry.stdout);
    room.kubectl(&["get", "deployment", "web"]);

    let json = room.world.ends(0, &[&scope[..], &["--json"]].concat()).json();
    let gone = json["runs"][0]["swept"]["gone"].to_string();
    for what in ["Deployment web", "Service web", "ConfigMap ours"] {
        assert!(gone.contains(what), "{gone}");
    }
    room.kubectl(&["get", "configmap", "foreign"]);
    assert_eq!(room.kubectl(&["get", "all", "-o", "name"]), "");
}

#[test]
#[ignore = "needs a cluster"]
fn what_does_not_go_is_named_with_what_it_waits_for_and_is_a_leak() {
    let room = Room::new("preflight-stuck");
    room.apply(STUCK);
    label(&room, &["configmap/stuck"]);
    room.world.write("plan.toml", with_policy(&room, "teardown-deadline = \"2s\""));
    let ran = room.world.ends(6, &["cleanup", "--plan", "plan.toml"]);
    let words = "ConfigMap stuck is going, and not gone after 2.0s: it waits for example.com/hold";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    room.release_stuck();
}

#[test]
#[ignore = "needs a cluster"]
fn a_run_that_lives_is_left_alone_and_one_that_was_killed_is_ended() {
    let room = Room::new("preflight-expired");
    room.world.write("objects.yaml", STUCK);
    room.world.write("plan.toml", plan("p", &room.namespace, "lease = \"6s\""));
    let started = room.world.start(&["apply", "plan.toml"]);
    room.until("it tears down", || {
        let found = room.try_kubectl(&["get", "configmap", "stuck", "-o", "json"]);
        found.is_some_and(|found| found.contains("deletionTimestamp"))
    });
    // Another machine: no folder of results.
    let mut elsewhere = crate::world::World::new("");
    elsewhere.set("KUBECONFIG", &kubeconfig());
    let expired = ["cleanup", "--expired", "--namespace", &room.namespace];
    let alive = elsewhere.ends(0, &expired);
    assert!(alive.stdout.contains("left alone: it is alive"), "{}", alive.stdout);
    drop(started);
    room.release_stuck();
    let dead = elsewhere.ends(0, &expired);
    assert!(dead.stdout.contains("deleted Lease dynbench-run-"), "{}", dead.stdout);
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn a_reaper_ends_a_run_that_gives_no_sign_of_life() {
    let room = Room::new("preflight-reaper");
    room.world.write("objects.yaml", STUCK);
    room.world.write("plan.toml", plan("p", &room.namespace, "lease = \"2s\""));
    let started = room.world.start(&["apply", "plan.toml"]);
    room.until("it tears down", || {
        let found = room.try_kubectl(&["get", "configmap", "stuck", "-o", "json"]);
        found.is_some_and(|found| found.contains("deletionTimestamp"))
    });
    let leases = room.get(&["lease", "-l", "dynbench.dev/run"]);
    let run = leases["items"][0]["metadata"]["labels"]["dynbench.dev/run"].as_str().unwrap().to_owned();
    let reap = ["reap", "--run", &run, "--namespace", &room.namespace, "--after", "4s"];
    let reaper = room.world.start(&reap);
    drop(started);
    room.release_stuck();
    let ran = reaper.end(&reap);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("gave no sign of life for 4.0s"), "{}", ran.stderr);
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn a_reaper_is_a_job_with_few_rights_that_goes_with_the_runs_lease() {
    let room = Room::new("preflight-reaperjob");
    room.world.write("objects.yaml", STUCK);
    let image = pushed(&room);
    let lines = format!("{LOAD}\nload.image = \"{image}\"");
    room.world.write("plan.toml", with_policy(&room, "reaper = true").replace(LOAD, &lines));
    let started = room.world.start(&["apply", "plan.toml"]);
    room.until("it tears down", || {
        let found = room.try_kubectl(&["get", "configmap", "stuck", "-o", "json"]);
        found.is_some_and(|found| found.contains("deletionTimestamp"))
    });
    let jobs = room.get(&["job", "-l", "dynbench.dev/role=reaper"]);
    let job = &jobs["items"][0];
    assert_eq!(job["metadata"]["ownerReferences"][0]["kind"], "Lease");
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["containers"][0]["args"][0], "reap");
    let role = room.get(&["role", "-l", "dynbench.dev/role=reaper"])["items"][0]["rules"].to_string();
    assert!(role.contains("configmaps") && !role.contains("secrets") && !role.contains("create"), "{role}");
    room.release_stuck();
    let ran = started.end(&["apply", "plan.toml"]);
    assert_eq!(room.left_behind(), "", "{}", ran.stderr);
}

/// An image with a static dynbench in it.
fn pushed(room: &Room) -> String {
    let image = own_image(&room.namespace);
    let said = room.world.ends(0, &["image", "--binary", &static_binary(), "--push", &image, "--insecure"]).stderr;
    assert!(said.contains("they run it"), "{said}");
    image
}

#[test]
#[ignore = "needs a cluster"]
fn a_reaper_that_cannot_start_is_said_before_anything_is_deployed() {
    let room = Room::new("preflight-noreaper");
    // There, and no dynbench in it.
    let lines = format!("{LOAD}\nload.image = \"dynbench.local/dynamo:1.6.1\"");
    room.world.write("plan.toml", with_policy(&room, "reaper = true").replace(LOAD, &lines));
    let ran = room.world.ends(3, &["apply", "plan.toml"]);
    assert!(ran.stderr.contains("the reaper dynbench-reaper-"), "{}", ran.stderr);
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn a_reaper_in_the_cluster_leaves_nothing_of_a_run_that_was_killed() {
    let room = Room::new("preflight-reaped");
    let image = pushed(&room);
    let text = plan("p", &room.namespace, "lease = \"2s\"");
    let lines = "policy.ready-deadline = \"5m\"\npolicy.reaper = true\npolicy.expires-after = \"4s\"";
    let text = text.replace(DEADLINE, lines).replace(LOAD, &format!("{LOAD}\nload.image = \"{image}\""));
    room.world.write("plan.toml", text);
    let started = room.world.start(&["apply", "plan.toml"]);
    room.until("the reaper runs", || {
        let pods = room.get(&["pods", "-l", "dynbench.dev/role=reaper"]);
        pods["items"][0]["status"]["phase"] == "Running"
            && room.try_kubectl(&["get", "deployment", "-o", "name"]).is_some()
    });
    drop(started);
    room.until("nothing is left", || room.left_behind().is_empty());
}
