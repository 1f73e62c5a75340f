//! What the pods of a component get: probes, ports, environment and volumes, each only where the user says nothing.

use serde_json::{Value, json};

use super::made::{Component, is_worker, space, text};

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

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// The pod template of a component; `labels` are those of everything below it.
pub(super) fn template(graph: &Value, component: &Component, mut labels: Value) -> Value {
    for (key, value) in [
        ("nvidia.com/dynamo-discovery-backend", "kubernetes"),
        ("nvidia.com/dynamo-discovery-enabled", "true"),
        ("nvidia.com/metrics-enabled", "true"),
        ("nvidia.com/selector", &component.workload),
    ] {
        labels[key] = json!(value);
    }
    if !component.kind.is_empty() {
        labels["nvidia.com/dynamo-component-type"] = json!(component.kind);
    }
    let mut template = component.body["podTemplate"].clone();
    if template["metadata"].is_null() {
        template["metadata"] = json!({});
    }
    // The system's labels win over the user's.
    merge(&mut template, &json!({"metadata": {"labels": labels}}));
    let account = format!("{}-k8s-service-discovery", text(graph, "/metadata/name"));
    let mut pod = json!({"serviceAccountName": account, "terminationGracePeriodSeconds": 60});
    if template["spec"]["securityContext"].is_null() {
        pod["securityContext"] = json!({"fsGroup": 1000});
    }
    merge(&mut pod, &template["spec"]);
    let containers = list(&pod["containers"]);
    let main = containers.iter().position(|one| one["name"] == "main").unwrap_or(0);
    let users = &containers[main];
    let mut container = defaults(component);
    // What the user says of a key replaces the default of that key whole.
    for (key, value) in users.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    container["env"] = environment(graph, component, &users["env"]);
    let mut volumes = list(&pod["volumes"]);
    let mut mounts = list(&container["volumeMounts"]);
    for mount in &mounts {
        // A mount without a volume names a claim of v1alpha1.
        if !volumes.iter().any(|volume| volume["name"] == mount["name"]) {
            let claim = json!({"name": mount["name"], "persistentVolumeClaim": {"claimName": mount["name"]}});
            volumes.push(claim);
        }
    }
    let size = component.body["sharedMemorySize"].as_str().unwrap_or("8Gi");
    if size != "0" {
        volumes.push(json!({"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": size}}));
        mounts.push(json!({"name": "shared-memory", "mountPath": "/dev/shm"}));
    }
    if !volumes.is_empty() {
        container["volumeMounts"] = mounts.into();
        pod["volumes"] = volumes.into();
    }
    pod["containers"][main] = container;
    template["spec"] = pod;
    template
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
            "command": ["/bin/sh", "-c"],
            "ports": [{"name": "system", "containerPort": 9090, "protocol": "TCP"},
                {"name": "nixl", "containerPort": 19090, "protocol": "TCP"}],
            "startupProbe": probe("/live", "system", json!({"periodSeconds": 10, "failureThreshold": 720, "timeoutSeconds": 5})),
            "readinessProbe": probe("/health", "system", json!({"periodSeconds": 10, "timeoutSeconds": 4})),
            "livenessProbe": probe("/live", "system", json!({"periodSeconds": 5, "failureThreshold": 1, "timeoutSeconds": 4})),
        }),
        // Without a type it gets nothing: it runs, counts as ready, and never serves.
        _ => json!({}),
    }
}

/// By name, the system's, then the graph's, then the component's own: the later one wins.
fn environment(graph: &Value, component: &Component, users: &Value) -> Value {
    let mut env = own(graph, component);
    for entry in list(&graph["spec"]["env"]).into_iter().chain(list(users)) {
        env.retain(|known| known["name"] != entry["name"]);
        env.push(entry);
    }
    env.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    Value::Array(env)
}

fn own(graph: &Value, component: &Component) -> Vec<Value> {
    let space = space(graph);
    let mut plain = vec![
        ("DYN_COMPONENT", component.kind.clone()),
        ("DYN_NAMESPACE", space.clone()),
        ("DYN_DISCOVERY_BACKEND", "kubernetes".to_owned()),
        ("DYN_PARENT_DGD_K8S_NAME", text(graph, "/metadata/name").to_owned()),
        ("DYN_PARENT_DGD_K8S_NAMESPACE", text(graph, "/metadata/namespace").to_owned()),
    ];
    match (component.kind.as_str(), &component.hash) {
        ("frontend", _) => {
            plain.push(("DYN_HTTP_PORT", "8000".to_owned()));
            plain.push(("DYNAMO_PORT", "8000".to_owned()));
            plain.push(("DYN_NAMESPACE_PREFIX", space));
        }
        (_, Some(hash)) => {
            plain.push(("DYN_SYSTEM_ENABLED", "true".to_owned()));
            plain.push(("DYN_SYSTEM_PORT", "9090".to_owned()));
            plain.push(("DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS", "[\"generate\"]".to_owned()));
            plain.push(("DYN_HEALTH_CHECK_ENABLED", "false".to_owned()));
            plain.push(("DYN_FORWARDPASS_METRIC_PORT", "20380".to_owned()));
            plain.push(("NIXL_TELEMETRY_ENABLE", "n".to_owned()));
            plain.push(("NIXL_TELEMETRY_EXPORTER", "prometheus".to_owned()));
            plain.push(("NIXL_TELEMETRY_PROMETHEUS_PORT", "19090".to_owned()));
            plain.push(("DYN_NAMESPACE_WORKER_SUFFIX", hash.clone()));
        }
        (_, None) => {}
    }
    let fields = [("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace"), ("POD_UID", "metadata.uid")];
    let plain = plain.into_iter().map(|(name, value)| json!({"name": name, "value": value}));
    let fields = fields.map(|(name, path)| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}));
    plain.chain(fields).collect()
}
