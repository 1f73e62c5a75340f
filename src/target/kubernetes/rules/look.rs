//! What every rule gets: the look itself, the limits, and how long a sign has been there.

use std::time::Duration;

use super::super::seen::{Patience, Seen};
use super::history::History;
use super::pod::Pod;
use super::view::View;

/// One look being judged.
pub(super) struct Look<'a> {
    /// What was seen.
    pub(super) seen: &'a Seen,
    /// The limits.
    pub(super) patience: &'a Patience,
    /// Time since the wait began, by our own clock.
    elapsed: Duration,
    history: &'a mut History,
}

impl<'a> Look<'a> {
    pub(super) fn new(seen: &'a Seen, patience: &'a Patience, history: &'a mut History, elapsed: Duration) -> Self {
        Self { seen, patience, elapsed, history }
    }

    /// Notes a sign and returns how long it has been there without a break.
    pub(super) fn held(&mut self, sign: impl Into<String>) -> Duration {
        self.history.held(sign.into(), self.elapsed)
    }

    /// All objects: those that were applied, as far as they live, and those that others made of them.
    pub(super) fn objects(&self) -> impl Iterator<Item = View<'a>> + use<'a> {
        let applied = self.seen.objects.iter().filter_map(|object| object.live.as_ref());
        applied.chain(&self.seen.owned).map(View::of)
    }

    /// Objects of one kind among [`Look::objects`].
    pub(super) fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = View<'a>> + use<'a> {
        self.objects().filter(move |object| object.kind() == kind)
    }

    /// All pods, those that are ending included.
    pub(super) fn pods(&self) -> impl Iterator<Item = Pod<'a>> + use<'a> {
        self.seen.pods.iter().map(Pod::of)
    }

    /// Events about one object.
    pub(super) fn events_of(&self, object: View<'a>) -> impl Iterator<Item = View<'a>> + use<'a> {
        let about = move |event: &View<'a>| {
            let (uid, other) = (event.text("/involvedObject/uid"), object.uid());
            if uid.is_empty() || other.is_empty() {
                event.text("/involvedObject/kind") == object.kind()
                    && event.text("/involvedObject/name") == object.name()
            } else {
                uid == other
            }
        };
        self.seen.events.iter().map(View::of).filter(about)
    }
}
