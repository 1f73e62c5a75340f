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
    /// There are no webhooks at all: everything is stored, and nobody reads it. Only at the start.
    Absent,
}

/// Which operator it is: what the cluster serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Age {
    /// 1.5: v1beta1 is stored, v1alpha1 is served through its conversion.
    #[default]
    Newest,
    /// 1.0: there is v1alpha1 only, and nothing converts.
    Older,
    /// 0.4: the same, with fewer fields.
    Oldest,
}

/// All knobs, in their ordinary place by default.
#[derive(Debug, Clone)]
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
    /// Which operator it is. Only at the start.
    pub(crate) age: Age,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            frozen: false,
            pending: false,
            blind: false,
            // The real one was never faster than 20 ms.
            late: Duration::from_millis(30),
            rewrites: false,
            admission: Admission::default(),
            age: Age::default(),
        }
    }
}
