//! The loop: what is known, what is awaited, and how it is stopped.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, Sleep, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::super::decide::Decision;
use super::super::error::RunError;
use super::super::events::{EventBody, EventLevel, Events};
use super::super::graph::{Graph, Life};
use super::super::grow::Expand;
use super::super::journal::{Event, Journal};
use super::super::layout::RunLayout;
use super::super::outcome::{Cause, ExitCode};
use super::super::session::Verdict;
use super::super::state::RunState;
use super::super::step::{Progress, Request, RunShared, StepAction, StepFailure};
use super::super::stop::{Stop, StopLevel};
use super::task::{GRACE, Sealed};
use crate::base::Timestamp;

/// Progress is told at most so often per step.
const TICK: Duration = Duration::from_millis(200);

/// Requests of steps that may wait to be answered.
const REQUESTS: usize = 64;

/// How a step stands in this session.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::run) enum Standing {
    /// It is due.
    Waiting,
    /// It runs.
    Running,
    /// It has a good result of this session.
    Succeeded,
    /// It has a result of this session that must not be used.
    Invalid,
    /// It failed in this session.
    Failed,
    /// It was cut short in this session.
    Interrupted,
    /// It was due, and something stands in its way.
    Skipped(String),
    /// Its earlier result stays.
    Kept,
    /// Nothing calls for it, or somebody wants it not to be done.
    NotNeeded(String),
    /// It is due but was not chosen.
    NotChosen,
    /// It is due, but the session ended before.
    NotReached,
}

/// Why no new steps start, the stronger one last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Halt {
    /// No more is measured; what there is gets summed up.
    WindUp,
    /// Only what cleans up still runs.
    ClearUp,
}

/// A step that runs.
pub(super) struct Running {
    pub(super) task: Id,
    pub(super) abort: AbortHandle,
    pub(super) cancel: CancellationToken,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) attempt: u32,
    pub(super) since: Duration,
    /// Whether it was told to end because the run is being stopped.
    pub(super) told_to_end: bool,
}

/// What a session is made of.
pub(in crate::run) struct Parts {
    pub(in crate::run) graph: Graph,
    pub(in crate::run) layout: RunLayout,
    pub(in crate::run) shared: Arc<RunShared>,
    pub(in crate::run) state: RunState,
    pub(in crate::run) journal: Journal,
    pub(in crate::run) events: Events,
    /// By place in the graph.
    pub(in crate::run) actions: Vec<Arc<dyn StepAction>>,
    /// By place in the graph.
    pub(in crate::run) verdicts: Vec<Verdict>,
    pub(in crate::run) keep: bool,
    pub(in crate::run) stop: Stop,
    pub(in crate::run) expand: Option<Expand>,
}

/// The task that owns the run.
pub(in crate::run) struct Dispatcher {
    pub(super) graph: Graph,
    pub(super) layout: RunLayout,
    pub(super) shared: Arc<RunShared>,
    pub(super) state: RunState,
    pub(super) journal: Journal,
    pub(super) events: Events,
    pub(super) actions: Vec<Arc<dyn StepAction>>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) keep: bool,
    pub(super) stop: Stop,
    /// Makes a longer list of steps, where the plan searches.
    pub(super) expand: Option<Expand>,
    pub(super) standing: Vec<Standing>,
    /// Attempts of this session, by place.
    pub(super) tries: Vec<u32>,
    pub(super) tasks: JoinSet<Result<Sealed, StepFailure>>,
    pub(super) running: BTreeMap<usize, Running>,
    pub(super) asking: mpsc::Sender<Request>,
    pub(super) asked: mpsc::Receiver<Request>,
    pub(super) halt: Option<(Halt, String)>,
    /// Causes that are known before the end.
    pub(super) causes: Vec<Cause>,
    /// How often points of a life were made due again because something else answers.
    pub(super) resweeps: BTreeMap<Life, u32>,
    stopping: bool,
    grace: Option<Pin<Box<Sleep>>>,
}

impl Dispatcher {
    pub(in crate::run) fn new(parts: Parts) -> Self {
        let (asking, asked) = mpsc::channel(REQUESTS);
        let standing = parts.verdicts.iter().map(|verdict| match verdict.decision {
            Decision::Keep | Decision::Adopt => Standing::Kept,
            Decision::Run(_) => Standing::Waiting,
            Decision::NotNeeded(_) => Standing::NotNeeded(verdict.why.clone()),
            Decision::NotChosen | Decision::Refuse => Standing::NotChosen,
        });
        Self {
            standing: standing.collect(),
            tries: vec![0; parts.verdicts.len()],
            graph: parts.graph,
            layout: parts.layout,
            shared: parts.shared,
            state: parts.state,
            journal: parts.journal,
            events: parts.events,
            actions: parts.actions,
            verdicts: parts.verdicts,
            keep: parts.keep,
            stop: parts.stop,
            expand: parts.expand,
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            asking,
            asked,
            halt: None,
            causes: Vec::new(),
            resweeps: BTreeMap::new(),
            stopping: false,
            grace: None,
        }
    }

    /// Runs until nothing is left to be done, or the wish to stop is strong enough.
    pub(in crate::run) async fn run(&mut self) {
        let mut time_limit = self.shared.plan.policy.max_duration.map(|limit| Box::pin(sleep(limit)));
        let mut tick: Interval = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.stop.clone();
        self.tell_kept();
        loop {
            if !self.stopping && stop.level() >= StopLevel::Orderly {
                self.end_in_order();
            }
            while self.settle() || self.start_ready() {}
            if self.running.is_empty() {
                self.refuse_deadlock();
                return;
            }
            tokio::select! {
                biased;
                () = stop.reached(StopLevel::Quick) => {
                    self.abandon().await;
                    return;
                }
                () = stop.reached(StopLevel::Orderly), if !self.stopping => self.end_in_order(),
                Some(request) = self.asked.recv() => self.answer(request),
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.ended(ended);
                    self.grow();
                }
                () = over(self.grace.as_mut()), if self.grace.is_some() => {
                    self.grace = None;
                    self.give_up_on_those_told_to_end();
                }
                () = over(time_limit.as_mut()), if time_limit.is_some() => {
                    time_limit = None;
                    self.stop_starting(Halt::WindUp, "policy.max-duration is over".to_owned());
                }
                _ = tick.tick() => self.tell_progress(),
            }
        }
    }

    /// Takes an event into the state and writes it down.
    ///
    /// # Errors
    /// When it may not happen now, or cannot be written: then the run stops.
    pub(super) fn record(&mut self, event: &Event) -> Result<(), RunError> {
        let now = self.now();
        self.state.apply(event, &now.rfc3339())?;
        let was_broken = self.journal.broken().is_some();
        let written = self.journal.append(now, event);
        if let (Err(error), false) = (&written, was_broken) {
            self.storage_failed(&error.to_string());
        }
        written
    }

    /// The same for what has happened already: that it could not be written is known and does not change it.
    pub(super) fn record_done(&mut self, event: &Event) {
        if let Err(RunError::Illegal(error)) = self.record(event) {
            self.bug(&error.to_string());
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    pub(super) fn emit(&mut self, level: EventLevel, message: String, body: EventBody) {
        self.events.emit(self.shared.clock.now(), level, message, body);
    }

    pub(super) fn bug(&mut self, message: &str) {
        self.causes.push(Cause::new(ExitCode::BUG, message));
        let body = EventBody::Diagnostic {
            address: None,
            help: Some("this is a bug; please report it with the run's `.run` folder".to_owned()),
        };
        self.emit(EventLevel::Error, message.to_owned(), body);
    }

    pub(super) fn storage_failed(&mut self, message: &str) {
        self.causes.push(Cause::new(ExitCode::STORAGE, message));
        self.stop_starting(Halt::ClearUp, format!("results cannot be stored: {message}"));
    }

    /// No new steps from now on, except those that a halt of this kind lets through.
    pub(super) fn stop_starting(&mut self, halt: Halt, reason: String) {
        if self.halt.as_ref().is_some_and(|(present, _)| *present >= halt) {
            return;
        }
        self.emit(EventLevel::Warn, reason.clone(), EventBody::Stopping { reason: reason.clone() });
        self.halt = Some((halt, reason));
    }

    fn end_in_order(&mut self) {
        self.stopping = true;
        let by = self.stop.signal().map_or("a signal", |signal| signal.name());
        self.stop_starting(Halt::ClearUp, format!("interrupted by {by}"));
        for (at, running) in &mut self.running {
            if !self.graph.role(*at).cleans_up() {
                running.told_to_end = true;
                running.cancel.cancel();
            }
        }
        self.grace = Some(Box::pin(sleep(GRACE)));
    }

    fn give_up_on_those_told_to_end(&mut self) {
        for running in self.running.values().filter(|running| running.told_to_end) {
            running.abort.abort();
        }
    }

    /// Ends everything at once; what is open stays open, and the journal says so.
    async fn abandon(&mut self) {
        for running in self.running.values_mut() {
            running.told_to_end = true;
            running.cancel.cancel();
        }
        self.tasks.shutdown().await;
        while let Ok(request) = self.asked.try_recv() {
            self.answer(request);
        }
        let by = self.stop.signal().map_or("a signal", |signal| signal.name());
        self.stop_starting(Halt::ClearUp, format!("interrupted by {by}"));
        for (at, running) in std::mem::take(&mut self.running) {
            self.interrupted(at, running.attempt, "interrupted twice");
        }
        for standing in &mut self.standing {
            if *standing == Standing::Waiting {
                *standing = Standing::NotReached;
            }
        }
    }

    /// With nothing running every step must have ended: whatever waits could have started.
    fn refuse_deadlock(&mut self) {
        let waiting = self.standing.iter().position(|standing| *standing == Standing::Waiting);
        if let Some(at) = waiting {
            let address = self.graph.step(at).address.clone();
            self.bug(&format!("{address} waits for steps that never end"));
        }
    }
}

/// Ends with a timer; never without one.
async fn over(timer: Option<&mut Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.await,
        None => std::future::pending().await,
    }
}
