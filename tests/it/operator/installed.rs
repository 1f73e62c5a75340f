//! What the stand-in puts into the cluster and takes away again: CRDs with their conversion, and admission of one namespace.

use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::admission;
use super::knobs::{Admission, Age, Knobs};
use super::made::{COMPONENT, GRAPH};

const TICK: Duration = Duration::from_millis(100);
const EXTENSIONS: (&str, &str) = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
const WEBHOOKS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

pub(super) fn api(client: &Client, namespace: Option<&str>, version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// The version in which Dynamo's objects are stored.
pub(super) fn stored(age: Age) -> &'static str {
    match age {
        Age::Newest => "nvidia.com/v1beta1",
        Age::Older | Age::Oldest => "nvidia.com/v1alpha1",
    }
}

/// Files of CRDs below `data/crds`.
pub(super) fn files(age: Age) -> [&'static str; 3] {
    let graphs = match age {
        Age::Newest => "main-2026-08-21/nvidia.com_dynamographdeployments.yaml",
        Age::Older => "v1.0.0/nvidia.com_dynamographdeployments.yaml",
        Age::Oldest => "v0.4.1/nvidia.com_dynamographdeployments.yaml",
    };
    let components = "main-2026-08-21/nvidia.com_dynamocomponentdeployments.yaml";
    [graphs, components, "main-2026-08-21/nvidia.com_dynamoworkermetadatas.yaml"]
}

/// A CRD as this operator installs it.
fn definition(text: &str, age: Age, port: u16) -> Value {
    let mut crd: Value = serde_yaml::from_str(text).unwrap();
    let kind = crd["spec"]["names"]["kind"].clone();
    let hooked = kind == GRAPH && age == Age::Newest;
    crd["spec"]["conversion"] = if hooked {
        json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": address(port, "/convert")}})
    } else {
        json!({"strategy": "None"})
    };
    if kind == COMPONENT {
        // Nobody asks for the other version of it, and nothing here converts it.
        let only = stored(age).rsplit_once('/').map_or("", |(_, version)| version);
        for version in crd["spec"]["versions"].as_array_mut().unwrap() {
            let is_stored = version["name"] == only;
            version["served"] = json!(is_stored);
            version["storage"] = json!(is_stored);
        }
    }
    crd
}

fn address(port: u16, path: &str) -> Value {
    json!({"url": format!("https://{}:{port}{path}", admission::HOST),
        "caBundle": ByteString(admission::CERTIFICATE.as_bytes().to_vec())})
}

/// Makes the CRDs; returns their names. Those that an earlier stand-in left behind go first.
pub(super) async fn install(client: &Client, crds: &[String], age: Age, port: u16) -> Vec<String> {
    let definitions = api(client, None, EXTENSIONS.0, EXTENSIONS.1);
    let mut installed = Vec::new();
    for text in crds {
        let crd = definition(text, age, port);
        let name = crd["metadata"]["name"].as_str().unwrap().to_owned();
        gone(client, &name).await;
        definitions.create(&PostParams::default(), &serde_json::from_value(crd).unwrap()).await.unwrap();
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
        installed.push(name);
    }
    installed
}

/// Deletes a CRD, and waits until it is away: the next one must not meet it on its way out.
async fn gone(client: &Client, name: &str) {
    let definitions = api(client, None, EXTENSIONS.0, EXTENSIONS.1);
    for _ in 0..300 {
        match definitions.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return,
            Ok(_) | Err(_) => tokio::time::sleep(TICK).await,
        }
    }
}

/// Admission of graphs in this namespace alone.
pub(super) async fn admit(client: &Client, namespace: &str, port: u16, knobs: &Knobs) {
    if knobs.admission == Admission::Absent {
        return;
    }
    let hook = |name: &str, path: &str| {
        let version = stored(knobs.age).rsplit_once('/').map_or("", |(_, version)| version);
        json!([{"name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "timeoutSeconds": 10, "clientConfig": address(port, path),
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": ["nvidia.com"], "apiVersions": [version], "operations": ["CREATE", "UPDATE"],
                "resources": ["dynamographdeployments"]}]}])
    };
    let params = PatchParams::apply("stand-in").force();
    let names = [("mdynamographdeployment.kb.io", "/mutate"), ("vdynamographdeployment.kb.io", "/validate")];
    for (kind, (name, path)) in WEBHOOKS.into_iter().zip(names) {
        let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": namespace}, "webhooks": hook(name, path)});
        let configurations = api(client, None, "admissionregistration.k8s.io/v1", kind);
        configurations.patch(namespace, &params, &Patch::Apply(object)).await.unwrap();
    }
}

/// Takes away what belongs to one namespace.
pub(super) async fn uninstall(client: &Client, namespace: &str, age: Age) {
    for kind in WEBHOOKS {
        let configurations = api(client, None, "admissionregistration.k8s.io/v1", kind);
        let _gone = configurations.delete(namespace, &DeleteParams::default()).await;
    }
    // Without us nobody takes off the finalizers of what a failed test left.
    for kind in [GRAPH, COMPONENT] {
        let objects = api(client, Some(namespace), stored(age), kind);
        for object in objects.list(&ListParams::default()).await.into_iter().flatten() {
            let name = object.metadata.name.unwrap_or_default();
            let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            let _gone = objects.delete(&name, &DeleteParams::default()).await;
            let _gone = objects.patch(&name, &PatchParams::default(), &none).await;
        }
    }
}

/// Takes away CRDs.
pub(super) async fn remove(client: &Client, installed: &[String]) {
    for name in installed {
        gone(client, name).await;
    }
}
