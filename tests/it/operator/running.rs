//! The life of the stand-in: it installs what is missing, answers, and works on one namespace until it is dropped.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::knobs::Knobs;
use super::made::{self, Component, HASH};
use super::{admission, told};

/// Between two looks: also the least time for which a stale status stands after a change.
const TICK: Duration = Duration::from_millis(100);
const FINALIZER: &str = "nvidia.com/finalizer";
const CRDS: [&str; 2] = ["nvidia.com_dynamographdeployments.yaml", "nvidia.com_dynamoworkermetadatas.yaml"];

/// CRDs are the cluster's: one stand-in at a time.
static ONE: Mutex<()> = Mutex::new(());

/// A running stand-in. Dropping it ends it, and takes away what it installed.
pub(crate) struct Operator {
    knobs: Arc<Mutex<Knobs>>,
    end: CancellationToken,
    thread: Option<JoinHandle<()>>,
    _one: MutexGuard<'static, ()>,
}

impl Operator {
    /// Starts one for a namespace that exists; `crds` is the folder of the newest CRDs.
    pub(crate) fn start(namespace: &str, crds: &Path, knobs: Knobs) -> Self {
        let one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let knobs = Arc::new(Mutex::new(knobs));
        let end = CancellationToken::new();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let work = Work { namespace: namespace.to_owned(), knobs: Arc::clone(&knobs) };
        let crds = CRDS.map(|file| std::fs::read_to_string(crds.join(file)).unwrap());
        let token = end.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let client = Client::try_default().await.unwrap();
                let installed = install(&client, &crds).await;
                let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
                let port = listener.local_addr().unwrap().port();
                let server = tokio::spawn(admission::serve(listener, Arc::clone(&work.knobs)));
                webhooks(&client, &work.namespace, port).await;
                ready.send(()).unwrap();
                tokio::select! {
                    () = token.cancelled() => {}
                    () = work.run(&client) => {}
                }
                server.abort();
                uninstall(&client, &work.namespace, &installed).await;
            });
        });
        is_ready.recv_timeout(Duration::from_secs(60)).unwrap();
        Self { knobs, end, thread: Some(thread), _one: one }
    }

    /// Turns knobs while it runs.
    pub(crate) fn turn(&self, turn: impl FnOnce(&mut Knobs)) {
        turn(&mut self.knobs.lock().unwrap());
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed.
            let _ended = thread.join();
        }
    }
}

fn api(client: &Client, namespace: Option<&str>, version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

const EXTENSIONS: (&str, &str) = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");

/// Makes the CRDs that are missing; returns their names. Nothing converts here: v1alpha1 is not served.
async fn install(client: &Client, crds: &[String]) -> Vec<String> {
    let definitions = api(client, None, EXTENSIONS.0, EXTENSIONS.1);
    let mut installed = Vec::new();
    for text in crds {
        let mut crd: Value = serde_yaml::from_str(text).unwrap();
        crd["spec"]["conversion"] = json!({"strategy": "None"});
        for version in crd["spec"]["versions"].as_array_mut().unwrap() {
            let storage = version["storage"] == true;
            version["served"] = json!(storage);
        }
        let name = crd["metadata"]["name"].as_str().unwrap().to_owned();
        let made = definitions.create(&PostParams::default(), &serde_json::from_value(crd).unwrap()).await;
        match made {
            Ok(_) => installed.push(name.clone()),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => panic!("{error}"),
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let crd = serde_json::to_value(definitions.get(&name).await.unwrap()).unwrap();
            let conditions = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
            if conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True") {
                break;
            }
            assert!(Instant::now() < deadline, "{name} is not established");
            tokio::time::sleep(TICK).await;
        }
    }
    installed
}

/// Admission of graphs in this namespace alone.
async fn webhooks(client: &Client, namespace: &str, port: u16) {
    let hook = |name: &str, path: &str| {
        json!([{"name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "timeoutSeconds": 10,
            "clientConfig": {"url": format!("https://{}:{port}{path}", admission::HOST),
                "caBundle": ByteString(admission::CERTIFICATE.as_bytes().to_vec())},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": ["nvidia.com"], "apiVersions": ["v1beta1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["dynamographdeployments"]}]}])
    };
    let params = PatchParams::apply("stand-in").force();
    for (kind, name, path) in [
        ("MutatingWebhookConfiguration", "mdynamographdeployment.kb.io", "/mutate"),
        ("ValidatingWebhookConfiguration", "vdynamographdeployment.kb.io", "/validate"),
    ] {
        let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": namespace}, "webhooks": hook(name, path)});
        let configurations = api(client, None, "admissionregistration.k8s.io/v1", kind);
        configurations.patch(namespace, &params, &Patch::Apply(object)).await.unwrap();
    }
}

async fn uninstall(client: &Client, namespace: &str, installed: &[String]) {
    let params = DeleteParams::default();
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let _gone = api(client, None, "admissionregistration.k8s.io/v1", kind).delete(namespace, &params).await;
    }
    // Without us nobody takes off the finalizers of what a failed test left.
    let graphs = api(client, Some(namespace), "nvidia.com/v1beta1", "DynamoGraphDeployment");
    for graph in graphs.list(&ListParams::default()).await.into_iter().flatten() {
        let name = graph.metadata.name.unwrap_or_default();
        let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        let _gone = graphs.delete(&name, &params).await;
        let _gone = graphs.patch(&name, &PatchParams::default(), &none).await;
    }
    for name in installed {
        let definitions = api(client, None, EXTENSIONS.0, EXTENSIONS.1);
        let _gone = definitions.delete(name, &params).await;
        // The next one must not meet it on its way out.
        for _ in 0..300 {
            match definitions.get_opt(name).await {
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => tokio::time::sleep(TICK).await,
            }
        }
    }
}

/// What the loop works on.
struct Work {
    namespace: String,
    knobs: Arc<Mutex<Knobs>>,
}

/// When a generation was first seen, by uid.
type Generations = BTreeMap<String, (i64, Instant)>;

impl Work {
    async fn run(&self, client: &Client) {
        let graphs = api(client, Some(&self.namespace), "nvidia.com/v1beta1", "DynamoGraphDeployment");
        let mut generations = Generations::new();
        loop {
            tokio::time::sleep(TICK).await;
            let knobs = self.knobs.lock().unwrap().clone();
            if knobs.frozen {
                continue;
            }
            // A look that fails (an API server that restarts) is taken again.
            let Ok(list) = graphs.list(&ListParams::default()).await else { continue };
            for graph in list {
                let graph = serde_json::to_value(graph).unwrap();
                // So is what collides with another writer.
                let _again = self.reconcile(client, &graphs, &graph, &knobs, &mut generations).await;
            }
        }
    }

    async fn reconcile(
        &self,
        client: &Client,
        graphs: &Api<DynamicObject>,
        graph: &Value,
        knobs: &Knobs,
        generations: &mut Generations,
    ) -> Result<(), kube::Error> {
        let name = graph["metadata"]["name"].as_str().unwrap();
        let write = PatchParams::default();
        if !graph["metadata"]["deletionTimestamp"].is_null() {
            let finalizers = graph["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            let rest: Vec<_> = finalizers.iter().filter(|one| **one != FINALIZER).collect();
            if rest.len() < finalizers.len() {
                let patch = Patch::Merge(json!({"metadata": {"finalizers": rest}}));
                graphs.patch(name, &write, &patch).await?;
            }
            return Ok(());
        }
        if graph["metadata"]["finalizers"].as_array().is_none_or(|all| all.iter().all(|one| one != FINALIZER)) {
            let patch = Patch::Merge(json!({"metadata": {"finalizers": [FINALIZER]}}));
            graphs.patch(name, &write, &patch).await?;
            return Ok(());
        }
        let wanted = made::hash(graph);
        let Some(current) = graph["metadata"]["annotations"][HASH].as_str().map(str::to_owned) else {
            let mut patch = json!({"metadata": {"annotations": {HASH: wanted}}});
            if knobs.rewrites {
                // Its own form of the whole object, as when quantities were not canonical.
                let mut components = graph["spec"]["components"].clone();
                for component in components.as_array_mut().unwrap() {
                    component["podTemplate"]["spec"]["containers"][0]["imagePullPolicy"] = json!("IfNotPresent");
                }
                patch["spec"] = json!({"components": components});
                let mut rewritten = graph.clone();
                rewritten["spec"]["components"] = patch["spec"]["components"].clone();
                patch["metadata"]["annotations"][HASH] = json!(made::hash(&rewritten));
            }
            graphs.patch(name, &write, &Patch::Merge(patch)).await?;
            return Ok(());
        };
        let generation = graph["metadata"]["generation"].as_i64().unwrap();
        let uid = graph["metadata"]["uid"].as_str().unwrap().to_owned();
        let seen = generations.entry(uid).or_insert((generation, Instant::now()));
        if seen.0 != generation {
            *seen = (generation, Instant::now());
        }
        let new = graph["status"]["observedGeneration"].as_i64().is_some_and(|told| told != generation);
        if new && seen.1.elapsed() < knobs.late {
            return Ok(());
        }
        let mut components = Vec::new();
        for component in made::components(graph, &wanted) {
            let deployments = api(client, Some(&self.namespace), "apps/v1", "Deployment");
            let found = deployments.get_opt(&component.workload).await?.map(|it| serde_json::to_value(it).unwrap());
            let old = if current == wanted { None } else { old_of(graph, &component, &current) };
            let old = match old {
                Some(old) => deployments.get_opt(&old).await?.map(|it| serde_json::to_value(it).unwrap()),
                None => None,
            };
            components.push((component, found, old));
        }
        let status = told::status(graph, &components, knobs);
        if graph["status"] != status {
            graphs.patch_status(name, &write, &Patch::Merge(json!({"status": status}))).await?;
        }
        self.make(client, graph, &components).await?;
        let complete = |(component, found, _): &(Component, Option<Value>, Option<Value>)| {
            found.as_ref().is_some_and(|found| told::complete(found, component.replicas))
        };
        if current != wanted && components.iter().all(complete) {
            let deployments = api(client, Some(&self.namespace), "apps/v1", "Deployment");
            for old in components.iter().filter_map(|(_, _, old)| old.as_ref()) {
                deployments.delete(old["metadata"]["name"].as_str().unwrap(), &DeleteParams::background()).await?;
            }
            let patch = Patch::Merge(json!({"metadata": {"annotations": {HASH: wanted}}}));
            graphs.patch(name, &write, &patch).await?;
        }
        Ok(())
    }

    /// Makes, or makes again, what belongs to a graph.
    async fn make(
        &self,
        client: &Client,
        graph: &Value,
        components: &[(Component, Option<Value>, Option<Value>)],
    ) -> Result<(), kube::Error> {
        let params = PatchParams::apply("stand-in").force();
        let mut objects = made::accounts(graph);
        for (component, _, _) in components {
            objects.push(made::deployment(graph, component));
            objects.push(made::service(graph, component));
        }
        for object in objects {
            let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
            let objects = api(client, Some(&self.namespace), version, kind);
            objects.patch(object["metadata"]["name"].as_str().unwrap(), &params, &Patch::Apply(&object)).await?;
        }
        Ok(())
    }
}

/// The workload of a component before its workers changed; `None`: it carries no hash.
fn old_of(graph: &Value, component: &Component, hash: &str) -> Option<String> {
    let before = made::components(graph, hash).into_iter().find(|old| old.name == component.name)?;
    (before.workload != component.workload).then_some(before.workload)
}
