//! The contract between the dispatcher and a step: what a step is given, what it may say, how it ends.
//!
//! A step never writes the journal. It asks the one task that owns the run's state, through [`StepContext`], and waits
//! until what it said is on the disk: an obligation is durable before the deed that makes it due.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::error::RunError;
use crate::base::{Clock, Span};
use crate::plan::{Address, Plan, StepSpec};

/// A boxed future, so that step kinds can stand in a table.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a kind of step does. One row of the table in `steps/`.
pub trait StepAction: Send + Sync {
    /// Does it. Must be safe to run again; must end soon after `cx.cancel` is cancelled.
    fn run<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<StepOutcome, StepFailure>>;
}

/// How a step ended well enough to have a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepOutcome {
    /// What later steps and later runs need of it; goes to the journal, so it is small.
    pub output: Value,
    /// Reasons why the result must not be used; empty: it is valid.
    pub invalid: Vec<Invalid>,
}

impl StepOutcome {
    /// A valid result.
    pub fn ok(output: Value) -> Self {
        Self { output, invalid: Vec::new() }
    }
}

/// One reason why a result must not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalid {
    /// Its name, such as `errors` or `restarted`.
    pub rule: String,
    /// In words, with the figures.
    pub reason: String,
    /// Whether the moment was to blame (a restart, a cut, the generator): then resume measures again. Otherwise the
    /// configuration was, and the point stays as it is until `--rerun`.
    pub momentary: bool,
}

/// Why a step has no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// What kind of failure.
    pub class: FailureKind,
    /// What happened, in one line.
    pub message: String,
    /// Details, a line each: log lines, events, the chain of causes.
    pub details: Vec<String>,
    /// What to do.
    pub help: Option<String>,
    /// The place in the plan that asked for it, where it is finer than the step's own.
    #[serde(default)]
    pub span: Option<Span>,
}

impl StepFailure {
    /// A failure of this class.
    pub fn new(class: FailureKind, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), details: Vec::new(), help: None, span: None }
    }

    /// A failure with an error's whole chain of causes as details.
    pub fn from_error(class: FailureKind, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut details = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            details.push(cause.to_string());
            source = cause.source();
        }
        Self { class, message: error.to_string(), details, help: None, span: None }
    }

    /// The same, with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same, with more details.
    #[must_use]
    pub fn details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }
}

/// Kinds of failure, by what may be done about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// May pass: tried again, `policy.retries` times.
    Passing,
    /// Will happen again until somebody changes something.
    Lasting,
    /// Found before anything was started: the whole run ends with exit code 7.
    Preflight,
    /// Another run has what only one may have: the whole run ends with exit code 8.
    Locked,
    /// Cancelled: by Ctrl-C, or because the run is over.
    Interrupted,
    /// Results cannot be written: the run stops, exit code 11.
    Storage,
    /// Something started could not be ended: exit code 6.
    Leak,
}

/// Something started outside of this process that must be ended again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obligation {
    /// Unique within the run.
    pub id: String,
    /// The step that opened it.
    pub address: Address,
    /// The target's kind, which knows how to end it.
    pub target: String,
    /// In words: `process group 4711 (llama-server ...)`.
    pub what: String,
    /// What the target needs to find it again, even after a reboot of this machine.
    pub handle: Value,
}

/// How far a running step is; lossy, only the newest counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done or awaited: `waiting for the model to be listed`.
    pub doing: String,
    /// So much is done ...
    pub done: u64,
    /// ... of so much; 0 when unknown.
    pub total: u64,
    /// Current figures, short: `812 tok/s, TTFT 93 ms`.
    pub figures: String,
}

/// What a step asks of the task that owns the run's state. Each is answered when it is on the disk.
#[derive(Debug)]
pub enum Request {
    /// Open an obligation.
    Open(Obligation, oneshot::Sender<Result<(), RunError>>),
    /// The obligation with this id is met.
    Close(String, oneshot::Sender<Result<(), RunError>>),
    /// A deployment's incarnation, first or new.
    Incarnation(Address, Value, oneshot::Sender<Result<(), RunError>>),
    /// Words for the journal and the log.
    Note(Address, String, oneshot::Sender<Result<(), RunError>>),
    /// The newest output of another step of this run, if it ever succeeded.
    Output(Address, oneshot::Sender<Option<Value>>),
    /// Obligations that are open now.
    Obligations(oneshot::Sender<Vec<Obligation>>),
    /// Every step with its state, for summaries.
    States(oneshot::Sender<Vec<StepReport>>),
}

/// A step and how it stands, for those who sum up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The step.
    pub address: Address,
    /// `pending`, `running`, `succeeded`, `invalid`, `failed`, `interrupted`, `skipped`, `kept`.
    pub state: String,
    /// Why, where there is a why.
    pub reason: Option<String>,
    /// The attempt that counts, from 1; 0: none.
    pub attempt: u32,
    /// Its output.
    pub output: Option<Value>,
    /// Why it must not be used.
    pub invalid: Vec<Invalid>,
}

/// What every step of a run shares.
pub struct RunShared {
    /// The run's id.
    pub id: String,
    /// Its results' folder.
    pub dir: PathBuf,
    /// The frozen plan.
    pub plan: Plan,
    /// All frozen steps, in order.
    pub steps: Vec<StepSpec>,
    /// Mixed into every prompt, so that no cache outlives a run.
    pub nonce: String,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
}

/// What one step is given.
pub struct StepContext {
    /// The step.
    pub spec: StepSpec,
    /// Which attempt this is, from 1, over all sessions of the run.
    pub attempt: u32,
    /// The run.
    pub shared: Arc<RunShared>,
    /// Cancelled when the step must end. Teardown gets one of its own that the first Ctrl-C does not touch.
    pub cancel: CancellationToken,
    /// Whether somebody asked for this step by name, and it does not only run because others need it.
    pub asked: bool,
    /// An empty folder of this attempt; what a measurement leaves in it is published when it succeeds.
    pub attempt_dir: PathBuf,
    requests: mpsc::Sender<Request>,
    progress: watch::Sender<Progress>,
}

impl StepContext {
    /// The context of one attempt. `requests` must be answered by whoever keeps the run's state; `progress` may be
    /// ignored.
    pub fn new(
        spec: StepSpec,
        attempt: u32,
        shared: Arc<RunShared>,
        cancel: CancellationToken,
        attempt_dir: PathBuf,
        requests: mpsc::Sender<Request>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        Self { spec, attempt, shared, cancel, asked: false, attempt_dir, requests, progress }
    }

    /// Makes an obligation durable. Call it before the deed.
    ///
    /// # Errors
    /// When the journal cannot be written: then the deed must not be done.
    pub async fn open_obligation(&self, obligation: Obligation) -> Result<(), StepFailure> {
        self.ask(|answer| Request::Open(obligation, answer)).await
    }

    /// Says that an obligation is met.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn close_obligation(&self, id: &str) -> Result<(), StepFailure> {
        let id = id.to_owned();
        self.ask(|answer| Request::Close(id, answer)).await
    }

    /// Records what answers now.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn record_incarnation(&self, incarnation: Value) -> Result<(), StepFailure> {
        let address = self.spec.address.clone();
        self.ask(|answer| Request::Incarnation(address, incarnation, answer)).await
    }

    /// Leaves words in the journal.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn note(&self, text: impl Into<String>) -> Result<(), StepFailure> {
        let (address, text) = (self.spec.address.clone(), text.into());
        self.ask(|answer| Request::Note(address, text, answer)).await
    }

    /// The newest output of another step.
    pub async fn output_of(&self, address: &Address) -> Option<Value> {
        self.query(|answer| Request::Output(address.clone(), answer)).await.flatten()
    }

    /// Obligations that are open now.
    pub async fn obligations(&self) -> Vec<Obligation> {
        self.query(Request::Obligations).await.unwrap_or_default()
    }

    /// Every step with its state.
    pub async fn states(&self) -> Vec<StepReport> {
        self.query(Request::States).await.unwrap_or_default()
    }

    /// Says how far the step is. Never waits.
    pub fn progress(&self, progress: Progress) {
        self.progress.send_replace(progress);
    }

    /// The folder of the run's results.
    pub fn run_dir(&self) -> &Path {
        &self.shared.dir
    }

    async fn ask(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<(), RunError>>) -> Request,
    ) -> Result<(), StepFailure> {
        match self.query(request).await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(StepFailure::from_error(FailureKind::Storage, &error)),
            None => Err(StepFailure::new(FailureKind::Interrupted, "the run has ended")),
        }
    }

    async fn query<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.ok()?;
        answered.await.ok()
    }
}
