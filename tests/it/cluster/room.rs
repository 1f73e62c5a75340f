//! A namespace of a real cluster, and a folder in which the binary works with it.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::World;

/// How long something in the cluster may take to be as a test expects it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kubeconfig of the cluster.
pub(super) fn kubeconfig() -> String {
    given("KUBECONFIG")
}

/// A dynbench that runs in whatever image.
pub(super) fn static_binary() -> String {
    given("DYNBENCH_STATIC")
}

/// A path below the folder with the cluster's tool, its examples and the CRDs.
pub(super) fn shared(inside: &str) -> PathBuf {
    Path::new(&given("DYNBENCH_SHARED")).canonicalize().unwrap().join(inside)
}

/// Manifests of Dynamo's frontend, router and mocker: `agg` or `disagg`. Service `<name>-frontend`, port 8000.
pub(super) fn mocker(name: &str) -> String {
    std::fs::read_to_string(shared(&format!("cluster/examples/dynamo-mocker-{name}.yaml"))).unwrap()
}

/// Whoever runs these tests says it: a test that finds no cluster must not pass.
fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must be set for tests on a cluster"))
}

/// The cluster's registry that asks for no login; plain HTTP.
pub(super) const REGISTRY: &str = "198.18.0.11:5000";

/// A name for an image of a test's own. Nodes keep what they pulled, so that no two processes may mean different images by
/// one name.
pub(super) fn own_image(of: &str) -> String {
    format!("{REGISTRY}/{of}/dynbench:{}", std::process::id())
}

/// The line of a plan that says how long its deployment may take; what serves nothing is given up soon.
pub(super) const DEADLINE: &str = "policy.ready-deadline = \"4s\"";

/// The line of a plan that says where load comes from: the program under test is not static, so no Job can have it.
pub(super) const LOAD: &str = "load.from = \"here\"";

/// A plan in `namespace`, with these lines below `[target]` and this deployment's manifests in `objects.yaml`.
pub(super) fn plan(name: &str, namespace: &str, target: &str) -> String {
    format!(
        r#"schema = 1
name = "{name}"
model.id = "tiny"
{DEADLINE}
{LOAD}

[workload]
isl = 20
osl = 4
concurrency = [1]
requests = 4

[target]
kind = "kubernetes"
namespace = "{namespace}"
{target}

[deployments.web]
manifests = ["objects.yaml"]
service = "web:8000"

[plots]
set = []
"#
    )
}

/// A Service and a Deployment of one pod that does nothing.
pub(super) const OBJECTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 8000}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {name: main, image: "dynbench.local/dynamo:1.6.1", command: [sleep, "10000"]}
"#;

/// An object that does not go before somebody takes its finalizer off: a run that ends it stays at it.
pub(super) const STUCK: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: stuck, finalizers: [example.com/hold]}
"#;

/// Its namespace goes with it.
pub(super) struct Room {
    pub(super) world: World,
    pub(super) namespace: String,
    kubectl: PathBuf,
}

impl Room {
    /// With a namespace of that name.
    pub(super) fn new(namespace: &str) -> Self {
        let room = Self::without_namespace(namespace);
        room.kubectl(&["create", "namespace", namespace]);
        room
    }

    /// The same, and the namespace is not made.
    pub(super) fn without_namespace(namespace: &str) -> Self {
        let kubeconfig = kubeconfig();
        let beside = Path::new(&kubeconfig).with_file_name("bin/kubectl");
        let kubectl = if beside.is_file() { beside } else { PathBuf::from("kubectl") };
        let mut world = World::new("").patient(3 * PATIENCE);
        world.set("KUBECONFIG", &kubeconfig);
        world.write("objects.yaml", OBJECTS);
        let room = Self { world, namespace: namespace.to_owned(), kubectl };
        // Of an earlier test that was killed.
        room.delete_namespace();
        room
    }

    /// For commands that may take longer.
    pub(super) fn patient(self, patience: Duration) -> Self {
        // The room has a drop of its own, so the world is taken out and put back.
        let mut room = self;
        room.world = std::mem::replace(&mut room.world, World::new("")).patient(patience);
        room
    }

    /// What kubectl says; it must end well.
    pub(super) fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args).unwrap_or_else(|| panic!("kubectl {args:?}"))
    }

    /// What kubectl says, if it ends well.
    pub(super) fn try_kubectl(&self, args: &[&str]) -> Option<String> {
        let mut all = vec!["--namespace", self.namespace.as_str()];
        all.extend(args);
        self.world.other(&self.kubectl.to_string_lossy(), &all)
    }

    /// An object, or a list of them, as JSON.
    pub(super) fn get(&self, args: &[&str]) -> Value {
        let mut all = vec!["get", "-o", "json"];
        all.extend(args);
        serde_json::from_str(&self.kubectl(&all)).unwrap()
    }

    /// Applies YAML.
    pub(super) fn apply(&self, yaml: &str) {
        self.world.write("apply.yaml", yaml);
        self.kubectl(&["apply", "-f", "apply.yaml"]);
    }

    /// Names of everything that carries a label of a run.
    pub(super) fn left_behind(&self) -> String {
        let kinds = "all,lease,configmap,secret,pvc,role,rolebinding,serviceaccount";
        self.kubectl(&["get", kinds, "-l", "dynbench.dev/run", "-o", "name"])
    }

    /// Waits until something is so.
    pub(super) fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: not after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Takes the finalizer of [`STUCK`] off.
    pub(super) fn release_stuck(&self) {
        self.kubectl(&[
            "patch",
            "configmap",
            "stuck",
            "--type=json",
            "-p",
            r#"[{"op":"remove","path":"/metadata/finalizers"}]"#,
        ]);
    }

    fn delete_namespace(&self) {
        let _nothing_there = self.try_kubectl(&["delete", "namespace", &self.namespace, "--ignore-not-found"]);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What a failed test left hanging must not hold the namespace.
        let _gone = self.try_kubectl(&[
            "patch",
            "configmap",
            "stuck",
            "--type=json",
            "-p",
            r#"[{"op":"remove","path":"/metadata/finalizers"}]"#,
        ]);
        self.delete_namespace();
    }
}
