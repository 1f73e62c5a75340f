//! A PersistentVolumeClaim is ready when it is bound. One whose storage class waits for the first pod is ready to be
//! used before that: waiting for it would wait for ever. When a pod does use it, that pod's readiness proves the rest.

use super::super::super::seen::{Failure, Judgement};
use super::super::look::Look;
use super::super::view::View;

pub(super) fn status(look: &mut Look<'_>, claim: View<'_>) -> Judgement {
    let called = claim.called();
    match claim.text("/status/phase") {
        "Bound" => Judgement::Ready,
        "Lost" => Judgement::Failed(Failure {
            help: Some("its volume is gone: delete the claim and make it again".to_owned()),
            ..Failure::new(format!("{called} has lost its volume {}", claim.text("/spec/volumeName")))
        }),
        _ if look.events_of(claim).any(|event| event.text("/reason") == "WaitForFirstConsumer") => Judgement::Ready,
        _ => Judgement::NotYet(format!("{called}: not bound yet")),
    }
}
