//! What a run tells while it goes on: a versioned stream of events for progress displays and other programs.
//!
//! `hello` is first and `run.finished` last. Every line has `t`, `seq`, `level`, `message` and `type`; whoever reads it
//! must ignore types and keys that it does not know, and can always show `message`. Only `step.progress` may be lost.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::mpsc;

use super::outcome::{Cause, ExitCode};
use super::step::{Invalid, Obligation, Progress, StepFailure};
use crate::base::{Timestamp, append_line};
use crate::plan::Address;

/// Version of the stream, in its first line.
///
/// Changelog:
/// - 1.0: the first.
pub const EVENTS_SCHEMA: &str = "dynbench.events/1.0";

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventLevel {
    /// The course of things.
    Info,
    /// Worth a look.
    Warn,
    /// Something has no result.
    Error,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEvent {
    /// When.
    pub t: Timestamp,
    /// From 1 in each session, without gaps; lost progress leaves one.
    pub seq: u64,
    /// How much it matters.
    pub level: EventLevel,
    /// For people.
    pub message: String,
    /// What happened.
    pub body: EventBody,
}

#[derive(Serialize)]
struct Wire<'a> {
    t: String,
    seq: u64,
    level: EventLevel,
    message: &'a str,
    #[serde(flatten)]
    body: &'a EventBody,
}

impl RunEvent {
    /// The event as one line of JSON, without the newline.
    pub fn to_json(&self) -> String {
        let wire =
            Wire { t: self.t.rfc3339(), seq: self.seq, level: self.level, message: &self.message, body: &self.body };
        serde_json::to_string(&wire).expect("events hold nothing that JSON cannot say")
    }
}

/// What a step is going to do, in the plan of a session.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outlook {
    /// The step.
    pub address: Address,
    /// Its kind.
    pub kind: String,
    /// What it does, in one line.
    pub summary: String,
    /// `run`, `keep`, `adopt`, `not-needed`, `not-chosen` or `refuse`.
    pub decision: &'static str,
    /// Why.
    pub why: String,
    /// Roughly how long it will take, in seconds.
    pub estimate_seconds: Option<f64>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum EventBody {
    /// The stream begins.
    #[serde(rename = "hello")]
    Hello {
        /// [`EVENTS_SCHEMA`].
        schema: &'static str,
        /// The run's id.
        run: String,
        /// Version of the program.
        tool: String,
        /// The run's folder.
        dir: PathBuf,
        /// Which session of the run, from 1.
        session: u32,
    },
    /// All steps and what will be done with them.
    #[serde(rename = "run.plan")]
    Plan {
        /// In the order of the run.
        steps: Vec<Outlook>,
    },
    /// The run will start no new steps.
    #[serde(rename = "run.stopping")]
    Stopping {
        /// Why.
        reason: String,
    },
    /// The stream ends.
    #[serde(rename = "run.finished")]
    Finished {
        /// The exit code.
        code: ExitCode,
        /// All reasons for it.
        causes: Vec<Cause>,
        /// What is still open.
        obligations: Vec<Obligation>,
        /// Journal lines that could not be written.
        unrecorded: Vec<String>,
    },
    /// A step began.
    #[serde(rename = "step.started")]
    StepStarted {
        /// The step.
        address: Address,
        /// Which attempt.
        attempt: u32,
    },
    /// A step is under way. Lossy.
    #[serde(rename = "step.progress")]
    StepProgress {
        /// The step.
        address: Address,
        /// How far it is.
        progress: Progress,
    },
    /// A step has a good result.
    #[serde(rename = "step.succeeded")]
    StepSucceeded {
        /// The step.
        address: Address,
        /// Which attempt.
        attempt: u32,
        /// How long it took; `None`: it was adopted from an earlier session.
        seconds: Option<f64>,
    },
    /// A step has a result that must not be used.
    #[serde(rename = "step.invalid")]
    StepInvalid {
        /// The step.
        address: Address,
        /// Which attempt.
        attempt: u32,
        /// Why.
        invalid: Vec<Invalid>,
        /// Whether it is tried again now.
        again: bool,
    },
    /// A step has no result.
    #[serde(rename = "step.failed")]
    StepFailed {
        /// The step.
        address: Address,
        /// Which attempt.
        attempt: u32,
        /// Why.
        failure: StepFailure,
        /// Whether it is tried again now.
        again: bool,
    },
    /// A step was cut short.
    #[serde(rename = "step.interrupted")]
    StepInterrupted {
        /// The step.
        address: Address,
        /// Which attempt.
        attempt: u32,
    },
    /// A step that was due did not run.
    #[serde(rename = "step.skipped")]
    StepSkipped {
        /// The step.
        address: Address,
        /// Why.
        because: String,
    },
    /// A step's earlier result stays.
    #[serde(rename = "step.kept")]
    StepKept {
        /// The step.
        address: Address,
    },
    /// A result does not count any more.
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
        /// Its id.
        id: String,
        /// In words.
        what: String,
        /// The step that opened it.
        address: Address,
    },
    /// It was ended.
    #[serde(rename = "obligation.closed")]
    ObligationClosed {
        /// Its id.
        id: String,
        /// In words.
        what: String,
    },
    /// Words of a step or of the run.
    #[serde(rename = "note")]
    Note {
        /// The step.
        address: Option<Address>,
    },
    /// Something that a person should look at.
    #[serde(rename = "diagnostic")]
    Diagnostic {
        /// The step.
        address: Option<Address>,
        /// What to do.
        help: Option<String>,
    },
}

impl EventBody {
    /// Whether it may be lost.
    pub fn is_lossy(&self) -> bool {
        matches!(self, Self::StepProgress { .. })
    }
}

/// Where events go. Called by the task that owns the run: must never wait.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn take(&self, event: &RunEvent);
}

impl<F: Fn(&RunEvent) + Send + Sync> EventSink for F {
    fn take(&self, event: &RunEvent) {
        self(event);
    }
}

/// Sends events to another task or thread. Progress is dropped when the receiver is behind; nothing else ever is, so
/// the queue is bounded by the number of steps and not by a number of ours.
#[derive(Debug, Clone)]
pub struct ChannelSink {
    sender: mpsc::UnboundedSender<RunEvent>,
    waiting: Arc<std::sync::atomic::AtomicUsize>,
}

/// The other end of a [`ChannelSink`].
#[derive(Debug)]
pub struct EventReceiver {
    receiver: mpsc::UnboundedReceiver<RunEvent>,
    waiting: Arc<std::sync::atomic::AtomicUsize>,
}

/// Events that may wait before progress is dropped.
const BACKLOG: usize = 256;

/// A sink and its receiver.
pub fn event_channel() -> (ChannelSink, EventReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    (ChannelSink { sender, waiting: Arc::clone(&waiting) }, EventReceiver { receiver, waiting })
}

impl EventSink for ChannelSink {
    fn take(&self, event: &RunEvent) {
        use std::sync::atomic::Ordering::Relaxed;
        if event.body.is_lossy() && self.waiting.load(Relaxed) >= BACKLOG {
            return;
        }
        // A receiver that went away wants no more events; the run goes on without it.
        if self.sender.send(event.clone()).is_ok() {
            self.waiting.fetch_add(1, Relaxed);
        }
    }
}

impl EventReceiver {
    /// The next event; `None` when the run is over and all were taken.
    pub async fn next(&mut self) -> Option<RunEvent> {
        let event = self.receiver.recv().await;
        self.taken(event)
    }

    /// The same for a thread of its own.
    pub fn blocking_next(&mut self) -> Option<RunEvent> {
        let event = self.receiver.blocking_recv();
        self.taken(event)
    }

    fn taken(&self, event: Option<RunEvent>) -> Option<RunEvent> {
        if event.is_some() {
            self.waiting.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
        event
    }
}

/// Numbers events and hands them to all sinks and to `.run/events.jsonl`.
pub(super) struct Events {
    sinks: Vec<Arc<dyn EventSink>>,
    log: Option<PathBuf>,
    seq: u64,
}

impl Events {
    pub(super) fn new(sinks: Vec<Arc<dyn EventSink>>, log: PathBuf) -> Self {
        Self { sinks, log: Some(log), seq: 0 }
    }

    pub(super) fn emit(&mut self, t: Timestamp, level: EventLevel, message: String, body: EventBody) {
        self.seq += 1;
        let event = RunEvent { t, seq: self.seq, level, message, body };
        for sink in &self.sinks {
            sink.take(&event);
        }
        if !event.body.is_lossy() {
            // Derived from the journal: not worth an error, and after the first failure not worth another try.
            self.log = self.log.take().filter(|log| append_line(log, &event.to_json()).is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, body: EventBody) -> RunEvent {
        RunEvent { t: Timestamp(0), seq, level: EventLevel::Info, message: "m".to_owned(), body }
    }

    #[test]
    fn a_line_has_the_five_common_members() {
        let body = EventBody::StepStarted { address: Address("agg/deploy".to_owned()), attempt: 2 };
        insta::assert_snapshot!(event(3, body).to_json(), @r#"{"t":"1970-01-01T00:00:00.000Z","seq":3,"level":"info","message":"m","type":"step.started","address":"agg/deploy","attempt":2}"#);
    }

    #[test]
    fn a_slow_receiver_loses_progress_and_nothing_else() {
        let (sink, mut receiver) = event_channel();
        let progress = || EventBody::StepProgress { address: Address("a".to_owned()), progress: Progress::default() };
        for seq in 0..1000 {
            sink.take(&event(seq, progress()));
        }
        for seq in 1000..2000 {
            sink.take(&event(seq, EventBody::Note { address: None }));
        }
        drop(sink);
        let mut notes = 0;
        let mut others = 0;
        while let Some(event) = receiver.blocking_next() {
            if event.body.is_lossy() { others += 1 } else { notes += 1 }
        }
        assert_eq!((others, notes), (BACKLOG, 1000));
    }
}
