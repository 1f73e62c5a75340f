//! How a run ended: every step's state, all causes, and the one exit code that follows from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::step::{Obligation, StepReport};

/// Exit codes of the program. Part of its interface: a number never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExitCode(pub u8);

impl ExitCode {
    /// All that was asked is done.
    pub const DONE: Self = Self(0);
    /// Wrong usage, or a plan that cannot be used.
    pub const USAGE: Self = Self(2);
    /// Finished, but steps failed or points are invalid.
    pub const FAILED: Self = Self(3);
    /// An objective or a regression gate was missed.
    pub const OBJECTIVE: Self = Self(4);
    /// What was asked is done; other steps are outstanding.
    pub const OUTSTANDING: Self = Self(5);
    /// Results are fine, but something started could not be ended.
    pub const LEAKED: Self = Self(6);
    /// Preflight failed, or nothing answers at the start.
    pub const PREFLIGHT: Self = Self(7);
    /// Another process has the run, or another run the GPUs.
    pub const LOCKED: Self = Self(8);
    /// Resume refused: the plan was edited.
    pub const REFUSED: Self = Self(9);
    /// `plan --exit-code`: there is work left.
    pub const WORK_LEFT: Self = Self(10);
    /// Journal or results cannot be written.
    pub const STORAGE: Self = Self(11);
    /// A bug of ours.
    pub const BUG: Self = Self(70);
    /// Interrupted by Ctrl-C.
    pub const INTERRUPTED: Self = Self(130);
    /// Interrupted by SIGTERM or SIGHUP.
    pub const TERMINATED: Self = Self(143);

    /// With several causes the first of these counts. A failed preflight, or a lock of another, is why there is nothing
    /// else, so it goes before failed steps; what leaked costs money, so it goes before both.
    const PRECEDENCE: [Self; 10] = [
        Self::INTERRUPTED,
        Self::TERMINATED,
        Self::BUG,
        Self::STORAGE,
        Self::LEAKED,
        Self::PREFLIGHT,
        Self::LOCKED,
        Self::FAILED,
        Self::OBJECTIVE,
        Self::OUTSTANDING,
    ];

    /// The one code for several causes; [`ExitCode::DONE`] for none.
    pub fn of(causes: &[Cause]) -> Self {
        Self::PRECEDENCE
            .into_iter()
            .find(|code| causes.iter().any(|cause| cause.code == *code))
            .or_else(|| causes.first().map(|cause| cause.code))
            .unwrap_or(Self::DONE)
    }
}

/// One reason for an exit code other than 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The code that it alone would give.
    pub code: ExitCode,
    /// In words.
    pub message: String,
}

impl Cause {
    /// A cause.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// How a session of a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    /// Every step, in the order of the run.
    pub steps: Vec<StepReport>,
    /// Steps that are due but did not run, or have no result for a reason that lies outside of them.
    pub outstanding: Vec<crate::plan::Address>,
    /// Why the exit code is not 0; empty when it is.
    pub causes: Vec<Cause>,
    /// What is still open, whether by wish or not.
    pub obligations: Vec<Obligation>,
    /// What happened but could not be written to the journal, one line of it each: to be printed.
    pub unrecorded: Vec<String>,
}

impl RunReport {
    /// The exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::of(&self.causes)
    }

    /// How many steps are in each state.
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for step in &self.steps {
            *counts.entry(step.state.as_str()).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_pressing_cause_gives_the_code() {
        let causes = |codes: &[ExitCode]| -> Vec<_> { codes.iter().map(|code| Cause::new(*code, "")).collect() };
        assert_eq!(ExitCode::of(&[]), ExitCode::DONE);
        assert_eq!(ExitCode::of(&causes(&[ExitCode::OUTSTANDING, ExitCode::FAILED])), ExitCode::FAILED);
        assert_eq!(ExitCode::of(&causes(&[ExitCode::FAILED, ExitCode::LEAKED])), ExitCode::LEAKED);
        assert_eq!(ExitCode::of(&causes(&[ExitCode::LEAKED, ExitCode::STORAGE])), ExitCode::STORAGE);
        assert_eq!(ExitCode::of(&causes(&[ExitCode::BUG, ExitCode::STORAGE])), ExitCode::BUG);
        assert_eq!(ExitCode::of(&causes(&[ExitCode::BUG, ExitCode::TERMINATED])), ExitCode::TERMINATED);
        assert_eq!(ExitCode::of(&causes(&[ExitCode::OBJECTIVE, ExitCode::OUTSTANDING])), ExitCode::OBJECTIVE);
    }
}
