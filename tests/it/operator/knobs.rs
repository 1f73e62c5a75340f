//! How the stand-in misbehaves: each as the real operator was seen to.

use std::time::Duration;

/// What it does with requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Answers.
    #[default]
    Answers,
    /// Answers with an error of its own: the request is refused with 500.
    Fails,
    /// Takes longer than the API server waits.
    Hangs,
}

/// All knobs, in their ordinary place by default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Knobs {
    /// Does nothing at all, as while its pod is away: statuses stay as they are, deletions hang.
    pub(crate) frozen: bool,
    /// Never says successful.
    pub(crate) pending: bool,
    /// Says successful with full counts at once, whatever the pods do.
    pub(crate) blind: bool,
    /// How long the old status stays after a change.
    pub(crate) late: Duration,
    /// Writes the stored spec anew in its own form, which makes generation 2.
    pub(crate) rewrites: bool,
    /// What it does with requests.
    pub(crate) admission: Admission,
}
