//! The judgement over one look. Pure: data in, a judgement out; time comes in as our own elapsed time.

use std::time::Duration;

use super::super::seen::{Failure, Judgement, Patience, Seen};
use super::asked::Asked;
use super::history::History;
use super::look::Look;
use super::view::View;
use super::{failures, kinds, pods};

/// Judges one look of a wait.
///
/// `asked` is the plan's own rule for its custom resource. `history` belongs to one wait and is given to each of its
/// looks; `elapsed` is the time since that wait began.
pub(in super::super) fn judge(
    seen: &Seen,
    asked: Option<&Asked>,
    patience: &Patience,
    history: &mut History,
    elapsed: Duration,
) -> Judgement {
    let mut look = Look::new(seen, patience, history, elapsed);
    let judgement = gone(seen).map_or_else(|| by_layers(&mut look, asked), Judgement::Failed);
    history.end_look();
    judgement
}

fn by_layers(look: &mut Look<'_>, asked: Option<&Asked>) -> Judgement {
    let pods = pods::awaited(look);
    let live: Vec<_> = look.seen.objects.iter().filter_map(|object| object.live.as_ref()).map(View::of).collect();
    let mut awaited = None;
    let mut failed = None;
    for object in live {
        match kinds::status_of(look, object, asked) {
            Judgement::Ready => {}
            Judgement::NotYet(what) => awaited = awaited.or(Some(what)),
            Judgement::Failed(failure) => failed = failed.or(Some(failure)),
        }
    }
    // Looked for at every look, ready or not: a sign's time runs from when it is first there.
    let sign = failures::first(look);
    // A pod says more about what is awaited than the object above it.
    match (failed, pods.or(awaited)) {
        (Some(failure), _) => Judgement::Failed(failure),
        (None, None) => Judgement::Ready,
        (None, Some(what)) => sign.map_or(Judgement::NotYet(what), Judgement::Failed),
    }
}

/// Objects, or their namespace, that are not there any more.
fn gone(seen: &Seen) -> Option<Failure> {
    if seen.namespace_phase.as_deref() == Some("Terminating") {
        let help = Some("whoever deletes it decides; use another namespace".to_owned());
        return Some(Failure { help, ..Failure::new("the namespace is being deleted") });
    }
    seen.objects.iter().find_map(|object| {
        let (kind, name) = (&object.applied.kind, &object.applied.name);
        let Some(live) = object.live.as_ref().map(View::of) else {
            return Some(Failure::new(format!("{kind} {name} is gone: somebody deleted it")));
        };
        if live.uid() != object.applied.uid {
            return Some(Failure::new(format!("{kind} {name} is not the one that was applied: somebody replaced it")));
        }
        live.deleting().then(|| Failure::new(format!("{kind} {name} is being deleted")))
    })
}
