//! What a graph becomes: names, labels and owners as the real operator gives them. What its pods get stands in `pods`.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::conversion::kept;
use super::pods;

/// Annotation of a graph: the workers' hash that is rolled out.
pub(super) const HASH: &str = "nvidia.com/current-worker-hash-v2";
/// On every graph and component: who made it takes it off.
pub(super) const FINALIZER: &str = "nvidia.com/finalizer";
/// Digest of what was last written into a child, so that nothing is written twice.
pub(super) const WRITTEN: &str = "nvidia.com/last-applied-hash";
/// Kind of a graph.
pub(super) const GRAPH: &str = "DynamoGraphDeployment";
/// Kind of one component with the workers' hash of its time.
pub(super) const COMPONENT: &str = "DynamoComponentDeployment";

/// One component of a graph with the names that follow from it.
#[derive(Debug, Clone)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) replicas: i64,
    /// Name of its DynamoComponentDeployment, its Deployment and, but for dots, of its Service.
    pub(super) workload: String,
    /// Nodes of one replica.
    pub(super) nodes: i64,
    /// `frontend`, `worker`, ...; empty: it has none.
    pub(super) kind: String,
    pub(super) hash: Option<String>,
    /// Its namespace in Dynamo's own sense.
    pub(super) space: String,
    /// The component, as the graph has it.
    pub(super) body: Value,
}

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a component's workload carries the workers' hash.
pub(super) fn is_worker(kind: &str) -> bool {
    matches!(kind, "worker" | "prefill" | "decode")
}

fn digest(value: &Value) -> String {
    Sha256::digest(value.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of all workers together, without their replicas: any change of them rolls all.
pub(super) fn hash(graph: &Value) -> String {
    let workers = graph["spec"]["components"].as_array().into_iter().flatten();
    let workers: Vec<Value> = workers
        .filter(|component| is_worker(text(component, "/type")))
        .map(|component| {
            let mut component = component.clone();
            component.as_object_mut().unwrap().remove("replicas");
            component
        })
        .collect();
    let metadata = &graph["metadata"];
    let mut identity = digest(&json!([metadata["namespace"], metadata["name"], graph["spec"]["env"], workers]));
    identity.truncate(8);
    identity
}

/// What pods see as their own namespace in Dynamo's sense, whatever the graph says.
pub(super) fn space(graph: &Value) -> String {
    format!("{}-{}", text(graph, "/metadata/namespace"), text(graph, "/metadata/name").replace('.', "-"))
}

/// All components of a graph, with the workers at `hash`.
pub(super) fn components(graph: &Value, hash: &str) -> Vec<Component> {
    let graph_name = text(graph, "/metadata/name");
    let kept = kept(graph);
    let one = |body: &Value| {
        let name = text(body, "/name").to_owned();
        let kind = text(body, "/type").to_owned();
        let plain = format!("{graph_name}-{}", name.to_lowercase());
        let hash = is_worker(&kind).then(|| hash.to_owned());
        // Deprecated and ignored, says the real one; labels and selectors keep it all the same.
        let asked = kept["services"][&name]["dynamoNamespace"].as_str();
        Component {
            replicas: body["replicas"].as_i64().unwrap_or(1),
            nodes: body.pointer("/multinode/nodeCount").and_then(Value::as_i64).unwrap_or(1),
            workload: hash.as_ref().map_or(plain.clone(), |hash| format!("{plain}-{hash}")),
            space: asked.map_or_else(|| space(graph), str::to_owned),
            name,
            kind,
            hash,
            body: body.clone(),
        }
    };
    graph["spec"]["components"].as_array().into_iter().flatten().map(one).collect()
}

/// `api_version` and kind of an object, as an owner.
pub(super) fn owner(object: &Value) -> Value {
    json!([{"apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}])
}

pub(super) fn labels(graph: &Value, component: &Component) -> Value {
    let mut labels = json!({
        "nvidia.com/dynamo-component": component.name,
        "nvidia.com/dynamo-graph-deployment-name": graph["metadata"]["name"],
        "nvidia.com/dynamo-namespace": component.space,
    });
    if let Some(hash) = &component.hash {
        labels["nvidia.com/dynamo-worker-hash"] = json!(hash);
    }
    labels
}

/// Labels of everything below a component: those above, and its role where it is one of two.
fn labels_below(graph: &Value, component: &Component) -> Value {
    let mut labels = labels(graph, component);
    if matches!(component.kind.as_str(), "prefill" | "decode") {
        labels["nvidia.com/dynamo-sub-component-type"] = json!(component.kind);
    }
    for (name, value) in graph["spec"]["labels"].as_object().into_iter().flatten() {
        labels[name] = value.clone();
    }
    labels
}

/// An object with the digest of itself, by which it is known whether it must be written again.
fn written(mut object: Value) -> Value {
    object["metadata"]["annotations"][WRITTEN] = json!(digest(&object));
    object
}

/// The account under which pods find each other, and what it may; owned by the graph, but for one that stays for ever.
pub(super) fn accounts(graph: &Value) -> Vec<Value> {
    let name = format!("{}-k8s-service-discovery", text(graph, "/metadata/name"));
    let labels = json!({"app.kubernetes.io/managed-by": "dynamo-operator", "app.kubernetes.io/component": "rbac",
        "app.kubernetes.io/name": name});
    let metadata = |name: &str| json!({"name": name, "labels": labels, "ownerReferences": owner(graph)});
    let read = ["get", "list", "watch"];
    let all = ["create", "get", "list", "watch", "update", "patch", "delete"];
    let objects = [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "planner-serviceaccount"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(&name)}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata(&format!("{name}-role")),
            "rules": [{"apiGroups": [""], "resources": ["endpoints", "pods"], "verbs": read},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
                {"apiGroups": ["nvidia.com"], "resources": ["dynamoworkermetadatas"], "verbs": all}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": metadata(&format!("{name}-binding")),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": format!("{name}-role")},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": graph["metadata"]["namespace"]}]}),
    ];
    objects.into_iter().map(written).collect()
}

/// Claims that a graph of v1alpha1 asks for: its own, and gone with it.
pub(super) fn claims(graph: &Value) -> Vec<Value> {
    let asked = kept(graph)["pvcs"].as_array().cloned().unwrap_or_default();
    let one = |claim: &Value| {
        written(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim["name"], "ownerReferences": owner(graph)},
            "spec": {"accessModes": [claim["volumeAccessMode"]], "storageClassName": claim["storageClass"],
                "resources": {"requests": {"storage": claim["size"]}}}}))
    };
    asked.iter().filter(|claim| claim["create"] == true).map(one).collect()
}

/// The DynamoComponentDeployment of a component, in the version that is stored.
pub(super) fn component_deployment(graph: &Value, component: &Component, api_version: &str) -> Value {
    let spec = if api_version.ends_with("v1alpha1") {
        json!({"serviceName": component.name, "componentType": component.kind})
    } else {
        let mut spec = component.body.clone();
        // How many there are is written apart: a roll-out moves it.
        spec.as_object_mut().unwrap().remove("replicas");
        spec
    };
    written(json!({"apiVersion": api_version, "kind": COMPONENT,
        "metadata": {"name": component.workload, "labels": labels(graph, component), "ownerReferences": owner(graph),
            "finalizers": [FINALIZER]},
        "spec": spec}))
}

/// The Deployment of a component. Its replicas are written apart: a roll-out moves them.
pub(super) fn deployment(graph: &Value, component: &Component, parent: &Value) -> Value {
    let labels = labels_below(graph, component);
    // Those that the user gave the pods are on it as well.
    let mut own = component.body.pointer("/podTemplate/metadata/labels").cloned().unwrap_or_else(|| json!({}));
    own.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
    written(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": component.workload, "labels": own, "ownerReferences": owner(parent)},
        "spec": {"progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"nvidia.com/selector": component.workload}},
            "template": pods::template(graph, component, labels)}}))
}

/// The Service of a component. Its selector names neither the graph nor the hash.
pub(super) fn service(graph: &Value, component: &Component, parent: &Value) -> Value {
    let (port, target) = if component.kind == "frontend" { (8000, "http") } else { (9090, "system") };
    // Pods find each other by the Services that carry these.
    let mut labels = labels_below(graph, component);
    labels["nvidia.com/dynamo-discovery-backend"] = json!("kubernetes");
    labels["nvidia.com/dynamo-discovery-enabled"] = json!("true");
    written(json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": component.workload.replace('.', "-"), "labels": labels, "ownerReferences": owner(parent)},
        "spec": {"ports": [{"name": target, "port": port, "targetPort": target, "protocol": "TCP"}],
            "selector": {"nvidia.com/dynamo-component-type": component.kind,
                "nvidia.com/dynamo-namespace": component.space,
                "nvidia.com/dynamo-component": component.name}}}))
}
