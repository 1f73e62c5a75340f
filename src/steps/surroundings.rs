//! What every step about a deployment needs: its target, its place in the run, the way to the journal.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::base::format_duration;
use crate::plan::{Address, Deployment, Workload};
use crate::run::{FailureKind, Obligation, Progress, StepContext, StepFailure};
use crate::target::{BoxFuture, Ledger, Left, Live, TARGETS, Target, TargetError};

/// One deployment in one step.
pub(super) struct Surroundings<'a> {
    pub(super) cx: &'a StepContext,
    pub(super) deployment: &'a Deployment,
    pub(super) target: &'static dyn Target,
    dir: PathBuf,
}

impl<'a> Surroundings<'a> {
    /// The deployment that the step is about.
    pub(super) fn of(cx: &'a StepContext) -> Self {
        Self::find(cx).expect("steps are made from the plan's deployments")
    }

    /// The same, unless the deployment is not in the plan any more: what it started must be ended all the same.
    pub(super) fn find(cx: &'a StepContext) -> Option<Self> {
        let name = cx.spec.deployment.as_ref().expect("a step of this scope has a deployment");
        let deployment = cx.shared.plan.deployments.get(name)?;
        let target = target(&deployment.target.kind).expect("a checked plan names known kinds only");
        Some(Self { cx, deployment, target, dir: cx.run_dir().join(".run/deployments").join(name.as_str()) })
    }

    /// The workload that the step is about.
    pub(super) fn workload(&self) -> &'a Workload {
        let name = self.cx.spec.workload.as_ref().expect("a step of this scope has a workload");
        self.cx.shared.plan.workloads.get(name).expect("steps are made from the plan's workloads")
    }

    /// What the target is told.
    pub(super) fn live(&self) -> Live<'_> {
        Live {
            plan: &self.cx.shared.plan,
            deployment: self.deployment,
            run: &self.cx.shared.id,
            dir: &self.dir,
            cancel: &self.cx.cancel,
        }
    }

    /// The address of another kind's step for the same deployment and block (and workload, if the kind has one).
    pub(super) fn address(&self, kind: &str) -> Address {
        sibling(self.cx, kind)
    }

    /// The newest output of another kind's step for the same deployment and block.
    pub(super) async fn output<T: DeserializeOwned>(&self, kind: &str) -> Result<T, StepFailure> {
        let address = self.address(kind);
        let output = self.cx.output_of(&address).await.ok_or_else(|| {
            StepFailure::new(FailureKind::Lasting, format!("{address} has left no output, so this step cannot start"))
        })?;
        serde_json::from_value(output).map_err(|error| {
            StepFailure::from_error(FailureKind::Lasting, &error)
                .help("the run was made by another version of dynbench: start a new one with --new")
        })
    }

    /// A message of a step's own, with the place where it happened.
    pub(super) async fn placed(&self, message: String) -> String {
        match self.target.place(self.live()).await {
            Some(place) if !message.contains(&place) => format!("{message} ({place})"),
            Some(_) | None => message,
        }
    }

    /// A target's error as this step's failure, pointing at the plan.
    pub(super) fn failure(&self, error: TargetError) -> StepFailure {
        let kind = if self.cx.cancel.is_cancelled() {
            FailureKind::Interrupted
        } else if error.passing {
            FailureKind::Passing
        } else {
            FailureKind::Lasting
        };
        let span = match &error.key {
            Some(key) => self.deployment.values.span(key).cloned(),
            None => None,
        };
        StepFailure {
            class: kind,
            message: error.message,
            details: error.details,
            help: error.help,
            span: span.or_else(|| self.deployment.span.clone()),
        }
    }
}

/// Obligations that the deploy step of this step's deployment and block opened and nobody has met. From addresses alone:
/// the deployment may not be in the plan any more.
pub(super) async fn obligations(cx: &StepContext) -> Vec<Obligation> {
    let deployment = cx.spec.deployment.as_ref().map_or("", |name| name.as_str());
    let deploy = match cx.spec.block {
        0 | 1 => format!("{deployment}/deploy"),
        block => format!("{deployment}/deploy/r{block}"),
    };
    cx.obligations().await.into_iter().filter(|open| open.address.as_str() == deploy).collect()
}

/// Everything that steps of this step's deployment and block started and nobody has ended: the deployment, and what load
/// for it needed.
pub(super) async fn all_obligations(cx: &StepContext) -> Vec<Obligation> {
    let deployment = cx.spec.deployment.as_ref().map_or("", |name| name.as_str());
    let prefix = format!("{deployment}/");
    let is_ours = |open: &Obligation| match cx.shared.steps.iter().find(|spec| spec.address == open.address) {
        Some(spec) => spec.deployment == cx.spec.deployment && spec.block.max(1) == cx.spec.block.max(1),
        // A step that is not in the plan any more: whoever ends this deployment next ends that too.
        None => open.address.as_str().starts_with(&prefix),
    };
    let mut open = cx.obligations().await;
    open.retain(is_ours);
    open
}

/// Whether an obligation is no deployment but what the run holds beside all of them.
pub(super) fn is_hold(open: &Obligation) -> bool {
    target(&open.target).is_some_and(|target| target.is_hold(&open.handle))
}

/// The target of that kind.
pub(super) fn target(kind: &str) -> Option<&'static dyn Target> {
    TARGETS.iter().copied().find(|target| target.kind() == kind)
}

/// The address of another kind's step for the same deployment, block and workload.
fn sibling(cx: &StepContext, kind: &str) -> Address {
    let matches = |spec: &&crate::plan::StepSpec| {
        spec.kind == kind
            && spec.deployment == cx.spec.deployment
            && (spec.block == cx.spec.block || spec.block == 0)
            && (spec.workload.is_none() || spec.workload == cx.spec.workload)
    };
    let found = cx.shared.steps.iter().find(matches);
    found.map_or_else(|| Address(format!("{kind} of {}", cx.spec.address)), |spec| spec.address.clone())
}

/// The way to the journal for a target, and its words for people.
pub(super) struct StepLedger<'a> {
    cx: &'a StepContext,
    target: &'static str,
    opened: AtomicU32,
    doing: Mutex<String>,
}

impl<'a> StepLedger<'a> {
    pub(super) fn new(cx: &'a StepContext, target: &'static dyn Target) -> Self {
        Self { cx, target: target.kind(), opened: AtomicU32::new(0), doing: Mutex::new(String::new()) }
    }

    /// The last thing that was awaited.
    pub(super) fn last(&self) -> String {
        self.doing.lock().map(|doing| doing.clone()).unwrap_or_default()
    }
}

impl Ledger for StepLedger<'_> {
    fn open<'a>(&'a self, what: String, handle: Value) -> BoxFuture<'a, Result<String, TargetError>> {
        Box::pin(async move {
            let number = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
            let address = self.cx.spec.address.clone();
            let id = format!("{address}#{}.{number}", self.cx.attempt);
            let obligation = Obligation { id: id.clone(), address, target: self.target.to_owned(), what, handle };
            self.cx.open_obligation(obligation).await.map_err(journal_error)?;
            Ok(id)
        })
    }

    fn close<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), TargetError>> {
        Box::pin(async move { self.cx.close_obligation(id).await.map_err(journal_error) })
    }

    fn doing(&self, what: &str) {
        if let Ok(mut doing) = self.doing.lock() {
            what.clone_into(&mut doing);
        }
        self.cx.progress(Progress { doing: what.to_owned(), ..Progress::default() });
    }
}

fn journal_error(failure: StepFailure) -> TargetError {
    TargetError { details: failure.details, ..TargetError::new(failure.message) }
}

/// Ends what an obligation names and records it.
pub(super) async fn end(cx: &StepContext, open: &Obligation) -> Result<(), StepFailure> {
    end_obligation(open, cx.shared.plan.policy.teardown_deadline, &cx.cancel).await?;
    cx.close_obligation(&open.id).await
}

/// Time for a target to say what it was waiting for.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Ends what an obligation names and verifies that it is gone. Records nothing.
///
/// # Errors
/// [`FailureKind::Leak`], when it could not be ended within `deadline`.
pub async fn end_obligation(
    open: &Obligation,
    deadline: Duration,
    cancel: &CancellationToken,
) -> Result<(), StepFailure> {
    let leak = |message: String| StepFailure::new(FailureKind::Leak, message);
    let target = target(&open.target).ok_or_else(|| {
        leak(format!("{} was started by a target `{}` that this version does not know", open.what, open.target))
    })?;
    let stop = cancel.child_token();
    let mut ending = target.end(&open.handle, &stop);
    let late = format!("{} was not gone after {}", open.what, format_duration(deadline));
    let ended = tokio::select! {
        ended = &mut ending => ended.map_err(|error| (format!("{} could not be ended: {error}", open.what), error)),
        // Only the target knows what it waits for, so it is stopped and asked.
        () = tokio::time::sleep(deadline) => {
            stop.cancel();
            match tokio::time::timeout(LAST_WORDS, ending).await {
                Ok(ended) => ended.map_err(|error| (format!("{late}: {error}"), error)),
                Err(_) => return Err(leak(late)),
            }
        }
    };
    ended.map_err(|(message, error)| {
        let failure = leak(message).details(error.details);
        match error.help {
            Some(help) => failure.help(help),
            None => failure,
        }
    })
}

/// Gives back what a run held beside its deployments; a sentence for each thing that stays.
///
/// # Errors
/// [`FailureKind::Leak`], when something that must go is still there.
pub async fn release(run: &str, left: Left) -> Result<Vec<String>, StepFailure> {
    let mut notes = Vec::new();
    for target in TARGETS {
        let released = target.release(run, left).await;
        notes.extend(released.map_err(|error| StepFailure {
            class: FailureKind::Leak,
            message: error.message,
            details: error.details,
            help: error.help,
            span: None,
        })?);
    }
    Ok(notes)
}

/// A folder below the run's, made if it is not there.
pub(super) fn folder(path: &Path) -> Result<(), StepFailure> {
    crate::base::create_dir(path).map_err(|error| StepFailure::from_error(FailureKind::Storage, &error))
}
