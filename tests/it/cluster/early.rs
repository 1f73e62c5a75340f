//! What goes wrong in real clusters is said early, in a sentence, with the cause. Each test has a limit far below the
//! deadline of the plan (30 minutes), and leaves nothing behind.

use std::time::Duration;

use super::devices::Devices;
use super::room::{Room, shared};
use crate::operator::{Knobs, Operator, absent};

/// Every one of these failures is known after this time.
const EARLY: Duration = Duration::from_secs(150);

fn plan(namespace: &str) -> String {
    format!(
        r#"schema = 1
name = "early"
model.id = "tiny"

[workload]
isl = 20
osl = 4
concurrency = [1]
requests = 4

[load]
from = "here"

[target]
kind = "kubernetes"
namespace = "{namespace}"

[deployments.web]
manifests = ["objects.yaml"]

[plots]
set = []
"#
    )
}

/// A Service, and a Deployment with this container and these lines of its pod.
fn objects(container: &str, pod: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{name: http, port: 8000}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      {pod}
      containers:
        - name: main
          image: dynbench.local/dynamo:1.6.1
          {container}
"#
    )
}

/// A server that says what a test wants on `/v1/models`, with a probe that lets Kubernetes know that it serves.
fn server(models: &str) -> String {
    format!(
        r#"command:
            - python3
            - -c
            - |
              import http.server
              class Handler(http.server.BaseHTTPRequestHandler):
                  def do_GET(self):
                      body = b'{models}'
                      self.send_response(200)
                      self.send_header('content-length', str(len(body)))
                      self.end_headers()
                      self.wfile.write(body)
              http.server.ThreadingHTTPServer(('', 8000), Handler).serve_forever()
          ports: [{{name: http, containerPort: 8000}}]
          readinessProbe: {{httpGet: {{path: /health, port: http}}, periodSeconds: 1}}"#
    )
}

/// A graph that could serve, if somebody worked on it.
const GRAPH: &str = r#"
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
metadata: {name: web}
spec:
  components:
    - name: Frontend
      type: frontend
      podTemplate: {spec: {containers: [{name: main, image: "dynbench.local/dynamo:1.6.1"}]}}
    - name: Worker
      type: worker
      replicas: 1
      podTemplate: {spec: {containers: [{name: main, image: "dynbench.local/dynamo:1.6.1", command: [sleep, '9']}]}}
"#;

fn room(name: &str) -> Room {
    let room = Room::new(name).patient(EARLY);
    room.world.write("plan.toml", plan(name));
    room
}

/// Runs the plan with these objects: it ends with `code`, says why as the snapshot has it, and leaves nothing behind.
fn fails(room: &Room, code: i32, snapshot: &str, objects: &str) {
    room.world.write("objects.yaml", objects);
    let ran = room.world.ends(code, &["apply", "plan.toml"]);
    let place = format!(", namespace {})", room.namespace);
    let failed = ran.stderr.lines().find(|line| line.starts_with("failed "));
    assert!(failed.is_some_and(|line| line.contains("(context ") && line.contains(&place)), "{}", ran.stderr);
    let mut filters = room.world.filters();
    filters.add_filter(r"web-[0-9a-f]{8,10}-[a-z0-9]{5}", "web-[POD]");
    filters.add_filter(r"web-[0-9a-f]{8,10}\b", "web-[REVISION]");
    filters.add_filter(r"\bnode-\d\b", "[NODE]");
    // How often something was seen by then, and which of two objects says it first, is a matter of the moment.
    filters.add_filter(r" \(\d+ times\)", "");
    filters.add_filter(r"\d+ times", "[N] times");
    filters.add_filter(r"(Deployment web|ReplicaSet \S+): the cluster refuses", "[OBJECT]: the cluster refuses");
    filters.add_filter(r"\b\d+m\d\ds\b", "[TIME]");
    filters.add_filter(r"\([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\)", "([UID])");
    filters.add_filter(r"198\.18\.\d+\.\d+(:\d+)?", "[IP]");
    filters.add_filter(r"context \S+, ", "context [CONTEXT], ");
    // Whom this machine's resolver knows, and which container's log a node still has, is theirs to say.
    let essence = ran.essence();
    let said: Vec<_> = essence.lines().filter(|line| !line.starts_with("note ")).collect();
    filters.bind(|| insta::assert_snapshot!(snapshot, said.join("\n"), "ran.essence()"));
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn an_image_that_cannot_be_pulled_is_said() {
    let room = room("core-image");
    let objects = objects("command: [sleep, '9']", "").replace("dynbench.local/dynamo:1.6.1", "dynbench.local/none:1");
    fails(&room, 3, "image", &objects);
}

#[test]
#[ignore = "needs a cluster"]
fn a_crash_loop_is_said_with_the_last_lines_of_its_log_which_are_kept() {
    let room = room("core-crash");
    fails(&room, 3, "crash", &objects("command: [sh, -c, 'echo it breaks because of X; sleep 1; exit 3']", ""));
    let logs = std::fs::read_dir(room.world.path("results/early/latest/logs/web")).unwrap();
    let names: Vec<_> = logs.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    // Which container's log the node still has is its own business: all say the same here.
    let logs = names.iter().filter(|name| name.ends_with(".log"));
    let mut logs = logs.map(|name| room.world.read(&format!("results/early/latest/logs/web/{name}")));
    assert!(logs.any(|log| log == "it breaks because of X\n"), "{names:?}");
    assert!(room.world.read("results/early/latest/logs/web/events.txt").contains("BackOff"));
    assert!(room.world.read("results/early/latest/logs/web/objects.yaml").contains("kind: ReplicaSet"));
}

#[test]
#[ignore = "needs a cluster"]
fn too_little_memory_is_said() {
    let room = room("core-oom");
    let container = "command: [python3, -c, 'x = b\"1\" * (400 << 20); import time; time.sleep(60)']\n          \
                     resources: {limits: {memory: 48Mi}}";
    fails(&room, 3, "oom", &objects(container, ""));
}

#[test]
#[ignore = "needs a cluster"]
fn a_secret_without_the_key_is_said() {
    let room = room("core-secret");
    room.kubectl(&["create", "secret", "generic", "hf", "--from-literal=other=x"]);
    let container = "command: [sleep, '9']\n          \
                     env: [{name: HF_TOKEN, valueFrom: {secretKeyRef: {name: hf, key: token}}}]";
    fails(&room, 3, "secret", &objects(container, ""));
}

#[test]
#[ignore = "needs a cluster"]
fn a_command_that_is_not_in_the_image_is_said() {
    let room = room("core-command");
    fails(&room, 3, "command", &objects("command: [/no/such/program]", ""));
}

#[test]
#[ignore = "needs a cluster"]
fn gpus_that_no_node_has_are_said_before_anything_is_made() {
    let room = room("core-gpus");
    let container = "command: [sleep, '9']\n          resources: {limits: {nvidia.com/gpu: 99}}";
    fails(&room, 7, "gpus", &objects(container, ""));
}

#[test]
#[ignore = "needs a cluster"]
fn pods_that_admission_denies_are_said() {
    let room = room("core-admission");
    room.apply(
        "apiVersion: v1\nkind: LimitRange\nmetadata: {name: small}\n\
         spec: {limits: [{type: Container, max: {memory: 16Mi}}]}\n",
    );
    let container = "command: [sleep, '9']\n          resources: {limits: {memory: 32Mi}}";
    fails(&room, 3, "admission", &objects(container, ""));
}

#[test]
#[ignore = "needs a cluster"]
fn a_claim_for_which_there_is_no_storage_is_said() {
    let room = room("core-claim");
    let claim = "\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n\
                 spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}}\n";
    let pod = "volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]";
    fails(&room, 7, "claim", &(objects("command: [sleep, '9']", pod) + claim));
}

#[test]
#[ignore = "needs a cluster"]
fn a_claim_that_is_never_bound_is_said() {
    let room = room("core-unbound");
    // No class: a volume that somebody made by hand, and nobody did.
    let claim = "\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n\
                 spec: {accessModes: [ReadWriteOnce], storageClassName: '', resources: {requests: {storage: 1Gi}}}\n";
    let pod = "volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]";
    fails(&room, 3, "unbound", &(objects("command: [sleep, '9']", pod) + claim));
}

#[test]
#[ignore = "needs a cluster"]
fn a_quota_that_leaves_too_little_is_said_before_anything_is_made() {
    let room = room("core-quota");
    room.apply("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: small}\nspec: {hard: {requests.memory: 16Mi}}\n");
    let container = "command: [sleep, '9']\n          resources: {limits: {memory: 32Mi}}";
    fails(&room, 7, "quota", &objects(container, ""));
}

#[test]
#[ignore = "needs a cluster"]
fn a_quota_that_refuses_the_pods_themselves_is_said() {
    let room = room("core-quotapods");
    // What is counted is not what is asked for, but that it must be asked for.
    room.apply("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: strict}\nspec: {hard: {limits.cpu: '4'}}\n");
    fails(&room, 3, "quota_pods", &objects("command: [sleep, '9']", ""));
}

#[test]
#[ignore = "needs a cluster"]
fn gpus_that_others_hold_are_said_with_what_the_nodes_have() {
    let room = room("core-taken");
    let _devices = Devices::new(&room, "taken.test/gpu", 2);
    let holder = "apiVersion: v1\nkind: Pod\nmetadata: {name: holder}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - \
                  {name: main, image: 'dynbench.local/dynamo:1.6.1', command: [sleep, '1000'], resources: {limits: {taken.test/gpu: 2}}}\n";
    room.apply(holder);
    room.kubectl(&["wait", "--for=condition=Ready", "pod/holder", "--timeout=60s"]);
    let container = "command: [sleep, '9']\n          resources: {limits: {taken.test/gpu: 1}}";
    room.world.write("plan.toml", plan("core-taken").replace("[load]", "[policy]\nready-deadline = \"20s\"\n\n[load]"));
    fails(&room, 3, "taken", &objects(container, ""));
}

#[test]
#[ignore = "needs a cluster"]
fn a_secret_that_is_not_there_is_said_before_anything_is_made() {
    let room = room("core-nosecret");
    let container = "command: [sleep, '9']\n          envFrom: [{secretRef: {name: hf-token}}]";
    fails(&room, 7, "no_secret", &objects(container, ""));
}

#[test]
#[ignore = "needs a cluster"]
fn an_operator_that_is_not_there_is_said_before_anything_is_made() {
    let room = room("core-operator");
    let _none = absent();
    fails(&room, 7, "operator", GRAPH);
}

#[test]
#[ignore = "needs a cluster"]
fn a_graph_that_fails_is_said_with_its_reason() {
    let room = room("core-failed");
    let _operator = Operator::start(&room.namespace, &shared("data/crds"), Knobs::default());
    fails(&room, 3, "failed", &GRAPH.replace("replicas: 1", "replicas: 1\n      multinode: {nodeCount: 2}"));
}

#[test]
#[ignore = "needs a cluster"]
fn an_operator_that_processes_nothing_is_said() {
    let room = room("core-away");
    let knobs = Knobs { frozen: true, ..Knobs::default() };
    let _operator = Operator::start(&room.namespace, &shared("data/crds"), knobs);
    fails(&room, 3, "away", GRAPH);
}

#[test]
#[ignore = "needs a cluster"]
fn a_model_that_is_never_listed_is_said() {
    let room = room("core-unlisted");
    fails(&room, 3, "unlisted", &objects(&server(r#"{"data": []}"#), ""));
}

#[test]
#[ignore = "needs a cluster"]
fn a_model_under_another_name_is_said_with_the_nearest() {
    let room = room("core-othername");
    fails(&room, 3, "other_name", &objects(&server(r#"{"data": [{"id": "tiny-2"}]}"#), ""));
}

#[test]
#[ignore = "needs a cluster"]
fn what_exists_is_not_taken_over() {
    let room = room("core-exists");
    room.kubectl(&["create", "service", "clusterip", "web", "--tcp=8000"]);
    fails(&room, 7, "exists", &objects("command: [sleep, '9']", ""));
    assert_eq!(room.get(&["service", "web"])["spec"]["selector"]["app"], "web");
}
