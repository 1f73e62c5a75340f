//! Events as the real operator writes them, its noise included: what comes in good starts too must never count.

use kube::Client;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::installed::api;

/// Who writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    Graphs,
    Components,
}

impl Writer {
    fn name(self) -> &'static str {
        match self {
            Self::Graphs => "dynamographdeployment",
            Self::Components => "dynamocomponentdeployment",
        }
    }
}

/// Writes one; it is only an event, and what goes wrong with it stops nobody.
pub(super) async fn tell(client: &Client, writer: Writer, about: &Value, kind: &str, reason: &str, note: &str) {
    let metadata = &about["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    let name = metadata["name"].as_str().unwrap_or_default();
    let now = json!(jiff::Timestamp::now().to_string());
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"generateName": format!("{name}."), "namespace": namespace},
        "involvedObject": {"apiVersion": about["apiVersion"], "kind": about["kind"], "name": name, "namespace": namespace,
            "uid": metadata["uid"]},
        "type": kind, "reason": reason, "message": note, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
        "source": {"component": writer.name()}});
    let events = api(client, Some(namespace), "v1", "Event");
    if let Ok(event) = serde_json::from_value(event) {
        let _told = events.create(&PostParams::default(), &event).await;
    }
}

/// A child was made: told twice, as the real one does.
pub(super) async fn made(client: &Client, writer: Writer, child: &Value) {
    let kind = child["kind"].as_str().unwrap_or_default();
    let namespace = child["metadata"]["namespace"].as_str().unwrap_or_default();
    for verb in ["Creating", "Created"] {
        tell(client, writer, child, "Normal", &format!("Create{kind}"), &format!("{verb} {kind} {namespace}")).await;
    }
    tell(client, writer, child, "Normal", &format!("Update{kind}"), &format!("Skipping update of {kind}")).await;
}

/// The operator met a newer version of its own object: seen in every second good start.
pub(super) async fn collided(client: &Client, component: &Value) {
    let name = component["metadata"]["name"].as_str().unwrap_or_default();
    let note = format!(
        "Failed to reconcile DynamoComponentDeployment: failed to set status condition and service replica status: Operation \
         cannot be fulfilled on dynamocomponentdeployments.nvidia.com \"{name}\": the object has been modified; please apply \
         your changes to the latest version and try again"
    );
    tell(client, Writer::Components, component, "Warning", "ReconcileError", &note).await;
}
