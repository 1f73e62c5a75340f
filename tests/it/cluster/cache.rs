//! The model cache: filled once, kept, used again.

use super::room::{Room, plan};

fn target(command: &str) -> String {
    format!(
        r#"
[target.model-cache]
pvc = "models"
size = "10Mi"
command = ["sh", "-c", "{command}"]
deadline = "1m"
"#
    )
}

fn jobs(room: &Room) -> Vec<String> {
    let jobs = room.get(&["job", "-l", "dynbench.dev/role=model-cache"]);
    jobs["items"].as_array().unwrap().iter().map(|job| job["metadata"]["uid"].as_str().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "needs a cluster"]
fn a_cache_is_filled_before_anything_is_deployed_and_kept_and_used_again() {
    let room = Room::new("preflight-cache");
    room.world.write("plan.toml", plan("p", &room.namespace, &target("echo weights > /model-cache/w")));
    let first = room.world.run(&["apply", "plan.toml"]);
    assert!(first.stderr.contains("ok       web/deploy"), "{}", first.stderr);
    let made = jobs(&room);
    assert_eq!(made.len(), 1);
    room.kubectl(&["get", "pvc", "models"]);
    assert_eq!(room.left_behind(), "", "neither belongs to a run");

    let second = room.world.run(&["apply", "plan.toml", "--new"]);
    assert!(second.stderr.contains("ok       web/deploy"), "{}", second.stderr);
    assert_eq!(jobs(&room), made, "the same Job is the mark that it is full");
}

#[test]
#[ignore = "needs a cluster"]
fn a_download_that_fails_is_told_with_the_last_lines_of_its_log_and_tried_again_next_time() {
    let room = Room::new("preflight-nocache");
    let command = "echo 401 Unauthorized: gated repository >&2; exit 3";
    room.world.write("plan.toml", plan("p", &room.namespace, &target(command)));
    let ran = room.world.run(&["apply", "plan.toml"]);
    assert!(ran.stderr.contains("the model cache models was not filled"), "{}", ran.stderr);
    assert!(ran.stderr.contains("401 Unauthorized: gated repository"), "{}", ran.stderr);
    let failed = jobs(&room);
    let again = room.world.run(&["apply", "plan.toml", "--new"]);
    assert!(again.stderr.contains("the model cache models was not filled"), "{}", again.stderr);
    assert_ne!(jobs(&room), failed, "a failure of an earlier day is no answer");
}
