//! Runs a frozen list of steps with checkpoints: dispatcher, journal, resume decisions, run folder, locks, signals,
//! event stream. Knows no kind of step.

mod error;
mod step;

pub use error::RunError;
pub use step::{
    BoxFuture, FailureKind, Invalid, Obligation, Progress, Request, RunShared, StepAction, StepContext, StepFailure,
    StepOutcome, StepReport,
};
