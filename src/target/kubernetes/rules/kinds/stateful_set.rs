//! apps/v1 StatefulSet: this generation, with all replicas ready and of the revision it rolls out.

use super::super::super::seen::Judgement;
use super::super::look::Look;
use super::super::view::View;

pub(super) fn status(_look: &mut Look<'_>, set: View<'_>) -> Judgement {
    let not_yet = |what: String| Judgement::NotYet(format!("{}: {what}", set.called()));
    if set.int("/status/observedGeneration").unwrap_or(0) < set.generation().unwrap_or(1) {
        return not_yet("not seen by its controller yet".to_owned());
    }
    let count = |pointer: &str| set.int(pointer).unwrap_or(0);
    let wanted = set.int("/spec/replicas").unwrap_or(1);
    let ready = count("/status/readyReplicas");
    if ready < wanted || count("/status/replicas") != wanted {
        return not_yet(format!("{ready} of {wanted} pods are ready"));
    }
    // Pods below the partition are meant to stay old.
    let rolled = wanted - count("/spec/updateStrategy/rollingUpdate/partition").clamp(0, wanted);
    let updated = if set.text("/status/currentRevision") == set.text("/status/updateRevision") {
        wanted
    } else {
        count("/status/updatedReplicas")
    };
    if updated < rolled {
        return not_yet(format!("{updated} of {rolled} pods are of this version"));
    }
    Judgement::Ready
}
