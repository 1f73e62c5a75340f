//! Built-in templates on a real cluster, each through a whole `apply` with load from inside the cluster: the variables of
//! the plan stand on the pods that ran, disaggregation is proven, and nothing is left.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::room::{REGISTRY, Room, own_image, static_binary};

/// Three deployments, a few requests each.
const PATIENCE: Duration = Duration::from_secs(420);

/// What each deployment is given: a marker in every place that a pod has.
const VARS: &str = r#"
labels = { team = "inference" }
annotations = { "example.com/note" = "marked" }
env = { MARKED = "1" }
resources = { requests = { cpu = "50m", memory = "96Mi" } }
shared-memory = "32Mi"
service-account = "runner"
image-pull-secrets = ["pull"]
hf-token-secret = "hf"
model-cache = "models"
node-selector = { "kubernetes.io/os" = "linux" }
tolerations = [{ key = "example.com/benchmark", operator = "Exists" }]
"#;

/// What the variables refer to.
const SURROUNDINGS: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: runner}
---
apiVersion: v1
kind: Secret
metadata: {name: pull}
type: kubernetes.io/dockerconfigjson
stringData: {.dockerconfigjson: '{"auths": {}}'}
---
apiVersion: v1
kind: Secret
metadata: {name: hf}
stringData: {HF_TOKEN: none}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: models}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
"#;

fn plan(namespace: &str, image: &str) -> String {
    let mocker = |template: &str| {
        format!(
            "template = \"mocker-{template}\"\n[deployments.{template}.vars]\nimage = \"dynbench.local/dynamo:1.6.1\"\n\
             model-path = \"/models/tiny-llama\"\nfrontend-resources = {{ requests = {{ cpu = \"60m\" }} }}\n{VARS}"
        )
    };
    format!(
        r#"schema = 1
name = "templates"
model.id = "tiny-llama"

[workload]
isl = 20
osl = 4
concurrency = [1, 2]
requests = 8
warm-up-requests = 2

[load]
image = "{image}"
resources = {{ cpu = "100m", memory = "256Mi" }}

[target]
kind = "kubernetes"
namespace = "{namespace}"
insecure-registries = ["{REGISTRY}"]

[deployments.agg]
{agg}

[deployments.disagg]
{disagg}

[deployments.rehearsal]
template = "embedded"
[deployments.rehearsal.vars]
image = "{image}"
{VARS}

[plots]
set = []

[validity]
send-lag-ms = 10000.0
"#,
        agg = mocker("agg"),
        disagg = mocker("disagg"),
    )
}

/// The pods of a deployment as the cluster had them, from what was collected before it was torn down.
fn pods(room: &Room, deployment: &str) -> Vec<Value> {
    let text = room.world.read(&format!("results/templates/latest/logs/{deployment}/objects.yaml"));
    let all = serde_yaml::Deserializer::from_str(&text).map(|one| Value::deserialize(one).unwrap());
    // What sent the load is kept beside them.
    let is_served = |object: &Value| object["metadata"]["labels"]["dynbench.dev/role"].is_null();
    all.filter(|object| object["kind"] == "Pod" && is_served(object)).collect()
}

/// Whether some element of a list at a place has these fields.
fn has(value: &Value, place: &str, wanted: &[(&str, &str)]) -> bool {
    let list = value.pointer(place).and_then(Value::as_array).into_iter().flatten();
    list.filter(|one| wanted.iter().all(|(pointer, text)| one.pointer(pointer).is_some_and(|found| found == text)))
        .count()
        > 0
}

fn assert_marked(pod: &Value) {
    let is_frontend = pod.pointer("/metadata/labels/role").is_some_and(|role| role == "frontend");
    let container = "/spec/containers/0";
    for (place, expected) in [
        ("/metadata/labels/team", "inference"),
        ("/metadata/annotations/example.com~1note", "marked"),
        ("/spec/serviceAccountName", "runner"),
        ("/spec/imagePullSecrets/0/name", "pull"),
        ("/spec/nodeSelector/kubernetes.io~1os", "linux"),
        ("/spec/containers/0/envFrom/0/secretRef/name", "hf"),
        ("/spec/containers/0/resources/requests/cpu", if is_frontend { "60m" } else { "50m" }),
    ] {
        assert_eq!(pod.pointer(place).and_then(Value::as_str), Some(expected), "{place} in {pod:#}");
    }
    let listed = |list: &str, wanted: &[(&str, &str)]| has(pod, list, wanted);
    let within = |list: &str| format!("{container}/{list}");
    assert!(listed("/spec/tolerations", &[("/key", "example.com/benchmark"), ("/operator", "Exists")]), "{pod:#}");
    assert!(listed(&within("env"), &[("/name", "MARKED"), ("/value", "1")]), "{pod:#}");
    assert!(listed(&within("env"), &[("/name", "HF_HOME"), ("/value", "/model-cache")]), "{pod:#}");
    assert!(listed(&within("volumeMounts"), &[("/mountPath", "/model-cache")]), "{pod:#}");
    assert!(listed("/spec/volumes", &[("/persistentVolumeClaim/claimName", "models")]), "{pod:#}");
    let shm = listed("/spec/volumes", &[("/emptyDir/medium", "Memory"), ("/emptyDir/sizeLimit", "32Mi")]);
    assert_eq!(shm, !is_frontend, "{pod:#}");
    assert_eq!(pod.pointer("/spec/securityContext/runAsNonRoot"), Some(&Value::Bool(true)), "{pod:#}");
}

#[test]
#[ignore = "needs a cluster"]
fn built_in_templates_are_measured_from_inside_with_every_variable_on_their_pods() {
    let room = Room::new("core-templates").patient(PATIENCE);
    let image = own_image("templates");
    room.world.ends(0, &["image", "--push", &image, "--insecure", "--binary", &static_binary()]);
    room.apply(SURROUNDINGS);
    room.world.write("plan.toml", plan(&room.namespace, &image));
    let ran = room.world.ends(0, &["apply", "plan.toml"]);
    assert_eq!(room.left_behind(), "", "{}", ran.stderr);
    assert_eq!(room.kubectl(&["get", "pods", "-o", "name"]), "");
    // What was there before is left as it was.
    assert_eq!(room.kubectl(&["get", "pvc", "-o", "name"]).trim(), "persistentvolumeclaim/models");

    let cluster = room.get(&["namespace", "kube-system"]);
    for (deployment, parts) in [("agg", 2), ("disagg", 3), ("rehearsal", 1)] {
        for level in ["c1", "c2"] {
            let file = room.world.read(&format!("results/templates/latest/{deployment}/{level}/results.json"));
            let point = serde_json::from_str::<Value>(&file).unwrap()["point"].take();
            assert_eq!(point["invalid"], serde_json::json!([]), "{deployment} {level}");
            assert_eq!(point["counts"]["ok"], 8, "{deployment} {level}");
            let meta = &point["meta"];
            assert_eq!(meta["transport"], "in-cluster");
            assert_eq!(meta["simulated"], deployment == "rehearsal");
            assert_eq!(meta["series"]["cluster"], cluster["metadata"]["uid"]);
            assert!(meta["series"]["generator"].as_str().unwrap().starts_with("node-"), "{meta}");
            let verdict = meta["facts"]["disaggregated"].as_str();
            assert_eq!(verdict.is_some_and(|verdict| verdict.starts_with("proven")), deployment == "disagg", "{meta}");
        }
        let pods = pods(&room, deployment);
        assert_eq!(pods.len(), parts, "{deployment}");
        pods.iter().for_each(assert_marked);
    }
    let summary = room.world.read("results/templates/latest/SUMMARY.txt");
    assert!(summary.contains("disaggregated: proven"), "{summary}");
}
