//! apps/v1 Deployment: this generation, with all replicas updated and available and none of the old ones left.

use super::super::super::seen::Judgement;
use super::super::look::Look;
use super::super::view::View;

pub(super) fn status(_look: &mut Look<'_>, deployment: View<'_>) -> Judgement {
    let not_yet = |what: String| Judgement::NotYet(format!("{}: {what}", deployment.called()));
    // Absent until the controller has seen it for the first time.
    let observed = deployment.int("/status/observedGeneration").unwrap_or(0);
    if observed < deployment.generation().unwrap_or(1) {
        return not_yet("not seen by its controller yet".to_owned());
    }
    let count = |pointer: &str| deployment.int(pointer).unwrap_or(0);
    let wanted = deployment.int("/spec/replicas").unwrap_or(1);
    let updated = count("/status/updatedReplicas");
    if updated < wanted {
        let paused = if deployment.flag("/spec/paused") { ", and it is paused" } else { "" };
        return not_yet(format!("{updated} of {wanted} pods are of this version{paused}"));
    }
    let old = count("/status/replicas") - updated;
    if old > 0 {
        return not_yet(format!("{old} pods of an older version are not gone yet"));
    }
    let available = count("/status/availableReplicas");
    if available < wanted {
        // Kubernetes goes on trying after its own deadline, and so do we until ours.
        let late = deployment.condition("Progressing").filter(|progress| progress.reason == "ProgressDeadlineExceeded");
        let late = late.map(|progress| format!(" ({})", progress.words())).unwrap_or_default();
        return not_yet(format!("{available} of {wanted} pods are available{late}"));
    }
    Judgement::Ready
}
