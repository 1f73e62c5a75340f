//! apps/v1 DaemonSet: this generation, updated and available on every node it is meant for.

use super::super::super::seen::Judgement;
use super::super::look::Look;
use super::super::view::View;

pub(super) fn status(_look: &mut Look<'_>, set: View<'_>) -> Judgement {
    let not_yet = |what: String| Judgement::NotYet(format!("{}: {what}", set.called()));
    if set.int("/status/observedGeneration").unwrap_or(0) < set.generation().unwrap_or(1) {
        return not_yet("not seen by its controller yet".to_owned());
    }
    let count = |pointer: &str| set.int(pointer).unwrap_or(0);
    let wanted = count("/status/desiredNumberScheduled");
    let available = count("/status/numberAvailable").min(count("/status/updatedNumberScheduled"));
    if available < wanted {
        return not_yet(format!("available on {available} of {wanted} nodes"));
    }
    Judgement::Ready
}
