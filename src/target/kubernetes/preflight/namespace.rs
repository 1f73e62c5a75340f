//! The namespace is there, or may be made.

use super::super::super::contract::TargetError;
use super::check::Finding;
use super::scene::{Answer, Scene};

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    let name = scene.cluster.namespace();
    Ok(vec![match &scene.namespace {
        Answer::Found(found) if found.metadata.deletion_timestamp.is_some() && !scene.settings.create_namespace => {
            Finding::problem(
                format!("namespace {name} is being deleted"),
                format!("wait until it is gone; `kubectl get namespace {name} -o yaml` says what it waits for"),
            )
            .at("namespace")
        }
        Answer::Found(_) => Finding::Fine(format!("namespace {name} is there")),
        Answer::Absent if scene.settings.create_namespace => Finding::Fine(format!("namespace {name} will be made")),
        Answer::Absent => Finding::problem(
            format!("namespace {name} is not there"),
            format!("`kubectl create namespace {name}`, or `create-namespace = true` below [target]"),
        )
        .at("namespace"),
        Answer::NoAccess => Finding::no_access(format!("namespace {name}")),
    }])
}
