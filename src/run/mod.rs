//! Runs a frozen list of steps with checkpoints: dispatcher, journal, resume decisions, run folder, locks, signals,
//! event stream. Knows no kind of step.

mod amend;
mod archive;
mod catalogue;
mod decide;
mod dispatcher;
mod error;
mod events;
mod explain;
mod frozen;
mod fsck;
mod graph;
mod grow;
mod journal;
mod layout;
mod lock;
mod open;
mod outcome;
mod prune;
mod publish;
mod session;
mod settle;
mod signals;
mod spent;
mod state;
mod step;
mod stop;
#[cfg(test)]
mod tests;

pub use amend::Amendment;
pub use archive::{export_run, import_run};
pub use catalogue::{RunInfo, RunStatus, find_run, list_runs, show_run};
pub use decide::{Decision, Edits, Ending, Facts, KeyMatch, Recorded, Refusal, Selection, Why, WhyNot, decide};
pub use dispatcher::GRACE;
pub use error::RunError;
pub use events::{
    ChannelSink, EVENTS_SCHEMA, EventBody, EventLevel, EventReceiver, EventSink, Outlook, RunEvent, event_channel,
};
pub use explain::{FieldDiff, explain};
pub use frozen::{Frozen, SourceFile};
pub use fsck::{Finding, damaged_results, fsck};
pub use graph::{Graph, GraphError, Life, Role};
pub use grow::{Expand, OBJECTIVES, steps_after};
pub use journal::{Event, FORMAT as JOURNAL_FORMAT, Journal, JournalFile, Line, Replay, Torn, read as read_journal};
pub use layout::{RunLayout, place, point_to, run_id, runs_of_plan};
pub use lock::{Holder, RunLock};
pub use open::{Actions, ExecuteOptions, Judge, NewRun, Run, explain_step, preview, read_state};
pub use outcome::{Cause, ExitCode, RunReport};
pub use prune::{PruneRule, Pruned, prune_runs};
pub use publish::{FileEntry, MANIFEST_FORMAT, Manifest, faults, manifest_in};
pub use session::{Choice, FILES};
pub use settle::{Settling, frozen_of};
pub use signals::{SignalListener, listen};
pub use spent::{Spent, TimeSpent, time_spent};
pub use state::{IllegalEvent, OpenObligation, Phase, RunState, SessionRecord, StepRecord, Success};
pub use step::{
    BoxFuture, FailureKind, Invalid, Obligation, Progress, Request, RunShared, StepAction, StepContext, StepFailure,
    StepOutcome, StepReport,
};
pub use stop::{Stop, StopLevel, StopSignal};
