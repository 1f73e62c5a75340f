//! Two runs never measure on one pool of GPUs, and a dead one does not keep it.

use super::room::{Room, STUCK, plan};

const POOL: &str = "gpu-pool = \"h100\"\nlease = \"6s\"";

/// A run that has the pool and stays: its teardown waits for a finalizer.
fn holder(room: &Room) -> crate::world::Started {
    room.world.write("objects.yaml", STUCK);
    room.world.write("holder.toml", plan("holder", &room.namespace, POOL));
    let started = room.world.start(&["apply", "holder.toml"]);
    room.until("the holder tears down", || {
        let found = room.try_kubectl(&["get", "configmap", "stuck", "-o", "json"]);
        found.is_some_and(|found| found.contains("deletionTimestamp"))
    });
    room.world.write("objects.yaml", super::room::OBJECTS);
    started
}

fn lease(room: &Room) -> serde_json::Value {
    room.get(&["lease", "dynbench-pool-h100"])["spec"].clone()
}

#[test]
#[ignore = "needs a cluster"]
fn a_pool_that_a_living_run_has_refuses_others_and_says_who_has_it() {
    let room = Room::new("preflight-pool");
    let holder = holder(&room);
    let before = lease(&room);
    room.world.write("plan.toml", plan("other", &room.namespace, POOL));
    let ran = room.world.ends(8, &["apply", "plan.toml"]);
    let words = "GPU pool h100 (context dynbench-test, namespace preflight-pool) is held by run";
    assert!(ran.stderr.contains(words) && ran.stderr.contains("of plan holder on"), "{}", ran.stderr);
    let after = lease(&room);
    assert_eq!(after["holderIdentity"], before["holderIdentity"]);
    assert_ne!(after["renewTime"], before["renewTime"], "it was renewed meanwhile");
    assert!(!room.left_behind().contains("other"), "{}", room.left_behind());

    // One that waits has it as soon as the other is over.
    room.world.write("plan.toml", plan("other", &room.namespace, &format!("{POOL}\ngpu-pool-wait = \"1m\"")));
    let mut waiting = room.world.start(&["apply", "plan.toml", "--new", "-v"]);
    room.release_stuck();
    waiting.says("web/teardown");
    drop(holder);
}

#[test]
#[ignore = "needs a cluster"]
fn a_pool_of_a_run_that_was_killed_is_taken_over_after_its_lease() {
    let room = Room::new("preflight-dead");
    drop(holder(&room));
    let before = lease(&room);
    room.world.write("plan.toml", plan("other", &room.namespace, POOL));
    let ran = room.world.run(&["apply", "plan.toml"]);
    assert!(ran.stderr.contains("ok       web/deploy"), "{}", ran.stderr);
    assert_eq!(before["leaseTransitions"], 0);
    assert_eq!(room.try_kubectl(&["get", "lease", "dynbench-pool-h100"]), None, "the other has given it back");
    room.release_stuck();
}

#[test]
#[ignore = "needs a cluster"]
fn a_run_that_is_resumed_takes_its_own_pool_over_at_once() {
    let room = Room::new("preflight-resumed");
    drop(holder(&room));
    room.release_stuck();
    let before = lease(&room);
    let resumed = room.world.run(&["apply", "holder.toml", "--resume"]);
    assert!(!resumed.stderr.contains("is held by"), "{}", resumed.stderr);
    assert!(before["holderIdentity"].is_string());
    assert_eq!(room.left_behind(), "");
}
