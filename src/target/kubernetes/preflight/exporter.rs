//! Whether GPUs will be seen at their work: a DCGM exporter on the cluster's nodes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::super::contract::TargetError;
use super::super::exporter::{Exporters, HELP, find};
use super::super::kind::gpus_of;
use super::check::Finding;
use super::scene::Scene;

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    let (plan, deployment) = (scene.live.plan, scene.live.deployment);
    if deployment.gpus.or_else(|| gpus_of(plan, deployment)).is_none_or(|gpus| gpus <= 0.0) {
        return Ok(Vec::new());
    }
    Ok(vec![match find(&scene.cluster).await? {
        Exporters::NoAccess => Finding::Unknown("DCGM exporter".to_owned(), format!("no access; {HELP}")),
        Exporters::Found(pods) => {
            let node = |pod: &Value| Some(pod.pointer("/spec/nodeName")?.as_str()?.to_owned());
            let nodes: BTreeSet<String> = pods.iter().filter_map(node).collect();
            Finding::Fine(match nodes.len() {
                0 => "no DCGM exporter: GPU utilisation, memory and power will not be told".to_owned(),
                1 => "DCGM exporter on 1 node".to_owned(),
                nodes => format!("DCGM exporter on {nodes} nodes"),
            })
        }
    }])
}
