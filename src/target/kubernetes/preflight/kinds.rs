//! The cluster serves every kind that will be applied, in the version that is written.

use super::super::super::contract::TargetError;
use super::check::Finding;
use super::scene::Scene;

/// Groups whose kinds come with something that must be installed, and what that is.
const SUPPLIERS: &[(&str, &str)] = &[
    ("nvidia.com", "the Dynamo platform (its Helm charts dynamo-crds and dynamo-platform)"),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet (github.com/kubernetes-sigs/lws)"),
    ("serving.kserve.io", "KServe"),
    ("kueue.x-k8s.io", "Kueue"),
    ("gateway.networking.k8s.io", "the Gateway API"),
    ("ray.io", "KubeRay"),
];

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    let mut findings = Vec::new();
    for ((api_version, kind), found) in &scene.kinds {
        if found.is_some() {
            findings.push(Finding::Fine(format!("{api_version} {kind} is served")));
            continue;
        }
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let served = served_versions(scene, group, kind).await?;
        findings.push(if served.is_empty() {
            let supplier = SUPPLIERS.iter().find(|(of, _)| *of == group).map(|(_, what)| *what);
            let help = supplier.map_or_else(
                || "install what defines it, or take the object out".to_owned(),
                |what| format!("install {what}, or take the object out"),
            );
            Finding::problem(format!("the cluster does not know {kind} of {api_version}"), help)
        } else {
            let others = served.join(", ");
            Finding::problem(
                format!("the cluster serves {kind} as {others}, not as {version}"),
                format!("write `apiVersion: {group}/{}`", served[0]),
            )
        });
    }
    Ok(findings)
}

/// Versions of a group in which a kind is served.
async fn served_versions(scene: &Scene<'_>, group: &str, kind: &str) -> Result<Vec<String>, TargetError> {
    if group.is_empty() {
        return Ok(Vec::new());
    }
    let client = &scene.cluster.client;
    let groups = scene.cluster.call("asking which API groups there are", client.list_api_groups()).await?;
    let mut served = Vec::new();
    for version in groups.groups.into_iter().filter(|one| one.name == group).flat_map(|one| one.versions) {
        let doing = format!("asking what {} has", version.group_version);
        let listed = scene.cluster.call_opt(&doing, client.list_api_group_resources(&version.group_version)).await?;
        if listed.is_some_and(|listed| listed.resources.iter().any(|resource| resource.kind == kind)) {
            served.push(version.version);
        }
    }
    Ok(served)
}
