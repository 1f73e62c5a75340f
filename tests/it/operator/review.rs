//! What admission says to a graph: two annotations, replicas where they were left out, and refusals with all their causes.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::conversion::{convert, kept};
use super::made::{space, text};

/// One fault: field, reason, message.
type Fault = (String, &'static str, String);

/// The answer of the mutating webhook.
pub(super) fn mutated(review: &Value) -> Value {
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    response["patchType"] = json!("JSONPatch");
    response["patch"] = json!(ByteString(patch(&review["request"]["object"]).to_string().into_bytes()));
    response
}

/// The answer of the validating webhook.
pub(super) fn validated(review: &Value) -> Value {
    let request = &review["request"];
    let mut response = json!({"uid": request["uid"], "allowed": true});
    // A graph of the older version is judged in the newer one.
    let newer = |graph: &Value| convert(graph, "nvidia.com/v1beta1").unwrap_or_else(|_| graph.clone());
    let graph = newer(&request["object"]);
    let mut faults = faults(&graph);
    if request["operation"] == "UPDATE" && graph["metadata"]["deletionTimestamp"].is_null() {
        faults.extend(changed(&newer(&request["oldObject"]), &graph));
    } else if request["operation"] == "CREATE" && !graph["spec"]["restart"].is_null() {
        let message = "must be unset on create; set spec.restart.id after creation to request a restart".to_owned();
        faults.push(("spec.restart".to_owned(), "FieldValueForbidden", format!("Forbidden: {message}")));
    }
    if faults.is_empty() {
        let spaces = kept(&graph)["services"].as_object().cloned().unwrap_or_default();
        let asked = spaces.values().filter_map(|service| service["dynamoNamespace"].as_str());
        let warning = |asked| {
            format!(
                "dynamoNamespace is deprecated and ignored. Value \"{asked}\" will be replaced with \"{}\"",
                space(&graph)
            )
        };
        response["warnings"] = asked.map(warning).collect();
    } else {
        response["allowed"] = json!(false);
        response["status"] = refusal(text(&graph, "/metadata/name"), &faults);
    }
    response
}

/// The answer of the conversion webhook.
pub(super) fn converted(review: &Value) -> Value {
    let request = &review["request"];
    let version = request["desiredAPIVersion"].as_str().unwrap_or_default();
    let objects = request["objects"].as_array().into_iter().flatten();
    let result: Result<Vec<_>, _> = objects.map(|graph| convert(graph, version)).collect();
    match result {
        Ok(objects) => json!({"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects}),
        Err(message) => json!({"uid": request["uid"], "result": {"status": "Failure", "message": message}}),
    }
}

fn patch(graph: &Value) -> Value {
    let mut annotations = graph["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert("nvidia.com/workload-provider".to_owned(), json!("component"));
    annotations.insert("nvidia.com/dynamo-operator-origin-version".to_owned(), json!("1.5.0"));
    let mut patch = vec![json!({"op": "add", "path": "/metadata/annotations", "value": annotations})];
    let components = graph["spec"]["components"].as_array().into_iter().flatten().enumerate();
    for (index, _) in components.filter(|(_, component)| component["replicas"].is_null()) {
        patch.push(json!({"op": "add", "path": format!("/spec/components/{index}/replicas"), "value": 1}));
    }
    Value::Array(patch)
}

/// Everything that the real one refuses of these.
fn faults(graph: &Value) -> Vec<Fault> {
    let components = graph["spec"]["components"].as_array().cloned().unwrap_or_default();
    if components.is_empty() {
        let message = "Required value: must have at least one component".to_owned();
        return vec![("spec.components".to_owned(), "FieldValueRequired", message)];
    }
    let one = |(index, component): (usize, &Value)| {
        let at = format!("spec.components[{index}]");
        let containers = component.pointer("/podTemplate/spec/containers").and_then(Value::as_array);
        let main = containers.into_iter().flatten().find(|container| container["name"] == "main");
        let image = main.map_or("", |main| text(main, "/image"));
        if image.is_empty() {
            let at = format!("{at}.podTemplate.spec.containers[0].image");
            return Some((at, "FieldValueRequired", "Required value: is required".to_owned()));
        }
        let overridden = component["runtimeVersionOverride"].is_string();
        (!overridden && !has_version(image)).then(|| {
            let message = "Required value: is required when the specified main container image has no parseable \
                           semantic-version tag";
            (format!("{at}.runtimeVersionOverride"), "FieldValueRequired", message.to_owned())
        })
    };
    components.iter().enumerate().filter_map(one).collect()
}

/// What may not be changed in a graph that is there.
fn changed(old: &Value, new: &Value) -> Vec<Fault> {
    let names = |graph: &Value| -> Vec<String> {
        let components = graph["spec"]["components"].as_array().into_iter().flatten();
        components.map(|component| text(component, "/name").to_owned()).collect()
    };
    let (before, after) = (names(old), names(new));
    let missing = |from: &[String], what: &[String]| {
        let missing: Vec<_> = from.iter().filter(|name| !what.contains(name)).cloned().collect();
        missing.join(", ")
    };
    let said = [("added", missing(&after, &before)), ("removed", missing(&before, &after))];
    let said = said.iter().filter(|(_, names)| !names.is_empty());
    let said: Vec<_> = said.map(|(what, names)| format!("components {what}: [{names}]")).collect();
    let mut faults = Vec::new();
    if !said.is_empty() {
        let message = format!(
            "Forbidden: component topology is immutable and cannot be modified after creation: {}",
            said.join(", ")
        );
        faults.push(("spec.components".to_owned(), "FieldValueForbidden", message));
    }
    if old["spec"]["backendFramework"] != new["spec"]["backendFramework"] {
        let message = "Forbidden: is immutable and cannot be changed after creation".to_owned();
        faults.push(("spec.backendFramework".to_owned(), "FieldValueForbidden", message));
    }
    faults
}

/// Whether an image's tag is `1.6.1`, with or without `v` and a suffix after a hyphen.
fn has_version(image: &str) -> bool {
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map_or("", |(_, tag)| tag);
    let core = tag.trim_start_matches('v').split('-').next().unwrap_or_default();
    let parts: Vec<_> = core.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

fn refusal(name: &str, faults: &[Fault]) -> Value {
    let said: Vec<_> = faults.iter().map(|(field, _, message)| format!("{field}: {message}")).collect();
    let said = if said.len() == 1 { said.concat() } else { format!("[{}]", said.join(", ")) };
    let causes: Vec<_> = faults
        .iter()
        .map(|(field, reason, message)| json!({"field": field, "reason": reason, "message": message}))
        .collect();
    json!({"code": 422, "reason": "Invalid",
        "message": format!("DynamoGraphDeployment.nvidia.com \"{name}\" is invalid: {said}"),
        "details": {"name": name, "group": "nvidia.com", "kind": "DynamoGraphDeployment", "causes": causes}})
}
