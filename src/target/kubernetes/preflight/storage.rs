//! Storage classes that claims name are there, and there is a default one when a claim names none.

use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::ListParams;

use super::super::super::contract::TargetError;
use super::super::mentions::Mentions;
use super::check::Finding;
use super::scene::{Answer, Scene};

/// Annotation of the class that stands for none.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    let mut named = Mentions::of(&scene.objects);
    if let Some(cache) = &scene.settings.model_cache {
        named.storage_classes.extend(cache.storage_class.clone());
        named.default_class |= cache.storage_class.is_none();
    }
    if named.storage_classes.is_empty() && !named.default_class {
        return Ok(Vec::new());
    }
    let api: Api<StorageClass> = Api::all(scene.cluster.client.clone());
    let classes = match scene.ask("listing storage classes", api.list(&ListParams::default())).await? {
        Answer::Found(listed) => listed.items,
        Answer::Absent | Answer::NoAccess => return Ok(vec![Finding::no_access("storage classes")]),
    };
    let names: Vec<&str> = classes.iter().filter_map(|class| class.metadata.name.as_deref()).collect();
    let there = if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
    let mut findings: Vec<Finding> = named
        .storage_classes
        .iter()
        .map(|class| {
            if names.contains(&class.as_str()) {
                Finding::Fine(format!("storage class {class} is there"))
            } else {
                Finding::problem(format!("storage class {class} is not there"), there.clone())
            }
        })
        .collect();
    if named.default_class {
        let is_default = |class: &&StorageClass| {
            class.metadata.annotations.as_ref().and_then(|all| all.get(DEFAULT)).is_some_and(|value| value == "true")
        };
        let default = classes.iter().find(is_default).and_then(|class| class.metadata.name.clone());
        findings.push(match default {
            Some(class) => Finding::Fine(format!("storage class {class} is the default")),
            None => Finding::problem(
                "a claim names no storage class, and the cluster has no default one".to_owned(),
                format!("name one: {there}"),
            ),
        });
    }
    Ok(findings)
}
