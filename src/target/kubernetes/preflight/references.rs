//! Everything that the objects refer to by name is there: existence only, no data is fetched.

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, ServiceAccount};
use kube::Api;
use serde::de::DeserializeOwned;

use super::super::super::contract::TargetError;
use super::super::mentions::Mentions;
use super::check::Finding;
use super::scene::{Answer, Scene};

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    let mut named = Mentions::of(&scene.all_objects());
    if let Some(cache) = &scene.settings.model_cache {
        // It is made before anything is deployed.
        named.claims.remove(&cache.pvc);
        named.secrets.extend(cache.token_secret.clone());
    }
    if scene.live.plan.policy.reaper {
        named.pull_secrets.extend(scene.live.plan.load.image_pull_secrets.iter().cloned());
    }
    named.secrets.retain(|name| !scene.settings.secrets.contains_key(name));
    let mut findings = Vec::new();
    for name in &named.secrets {
        let help =
            format!("kubectl create secret generic {name} --from-literal=KEY=VALUE -n {}", scene.cluster.namespace());
        findings.push(look::<Secret>(scene, "Secret", name, &help).await?);
    }
    for name in &named.pull_secrets {
        let help = format!(
            "kubectl create secret docker-registry {name} --docker-server=HOST --docker-username=USER \
             --docker-password=... -n {}",
            scene.cluster.namespace()
        );
        findings.push(look::<Secret>(scene, "image pull Secret", name, &help).await?);
    }
    for name in &named.config_maps {
        findings.push(look::<ConfigMap>(scene, "ConfigMap", name, "create it, or correct its name").await?);
    }
    for name in &named.accounts {
        let help = format!("kubectl create serviceaccount {name} -n {}", scene.cluster.namespace());
        findings.push(look::<ServiceAccount>(scene, "ServiceAccount", name, &help).await?);
    }
    for name in &named.claims {
        let help = "create it, correct its name, or let dynbench fill one: [target.model-cache]";
        findings.push(look::<PersistentVolumeClaim>(scene, "PersistentVolumeClaim", name, help).await?);
    }
    Ok(findings)
}

async fn look<K>(scene: &Scene<'_>, kind: &str, name: &str, help: &str) -> Result<Finding, TargetError>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    if scene.namespace_is_absent() {
        return Ok(Finding::problem(
            format!("{kind} {name} cannot be there: the namespace is made only when the run starts"),
            "make the namespace and what belongs into it beforehand, or let `[target.secrets]` make it",
        ));
    }
    let api: Api<K> = Api::namespaced(scene.cluster.client.clone(), scene.cluster.namespace());
    // Metadata alone: the data of a Secret never comes to this machine.
    Ok(match scene.ask(&format!("looking for {kind} {name}"), api.get_metadata(name)).await? {
        Answer::Found(_) => Finding::Fine(format!("{kind} {name} is there")),
        Answer::Absent => Finding::problem(format!("{kind} {name} is not there"), help),
        Answer::NoAccess => Finding::no_access(format!("{kind} {name}")),
    })
}
