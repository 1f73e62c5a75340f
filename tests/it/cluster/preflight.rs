//! Preflight finds what would fail, and changes nothing.

use dynbench::base::Digest;

use super::room::{OBJECTS, REGISTRY, Room, plan, shared};
use crate::operator::absent;

const PRIVATE: &str = "198.18.0.11:5001";

/// Everything is wrong with it.
const BAD: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], storageClassName: fast, resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: runner
      imagePullSecrets: [{name: pull}]
      volumes: [{name: a, persistentVolumeClaim: {claimName: absent}}]
      containers:
        - name: main
          image: 198.18.0.11:5000/none/such:1
          envFrom: [{secretRef: {name: hf}}]
          resources: {limits: {example.com/accelerator: 64}}
---
apiVersion: example.com/v1
kind: Nothing
metadata: {name: thing}
"#;

const INSECURE: &str = r#"insecure-registries = ["198.18.0.11:5000", "198.18.0.11:5001"]"#;

#[test]
#[ignore = "needs a cluster"]
fn all_problems_of_a_deployment_are_told_together_with_what_to_do() {
    let room = Room::new("preflight-problems");
    room.world.write("plan.toml", plan("p", &room.namespace, INSECURE));
    room.world.write("objects.yaml", BAD);
    let ran = room.world.ends(7, &["plan", "plan.toml", "--server"]);
    let view = ran.stdout.split_once("surroundings see it").unwrap().1;
    let filters = room.world.filters();
    filters.bind(|| insta::assert_snapshot!("all_problems", view));
    // And so does a run, before it makes anything.
    let ran = room.world.ends(7, &["apply", "plan.toml"]);
    assert!(ran.stderr.contains("8 things stand in the way of web"), "{}", ran.stderr);
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn a_quota_that_leaves_too_little_is_told_with_its_figures() {
    let room = Room::new("preflight-quota");
    room.world.write("plan.toml", plan("p", &room.namespace, ""));
    room.kubectl(&["create", "quota", "small", "--hard=pods=0,services=5"]);
    room.until("the quota counts", || room.get(&["quota", "small"])["status"]["used"].is_object());
    let ran = room.world.ends(7, &["plan", "plan.toml", "--server"]);
    assert!(ran.stdout.contains("quota small leaves too little"), "{}", ran.stdout);
    assert!(ran.stdout.contains("pods: needs 1, 0 is left (0 of 0 used)"), "{}", ran.stdout);
}

#[test]
#[ignore = "needs a cluster"]
fn an_object_that_others_made_is_refused_and_left_as_it_is() {
    let room = Room::new("preflight-foreign");
    room.world.write("plan.toml", plan("p", &room.namespace, ""));
    room.apply(OBJECTS);
    let before = room.get(&["deployment", "web"])["metadata"]["generation"].clone();
    let ran = room.world.ends(7, &["plan", "plan.toml", "--server"]);
    assert!(ran.stdout.contains("Deployment web is there already"), "{}", ran.stdout);
    assert!(ran.stdout.contains("dynbench did not make it"), "{}", ran.stdout);
    assert_eq!(room.get(&["deployment", "web"])["metadata"]["generation"], before);
}

/// Pushes an image that is nothing but its architecture.
fn push(room: &Room, registry: &str, login: &[&str], name: &str, architecture: &str) {
    let config =
        format!(r#"{{"architecture":"{architecture}","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}}}}"#);
    let digest = format!("sha256:{}", Digest::of(config.as_bytes()));
    let size = config.len();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{size}}},"layers":[]}}"#
    );
    let curl = |args: &[&str]| {
        let mut all = vec!["-sS", "-f"];
        all.extend(login);
        all.extend(args);
        room.world.other("curl", &all).unwrap_or_else(|| panic!("curl {args:?}"))
    };
    let base = format!("http://{registry}/v2/{name}");
    let started = curl(&["-i", "-X", "POST", &format!("{base}/blobs/uploads/")]);
    let location = started.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap().trim();
    let join = if location.contains('?') { '&' } else { '?' };
    let to = format!("{location}{join}digest={digest}");
    curl(&["-X", "PUT", "-H", "Content-Type: application/octet-stream", "--data-binary", &config, &to]);
    let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json";
    curl(&["-X", "PUT", "-H", kind, "--data-binary", &manifest, &format!("{base}/manifests/1")]);
}

#[test]
#[ignore = "needs a cluster"]
fn registries_are_asked_for_images_with_the_users_own_logins() {
    let room = Room::new("preflight-images");
    push(&room, REGISTRY, &[], "preflight/good", "amd64");
    push(&room, REGISTRY, &[], "preflight/foreign", "s390x");
    push(&room, PRIVATE, &["-u", "dynbench:secret"], "preflight/private", "amd64");
    let say = |image: &str, target: &str, code: i32| {
        room.world.write("plan.toml", plan("p", &room.namespace, &format!("{INSECURE}\n{target}")));
        let pull = "      imagePullSecrets: [{name: pull}]\n      containers:";
        let objects = OBJECTS.replace("dynbench.local/dynamo:1.6.1", image).replace("      containers:", pull);
        room.world.write("objects.yaml", objects);
        room.world.ends(code, &["plan", "plan.toml", "--server"]).stdout
    };
    let secret = ["create", "secret", "docker-registry", "pull", "--docker-server=198.18.0.11:5001"];
    room.kubectl(&[&secret[..], &["--docker-username=dynbench", "--docker-password=secret"]].concat());

    let good = say(&format!("{REGISTRY}/preflight/good:1"), "", 0);
    assert!(good.contains("image 198.18.0.11:5000/preflight/good:1 is there, for linux/amd64"), "{good}");
    let unknown = say(&format!("{REGISTRY}/preflight/good:2"), "", 7);
    assert!(unknown.contains("198.18.0.11:5000 knows no image preflight/good:2"), "{unknown}");
    let foreign = say(&format!("{REGISTRY}/preflight/foreign:1"), "", 7);
    assert!(foreign.contains("is for linux/s390x, and the nodes are linux/"), "{foreign}");
    let away = say("198.18.0.11:5999/a:1", "", 0);
    assert!(away.contains("image 198.18.0.11:5999/a:1: not checked: 198.18.0.11:5999 cannot be reached"), "{away}");

    let private = format!("{PRIVATE}/preflight/private:1");
    let denied = say(&private, "", 0);
    assert!(denied.contains("not checked: 198.18.0.11:5001 does not let anybody see preflight/private"), "{denied}");
    let allowed = say(&private, "read-pull-secret = true", 0);
    assert!(allowed.contains(&format!("image {private} is there, for linux/amd64")), "{allowed}");
    std::fs::create_dir(room.world.path(".docker")).unwrap();
    // dynbench:secret
    room.world.write(".docker/config.json", r#"{"auths":{"198.18.0.11:5001":{"auth":"ZHluYmVuY2g6c2VjcmV0"}}}"#);
    let mine = say(&private, "", 0);
    assert!(mine.contains(&format!("image {private} is there, for linux/amd64")), "{mine}");
}

#[test]
#[ignore = "needs a cluster"]
fn a_secret_from_the_environment_is_made_and_ended_and_never_written_down() {
    let mut room = Room::new("preflight-secret");
    let target = "[target.secrets.token]\nfrom-env = \"DYNBENCH_TEST_TOKEN\"\nkey = \"HF_TOKEN\"";
    room.world.write("plan.toml", plan("p", &room.namespace, target));
    let objects = OBJECTS.replace("command: [", "envFrom: [{secretRef: {name: token}}], command: [");
    room.world.write("objects.yaml", objects);
    let absent = room.world.ends(7, &["apply", "plan.toml"]);
    assert!(absent.stderr.contains("made from the environment variable DYNBENCH_TEST_TOKEN, which is not set"));

    room.world.set("DYNBENCH_TEST_TOKEN", "hunter2-the-value");
    let ran = room.world.run(&["apply", "plan.toml", "--new", "--keep", "-v"]);
    let secret = room.get(&["secret", "token"]);
    assert_eq!(secret["data"]["HF_TOKEN"], "aHVudGVyMi10aGUtdmFsdWU=", "{}", ran.stderr);
    for said in [&ran.stdout, &ran.stderr] {
        assert!(!said.contains("hunter2"), "{said}");
    }
    for (path, bytes) in crate::world::files(room.world.path("results").as_path()) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMi"), "{}", path.display());
    }
    let run = secret["metadata"]["labels"]["dynbench.dev/run"].as_str().unwrap();
    room.world.ends(0, &["cleanup", "--run", run]);
    assert_eq!(room.left_behind(), "");
}

#[test]
#[ignore = "needs a cluster"]
fn a_namespace_that_the_run_made_goes_with_it_unless_something_foreign_is_in_it() {
    let room = Room::without_namespace("preflight-made");
    room.world.write("plan.toml", plan("p", &room.namespace, ""));
    let ran = room.world.ends(7, &["apply", "plan.toml"]);
    assert!(ran.stderr.contains("namespace preflight-made is not there"), "{}", ran.stderr);

    room.world.write("plan.toml", plan("p", &room.namespace, "create-namespace = true"));
    room.world.run(&["apply", "plan.toml", "--new"]);
    assert_eq!(room.try_kubectl(&["get", "namespace", &room.namespace]), None, "its own is gone");

    room.world.write("objects.yaml", super::room::STUCK);
    let mut apply = room.world.start(&["apply", "plan.toml", "--new"]);
    room.until("it is ending its objects", || {
        let found = room.try_kubectl(&["get", "configmap", "stuck", "-o", "json"]);
        found.is_some_and(|found| found.contains("deletionTimestamp"))
    });
    room.kubectl(&["create", "configmap", "foreign"]);
    room.release_stuck();
    let said = apply.says("namespace preflight-made stays");
    assert!(said.contains("ConfigMap foreign is in it"), "{said}");
    room.kubectl(&["get", "configmap", "foreign"]);
}

/// A graph as the newer version of the CRD has it.
const GRAPH: &str = r#"
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
metadata: {name: g}
spec:
  components:
    - name: Frontend
      type: frontend
      podTemplate: {spec: {containers: [{name: main, image: "dynbench.local/dynamo:1.6.1"}]}}
"#;

#[test]
#[ignore = "needs a cluster"]
fn a_graph_that_no_operator_would_ever_start_is_told_before_it_is_made() {
    let room = Room::new("preflight-graph");
    let _none = absent();
    let crd = shared("data/crds/main-2026-08-21/nvidia.com_dynamographdeployments.yaml").display().to_string();
    room.kubectl(&["create", "-f", &crd]);
    room.world.write("plan.toml", plan("p", &room.namespace, ""));
    room.world.write("objects.yaml", GRAPH);
    room.until("the CRD is served", || {
        let ran = room.world.run(&["plan", "plan.toml", "--server"]);
        !ran.stdout.contains("does not know DynamoGraphDeployment")
    });
    let said = room.world.ends(7, &["plan", "plan.toml", "--server"]).stdout;
    room.kubectl(&["delete", "-f", &crd]);
    assert!(said.contains("the Dynamo operator's admission is not installed"), "{said}");
    assert!(said.contains("would never start"), "{said}");
}
