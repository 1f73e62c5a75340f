//! A graph between its two versions, as the real operator's conversion webhook was seen to answer.
//!
//! Written on its own, and not by the product's converter, so that each can be compared with the other. What v1beta1 cannot
//! say is kept in the annotation [`KEPT`] and comes back from there; the real one keeps more in it, in another form.

use serde_json::{Map, Value, json};

/// Annotation with what only v1alpha1 can say.
const KEPT: &str = "nvidia.com/dgd-spec";
const NEW: &str = "nvidia.com/v1beta1";
const OLD: &str = "nvidia.com/v1alpha1";
/// Fields that have the same name and meaning in a component of either version.
const ALIKE: [&str; 4] = ["replicas", "multinode", "minAvailable", "runtimeVersionOverride"];

/// The graph in the version asked for; what is wrong with it, in the words of the real one.
pub(crate) fn convert(graph: &Value, version: &str) -> Result<Value, String> {
    match (graph["apiVersion"].as_str(), version) {
        (Some(OLD), NEW) => to_new(graph),
        (Some(NEW), OLD) => Ok(to_old(graph)),
        _ => Ok(graph.clone()),
    }
}

/// What only v1alpha1 can say, of a graph in v1beta1: `pvcs`, and by the name of a service its `dynamoNamespace`.
pub(super) fn kept(graph: &Value) -> Value {
    let text = graph["metadata"]["annotations"][KEPT].as_str().unwrap_or("{}");
    let kept: Value = serde_json::from_str(text).unwrap_or_default();
    kept["spec"].clone()
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Moves a member under another name, if it is there.
fn moved(from: &mut Map<String, Value>, name: &str, to: &mut Map<String, Value>, other: &str) {
    if let Some(value) = from.remove(name) {
        to.insert(other.to_owned(), value);
    }
}

/// A number where text belongs is a user's fault that comes as an error of the server.
fn texts_only(service: &Map<String, Value>) -> Result<(), String> {
    for side in ["limits", "requests"] {
        let mut quantities = service.get("resources").and_then(|all| all[side].as_object()).into_iter().flatten();
        let is_number = |(name, value): &(&String, &Value)| *name != "custom" && value.is_number();
        if let Some((name, _)) = quantities.find(is_number) {
            return Err(format!(
                "json: cannot unmarshal number into Go struct field ResourceItem.spec.services.resources.{side}.{name} of \
                 type string"
            ));
        }
    }
    Ok(())
}

fn to_new(graph: &Value) -> Result<Value, String> {
    let mut spec = object(&graph["spec"]);
    let services = object(&spec.remove("services").unwrap_or_default());
    let mut out = Map::new();
    let mut only_old = json!({});
    for name in ["backendFramework", "labels", "annotations", "restart"] {
        moved(&mut spec, name, &mut out, name);
    }
    moved(&mut spec, "envs", &mut out, "env");
    if let Some(claims) = spec.remove("pvcs") {
        only_old["pvcs"] = claims;
    }
    let mut components = Vec::new();
    for (name, service) in &services {
        let service = object(service);
        texts_only(&service)?;
        for only in ["dynamoNamespace", "volumeMounts"] {
            if let Some(value) = service.get(only) {
                only_old["services"][name][only] = value.clone();
            }
        }
        components.push(component(name, service));
    }
    // A map has no order: the list is in that of the names.
    components.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    out.insert("components".to_owned(), components.into());
    let mut new = graph.clone();
    new["apiVersion"] = NEW.into();
    new["spec"] = out.into();
    if only_old != json!({}) {
        new["metadata"]["annotations"][KEPT] = json!({"version": 1, "spec": only_old}).to_string().into();
    }
    if let Some(mut status) = graph["status"].as_object().cloned() {
        if let Some(mut services) = status.remove("services") {
            for service in services.as_object_mut().into_iter().flat_map(Map::values_mut) {
                service.as_object_mut().map(|service| service.remove("componentName"));
            }
            status.insert("components".to_owned(), services);
        }
        rename(&mut status, "updatedServices", "updatedComponents");
        new["status"] = status.into();
    }
    Ok(new)
}

fn component(name: &str, mut service: Map<String, Value>) -> Value {
    let mut out = Map::from_iter([("name".to_owned(), json!(name))]);
    let sub = service.remove("subComponentType").filter(|sub| *sub == "prefill" || *sub == "decode");
    out.extend(sub.or(service.remove("componentType")).map(|role| ("type".to_owned(), role)));
    for alike in ALIKE {
        moved(&mut service, alike, &mut out, alike);
    }
    if let Some(shared) = service.remove("sharedMemory") {
        let none = (shared["disabled"] == true).then(|| json!("0"));
        out.insert("sharedMemorySize".to_owned(), none.unwrap_or_else(|| shared["size"].clone()));
    }
    let mut pod = object(&service.remove("extraPodSpec").unwrap_or_default());
    let mut main = object(&pod.remove("mainContainer").unwrap_or_default());
    main.insert("name".to_owned(), json!("main"));
    moved(&mut service, "envs", &mut main, "env");
    if let Some(secret) = service.remove("envFromSecret") {
        main.insert("envFrom".to_owned(), json!([{"secretRef": {"name": secret}}]));
    }
    if let Some(mounts) = service.remove("volumeMounts") {
        let mounts = mounts.as_array().into_iter().flatten();
        let mount = |mount: &Value| json!({"name": mount["name"], "mountPath": mount["mountPoint"]});
        main.insert("volumeMounts".to_owned(), mounts.map(mount).collect());
    }
    for probe in ["livenessProbe", "readinessProbe"] {
        moved(&mut service, probe, &mut main, probe);
    }
    if let Some(resources) = service.remove("resources") {
        let sides = object(&resources).into_iter().map(|(side, quantities)| (side, quantities_of(&quantities)));
        main.insert("resources".to_owned(), Value::Object(sides.collect()));
    }
    let mut containers = vec![Value::Object(main)];
    containers.extend(pod.remove("containers").and_then(|others| others.as_array().cloned()).unwrap_or_default());
    pod.insert("containers".to_owned(), containers.into());
    let mut template = json!({"spec": pod});
    let metadata = object(&service.remove("extraPodMetadata").unwrap_or_default());
    if !metadata.is_empty() {
        template["metadata"] = metadata.into();
    }
    out.insert("podTemplate".to_owned(), template);
    out.into()
}

fn quantities_of(side: &Value) -> Value {
    let mut side = object(side);
    let resource = side.remove("gpuType").and_then(|name| name.as_str().map(str::to_owned));
    let mut out = object(&side.remove("custom").unwrap_or_default());
    moved(&mut side, "gpu", &mut out, resource.as_deref().unwrap_or("nvidia.com/gpu"));
    out.append(&mut side);
    out.into()
}

fn to_old(graph: &Value) -> Value {
    let kept = kept(graph);
    let mut spec = object(&graph["spec"]);
    let components = spec.remove("components").and_then(|all| all.as_array().cloned()).unwrap_or_default();
    let mut out = Map::new();
    moved(&mut spec, "env", &mut out, "envs");
    out.append(&mut spec);
    let services = components.iter().map(|component| {
        let name = component["name"].as_str().unwrap_or_default().to_owned();
        let kept = object(&kept["services"][&name]);
        let mut service = service(object(component), kept.contains_key("volumeMounts"));
        service.extend(kept);
        (name, Value::Object(service))
    });
    out.insert("services".to_owned(), Value::Object(services.collect()));
    if !kept["pvcs"].is_null() {
        out.insert("pvcs".to_owned(), kept["pvcs"].clone());
    }
    let mut old = graph.clone();
    old["apiVersion"] = OLD.into();
    old["spec"] = out.into();
    if let Some(annotations) = old["metadata"]["annotations"].as_object_mut() {
        annotations.remove(KEPT);
        if annotations.is_empty() {
            old["metadata"].as_object_mut().map(|metadata| metadata.remove("annotations"));
        }
    }
    if let Some(mut status) = graph["status"].as_object().cloned() {
        if let Some(mut services) = status.remove("components") {
            for service in services.as_object_mut().into_iter().flat_map(Map::values_mut) {
                // Of several the first: older clients know one only, and the field is required.
                service["componentName"] = service["componentNames"][0].clone();
            }
            status.insert("services".to_owned(), services);
        }
        rename(&mut status, "updatedComponents", "updatedServices");
        old["status"] = status.into();
    }
    old
}

/// What a rolling update has updated has another name in each version.
fn rename(status: &mut Map<String, Value>, from: &str, to: &str) {
    let rolling = status.get_mut("rollingUpdate").and_then(Value::as_object_mut);
    if let Some((rolling, updated)) = rolling.and_then(|rolling| rolling.remove(from).map(|updated| (rolling, updated)))
    {
        rolling.insert(to.to_owned(), updated);
    }
}

/// `mounts`: its mounts are kept in the form of v1alpha1.
fn service(mut component: Map<String, Value>, mounts: bool) -> Map<String, Value> {
    let mut out = Map::new();
    component.remove("name");
    if let Some(role) = component.remove("type") {
        let split = role == "prefill" || role == "decode";
        out.insert("componentType".to_owned(), if split { json!("worker") } else { role.clone() });
        out.extend(split.then(|| ("subComponentType".to_owned(), role)));
    }
    for alike in ALIKE {
        moved(&mut component, alike, &mut out, alike);
    }
    if let Some(size) = component.remove("sharedMemorySize") {
        out.insert("sharedMemory".to_owned(), json!({"size": size}));
    }
    let template = component.remove("podTemplate").unwrap_or_default();
    if !object(&template["metadata"]).is_empty() {
        out.insert("extraPodMetadata".to_owned(), template["metadata"].clone());
    }
    let mut pod = object(&template["spec"]);
    let containers = pod.remove("containers").and_then(|all| all.as_array().cloned()).unwrap_or_default();
    let (main, others): (Vec<_>, Vec<_>) = containers.into_iter().partition(|container| container["name"] == "main");
    if !others.is_empty() {
        pod.insert("containers".to_owned(), others.into());
    }
    let mut main = object(main.first().unwrap_or(&Value::Null));
    main.remove("name");
    if mounts {
        main.remove("volumeMounts");
    }
    moved(&mut main, "env", &mut out, "envs");
    let only = main.get("envFrom").and_then(Value::as_array).filter(|from| from.len() == 1);
    if let Some(secret) = only.and_then(|from| from[0].pointer("/secretRef/name").cloned()) {
        main.remove("envFrom");
        out.insert("envFromSecret".to_owned(), secret);
    }
    if let Some(resources) = main.remove("resources") {
        let sides = object(&resources).into_iter().map(|(side, quantities)| (side, named_quantities(&quantities)));
        out.insert("resources".to_owned(), Value::Object(sides.collect()));
    }
    if !main.is_empty() {
        pod.insert("mainContainer".to_owned(), main.into());
    }
    if !pod.is_empty() {
        out.insert("extraPodSpec".to_owned(), pod.into());
    }
    out
}

fn named_quantities(side: &Value) -> Value {
    let mut out = Map::new();
    for (name, quantity) in object(side) {
        match name.as_str() {
            "cpu" | "memory" => out.extend([(name, quantity)]),
            "nvidia.com/gpu" => out.extend([("gpu".to_owned(), quantity)]),
            other if other.ends_with("/gpu") => {
                out.extend([("gpuType".to_owned(), json!(other)), ("gpu".to_owned(), quantity)]);
            }
            _ => {
                let custom = out.entry("custom").or_insert_with(|| json!({}));
                custom[&name] = quantity;
            }
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn older() -> Value {
        json!({"apiVersion": OLD, "kind": "DynamoGraphDeployment", "metadata": {"name": "g"}, "spec": {
        "envs": [{"name": "A", "value": "1"}],
        "pvcs": [{"name": "cache", "create": true}],
        "services": {
            "Frontend": {"componentType": "frontend", "replicas": 1, "dynamoNamespace": "mine",
                "extraPodSpec": {"mainContainer": {"image": "x:1.2.3"}}},
            "Prefill": {"componentType": "worker", "subComponentType": "prefill", "envFromSecret": "hf",
                "resources": {"limits": {"gpu": "2", "gpuType": "amd.com/gpu", "memory": "1Gi", "custom": {"rdma/ib": "1"}}},
                "sharedMemory": {"size": "2Gi"}, "volumeMounts": [{"name": "cache", "mountPoint": "/cache"}], "extraPodMetadata": {"labels": {"a": "b"}},
                "extraPodSpec": {"nodeSelector": {"n": "1"}, "containers": [{"name": "side", "image": "y"}],
                    "mainContainer": {"image": "x:1.2.3", "args": ["--m"]}}},
        }}})
    }

    #[test]
    fn a_graph_of_the_older_version_comes_back_as_it_was() {
        let new = convert(&older(), NEW).unwrap();
        assert_eq!(new["spec"]["components"][1]["type"], "prefill");
        let main = &new["spec"]["components"][1]["podTemplate"]["spec"]["containers"][0];
        assert_eq!(main["resources"]["limits"], json!({"rdma/ib": "1", "amd.com/gpu": "2", "memory": "1Gi"}));
        assert_eq!(convert(&new, OLD).unwrap(), older());
    }

    #[test]
    fn a_number_where_text_belongs_is_refused_as_the_real_one_refuses_it() {
        let mut wrong = older();
        wrong["spec"]["services"]["Prefill"]["resources"]["limits"]["gpu"] = json!(2);
        assert!(convert(&wrong, NEW).unwrap_err().starts_with("json: cannot unmarshal number"));
    }
}
