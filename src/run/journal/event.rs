//! What the journal can say.
//!
//! Intentions stand before the deed (`step.started`, `obligation.opened`), results after it. A kind of event is never
//! renamed and a field never changes its meaning: see the changelog in `line.rs`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::graph::Life;
use super::super::step::{Obligation, StepFailure, StepOutcome};
use crate::base::{Digest, Name};
use crate::plan::Address;

/// One event of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum Event {
    /// The first line: what this is.
    #[serde(rename = "run.created")]
    RunCreated {
        /// The run's id.
        run: String,
        /// The plan's name.
        plan: Name,
        /// Version of the program that made it.
        tool: String,
        /// Mixed into every prompt of the run.
        nonce: String,
        /// Digest of the frozen list of steps.
        steps: Digest,
    },
    /// A process took the run up.
    #[serde(rename = "session.started")]
    SessionStarted {
        /// From 1.
        number: u32,
        /// Version of its program.
        tool: String,
        /// Its process id.
        pid: u32,
        /// Its machine.
        host: String,
        /// Its command line.
        command: Vec<String>,
    },
    /// It left the run in order.
    #[serde(rename = "session.ended")]
    SessionEnded {
        /// Its exit code.
        code: u8,
        /// Steps that were still to be done.
        outstanding: u32,
    },
    /// A step is about to start.
    #[serde(rename = "step.started")]
    StepStarted {
        /// The step.
        address: Address,
        /// Which attempt, from 1.
        attempt: u32,
        /// Its key now; the fingerprint lies under `keys/`.
        key: Digest,
        /// What its inputs are, for pure steps.
        inputs: Option<Digest>,
        /// What answers now, as far as it is known.
        incarnation: Option<Digest>,
    },
    /// An attempt has a result, which is published.
    #[serde(rename = "step.succeeded")]
    StepSucceeded {
        /// The step.
        address: Address,
        /// Which attempt.
        attempt: u32,
        /// Its result, with the reasons why it must not be used.
        outcome: StepOutcome,
        /// Digest of the manifest of its files, if it has any.
        manifest: Option<Digest>,
        /// Where they lie, relative to the run's folder.
        place: Option<PathBuf>,
        /// Whether the attempt was found whole by a later session.
        adopted: bool,
    },
    /// An attempt has no result.
    #[serde(rename = "step.failed")]
    StepFailed {
        /// The step.
        address: Address,
        /// Which attempt.
        attempt: u32,
        /// Why.
        failure: StepFailure,
    },
    /// An attempt was cut short.
    #[serde(rename = "step.interrupted")]
    StepInterrupted {
        /// The step.
        address: Address,
        /// Which attempt.
        attempt: u32,
        /// By what.
        reason: String,
    },
    /// A step that was due did not run.
    #[serde(rename = "step.skipped")]
    StepSkipped {
        /// The step.
        address: Address,
        /// Why, naming the step that stands in the way.
        because: String,
    },
    /// A result does not count any more, though its files are whole.
    #[serde(rename = "step.voided")]
    StepVoided {
        /// The step.
        address: Address,
        /// Why.
        reason: String,
    },
    /// Something is about to be started that must be ended again.
    #[serde(rename = "obligation.opened")]
    ObligationOpened {
        /// What.
        obligation: Obligation,
        /// Of which deployment and block.
        life: Option<Life>,
    },
    /// It was ended.
    #[serde(rename = "obligation.closed")]
    ObligationClosed {
        /// Its id.
        id: String,
    },
    /// What answers for a deployment.
    #[serde(rename = "incarnation.recorded")]
    IncarnationRecorded {
        /// The step that looked.
        address: Address,
        /// Whose.
        life: Life,
        /// What it found.
        incarnation: Value,
        /// Digest of that.
        digest: Digest,
    },
    /// An edit of the plan was accepted, or a search found the load that it measures next.
    #[serde(rename = "plan.amended")]
    PlanAmended {
        /// The number of the new frozen folder.
        generation: u32,
        /// Digest of the new list of steps.
        steps: Digest,
        /// Steps that are new.
        added: Vec<Address>,
        /// Steps that are gone; their results stay.
        removed: Vec<Address>,
        /// Steps whose key changed.
        changed: Vec<Address>,
    },
    /// Words.
    #[serde(rename = "note")]
    Note {
        /// The step that left them, if one did.
        address: Option<Address>,
        /// The words.
        text: String,
    },
}
