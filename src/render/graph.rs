//! A DynamoGraphDeployment in the version that a cluster serves. Templates are written in v1beta1; v1alpha1 is made from it.

use serde_json::{Map, Value};

use super::canonical::table;

/// Group of the kind.
const GROUP: &str = "nvidia.com";
/// Its name.
pub const GRAPH: &str = "DynamoGraphDeployment";

/// A served version of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GraphVersion {
    /// Dynamo 1.2 and later.
    #[default]
    V1beta1,
    /// Dynamo 0.4 and later.
    V1alpha1,
}

impl GraphVersion {
    /// The name in `apiVersion`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1beta1 => "v1beta1",
            Self::V1alpha1 => "v1alpha1",
        }
    }

    /// The version of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::V1beta1, Self::V1alpha1].into_iter().find(|version| version.as_str() == name)
    }

    /// The one to use of those that a cluster serves: the newest that we know. `None`: it serves none of them.
    pub fn of_served<'a>(served: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let served: Vec<_> = served.into_iter().filter_map(Self::parse).collect();
        [Self::V1beta1, Self::V1alpha1].into_iter().find(|version| served.contains(version))
    }
}

/// Whether an object is a graph.
pub fn is_graph(object: &Value) -> bool {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    text("kind") == GRAPH && text("apiVersion").starts_with(GROUP)
}

/// Puts graphs written in v1beta1 into the version asked for; leaves all else as it is.
pub fn in_version(object: Value, version: GraphVersion) -> Value {
    let newest = format!("{GROUP}/{}", GraphVersion::V1beta1.as_str());
    let is_newest = is_graph(&object) && object.get("apiVersion").and_then(Value::as_str) == Some(&newest);
    match version {
        GraphVersion::V1alpha1 if is_newest => to_v1alpha1(object),
        GraphVersion::V1alpha1 | GraphVersion::V1beta1 => object,
    }
}

/// Fields of a service that templates make use of, and that not every CRD of v1alpha1 has: without them a graph says less,
/// and is accepted.
pub const LATE_FIELDS: [&str; 2] = ["subComponentType", "gpuType"];

/// Takes fields out of the services of a graph that the cluster's CRD does not have. GPUs of another vendor are said in
/// another way.
pub fn without_fields(object: &mut Value, lacking: &[String]) {
    let lacks = |name: &str| lacking.iter().any(|lacking| lacking == name);
    let services = object.pointer_mut("/spec/services").and_then(Value::as_object_mut);
    for service in services.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        if lacks("subComponentType") {
            service.remove("subComponentType");
        }
        let sides = service.get_mut("resources").and_then(Value::as_object_mut);
        for side in sides.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
            if lacks("gpuType")
                && let Some(Value::String(resource)) = side.remove("gpuType")
                && let Some(gpus) = side.remove("gpu")
                && let Some(custom) = side.entry("custom").or_insert_with(|| table([]).into()).as_object_mut()
            {
                custom.insert(resource, gpus);
            }
        }
    }
}

fn to_v1alpha1(mut object: Value) -> Value {
    object["apiVersion"] = format!("{GROUP}/{}", GraphVersion::V1alpha1.as_str()).into();
    let Some(Value::Object(mut spec)) = object.get_mut("spec").map(Value::take) else { return object };
    if let Some(env) = spec.remove("env") {
        spec.insert("envs".to_owned(), env);
    }
    let components = match spec.remove("components") {
        Some(Value::Array(components)) => components,
        Some(_) | None => Vec::new(),
    };
    let services = components.into_iter().filter_map(|component| {
        let Value::Object(component) = component else { return None };
        let name = component.get("name")?.as_str()?.to_owned();
        Some((name, Value::Object(service(component))))
    });
    let services: Map<String, Value> = services.collect();
    spec.insert("services".to_owned(), services.into());
    object["spec"] = spec.into();
    object
}

/// One component as a service of v1alpha1: what v1beta1 says in the pod template has fields of its own there.
fn service(mut component: Map<String, Value>) -> Map<String, Value> {
    component.remove("name");
    let mut out = Map::new();
    match component.remove("type") {
        Some(role) if role == "prefill" || role == "decode" => {
            out.insert("componentType".to_owned(), "worker".into());
            out.insert("subComponentType".to_owned(), role);
        }
        Some(role) => {
            out.insert("componentType".to_owned(), role);
        }
        None => {}
    }
    if let Some(size) = component.remove("sharedMemorySize") {
        out.insert("sharedMemory".to_owned(), table([("size", size)]).into());
    }
    let mut pod = match component.remove("podTemplate") {
        Some(Value::Object(pod)) => pod,
        Some(_) | None => Map::new(),
    };
    // Replicas, nodes and whatever else has the same name in both.
    out.append(&mut component);
    if let Some(metadata) = pod.remove("metadata") {
        out.insert("extraPodMetadata".to_owned(), metadata);
    }
    let Some(Value::Object(mut spec)) = pod.remove("spec") else { return out };
    let containers = match spec.remove("containers") {
        Some(Value::Array(containers)) => containers,
        Some(_) | None => Vec::new(),
    };
    let (main, others): (Vec<_>, Vec<_>) = containers.into_iter().partition(|container| container["name"] == "main");
    if let Some(Value::Object(mut main)) = main.into_iter().next() {
        main.remove("name");
        if let Some(resources) = main.remove("resources") {
            out.insert("resources".to_owned(), resources_of(resources));
        }
        if let Some(env) = main.remove("env") {
            out.insert("envs".to_owned(), env);
        }
        if let Some(Value::Array(from)) = main.get("envFrom")
            && let [only] = &from[..]
            && let Some(secret) = only.pointer("/secretRef/name").cloned()
        {
            out.insert("envFromSecret".to_owned(), secret);
            main.remove("envFrom");
        }
        if !main.is_empty() {
            spec.insert("mainContainer".to_owned(), main.into());
        }
    }
    if !others.is_empty() {
        spec.insert("containers".to_owned(), others.into());
    }
    if !spec.is_empty() {
        out.insert("extraPodSpec".to_owned(), spec.into());
    }
    out
}

/// `limits: {cpu, memory, nvidia.com/gpu}` become `limits: {cpu, memory, gpu}`; other GPUs are named by `gpuType`.
fn resources_of(resources: Value) -> Value {
    let Value::Object(sides) = resources else { return resources };
    let side = |quantities: Value| {
        let Value::Object(quantities) = quantities else { return quantities };
        let mut out = Map::new();
        let mut custom = Map::new();
        for (name, quantity) in quantities {
            match name.as_str() {
                "cpu" | "memory" => {
                    out.insert(name, quantity);
                }
                "nvidia.com/gpu" => {
                    out.insert("gpu".to_owned(), quantity);
                }
                other if other.ends_with("/gpu") => {
                    out.insert("gpu".to_owned(), quantity);
                    out.insert("gpuType".to_owned(), other.into());
                }
                _ => {
                    custom.insert(name, quantity);
                }
            }
        }
        if !custom.is_empty() {
            out.insert("custom".to_owned(), custom.into());
        }
        out.into()
    };
    Value::Object(sides.into_iter().map(|(name, quantities)| (name, side(quantities))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_known_version_that_is_served_is_used() {
        assert_eq!(GraphVersion::of_served(["v1alpha1", "v1beta1"]), Some(GraphVersion::V1beta1));
        assert_eq!(GraphVersion::of_served(["v1alpha1"]), Some(GraphVersion::V1alpha1));
        assert_eq!(GraphVersion::of_served(["v2"]), None);
    }

    #[test]
    fn what_an_early_crd_lacks_is_left_out_or_said_otherwise() {
        let mut graph = serde_json::json!({"spec": {"services": {"Prefill": {"componentType": "worker",
            "subComponentType": "prefill", "resources": {"limits": {"gpu": "1", "gpuType": "amd.com/gpu"}}}}}});
        without_fields(&mut graph, &["subComponentType".to_owned(), "gpuType".to_owned()]);
        let limits = serde_json::json!({"custom": {"amd.com/gpu": "1"}});
        let service = serde_json::json!({"componentType": "worker", "resources": {"limits": limits}});
        assert_eq!(graph["spec"]["services"]["Prefill"], service);
    }

    #[test]
    fn other_objects_and_own_v1alpha1_graphs_stay_as_they_are() {
        for object in [
            serde_json::json!({"apiVersion": "v1", "kind": "Service"}),
            serde_json::json!({"apiVersion": "nvidia.com/v1alpha1", "kind": GRAPH, "spec": {"services": {}}}),
        ] {
            assert_eq!(in_version(object.clone(), GraphVersion::V1alpha1), object);
        }
    }
}
