//! What the stand-in does with graphs, in the steps and with the writes of the real one: finalizer, hash, components, what
//! belongs to them, status; a change of the workers rolls all of them, beside the old ones and with a surge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::conversion::convert;
use super::events::{self, Writer};
use super::installed::{api, stored};
use super::knobs::{Age, Knobs};
use super::made::{self, COMPONENT, Component, FINALIZER, GRAPH, HASH, WRITTEN};
use super::told::{self, Part};

/// Between two looks.
const TICK: Duration = Duration::from_millis(150);

/// What a step came to: what collides with another writer is tried again at the next look.
type Done = Result<(), kube::Error>;

/// What the loop works with.
pub(super) struct Work {
    client: Client,
    namespace: String,
    shared: Arc<Mutex<Knobs>>,
    /// When a generation was first seen, by uid.
    generations: BTreeMap<String, (i64, Instant)>,
    /// Graphs whose accounts and claims were made, by uid.
    accounted: BTreeSet<String>,
    /// What Kubernetes said of a component's Deployment, by name.
    errors: BTreeMap<String, String>,
}

/// All children in the namespace, by kind.
type Children = BTreeMap<&'static str, Vec<Value>>;

const CHILDREN: [(&str, &str); 2] = [("apps/v1", "Deployment"), ("v1", "Service")];

fn name_of(object: &Value) -> &str {
    made::text(object, "/metadata/name")
}

fn find<'a>(children: &'a Children, kind: &str, name: &str) -> Option<&'a Value> {
    children.get(kind)?.iter().find(|child| name_of(child) == name)
}

fn is_ending(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

impl Work {
    pub(super) fn new(client: Client, namespace: String, shared: Arc<Mutex<Knobs>>) -> Self {
        let (generations, accounted, errors) = Default::default();
        Self { client, namespace, shared, generations, accounted, errors }
    }

    pub(super) async fn run(mut self) {
        loop {
            tokio::time::sleep(TICK).await;
            let knobs = self.shared.lock().unwrap().clone();
            if !knobs.frozen {
                // A look that fails (an API server that restarts) is taken again.
                let _again = self.look(&knobs).await;
            }
        }
    }

    async fn list(&self, version: &str, kind: &str) -> Result<Vec<Value>, kube::Error> {
        let found = api(&self.client, Some(&self.namespace), version, kind).list(&ListParams::default()).await?;
        let whole = |object| {
            let mut object = serde_json::to_value(object).unwrap();
            object["apiVersion"] = json!(version);
            object["kind"] = json!(kind);
            object
        };
        Ok(found.into_iter().map(whole).collect())
    }

    async fn look(&mut self, knobs: &Knobs) -> Done {
        let graphs = self.list(stored(knobs.age), GRAPH).await?;
        let mut children = Children::new();
        children.insert(COMPONENT, self.list(stored(knobs.age), COMPONENT).await?);
        if graphs.is_empty() && children[COMPONENT].is_empty() {
            return Ok(());
        }
        for (version, kind) in CHILDREN {
            children.insert(kind, self.list(version, kind).await?);
        }
        for component in &children[COMPONENT] {
            if is_ending(component) {
                self.release(component).await?;
            }
        }
        for graph in graphs {
            // Inside, it knows the newest version only.
            let graph = convert(&graph, stored(Age::Newest)).unwrap();
            if is_ending(&graph) {
                self.release(&self.as_stored(&graph, knobs)).await?;
            } else {
                let _again = self.reconcile(&graph, &children, knobs).await;
            }
        }
        Ok(())
    }

    fn as_stored(&self, graph: &Value, knobs: &Knobs) -> Value {
        convert(graph, stored(knobs.age)).unwrap()
    }

    async fn merge(&self, object: &Value, patch: &Value) -> Done {
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let objects = api(&self.client, Some(&self.namespace), version, kind);
        objects.patch(name_of(object), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    async fn merge_status(&self, object: &Value, status: &Value) -> Done {
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let objects = api(&self.client, Some(&self.namespace), version, kind);
        let patch = Patch::Merge(json!({"status": status}));
        objects.patch_status(name_of(object), &PatchParams::default(), &patch).await.map(drop)
    }

    /// Takes the finalizer off.
    async fn release(&self, object: &Value) -> Done {
        let finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let rest: Vec<_> = finalizers.iter().filter(|one| **one != FINALIZER).collect();
        if rest.len() < finalizers.len() {
            self.merge(object, &json!({"metadata": {"finalizers": rest}})).await?;
        }
        Ok(())
    }

    async fn reconcile(&mut self, graph: &Value, children: &Children, knobs: &Knobs) -> Done {
        let object = self.as_stored(graph, knobs);
        let finalizers = graph["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        if !finalizers.iter().any(|one| *one == FINALIZER) {
            let all: Vec<_> = finalizers.into_iter().chain([json!(FINALIZER)]).collect();
            return self.merge(&object, &json!({"metadata": {"finalizers": all}})).await;
        }
        let wanted = made::hash(graph);
        let Some(current) = graph["metadata"]["annotations"][HASH].as_str().map(str::to_owned) else {
            return self.merge(&object, &first_hash(graph, &wanted, knobs)).await;
        };
        if !self.is_due(graph, knobs) {
            return Ok(());
        }
        if self.accounted.insert(made::text(graph, "/metadata/uid").to_owned()) {
            self.account(graph).await?;
        }
        let parts = parts(graph, &wanted, children);
        let rolling = current != wanted;
        let status = told::graph(graph, &parts, rolling, knobs);
        if graph["status"] != status {
            let newest = json!({"apiVersion": stored(Age::Newest), "status": status});
            let stored = convert(&newest, stored(knobs.age)).unwrap();
            self.merge_status(&object, &stored["status"]).await?;
        }
        if status["state"] == "failed" {
            return Ok(());
        }
        if rolling && graph["status"]["rollingUpdate"]["phase"] != "InProgress" {
            let note = format!("Starting rolling update to worker hash {wanted}");
            events::tell(&self.client, Writer::Graphs, &object, "Normal", "RollingUpdateStarted", &note).await;
        }
        for part in &parts {
            self.make(graph, part, children, knobs).await?;
        }
        let done = |part: &Part| part.deployment.as_ref().is_some_and(|it| told::complete(it, part.component.replicas));
        if rolling && parts.iter().all(|part| done(part) && part.old.iter().all(|old| old["spec"]["replicas"] == 0)) {
            for old in parts.iter().flat_map(|part| &part.old) {
                let components = api(&self.client, Some(&self.namespace), stored(knobs.age), COMPONENT);
                components.delete(name_of(old), &DeleteParams::background()).await?;
            }
            self.merge(&object, &json!({"metadata": {"annotations": {HASH: wanted}}})).await?;
            let note = format!("Rolling update completed, worker hash {wanted}");
            events::tell(&self.client, Writer::Graphs, &object, "Normal", "RollingUpdateCompleted", &note).await;
        }
        Ok(())
    }

    /// Whether the status of this generation may be written yet: the old one stands for a while after each change.
    fn is_due(&mut self, graph: &Value, knobs: &Knobs) -> bool {
        let generation = graph["metadata"]["generation"].as_i64().unwrap();
        let uid = made::text(graph, "/metadata/uid").to_owned();
        let seen = self.generations.entry(uid).or_insert((generation, Instant::now()));
        if seen.0 != generation {
            *seen = (generation, Instant::now());
        }
        let told = graph["status"]["observedGeneration"].as_i64();
        told.is_none_or(|told| told == generation) || seen.1.elapsed() >= knobs.late
    }

    async fn account(&self, graph: &Value) -> Done {
        for object in made::accounts(graph).into_iter().chain(made::claims(graph)) {
            let stored = self.write(&object).await?;
            events::made(&self.client, Writer::Graphs, &stored).await;
        }
        Ok(())
    }

    async fn write(&self, object: &Value) -> Result<Value, kube::Error> {
        let mut object = object.clone();
        let age = self.shared.lock().unwrap().age;
        for owner in object["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
            if owner["kind"] == GRAPH {
                // Inside it is of the newest version; the garbage collector knows only what is served.
                owner["apiVersion"] = json!(stored(age));
            }
        }
        let params = PatchParams::apply("stand-in").force();
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let objects = api(&self.client, Some(&self.namespace), version, kind);
        let stored = objects.patch(name_of(&object), &params, &Patch::Apply(&object)).await?;
        let mut stored = serde_json::to_value(stored).unwrap();
        stored["apiVersion"] = json!(version);
        stored["kind"] = json!(kind);
        Ok(stored)
    }

    /// Writes a child unless it stands there already as it must be.
    async fn child(&self, object: &Value, children: &Children, writer: Writer) -> Result<(), kube::Error> {
        let present = find(children, object["kind"].as_str().unwrap(), name_of(object));
        let digest = |object: &Value| object["metadata"]["annotations"][WRITTEN].clone();
        if present.is_some_and(|present| digest(present) == digest(object)) {
            return Ok(());
        }
        let stored = self.write(object).await?;
        if present.is_none() {
            events::made(&self.client, writer, &stored).await;
        }
        Ok(())
    }

    /// Makes, or makes again, what belongs to a component, and moves its replicas.
    async fn make(&mut self, graph: &Value, part: &Part, children: &Children, knobs: &Knobs) -> Done {
        let component = &part.component;
        let parent = made::component_deployment(graph, component, stored(knobs.age));
        self.child(&parent, children, Writer::Graphs).await?;
        let Some(parent) = &part.parent else { return Ok(()) };
        if parent["status"]["conditions"].is_null() {
            events::collided(&self.client, parent).await;
        }
        match self.child(&made::deployment(graph, component, parent), children, Writer::Components).await {
            Ok(()) => drop(self.errors.remove(&component.workload)),
            Err(kube::Error::Api(status)) if status.code == 422 => {
                self.errors.insert(component.workload.clone(), status.message.clone());
            }
            Err(error) => return Err(error),
        }
        let error = self.errors.get(&component.workload);
        if error.is_none() {
            self.child(&made::service(graph, component, parent), children, Writer::Components).await?;
            self.scale(part).await?;
        }
        let status = told::component(part, error.map(String::as_str));
        if parent["status"] != status {
            self.merge_status(parent, &status).await?;
        }
        Ok(())
    }

    /// New pods come up to a quarter beside the old ones, and old ones go as new ones are available.
    async fn scale(&self, part: &Part) -> Done {
        let n = part.component.replicas;
        let count =
            |deployment: &Value, pointer: &str| deployment.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
        let available = part.deployment.as_ref().map_or(0, |new| count(new, "/status/availableReplicas"));
        let mut standing = 0;
        for old in &part.old {
            let (is, keeps) = (count(old, "/spec/replicas"), (n - available).max(0));
            standing += count(old, "/status/replicas").max(keeps.min(is));
            if is > keeps {
                self.merge(old, &json!({"spec": {"replicas": keeps}})).await?;
            }
        }
        let Some(new) = &part.deployment else { return Ok(()) };
        let surge = (n + 3) / 4;
        let wanted = if part.old.is_empty() { n } else { n.min((n + surge - standing).max(0)) };
        let is = new.pointer("/spec/replicas").and_then(Value::as_i64);
        // A Deployment that was only just made has one of its own accord.
        if is != Some(wanted) && (part.old.is_empty() || is.is_none_or(|is| is < wanted)) {
            self.merge(new, &json!({"spec": {"replicas": wanted}})).await?;
        }
        Ok(())
    }
}

/// The first write of the hash; by a knob with the whole spec in the operator's own form, as when what was sent was not
/// canonical.
fn first_hash(graph: &Value, wanted: &str, knobs: &Knobs) -> Value {
    let mut patch = json!({"metadata": {"annotations": {HASH: wanted}}});
    if knobs.rewrites {
        let mut rewritten = graph.clone();
        for component in rewritten["spec"]["components"].as_array_mut().unwrap() {
            component["podTemplate"]["spec"]["containers"][0]["imagePullPolicy"] = json!("IfNotPresent");
        }
        patch["metadata"]["annotations"][HASH] = json!(made::hash(&rewritten));
        patch["spec"] = json!({"components": rewritten["spec"]["components"]});
    }
    patch
}

fn parts(graph: &Value, wanted: &str, children: &Children) -> Vec<Part> {
    let part = |component: Component| {
        let live = |kind: &str| find(children, kind, &component.workload).filter(|child| !is_ending(child)).cloned();
        let labelled = |child: &&Value, label: &str, value: &str| child["metadata"]["labels"][label] == value;
        let old = children["Deployment"].iter().filter(|child| {
            component.hash.is_some()
                && name_of(child) != component.workload
                && !is_ending(child)
                && labelled(child, "nvidia.com/dynamo-graph-deployment-name", name_of(graph))
                && labelled(child, "nvidia.com/dynamo-component", &component.name)
        });
        let old = old.cloned().collect();
        let (parent, deployment) = (live(COMPONENT), live("Deployment"));
        Part { parent, deployment, old, component }
    };
    made::components(graph, wanted).into_iter().map(part).collect()
}
