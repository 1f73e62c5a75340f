//! A container that cannot be created: a Secret or ConfigMap that it names is missing, most often.

use std::time::Duration;

use super::super::super::seen::Failure;
use super::super::evidence::{brief, warnings};
use super::super::look::Look;
use super::super::pod::{Pod, State};

/// What is missing may be made by somebody else a moment later.
const MISSING: Duration = Duration::from_secs(10);
/// The runtime refuses for reasons of its own, and may do so once.
const RUNTIME: Duration = Duration::from_secs(30);

pub(super) fn not_created(look: &mut Look<'_>, pod: Pod<'_>) -> Option<Failure> {
    let (container, grace, message) = pod.containers().find_map(|container| match container.state {
        State::Waiting { reason: "CreateContainerConfigError", message } => Some((container, MISSING, message)),
        State::Waiting { reason: "CreateContainerError", message } => Some((container, RUNTIME, message)),
        State::Waiting { .. } | State::Running | State::Ended(_) => None,
    })?;
    let told = look.events_of(pod.view).filter(|event| event.text("/reason") == "Failed");
    let told = told.map(|event| event.text("/message")).last().unwrap_or("CreateContainerConfigError");
    let said = if message.is_empty() { told.trim_start_matches("Error: ") } else { message };
    let held = look.held(format!("config {}/{}", pod.view.uid(), container.name));
    (held >= grace).then(|| Failure {
        details: warnings(look, &[pod.view]),
        help: Some(help(said)),
        ..Failure::new(format!(
            "pod {}: container {} cannot be created{}: {}",
            pod.name(),
            container.name,
            pod.on_node(),
            brief(said)
        ))
    })
}

/// What to make, in the words of kubectl.
fn help(said: &str) -> String {
    let named = said.split('"').nth(1);
    match named {
        Some(name) if said.contains("secret") && said.contains("not found") => {
            format!("make the Secret `{name}` in this namespace, or correct its name in the plan")
        }
        Some(name) if said.contains("configmap") && said.contains("not found") => {
            format!("make the ConfigMap `{name}` in this namespace, or correct its name in the plan")
        }
        Some(_) | None => "correct what the pod asks for: `kubectl describe pod` shows it".to_owned(),
    }
}
