//! We may do everything that the plan needs, asked right by right.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::super::contract::TargetError;
use super::super::client::Cluster;
use super::super::rbac::{Right, Rules, for_cluster, for_deployment};
use super::check::Finding;
use super::scene::Scene;

/// Questions that are asked at the same time.
const AT_ONCE: usize = 8;

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    let wanted = for_deployment(scene.live.plan, scene.live.deployment, &scene.objects, &scene.settings);
    let denied = denied(&scene.cluster, &wanted, Some(scene.cluster.namespace())).await?;
    let mut findings = vec![if denied.is_empty() {
        let count = wanted.each().filter(|right| right.name.is_none()).count();
        Finding::Fine(format!("all {count} rights that it needs in the namespace"))
    } else {
        Finding::Problem(TargetError {
            details: denied.iter().map(|(resource, verbs)| format!("{}: {resource}", verbs.join(", "))).collect(),
            help: Some("`dynbench rbac plan.toml` prints the Role that this plan needs".to_owned()),
            ..TargetError::new("you lack rights that this plan needs")
        })
    }];
    if scene.settings.create_namespace {
        let all = for_cluster(true);
        let lacking = self::denied(&scene.cluster, &all, None).await?;
        if let Some(verbs) = lacking.get("namespaces").filter(|verbs| verbs.contains(&"create")) {
            let verbs = verbs.join(", ");
            let message = format!("`create-namespace` needs rights on namespaces that you lack: {verbs}");
            let help = "let an administrator make the namespace, and take the key out";
            findings.push(Finding::problem(message, help).at("create-namespace"));
        }
    }
    Ok(findings)
}

/// What we may not do, by resource.
async fn denied(
    cluster: &Cluster,
    rules: &Rules,
    namespace: Option<&str>,
) -> Result<BTreeMap<String, Vec<&'static str>>, TargetError> {
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut asked = JoinSet::new();
    // That a Secret is there need not be seen: its own check says then that it was not checked.
    for Right { group, resource, verb, .. } in rules.each().filter(|right| right.name.is_none()) {
        let (name, part) = resource.split_once('/').map_or((resource, None), |(name, part)| (name, Some(part)));
        let attributes = ResourceAttributes {
            group: Some(group.to_owned()),
            resource: Some(name.to_owned()),
            subresource: part.map(str::to_owned),
            verb: Some(verb.to_owned()),
            namespace: namespace.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let title = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let (cluster, gate) = (cluster.clone(), Arc::clone(&gate));
        asked.spawn(async move {
            let _turn = gate.acquire().await.expect("nobody closes the gate");
            (title, verb, may(&cluster, attributes).await)
        });
    }
    let mut denied: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    while let Some(answer) = asked.join_next().await {
        let (title, verb, may) =
            answer.map_err(|error| TargetError::new(format!("asking for rights broke: {error}")))?;
        if !may? {
            denied.entry(title).or_default().push(verb);
        }
    }
    denied.values_mut().for_each(|verbs| verbs.sort_unstable());
    Ok(denied)
}

async fn may(cluster: &Cluster, attributes: ResourceAttributes) -> Result<bool, TargetError> {
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None },
        ..SelfSubjectAccessReview::default()
    };
    let answer = cluster.call("asking what we may do", api.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
