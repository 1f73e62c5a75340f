//! Any custom resource, by the conditions that most controllers keep.
//!
//! Where a status says nothing that we understand, nobody can know: the object counts as ready after a grace, because
//! the endpoint decides after us, and the plan can say better with `ready`.

use std::time::Duration;

use super::super::super::seen::{Failure, Judgement};
use super::super::look::Look;
use super::super::view::View;

/// How long a custom resource may say nothing before it counts as one that never says anything.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a failed state may take to heal: controllers write it for errors that they try again.
const HEALING: Duration = Duration::from_secs(15);

pub(super) fn status(look: &mut Look<'_>, object: View<'_>) -> Judgement {
    let called = object.called();
    if !object.observed() {
        return Judgement::NotYet(format!("{called}: its controller has not seen this version yet"));
    }
    let holds = |kind: &str| object.condition(kind).filter(|condition| condition.holds());
    if let Some(stalled) = holds("Stalled") {
        return Judgement::Failed(Failure::new(format!("{called} is stalled: {}", stalled.words())));
    }
    let failed = holds("Failed").map(|failed| failed.words().to_owned()).or_else(|| {
        let state = ["/status/state", "/status/phase"].map(|pointer| object.text(pointer));
        state.into_iter().find(|state| state.eq_ignore_ascii_case("failed")).map(str::to_owned)
    });
    if let Some(failed) = failed {
        if look.held(format!("failed {called}")) >= HEALING {
            return Judgement::Failed(Failure::new(format!("{called} failed: {failed}")));
        }
        return Judgement::NotYet(format!("{called}: failed, which may heal: {failed}"));
    }
    if let Some(reconciling) = holds("Reconciling") {
        return Judgement::NotYet(format!("{called}: being worked on: {}", reconciling.words()));
    }
    let told = ["Ready", "Available", "Complete", "Succeeded"].into_iter().find_map(|kind| {
        let condition = object.condition(kind)?;
        Some((kind, condition))
    });
    match told {
        Some((_, condition)) if condition.generation.is_some_and(|seen| Some(seen) != object.generation()) => {
            Judgement::NotYet(format!("{called}: its condition speaks of an older version"))
        }
        Some((_, condition)) if condition.holds() => Judgement::Ready,
        Some((kind, condition)) => Judgement::NotYet(format!("{called}: not {kind}: {}", condition.words())),
        None if look.held(format!("silent {called}")) < SILENCE => Judgement::NotYet(format!(
            "{called}: no condition yet that says whether it is ready (`ready` in the plan can name another sign)"
        )),
        None => Judgement::Ready,
    }
}
