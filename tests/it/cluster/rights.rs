//! The Role that `dynbench rbac` prints is enough, and the optional ClusterRole is optional.

use super::room::{DEADLINE, LOAD, Room, kubeconfig, mocker, plan, static_binary};

/// A kubeconfig of a ServiceAccount with nothing but the plan's Role.
fn as_service_account(room: &mut Room) {
    let printed = room.world.ends(0, &["rbac", "plan.toml"]).stdout;
    let (role, cluster_role) = printed.split_once("---\n# OPTIONAL").unwrap();
    assert!(cluster_role.contains("kind: ClusterRole"), "{printed}");
    assert!(!role.contains("ClusterRole"), "{printed}");
    room.apply(role);
    let token = room.kubectl(&["create", "token", "dynbench"]);
    let mut config: serde_json::Value =
        serde_json::from_str(&room.kubectl(&["config", "view", "--raw", "-o", "json"])).unwrap();
    config["users"] = serde_json::json!([{"name": "sa", "user": {"token": token.trim()}}]);
    config["contexts"][0]["context"]["user"] = "sa".into();
    room.world.write("sa.json", config.to_string());
    let path = room.world.path("sa.json").display().to_string();
    room.world.set("KUBECONFIG", &path);
}

#[test]
#[ignore = "needs a cluster"]
fn with_the_role_alone_a_plan_runs_and_cluster_wide_checks_say_that_they_had_no_access() {
    let mut room = Room::new("preflight-role");
    let admin = kubeconfig();
    room.world.set("TOKEN_OF_THE_TEST", "x");
    let target = r#"gpu-pool = "h100"
lease = "6s"
[target.secrets.made]
from-env = "TOKEN_OF_THE_TEST"
[target.model-cache]
pvc = "models"
size = "10Mi"
command = ["sh", "-c", "true"]
deadline = "1m"
"#;
    room.world.write("plan.toml", plan("p", &room.namespace, target));
    as_service_account(&mut room);
    let view = room.world.ends(0, &["plan", "plan.toml", "--server"]).stdout;
    assert!(view.contains("namespace preflight-role: not checked: no access"), "{view}");
    assert!(view.contains("rights that it needs in the namespace"), "{view}");
    let ran = room.world.run(&["apply", "plan.toml"]);
    for step in ["web/preflight", "web/deploy", "web/teardown"] {
        assert!(ran.stderr.contains(&format!("ok       {step}")), "{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("forbidden"), "{}", ran.stderr);
    let noted = room.world.read("results/p/latest/.run/journal.jsonl");
    assert!(noted.contains("namespace preflight-role: not checked: no access"), "{noted}");
    room.world.set("KUBECONFIG", &admin);
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn a_right_that_is_missing_is_named_before_anything_is_made() {
    let mut room = Room::new("preflight-rights");
    let admin = kubeconfig();
    room.world.write("plan.toml", plan("p", &room.namespace, ""));
    as_service_account(&mut room);
    let lacking = std::mem::replace(&mut room.world, crate::world::World::new(""));
    room.world.set("KUBECONFIG", &admin);
    let role = room.get(&["role", "dynbench-p"]);
    let rules = role["rules"].as_array().unwrap();
    let apps = rules.iter().position(|rule| rule["resources"].to_string().contains("deployments")).unwrap();
    let path = format!(r#"[{{"op":"replace","path":"/rules/{apps}/verbs","value":["get","list","watch"]}}]"#);
    room.kubectl(&["patch", "role", "dynbench-p", "--type=json", "-p", &path]);
    let ran = lacking.ends(7, &["apply", "plan.toml"]);
    assert!(ran.stderr.contains("you lack rights that this plan needs"), "{}", ran.stderr);
    assert!(ran.stderr.contains("create, delete, patch: deployments.apps"), "{}", ran.stderr);
    assert!(ran.stderr.contains("dynbench rbac"), "{}", ran.stderr);
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn a_whole_plan_with_load_from_inside_runs_with_the_role_alone() {
    let mut room = Room::new("preflight-whole");
    let admin = kubeconfig();
    room.world.write("objects.yaml", mocker("agg"));
    let text = plan("p", &room.namespace, "gpu-pool = \"h100\"")
        // It is about rights, whatever else the machine does.
        .replace(DEADLINE, "policy.ready-deadline = \"2m\"\nvalidity.send-lag-ms = 10000.0")
        .replace("web:8000", "agg-frontend:8000")
        .replace("model.id = \"tiny\"", "model.id = \"tiny-llama\"");
    room.world.write("plan.toml", text.replace(LOAD, &format!("load.binary = \"{}\"", static_binary())));
    as_service_account(&mut room);
    let apply = ["apply", "plan.toml"];
    let ran = room.world.start(&apply).end(&apply);
    assert!(ran.stderr.contains("ok       web/default/load/c1"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("forbidden"), "{}", ran.stderr);
    room.world.set("KUBECONFIG", &admin);
    assert_eq!(room.left_behind(), "");
}
