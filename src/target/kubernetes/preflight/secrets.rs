//! Secrets that are made from the environment: their variables are set here, and their names are free.

use super::super::super::contract::TargetError;
use super::super::secrets::{Owner, fault, owner, taken};
use super::check::Finding;
use super::scene::Scene;

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    let mut findings = Vec::new();
    for (name, secret) in &scene.settings.secrets {
        let key = format!("secrets.{name}");
        if let Some(fault) = fault(name, secret) {
            let help = format!("export {} before `dynbench apply`", secret.from_env);
            findings.push(Finding::problem(fault, help).at(&key));
            continue;
        }
        if scene.namespace_is_absent() {
            continue;
        }
        findings.push(match owner(&scene.cluster, name, scene.live.run).await? {
            Owner::Nobody | Owner::Ours => {
                Finding::Fine(format!("Secret {name} will be made from {}", secret.from_env))
            }
            Owner::Other(whose) => Finding::Problem(taken(&scene.cluster, name, &whose)).at(&key),
        });
    }
    Ok(findings)
}
