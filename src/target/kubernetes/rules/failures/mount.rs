//! A volume that cannot be mounted: a Secret or ConfigMap that does not exist, a disk that does not come.

use std::time::Duration;

use super::super::super::seen::Failure;
use super::super::evidence::{brief, warnings};
use super::super::look::Look;
use super::super::pod::{Pod, State};

/// What is missing may be made by somebody else a moment later.
const MISSING: Duration = Duration::from_secs(10);
/// A disk may take long to come from another node.
const DISK: Duration = Duration::from_secs(180);

pub(super) fn not_mounted(look: &mut Look<'_>, pod: Pod<'_>) -> Option<Failure> {
    let begun = |state| !matches!(state, State::Waiting { reason: "" | "ContainerCreating" | "PodInitializing", .. });
    if pod.node().is_empty() || pod.over() || pod.containers().any(|container| begun(container.state)) {
        return None;
    }
    let said = look.events_of(pod.view).filter(|event| {
        matches!(event.text("/reason"), "FailedMount" | "FailedAttachVolume")
            // A node that has just begun to know the pod; it comes in good starts.
            && !event.text("/message").contains("failed to sync")
    });
    let said = said.map(|event| event.text("/message")).last()?;
    let missing = said.contains("not found");
    let held = look.held(format!("mount {}", pod.view.uid()));
    (held >= if missing { MISSING } else { DISK }).then(|| Failure {
        details: warnings(look, &[pod.view]),
        help: Some(if missing {
            "make what the message names in this namespace, or correct its name in the plan".to_owned()
        } else {
            "the volume does not come to the node: its claim and its driver say why".to_owned()
        }),
        passing: !missing,
        ..Failure::new(format!("pod {}: a volume cannot be mounted{}: {}", pod.name(), pod.on_node(), brief(said)))
    })
}
