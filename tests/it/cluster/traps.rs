//! The traps of the Dynamo operator, on a real cluster with its stand-in. Besides `KUBECONFIG` they need
//! `DYNBENCH_SHARED`, the folder with the CRDs (`data/crds/main-2026-08-21`).
//!
//! | trap | where it is shown |
//! | --- | --- |
//! | 1 ready, and nothing served | here; recordings |
//! | 2 ready, and the first answer takes long | here; recordings |
//! | 3 never failed for a pod's sake | here; recordings |
//! | 4 the old status stands for a moment after a change | here; recordings |
//! | 5 deleted, and pods live on | here; recordings |
//! | 6 one `dynamoNamespace` in two graphs, 7 names too long | `dynbench check`: tests of `render` |
//! | 8 the stored spec is not the one that was sent | here |
//! | 9 the operator is away | here; recordings |
//! | 10 a claim that the graph owns goes with it | nowhere yet |

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::room::Room;
use crate::operator::{Admission, Knobs, Operator};

fn plan(namespace: &str, concurrency: &str, policy: &str) -> String {
    format!(
        r#"schema = 1
name = "traps"
model.id = "tiny-llama"

[workload]
isl = 20
osl = 4
concurrency = {concurrency}
requests = 4
warm-up-requests = 1

[load]
from = "here"

[policy]
{policy}

[target]
kind = "kubernetes"
namespace = "{namespace}"

[deployments.g]
manifests = ["objects.yaml"]
service = "g-frontend:8000"

# These tests are about life and death, not about numbers.
[validity]
send-lag-ms = 10000.0
isl-tolerance = 1.0

[plots]
set = []
"#
    )
}

/// A graph whose worker has these lines of its component and of its container.
fn graph(component: &str, worker: &str) -> String {
    format!(
        r#"
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
metadata: {{name: g}}
spec:
  components:
    - name: Frontend
      type: frontend
      replicas: 1
      podTemplate: {{spec: {{containers: [{{name: main, image: "dynbench.local/dynamo:1.6.1"}}]}}}}
    - name: Worker
      replicas: 1
      {component}
      podTemplate:
        spec:
          terminationGracePeriodSeconds: 15
          containers:
            - name: main
              {worker}
"#
    )
}

const MOCKER: &str = r#"image: dynbench.local/dynamo:1.6.1
              command: [python3, -m, dynamo.mocker]
              args: [--model-path, /models/tiny-llama, --model-name, tiny-llama, --speedup-ratio, "10"]"#;

/// The same, which does not end when it is told to, and begins to answer late.
const STUBBORN: &str = r#"image: dynbench.local/dynamo:1.6.1
              command: [bash, -c]
              args: ["trap '' TERM; python3 -m dynamo.mocker --model-path /models/tiny-llama --model-name tiny-llama --speedup-ratio 10 --startup-time 10 & while true; do sleep 1; done"]"#;

#[expect(clippy::print_stderr, reason = "a test that is left out must say so")]
fn crds() -> Option<PathBuf> {
    let Ok(shared) = std::env::var("DYNBENCH_SHARED") else {
        eprintln!("left out: DYNBENCH_SHARED names no folder with CRDs");
        return None;
    };
    Some(Path::new(&shared).join("data/crds/main-2026-08-21"))
}

/// A namespace with a stand-in. The stand-in stands first: it must outlive nothing of the room.
fn begin(name: &str, knobs: Knobs) -> Option<(Operator, Room)> {
    let crds = crds()?;
    let room = Room::new(name)?.patient(Duration::from_secs(240));
    Some((Operator::start(name, &crds, knobs), room))
}

fn live(room: &Room) -> Value {
    room.get(&["dynamographdeployments.v1beta1.nvidia.com", "g"])
}

#[test]
#[ignore = "needs a cluster"]
fn a_successful_status_hides_no_image_that_cannot_be_pulled() {
    let Some((_operator, room)) = begin("rules-blind", Knobs { blind: true, ..Knobs::default() }) else { return };
    room.world.write("plan.toml", plan(&room.namespace, "[1]", ""));
    room.world.write("objects.yaml", graph("type: worker", &MOCKER.replace("dynamo:1.6.1", "absent:1.0.0")));
    let said = room.world.ends(3, &["apply", "plan.toml"]).essence();
    assert!(said.contains("the image dynbench.local/absent:1.0.0 of container main cannot be pulled"), "{said}");
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn a_graph_that_calls_itself_ready_and_serves_nothing_is_not_measured() {
    let Some((_operator, room)) = begin("rules-unserved", Knobs::default()) else { return };
    room.world.write("plan.toml", plan(&room.namespace, "[1]", ""));
    // It passes its probes and registers no model.
    let probe = "{exec: {command: ['true']}}";
    let worker = format!(
        "image: dynbench.local/dynamo:1.6.1\n              command: [sleep, '1000']\n              \
         startupProbe: {probe}\n              readinessProbe: {probe}\n              livenessProbe: {probe}"
    );
    room.world.write("objects.yaml", graph("type: worker", &worker));
    let said = room.world.ends(3, &["apply", "plan.toml"]).essence();
    assert!(said.contains("every pod is ready, and no model has been listed"), "{said}");
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn a_graph_is_measured_when_it_answers_left_alone_when_it_is_used_again_and_gone_when_its_pods_are() {
    let knobs = Knobs { rewrites: true, late: Duration::from_secs(3), ..Knobs::default() };
    let Some((_operator, room)) = begin("rules-whole", knobs) else { return };
    room.world.write("objects.yaml", graph("type: worker", STUBBORN));
    room.world.write("plan.toml", plan(&room.namespace, "[1]", "teardown = \"never\""));
    room.world.ends(0, &["apply", "plan.toml"]);
    let first = live(&room);
    assert_eq!(first["metadata"]["generation"], 2, "{first}");
    // Another level on the same life: what is stored differs from what was sent, and is not sent again.
    room.world.write("plan.toml", plan(&room.namespace, "[1, 2]", "teardown = \"never\""));
    room.world.ends(0, &["apply", "plan.toml", "--resume"]);
    let second = live(&room);
    assert_eq!(second["metadata"]["uid"], first["metadata"]["uid"]);
    assert_eq!(second["metadata"]["generation"], 2, "{second}");
    room.world.ends(0, &["cleanup", "--plan", "plan.toml"]);
    // The worker took its whole grace, and cleaning up waited for it.
    let pods = room.get(&["pods"]);
    assert_eq!(pods["items"].as_array().unwrap().len(), 0, "{pods}");
}

#[test]
#[ignore = "needs a cluster"]
fn an_operator_that_does_nothing_is_said_and_what_it_holds_is_not_called_gone() {
    let Some((operator, room)) = begin("rules-frozen", Knobs { frozen: true, ..Knobs::default() }) else { return };
    // As the real one was seen to leave it: its finalizer is there, and nobody takes it off.
    let held = graph("type: worker", MOCKER).replace("{name: g}", "{name: g, finalizers: [nvidia.com/finalizer]}");
    room.world.write("objects.yaml", held);
    room.world.write("plan.toml", plan(&room.namespace, "[1]", "teardown-deadline = \"15s\""));
    let said = room.world.ends(6, &["apply", "plan.toml"]).essence();
    assert!(said.contains("the operator has processed nothing for 10 s"), "{said}");
    assert!(said.contains("nvidia.com/finalizer"), "{said}");
    operator.turn(|knobs| knobs.frozen = false);
    room.world.ends(0, &["cleanup", "--plan", "plan.toml"]);
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn an_admission_that_does_not_answer_is_said_before_anything_is_made() {
    for admission in [Admission::Fails, Admission::Hangs] {
        let Some((_operator, room)) = begin("rules-admission", Knobs { admission, ..Knobs::default() }) else { return };
        room.world.write("objects.yaml", graph("type: worker", MOCKER));
        room.world.write("plan.toml", plan(&room.namespace, "[1]", ""));
        let said = room.world.ends(7, &["apply", "plan.toml"]).essence();
        assert!(said.contains("admission"), "{said}");
        assert_eq!(room.get(&["dynamographdeployments.v1beta1.nvidia.com"])["items"].as_array().unwrap().len(), 0);
    }
}
