//! Dynamo's admission is alive.
//!
//! A graph that the operator's webhook never saw is stored and then nothing happens to it, for ever and in silence. So a
//! graph that must be refused is sent as a dry run: the refusal proves that somebody reads.

use kube::api::PostParams;
use serde_json::json;

use super::super::super::contract::TargetError;
use super::super::fault::translate;
use super::check::Finding;
use super::scene::{Scene, type_of};

const GRAPH: &str = "DynamoGraphDeployment";

pub(super) async fn check(scene: &Scene<'_>) -> Result<Vec<Finding>, TargetError> {
    let graph = scene.objects.iter().find(|object| type_of(object).1 == GRAPH);
    let Some((graph, resource)) = graph.and_then(|graph| Some((graph, scene.kind_of(graph)?))) else {
        return Ok(Vec::new());
    };
    if scene.namespace_is_absent() {
        let why = "the namespace is made later".to_owned();
        return Ok(vec![Finding::Unknown("admission of the Dynamo operator".to_owned(), why)]);
    }
    let (api_version, kind) = type_of(graph);
    let spec = if api_version.ends_with("v1alpha1") { json!({"services": {}}) } else { json!({"components": []}) };
    let empty = json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"name": "dynbench-preflight"}, "spec": spec,
    });
    let empty = serde_json::from_value(empty).map_err(|error| TargetError::new(error.to_string()))?;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let doing = "asking the Dynamo operator's admission";
    let answer = scene.cluster.answered(doing, resource.of(&scene.cluster).create(&params, &empty)).await?;
    Ok(vec![match answer {
        Ok(_) => Finding::problem(
            "the Dynamo operator's admission is not installed: its CRDs are there, but a graph would never start",
            "install the operator (Helm chart dynamo-platform) with its webhooks",
        ),
        Err(kube::Error::Api(status)) if status.code == 422 || status.message.contains("at least one") => {
            Finding::Fine("the Dynamo operator's admission answers".to_owned())
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Finding::no_access("admission of the Dynamo operator")
        }
        Err(kube::Error::Api(status)) if status.code >= 500 => Finding::Problem(TargetError {
            details: vec![status.message.clone()],
            help: Some(
                "look at it: `kubectl get pods -A -l control-plane=controller-manager,app.kubernetes.io/name=dynamo-operator`"
                    .to_owned(),
            ),
            ..TargetError::new("the Dynamo operator does not answer")
        }),
        Err(error) => return Err(translate(&scene.cluster.place, doing, &error)),
    }])
}
