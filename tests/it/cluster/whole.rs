//! A whole plan on a real cluster, from manifests to nothing left: Dynamo's frontend, router and mocker, aggregated and
//! disaggregated.

use std::time::Duration;

use serde_json::Value;

use super::room::{Room, mocker};

/// Two deployments, a few requests each.
const PATIENCE: Duration = Duration::from_secs(240);

fn plan(namespace: &str) -> String {
    format!(
        r#"schema = 1
name = "whole"
model.id = "tiny-llama"

[workload]
isl = 20
osl = 4
concurrency = [1, 2]
requests = 8
warm-up-requests = 2

[load]
from = "here"

[target]
kind = "kubernetes"
namespace = "{namespace}"

[deployments.agg]
manifests = ["dynamo-mocker-agg.yaml"]

[deployments.disagg]
manifests = ["dynamo-mocker-disagg.yaml"]

[plots]
set = []

[validity]
send-lag-ms = 10000.0
"#
    )
}

/// Outputs of a kind of step, from the journal.
fn outputs(room: &Room, address: &str) -> Value {
    let journal = room.world.read("results/whole/latest/.run/journal.jsonl");
    let lines = journal.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text: Vec<_> = lines.filter(|line| line.to_string().contains(address)).collect();
    Value::Array(text)
}

#[test]
#[ignore = "needs a cluster"]
fn two_deployments_are_deployed_measured_collected_and_gone() {
    let room = Room::new("core-whole").patient(PATIENCE);
    for name in ["agg", "disagg"] {
        room.world.write(&format!("dynamo-mocker-{name}.yaml"), mocker(name));
    }
    room.world.write("plan.toml", plan(&room.namespace));
    let ran = room.world.ends(0, &["apply", "plan.toml"]);
    assert_eq!(room.left_behind(), "", "{}", ran.stderr);
    assert_eq!(room.kubectl(&["get", "pods", "-o", "name"]), "");

    let waited = outputs(&room, "disagg/wait").to_string();
    assert!(waited.contains("proven: prefill and decode of one request were done by different workers"), "{waited}");
    for deployment in ["agg", "disagg"] {
        let logs = format!("results/whole/latest/logs/{deployment}");
        let pods: Value = serde_json::from_str(&room.world.read(&format!("{logs}/pods.json"))).unwrap();
        assert_eq!(pods["pods"].as_array().unwrap().len(), 3, "{pods}");
        assert!(pods["facts"]["images"].as_str().unwrap().contains("sha256:"), "{pods}");
        let names = std::fs::read_dir(room.world.path(&logs)).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(names.iter().any(|name| name.ends_with(".metrics.txt")), "{names:?}");
        assert_eq!(names.iter().filter(|name| name.ends_with(".main.log")).count(), 3, "{names:?}");
    }
}
