//! The registries know the images, for the architecture of the nodes.
//!
//! A node pulls with other rights than this machine has, through another network: what cannot be asked is "not checked",
//! and only a registry that says "there is no such image" is a problem.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Secret};
use kube::Api;
use serde_json::Value;

use super::super::super::contract::TargetError;
use super::super::mentions::Mentions;
use super::super::registry::{ImageRef, Login, RegistryError, Repository, login_in, login_of, platforms};
use super::check::Finding;
use super::scene::{Answer, Scene};

/// The member of a pull secret that holds the logins.
const DOCKER_CONFIG: &str = ".dockerconfigjson";

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    let mut named = Mentions::of(&scene.all_objects());
    named.images.extend(super::super::kind::further_images(scene.live.plan, scene.live.deployment));
    let nodes = scene.nodes.found().map_or(&[][..], Vec::as_slice);
    let architectures = architectures(nodes);
    let pull_secrets =
        if scene.settings.read_pull_secret { logins(scene, &named.pull_secrets).await? } else { Vec::new() };
    let mut findings = Vec::new();
    for image in &named.images {
        let holders = holders(image, nodes);
        if !holders.is_empty() && holders.len() == nodes.len() {
            findings.push(Finding::Fine(format!("image {image} is on every node already")));
            continue;
        }
        let Some(parsed) = ImageRef::parse(image) else {
            findings.push(Finding::problem(format!("`{image}` is no image reference"), "write it as host/path:tag"));
            continue;
        };
        findings.push(match ask(scene, &parsed, &pull_secrets).await {
            Ok(Some(found)) => fits(image, &found, &architectures),
            // On some node it is, whatever the registry says.
            Ok(None) if !holders.is_empty() => {
                Finding::Fine(format!("image {image} is on {} already", holders.join(", ")))
            }
            Ok(None) => Finding::problem(
                format!("{} knows no image {}:{}", parsed.registry, parsed.repository, parsed.reference),
                "correct its name or tag, or push it",
            ),
            Err(why) => Finding::Unknown(format!("image {image}"), why),
        });
    }
    Ok(findings)
}

/// Asks with every login that may fit: the user's own, those of pull secrets, none.
async fn ask(scene: &Scene<'_>, image: &ImageRef, secrets: &[Value]) -> Result<Option<Vec<String>>, String> {
    let insecure = scene.settings.insecure_registries.contains(&image.registry);
    let own = login_of(&image.registry).await?;
    let from_secrets = secrets.iter().filter_map(|config| login_in(config, &image.registry));
    let mut logins: Vec<Option<Login>> = own.into_iter().chain(from_secrets).map(Some).collect();
    if logins.is_empty() {
        logins.push(None);
    }
    let mut refusal = String::new();
    for login in logins {
        let repository = Repository::of(image, login, insecure).map_err(|error| error.to_string())?;
        match platforms(&repository, image).await {
            Ok(found) => return Ok(found),
            Err(
                error @ (RegistryError::Denied { .. } | RegistryError::NotThere { .. } | RegistryError::Odd { .. }),
            ) => {
                refusal = error.to_string();
            }
        }
    }
    Err(refusal)
}

/// Logins that image pull secrets hold. Only when the plan allows it; they stay in memory.
async fn logins(scene: &Scene<'_>, names: &BTreeSet<String>) -> Result<Vec<Value>, TargetError> {
    let api: Api<Secret> = Api::namespaced(scene.cluster.client.clone(), scene.cluster.namespace());
    let mut found = Vec::new();
    for name in names {
        let Answer::Found(secret) = scene.ask(&format!("reading pull secret {name}"), api.get(name)).await? else {
            continue;
        };
        let data = secret.data.as_ref().and_then(|data| data.get(DOCKER_CONFIG));
        // Never quoted: what cannot be read is as good as no login.
        found.extend(data.and_then(|bytes| serde_json::from_slice::<Value>(&bytes.0).ok()));
    }
    Ok(found)
}

/// Nodes that list the image as theirs.
fn holders(image: &str, nodes: &[Node]) -> Vec<String> {
    let wanted = ImageRef::parse(image);
    let has = |node: &&Node| {
        let images = node.status.as_ref().and_then(|status| status.images.as_ref()).into_iter().flatten();
        images.flat_map(|one| one.names.iter().flatten()).any(|name| ImageRef::parse(name) == wanted)
    };
    nodes.iter().filter(has).filter_map(|node| node.metadata.name.clone()).collect()
}

/// Architectures of the nodes, and how many nodes have each.
fn architectures(nodes: &[Node]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for info in nodes.iter().filter_map(|node| node.status.as_ref()?.node_info.as_ref()) {
        *found.entry(format!("{}/{}", info.operating_system, info.architecture)).or_default() += 1;
    }
    found
}

fn fits(image: &str, platforms: &[String], nodes: &BTreeMap<String, usize>) -> Finding {
    if platforms.is_empty() {
        return Finding::Fine(format!("image {image} is there; for which architecture it does not say"));
    }
    let has = platforms.join(", ");
    if nodes.is_empty() || nodes.keys().all(|node| platforms.contains(node)) {
        return Finding::Fine(format!("image {image} is there, for {has}"));
    }
    let of_nodes: Vec<_> = nodes.iter().map(|(platform, count)| format!("{platform} ({count})")).collect();
    let of_nodes = of_nodes.join(", ");
    if nodes.keys().any(|node| platforms.contains(node)) {
        return Finding::Fine(format!(
            "image {image} is there, for {has}; nodes are {of_nodes}: choose them by node selector"
        ));
    }
    Finding::problem(
        format!("image {image} is for {has}, and the nodes are {of_nodes}"),
        "use an image for the nodes' architecture",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_for_another_architecture_is_a_problem_only_when_no_node_has_it() {
        let nodes = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 1)).collect::<BTreeMap<_, _>>();
        let amd = ["linux/amd64".to_owned()];
        assert!(matches!(fits("i", &amd, &nodes(&["linux/amd64"])), Finding::Fine(_)));
        assert!(matches!(fits("i", &amd, &nodes(&["linux/amd64", "linux/arm64"])), Finding::Fine(_)));
        assert!(matches!(fits("i", &amd, &nodes(&["linux/arm64"])), Finding::Problem(_)));
        assert!(matches!(fits("i", &amd, &nodes(&[])), Finding::Fine(_)));
        assert!(matches!(fits("i", &[], &nodes(&["linux/arm64"])), Finding::Fine(_)));
    }
}
