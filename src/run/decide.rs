//! What resume does with one step: one function without effects, and its truth table.
//!
//! | role | the step is run when |
//! | --- | --- |
//! | point | it has no good result: never measured, failed, interrupted, skipped, invalid by the moment, damaged, or its key changed |
//! | supply (preflight, deploy, wait, warm-up) | a step that will run needs it |
//! | input (discover) | a step that will run needs it, and the run has no result of it for this key |
//! | prepare (render), conclude (summarize, plot) | it has no result for this key, an input ran or changed, or its files are gone |
//! | follow-up (collect) | something before it runs, or its deployment is still there and it never succeeded |
//! | obligation (teardown) | something is open, or something before it runs; whatever was chosen |
//!
//! A good result of a point is never given up in silence: an edit that would do so is refused.

use std::fmt;

use super::explain::FieldDiff;
use super::graph::Role;
use crate::plan::Address;

/// What is recorded of a step, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// Nothing.
    Never,
    /// It started, its end is not recorded, and its attempt is whole on the disk.
    Whole,
    /// It started and was cut short.
    Interrupted,
    /// It failed.
    Failed,
    /// It was due but did not run.
    Skipped,
    /// It has a good result.
    Valid,
    /// Its result is invalid, and the moment was to blame.
    InvalidByMoment,
    /// Its result is invalid, and the configuration was to blame.
    InvalidByConfiguration,
}

/// The step's key against the one that its result was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyMatch {
    /// They are equal, or there is no result.
    Equal,
    /// They differ, and that edit was accepted before.
    Accepted,
    /// They differ by an edit that nobody has accepted yet.
    Edited,
}

/// Whether a step was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// Nothing was chosen, so everything is.
    Everything,
    /// By name: with `--only`, or as the last step with `--until`.
    Named,
    /// Others were chosen with `--only`.
    Others,
    /// It comes after the step of `--until`.
    Beyond,
}

/// What to do with edits of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Edits {
    /// Accept those that cost no good point, refuse the others.
    #[default]
    Careful,
    /// Ignore all: `--frozen`.
    Ignore,
    /// Accept all: `--accept-changes`.
    Accept,
}

/// Whether deployments are ended at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Yes, by the plan.
    Due,
    /// `policy.teardown = "never"`.
    Never,
    /// `--keep`.
    Keep,
}

/// Everything that decides about one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What it is for.
    pub role: Role,
    /// What is recorded of it.
    pub recorded: Recorded,
    /// Its key.
    pub key: KeyMatch,
    /// Whether the files of its result are there and unchanged; true when it has none.
    pub files: bool,
    /// Whether it was chosen.
    pub selection: Selection,
    /// Whether it was chosen with `--rerun`.
    pub rerun: bool,
    /// What to do with edits.
    pub edits: Edits,
    /// Whether a step that will run needs its success.
    pub demanded: bool,
    /// Whether one of its inputs will run, or changed since its result was made.
    pub inputs: bool,
    /// Whether something of its deployment is still open.
    pub owed: bool,
    /// Whether deployments are ended.
    pub ending: Ending,
    /// Whether so many lower levels in a row stay invalid that it is not worth a try.
    pub held: bool,
}

/// What happens to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Its result stays.
    Keep,
    /// Its whole attempt is taken as its result.
    Adopt,
    /// It runs.
    Run(Why),
    /// The edit that changed its key is refused.
    Refuse,
    /// Nothing calls for it.
    NotNeeded(WhyNot),
    /// It is due, but was not chosen.
    NotChosen,
}

/// Why a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was chosen with `--rerun` or by name.
    Asked,
    /// It never ran.
    Never,
    /// It was interrupted.
    Interrupted,
    /// It failed.
    Failed,
    /// It was skipped.
    Skipped,
    /// Its result is invalid by the moment.
    InvalidByMoment,
    /// What it means has changed.
    KeyChanged,
    /// Files of its result are missing or changed.
    Files,
    /// An input runs or changed.
    Inputs,
    /// A step that runs needs it.
    Needed,
    /// Something is still to be ended.
    Owed,
}

/// Why a step does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyNot {
    /// No step that will run needs it.
    NobodyNeeds,
    /// Nothing is open and nothing will be started.
    NothingToEnd,
    /// What it would look at is gone.
    Gone,
    /// The lower levels are invalid by configuration.
    Held,
    /// By `policy.teardown`.
    Policy,
    /// By `--keep`.
    Kept,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "asked for",
            Self::Never => "has not run yet",
            Self::Interrupted => "was interrupted",
            Self::Failed => "failed",
            Self::Skipped => "was skipped",
            Self::InvalidByMoment => "its result is invalid by something that may pass",
            Self::KeyChanged => "its meaning changed with the plan",
            Self::Files => "files of its result are missing or changed",
            Self::Inputs => "what it is made from changes",
            Self::Needed => "needed",
            Self::Owed => "something started is still to be ended",
        })
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NobodyNeeds => "no step that will run needs it",
            Self::NothingToEnd => "nothing is left to be ended",
            Self::Gone => "what it would collect from is gone",
            Self::Held => "the levels below are invalid by configuration; `--rerun` measures it all the same",
            Self::Policy => "policy.teardown says never",
            Self::Kept => "--keep",
        })
    }
}

/// A measured point that an edit would invalidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The point.
    pub address: Address,
    /// What differs in what its result means.
    pub diffs: Vec<FieldDiff>,
}

/// Decides about one step.
pub fn decide(facts: &Facts) -> Decision {
    match facts.role {
        Role::Point => point(facts),
        Role::Supply => match () {
            () if facts.asked() => Decision::Run(Why::Asked),
            () if facts.demanded => Decision::Run(Why::Needed),
            () => Decision::NotNeeded(WhyNot::NobodyNeeds),
        },
        Role::Input => match () {
            () if facts.rerun => Decision::Run(Why::Asked),
            () if facts.recorded == Recorded::Valid && !facts.changed() => Decision::Keep,
            () if facts.demanded => Decision::Run(Why::Needed),
            () if facts.selection == Selection::Named => Decision::Run(Why::Asked),
            () => Decision::NotNeeded(WhyNot::NobodyNeeds),
        },
        Role::Prepare | Role::Conclude => pure(facts),
        Role::FollowUp => match () {
            () if facts.ending == Ending::Keep && !facts.asked() => Decision::NotNeeded(WhyNot::Kept),
            () if facts.asked() => Decision::Run(Why::Asked),
            () if facts.inputs => Decision::Run(Why::Inputs),
            () if facts.recorded == Recorded::Valid => Decision::Keep,
            () if facts.owed => Decision::Run(Why::Owed),
            () => Decision::NotNeeded(WhyNot::Gone),
        },
        Role::Obligation => match () {
            () if facts.ending == Ending::Keep => Decision::NotNeeded(WhyNot::Kept),
            () if facts.asked() => Decision::Run(Why::Asked),
            () if facts.ending == Ending::Never => Decision::NotNeeded(WhyNot::Policy),
            () if facts.owed => Decision::Run(Why::Owed),
            () if facts.inputs => Decision::Run(Why::Inputs),
            () if facts.recorded == Recorded::Valid => Decision::Keep,
            () => Decision::NotNeeded(WhyNot::NothingToEnd),
        },
    }
}

impl Facts {
    fn asked(&self) -> bool {
        self.rerun || self.selection == Selection::Named
    }

    fn changed(&self) -> bool {
        match self.key {
            KeyMatch::Equal => false,
            KeyMatch::Accepted => true,
            KeyMatch::Edited => self.edits != Edits::Ignore,
        }
    }
}

fn point(facts: &Facts) -> Decision {
    let due = |why| match facts.selection {
        _ if facts.rerun => Decision::Run(Why::Asked),
        Selection::Named => Decision::Run(why),
        Selection::Everything if facts.held => Decision::NotNeeded(WhyNot::Held),
        Selection::Everything => Decision::Run(why),
        Selection::Others | Selection::Beyond => Decision::NotChosen,
    };
    let has_result = |what: Decision| match () {
        () if facts.rerun => Decision::Run(Why::Asked),
        () if facts.changed() => match facts.edits {
            Edits::Careful if facts.key == KeyMatch::Edited => Decision::Refuse,
            Edits::Careful | Edits::Ignore | Edits::Accept => due(Why::KeyChanged),
        },
        () if !facts.files => due(Why::Files),
        () => what,
    };
    match facts.recorded {
        Recorded::Valid => has_result(Decision::Keep),
        Recorded::Whole => has_result(Decision::Adopt),
        // Whoever changes the configuration of a point that was invalid by configuration wants it measured again.
        Recorded::InvalidByConfiguration if facts.rerun || facts.changed() => due(Why::KeyChanged),
        Recorded::InvalidByConfiguration if !facts.files => due(Why::Files),
        Recorded::InvalidByConfiguration => Decision::Keep,
        Recorded::InvalidByMoment => due(Why::InvalidByMoment),
        Recorded::Never => due(Why::Never),
        Recorded::Interrupted => due(Why::Interrupted),
        Recorded::Failed => due(Why::Failed),
        Recorded::Skipped => due(Why::Skipped),
    }
}

fn pure(facts: &Facts) -> Decision {
    let why = match facts.recorded {
        _ if facts.asked() => Some(Why::Asked),
        _ if facts.inputs => Some(Why::Inputs),
        Recorded::Valid if facts.changed() => Some(Why::KeyChanged),
        Recorded::Valid if !facts.files => Some(Why::Files),
        Recorded::Valid => None,
        Recorded::Never => Some(Why::Never),
        Recorded::Whole | Recorded::Interrupted => Some(Why::Interrupted),
        Recorded::Failed => Some(Why::Failed),
        Recorded::Skipped => Some(Why::Skipped),
        Recorded::InvalidByMoment | Recorded::InvalidByConfiguration => Some(Why::InvalidByMoment),
    };
    match (why, facts.selection) {
        (None, _) => Decision::Keep,
        (Some(Why::Asked), _) => Decision::Run(Why::Asked),
        (Some(_), Selection::Others | Selection::Beyond) if facts.demanded => Decision::Run(Why::Needed),
        // With --only the summary is made anew all the same, so that it never tells of something else than there is.
        (Some(why), Selection::Everything | Selection::Named) => Decision::Run(why),
        (Some(Why::Inputs), Selection::Others) => Decision::Run(Why::Inputs),
        (Some(_), Selection::Others | Selection::Beyond) => Decision::NotChosen,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
