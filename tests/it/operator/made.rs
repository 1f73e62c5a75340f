//! What a graph becomes: names, labels, ports, environment, probes and owners as the real operator gives them.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Annotation of a graph: the workers' hash that is rolled out.
pub(super) const HASH: &str = "nvidia.com/current-worker-hash-v2";

/// One component of a graph with the names that follow from it.
pub(super) struct Component {
    pub(super) name: String,
    pub(super) replicas: i64,
    /// Name of its Deployment and, but for dots, of its Service.
    pub(super) workload: String,
    kind: String,
    template: Value,
    hash: Option<String>,
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn is_worker(kind: &str) -> bool {
    matches!(kind, "worker" | "prefill" | "decode")
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
    let identity = json!([graph["metadata"]["namespace"], graph["metadata"]["name"], workers]);
    Sha256::digest(identity.to_string()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// All components of a graph, with the workers at `hash`.
pub(super) fn components(graph: &Value, hash: &str) -> Vec<Component> {
    let name = text(graph, "/metadata/name");
    let one = |component: &Value| {
        let kind = text(component, "/type").to_owned();
        let plain = format!("{name}-{}", text(component, "/name").to_lowercase());
        let hash = is_worker(&kind).then(|| hash.to_owned());
        Component {
            name: text(component, "/name").to_owned(),
            replicas: component["replicas"].as_i64().unwrap_or(1),
            workload: hash.as_ref().map_or(plain.clone(), |hash| format!("{plain}-{hash}")),
            kind,
            template: component["podTemplate"].clone(),
            hash,
        }
    };
    graph["spec"]["components"].as_array().into_iter().flatten().map(one).collect()
}

fn owner(graph: &Value) -> Value {
    json!([{"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment", "name": graph["metadata"]["name"],
        "uid": graph["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}])
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn labels(graph: &Value, component: &Component) -> Value {
    let mut labels = json!({
        "nvidia.com/dynamo-component": component.name,
        "nvidia.com/dynamo-graph-deployment-name": graph["metadata"]["name"],
        "nvidia.com/dynamo-namespace": dynamo_namespace(graph),
    });
    if let Some(hash) = &component.hash {
        labels["nvidia.com/dynamo-worker-hash"] = json!(hash);
    }
    labels
}

fn dynamo_namespace(graph: &Value) -> String {
    format!("{}-{}", text(graph, "/metadata/namespace"), text(graph, "/metadata/name").replace('.', "-"))
}

/// The account under which pods find each other, and what it may; owned by the graph, but for one that stays for ever.
pub(super) fn accounts(graph: &Value) -> Vec<Value> {
    let name = format!("{}-k8s-service-discovery", text(graph, "/metadata/name"));
    let metadata = |name: &str| json!({"name": name, "ownerReferences": owner(graph)});
    let read = ["get", "list", "watch"];
    let all = ["create", "get", "list", "watch", "update", "patch", "delete"];
    vec![
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
    ]
}

/// The Deployment of a component.
pub(super) fn deployment(graph: &Value, component: &Component) -> Value {
    let mut pod_labels = labels(graph, component);
    for (key, value) in [
        ("nvidia.com/dynamo-component-type", component.kind.as_str()),
        ("nvidia.com/dynamo-discovery-backend", "kubernetes"),
        ("nvidia.com/dynamo-discovery-enabled", "true"),
        ("nvidia.com/metrics-enabled", "true"),
        ("nvidia.com/selector", &component.workload),
    ] {
        pod_labels[key] = json!(value);
    }
    let mut template =
        json!({"metadata": {"labels": graph["spec"]["labels"].as_object().cloned().unwrap_or_default()}});
    merge(&mut template, &component.template);
    // The system's labels win over the user's.
    merge(&mut template, &json!({"metadata": {"labels": pod_labels}}));
    let account = format!("{}-k8s-service-discovery", text(graph, "/metadata/name"));
    let mut pod = json!({"serviceAccountName": account, "terminationGracePeriodSeconds": 60,
        "securityContext": {"fsGroup": 1000}});
    merge(&mut pod, &template["spec"]);
    let mut main = defaults(component);
    // What the user says of a key replaces the default of that key whole.
    for (key, value) in pod["containers"][0].as_object().into_iter().flatten() {
        main[key] = value.clone();
    }
    let own = environment(graph, component);
    let users = pod["containers"][0]["env"].as_array().cloned().unwrap_or_default();
    let named = |name: &Value| users.iter().any(|user| user["name"] == *name);
    let mut env: Vec<Value> = own.into_iter().filter(|entry| !named(&entry["name"])).collect();
    env.extend(users.clone());
    main["env"] = Value::Array(env);
    pod["containers"][0] = main;
    template["spec"] = pod;
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": component.workload, "labels": labels(graph, component), "ownerReferences": owner(graph)},
        "spec": {"replicas": component.replicas, "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"nvidia.com/selector": component.workload}}, "template": template}})
}

/// What a container gets where the user says nothing.
fn defaults(component: &Component) -> Value {
    let probe = |path: &str, port: &str, rest: Value| {
        let mut probe = json!({"httpGet": {"path": path, "port": port}});
        merge(&mut probe, &rest);
        probe
    };
    match component.kind.as_str() {
        "frontend" => json!({
            "command": ["python3"], "args": ["-m", "dynamo.frontend"],
            "ports": [{"name": "http", "containerPort": 8000, "protocol": "TCP"}],
            "readinessProbe": probe("/health", "http", json!({"initialDelaySeconds": 10, "periodSeconds": 10, "timeoutSeconds": 3})),
            "livenessProbe": probe("/live", "http", json!({"initialDelaySeconds": 15, "periodSeconds": 10})),
        }),
        kind if is_worker(kind) => json!({
            "ports": [{"name": "system", "containerPort": 9090, "protocol": "TCP"}],
            "startupProbe": probe("/live", "system", json!({"periodSeconds": 10, "failureThreshold": 720, "timeoutSeconds": 5})),
            "readinessProbe": probe("/health", "system", json!({"periodSeconds": 10, "timeoutSeconds": 4})),
            "livenessProbe": probe("/live", "system", json!({"periodSeconds": 5, "failureThreshold": 1, "timeoutSeconds": 4})),
        }),
        // Without a type it gets nothing: it runs, counts as ready, and never serves.
        _ => json!({}),
    }
}

fn environment(graph: &Value, component: &Component) -> Vec<Value> {
    let namespace = dynamo_namespace(graph);
    let mut plain = vec![
        ("DYN_COMPONENT", component.kind.clone()),
        ("DYN_NAMESPACE", namespace.clone()),
        ("DYN_DISCOVERY_BACKEND", "kubernetes".to_owned()),
        ("DYN_PARENT_DGD_K8S_NAME", text(graph, "/metadata/name").to_owned()),
        ("DYN_PARENT_DGD_K8S_NAMESPACE", text(graph, "/metadata/namespace").to_owned()),
    ];
    match (component.kind.as_str(), &component.hash) {
        ("frontend", _) => {
            plain.push(("DYN_HTTP_PORT", "8000".to_owned()));
            plain.push(("DYNAMO_PORT", "8000".to_owned()));
            plain.push(("DYN_NAMESPACE_PREFIX", namespace));
        }
        (_, Some(hash)) => {
            plain.push(("DYN_SYSTEM_ENABLED", "true".to_owned()));
            plain.push(("DYN_SYSTEM_PORT", "9090".to_owned()));
            plain.push(("DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS", "[\"generate\"]".to_owned()));
            plain.push(("DYN_HEALTH_CHECK_ENABLED", "false".to_owned()));
            plain.push(("DYN_NAMESPACE_WORKER_SUFFIX", hash.clone()));
        }
        (_, None) => {}
    }
    let fields = [("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace"), ("POD_UID", "metadata.uid")];
    let plain = plain.into_iter().map(|(name, value)| json!({"name": name, "value": value}));
    let fields = fields.map(|(name, path)| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}));
    plain.chain(fields).collect()
}

/// The Service of a component. Its selector names neither the graph nor the hash.
pub(super) fn service(graph: &Value, component: &Component) -> Value {
    let (port, target) = if component.kind == "frontend" { (8000, "http") } else { (9090, "system") };
    // Pods find each other by the Services that carry these.
    let mut labels = labels(graph, component);
    labels["nvidia.com/dynamo-discovery-backend"] = json!("kubernetes");
    labels["nvidia.com/dynamo-discovery-enabled"] = json!("true");
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": component.workload.replace('.', "-"), "labels": labels, "ownerReferences": owner(graph)},
        "spec": {"ports": [{"name": target, "port": port, "targetPort": target, "protocol": "TCP"}],
            "selector": {"nvidia.com/dynamo-component-type": component.kind,
                "nvidia.com/dynamo-namespace": dynamo_namespace(graph),
                "nvidia.com/dynamo-component": component.name}}})
}
