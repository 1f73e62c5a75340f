//! LeaderWorkerSet: every group ready and of this version, and Available.

use super::super::super::seen::Judgement;
use super::super::look::Look;
use super::super::view::View;

pub(super) fn status(_look: &mut Look<'_>, set: View<'_>) -> Judgement {
    let not_yet = |what: String| Judgement::NotYet(format!("{}: {what}", set.called()));
    if !set.observed() {
        return not_yet("not seen by its controller yet".to_owned());
    }
    let count = |pointer: &str| set.int(pointer).unwrap_or(0);
    let wanted = set.int("/spec/replicas").unwrap_or(1);
    let (ready, updated) = (count("/status/readyReplicas"), count("/status/updatedReplicas"));
    if ready < wanted || updated < wanted {
        return not_yet(format!("{ready} of {wanted} groups are ready, {updated} of this version"));
    }
    match set.condition("Available") {
        Some(available) if available.holds() => Judgement::Ready,
        Some(available) => not_yet(format!("not available: {}", available.words())),
        None => not_yet("no word yet on whether it is available".to_owned()),
    }
}
