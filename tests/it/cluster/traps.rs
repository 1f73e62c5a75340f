//! The traps of the Dynamo operator, on a real cluster with its stand-in. They need `DYNBENCH_SHARED`: the CRDs are there.
//! Every one fails when the rule that answers it is taken out.
//!
//! | trap | shown by |
//! | --- | --- |
//! | 1 ready, and nothing served | `..._serves_nothing_is_not_measured`; recordings |
//! | 2 ready, and the first answer takes long | `..._answers_late_is_waited_for`; recordings |
//! | 3 never failed for a pod's sake | `..._pending_for_ever_...`, `..._successful_status_hides_...`; recordings |
//! | 4 the old status stands for a while after a change | `..._old_status_...`; recordings |
//! | 5 deleted, and pods live on | `..._ends_only_when_the_pods_...`; by `cleanup`: `..._gone_when_its_pods_are` |
//! | 6 one `dynamoNamespace` in two graphs | `..._shares_its_dynamo_namespace...`, `..._strangers_...`; tests of `render` |
//! | 7 names too long | `..._too_long_a_name_...`; recordings; tests of `render` |
//! | 8 the stored spec is not the one that was sent | `..._left_alone_when_it_is_used_again...` |
//! | 9 the operator is away | `..._does_nothing_...`, `..._admission_...`; recordings |
//! | 10 a claim that the graph owns goes with it | `..._claim_of_a_graph_goes_with_it_...`; tests of `render` |

use std::time::{Duration, Instant};

use serde_json::Value;

use super::room::{Room, shared};
use crate::operator::{Admission, Age, Knobs, Operator};

/// Everything here is known, or measured, after this time.
const PATIENCE: Duration = Duration::from_secs(240);

fn plan(namespace: &str, concurrency: &str, policy: &str) -> String {
    plan_of(namespace, concurrency, policy, "manifests = [\"objects.yaml\"]\nservice = \"g-frontend:8000\"")
}

/// A plan whose deployment `g` has these keys.
fn plan_of(namespace: &str, concurrency: &str, policy: &str, deployment: &str) -> String {
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
{deployment}

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

/// The same, which does not end when it is told to.
const STUBBORN: &str = r#"image: dynbench.local/dynamo:1.6.1
              command: [bash, -c]
              args: ["trap '' TERM; python3 -m dynamo.mocker --model-path /models/tiny-llama --model-name tiny-llama --speedup-ratio 10 & while true; do sleep 1; done"]"#;

/// A graph named `name` as people wrote them before v1beta1, with these lines of its spec and of both services.
fn older_graph(name: &str, spec: &str, service: &str) -> String {
    format!(
        r#"
apiVersion: nvidia.com/v1alpha1
kind: DynamoGraphDeployment
metadata: {{name: {name}}}
spec:
  {spec}
  services:
    Frontend:
      componentType: frontend
      replicas: 1
      {service}
      extraPodSpec: {{mainContainer: {{image: "dynbench.local/dynamo:1.6.1"}}}}
    Worker:
      componentType: worker
      replicas: 1
      {service}
      extraPodSpec:
        terminationGracePeriodSeconds: 5
        mainContainer:
          image: dynbench.local/dynamo:1.6.1
          command: [python3, -m, dynamo.mocker]
          args: [--model-path, /models/tiny-llama, --model-name, tiny-llama, --speedup-ratio, "10"]
"#
    )
}

/// A namespace with a stand-in. The namespace ends first, while somebody still takes finalizers off.
fn begin(name: &str, knobs: Knobs) -> (Operator, Room) {
    let room = Room::new(name).patient(PATIENCE);
    (Operator::start(name, &shared("data/crds"), knobs), room)
}

const GRAPHS: &str = "dynamographdeployments.v1beta1.nvidia.com";

fn live(room: &Room) -> Value {
    room.get(&[GRAPHS, "g"])
}

/// Outputs of one step in the journal, as one text.
fn journal(room: &Room, address: &str) -> String {
    let journal = room.world.read("results/traps/latest/.run/journal.jsonl");
    journal.lines().filter(|line| line.contains(address)).collect()
}

#[test]
#[ignore = "needs a cluster"]
fn a_graph_that_is_pending_for_ever_is_given_up_for_its_pods_sake() {
    let (_operator, room) = begin("rules-pending", Knobs::default());
    room.world.write("plan.toml", plan(&room.namespace, "[1]", ""));
    room.world.write("objects.yaml", graph("type: worker", &MOCKER.replace("dynamo:1.6.1", "absent:1.0.0")));
    let said = room.world.ends(3, &["apply", "plan.toml"]).essence();
    assert!(said.contains("the image dynbench.local/absent:1.0.0 of container main cannot be pulled"), "{said}");
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn a_successful_status_hides_no_image_that_cannot_be_pulled() {
    let (_operator, room) = begin("rules-blind", Knobs { blind: true, ..Knobs::default() });
    room.world.write("plan.toml", plan(&room.namespace, "[1]", ""));
    room.world.write("objects.yaml", graph("type: worker", &MOCKER.replace("dynamo:1.6.1", "absent:1.0.0")));
    let said = room.world.ends(3, &["apply", "plan.toml"]).essence();
    assert!(said.contains("the image dynbench.local/absent:1.0.0 of container main cannot be pulled"), "{said}");
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn a_graph_that_calls_itself_ready_and_serves_nothing_is_not_measured() {
    let (_operator, room) = begin("rules-unserved", Knobs::default());
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
fn a_graph_that_is_ready_and_answers_late_is_waited_for() {
    let (_operator, room) = begin("rules-late", Knobs::default());
    // The warm-up would begin while the engine still starts: it must not be what waits.
    let text = plan(&room.namespace, "[1]", "").replace("[load]", "request.timeout = \"5s\"\n\n[load]");
    room.world.write("plan.toml", text);
    let late = MOCKER.replace("[--model-path,", "[--startup-time, \"30\", --model-path,");
    room.world.write("objects.yaml", graph("type: worker", &late));
    room.world.ends(0, &["apply", "plan.toml"]);
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn an_old_status_is_not_believed_after_a_change_in_the_middle_of_the_wait() {
    // It says successful from the start, and after the change it goes on saying so of the older version for half a minute.
    let knobs = Knobs { blind: true, late: Duration::from_secs(30), ..Knobs::default() };
    let (operator, room) = begin("rules-stale", knobs);
    room.world.write("objects.yaml", graph("type: worker", MOCKER));
    room.world.write("plan.toml", plan(&room.namespace, "[1]", "teardown = \"never\""));
    let arguments = ["apply", "plan.toml", "--events", "events.jsonl"];
    let running = room.world.start(&arguments);
    room.until("the graph calls itself successful", || {
        room.try_kubectl(&["get", GRAPHS, "g", "-o", "jsonpath={.status.state}"]).is_some_and(|it| it == "successful")
    });
    let change = r#"[{"op": "add", "path": "/spec/components/1/podTemplate/spec/containers/0/env", "value": [{"name": "NEW", "value": "1"}]}]"#;
    room.kubectl(&["patch", GRAPHS, "g", "--type=json", "-p", change]);
    operator.turn(|knobs| knobs.blind = false);
    let ran = running.end(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let events = room.world.read("events.jsonl");
    assert!(events.contains("its status is still that of an older version"), "{events}");
    // What was measured is the life after the change, and there is no other.
    let graph = live(&room);
    assert_eq!((&graph["metadata"]["generation"], &graph["status"]["observedGeneration"]), (&2.into(), &2.into()));
    let hash = &graph["metadata"]["annotations"]["nvidia.com/current-worker-hash-v2"];
    let worker = format!("g-worker-{}-", hash.as_str().unwrap());
    assert!(journal(&room, "\"started\":\"").contains(&worker), "{worker}");
    room.world.ends(0, &["cleanup", "--plan", "plan.toml"]);
}

#[test]
#[ignore = "needs a cluster"]
fn a_graph_is_left_alone_when_it_is_used_again_and_gone_when_its_pods_are() {
    let (_operator, room) = begin("rules-whole", Knobs { rewrites: true, ..Knobs::default() });
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
fn a_run_ends_only_when_the_pods_of_its_graph_are_gone() {
    let (_operator, room) = begin("rules-gone", Knobs::default());
    room.world.write("objects.yaml", graph("type: worker", STUBBORN));
    room.world.write("plan.toml", plan(&room.namespace, "[1]", ""));
    let arguments = ["apply", "plan.toml", "--events", "events.jsonl"];
    let running = room.world.start(&arguments);
    let ended = |event: &str| event.contains("step.succeeded") && event.contains("\"g/teardown\"");
    let began = Instant::now();
    while !std::fs::read_to_string(room.world.path("events.jsonl")).is_ok_and(|events| events.lines().any(ended)) {
        assert!(began.elapsed() < PATIENCE, "it is not torn down");
        std::thread::sleep(Duration::from_millis(50));
    }
    // The worker takes its whole grace, long after the graph itself could be gone. What comes next must not meet it; that
    // the end of the run looks once more is another barrier.
    let pods = room.get(&["pods"]);
    assert_eq!(pods["items"].as_array().unwrap().len(), 0, "{pods}");
    let ran = running.end(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
#[ignore = "needs a cluster"]
fn a_graph_that_shares_its_dynamo_namespace_with_another_is_not_made() {
    let (_operator, room) = begin("rules-shared", Knobs::default());
    room.apply(&older_graph("other", "backendFramework: vllm", "dynamoNamespace: mine"));
    room.world.write("objects.yaml", older_graph("g", "backendFramework: vllm", "dynamoNamespace: mine"));
    room.world.write("plan.toml", plan(&room.namespace, "[1]", ""));
    let said = room.world.ends(7, &["apply", "plan.toml"]).essence();
    assert!(said.contains("the graph other has the dynamoNamespace mine of g"), "{said}");
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn strangers_behind_the_service_of_a_graph_are_said() {
    let (_operator, room) = begin("rules-strangers", Knobs::default());
    // As the frontend of another graph in the same `dynamoNamespace` would be.
    room.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: stranger\n  labels:\n    nvidia.com/dynamo-component-type: frontend\n    \
         nvidia.com/dynamo-component: Frontend\n    nvidia.com/dynamo-namespace: {}-g\n\
         spec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - {{name: main, image: \"dynbench.local/dynamo:1.6.1\", command: [sleep, '1000']}}\n",
        room.namespace
    ));
    room.world.write("objects.yaml", graph("type: worker", MOCKER));
    room.world.write("plan.toml", plan(&room.namespace, "[1]", ""));
    let said = room.world.ends(3, &["apply", "plan.toml"]).essence();
    assert!(said.contains("also leads to pods that are not this deployment's: stranger"), "{said}");
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn too_long_a_name_is_said_before_anything_is_sent() {
    let (_operator, room) = begin("rules-long", Knobs::default());
    let long = graph("type: worker", MOCKER)
        .replace("{name: g}", &format!("{{name: {}}}", "a".repeat(40)))
        .replace("name: Worker", &format!("name: {}", "W".repeat(30)));
    // The cluster takes it, and would never start it.
    room.world.write("graph.yaml", &long);
    room.kubectl(&["apply", "--dry-run=server", "-f", "graph.yaml"]);
    room.world.write("objects.yaml", long);
    room.world.write("plan.toml", plan(&room.namespace, "[1]", ""));
    let said = room.world.ends(2, &["check", "plan.toml"]).stderr;
    assert!(said.contains("with the operator's suffix has 80 characters, and at most 63 can be started"), "{said}");
}

#[test]
#[ignore = "needs a cluster"]
fn an_operator_that_does_nothing_is_said_and_what_it_holds_is_not_called_gone() {
    let (operator, room) = begin("rules-frozen", Knobs { frozen: true, ..Knobs::default() });
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
    for (admission, words) in [
        (Admission::Fails, "the Dynamo operator does not answer"),
        (Admission::Hangs, "the Dynamo operator does not answer"),
        (Admission::Absent, "the Dynamo operator's admission is not installed"),
    ] {
        let (_operator, room) = begin("rules-admission", Knobs { admission, ..Knobs::default() });
        room.world.write("objects.yaml", graph("type: worker", MOCKER));
        room.world.write("plan.toml", plan(&room.namespace, "[1]", ""));
        let said = room.world.ends(7, &["apply", "plan.toml"]).essence();
        assert!(said.contains(words), "{admission:?}: {said}");
        assert_eq!(room.get(&[GRAPHS])["items"].as_array().unwrap().len(), 0);
    }
}

#[test]
#[ignore = "needs a cluster"]
fn a_claim_of_a_graph_goes_with_it_which_is_said_before_and_a_cache_of_its_own_stays() {
    let (_operator, room) = begin("rules-claims", Knobs::default());
    let claims = "pvcs:\n  - {name: weights, create: true, size: 10Mi, storageClass: standard, volumeAccessMode: ReadWriteOnce}\n  \
                  - {name: cache, create: false}";
    let mounts = "volumeMounts: [{name: weights, mountPoint: /weights}, {name: cache, mountPoint: /cache}]";
    room.apply(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: cache}\n\
         spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}\n",
    );
    room.world.write("objects.yaml", older_graph("g", claims, mounts));
    room.world.write("plan.toml", plan(&room.namespace, "[1]", "teardown = \"never\""));
    let checked = room.world.ends(0, &["check", "plan.toml"]).stderr;
    assert!(checked.contains("the claim `weights` is made by the graph `g`, and is deleted with it"), "{checked}");
    assert!(checked.contains("create: false"), "{checked}");
    room.world.ends(0, &["apply", "plan.toml"]);
    let owner = room.get(&["pvc", "weights"])["metadata"]["ownerReferences"][0].clone();
    assert_eq!((&owner["kind"], &owner["name"]), (&"DynamoGraphDeployment".into(), &"g".into()));
    room.world.ends(0, &["cleanup", "--plan", "plan.toml"]);
    room.until("the claim of the graph is gone", || room.try_kubectl(&["get", "pvc", "weights"]).is_none());
    room.kubectl(&["get", "pvc", "cache"]);
}

#[test]
#[ignore = "needs a cluster"]
fn a_template_is_deployed_in_the_version_that_an_older_cluster_serves() {
    let (_operator, room) = begin("rules-older", Knobs { age: Age::Older, ..Knobs::default() });
    let keys = "template = \"dynamo-mocker-disagg\"\nvars = { image = \"dynbench.local/dynamo:1.6.1\", model-path = \
                \"/models/tiny-llama\", speedup-ratio = 10 }";
    room.world.write("plan.toml", plan_of(&room.namespace, "[1]", "teardown = \"never\"", keys));
    room.world.ends(0, &["apply", "plan.toml"]);
    let graphs = room.get(&["dynamographdeployments.v1alpha1.nvidia.com"]);
    let service = &graphs["items"][0]["spec"]["services"]["Prefill"];
    assert_eq!(service["subComponentType"], "prefill", "{graphs}");
    let waited = journal(&room, "g/wait");
    assert!(waited.contains("proven: prefill and decode of one request"), "{waited}");
    room.world.ends(0, &["cleanup", "--plan", "plan.toml"]);
    assert_eq!(room.left_behind(), "");
}
