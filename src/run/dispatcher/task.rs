//! One step's own task: wait if it is a retry, run, make the attempt whole.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::super::layout::RunLayout;
use super::super::publish::{self, AttemptId};
use super::super::step::{FailureKind, StepAction, StepContext, StepFailure, StepOutcome};
use crate::base::{Digest, FileError};

/// How long a step that was told to end may take for it.
pub const GRACE: Duration = Duration::from_secs(30);

/// Everything that one attempt needs.
pub(super) struct Job {
    pub(super) action: Arc<dyn StepAction>,
    pub(super) cx: StepContext,
    /// Before it starts: a passing fault needs time to pass.
    pub(super) delay: Duration,
    /// It is ended after this time.
    pub(super) limit: Option<Duration>,
    pub(super) layout: RunLayout,
    /// Whether its folder is kept even without files in it.
    pub(super) keeps_folder: bool,
}

/// An attempt that is whole.
pub(super) struct Sealed {
    pub(super) outcome: StepOutcome,
    pub(super) manifest: Option<Digest>,
}

pub(super) async fn run(job: Job) -> Result<Sealed, StepFailure> {
    if !job.delay.is_zero() {
        tokio::select! {
            () = job.cx.cancel.cancelled() => {
                return Err(StepFailure::new(FailureKind::Interrupted, "interrupted before it was tried again"));
            }
            () = sleep(job.delay) => {}
        }
    }
    let outcome = match job.limit {
        None => job.action.run(&job.cx).await?,
        Some(limit) => within(&job, limit).await?,
    };
    let id = AttemptId {
        run: job.cx.shared.id.clone(),
        address: job.cx.spec.address.clone(),
        attempt: job.cx.attempt,
        key: job.cx.spec.key.clone(),
    };
    let (layout, keeps_folder) = (job.layout, job.keeps_folder);
    // Digesting and syncing files of some size takes time that other steps must not wait for.
    let sealing = tokio::task::spawn_blocking(move || {
        let manifest = publish::seal(&layout, &id, &outcome, keeps_folder)?;
        Ok::<_, FileError>(Sealed { outcome, manifest })
    });
    match sealing.await {
        Ok(Ok(sealed)) => Ok(sealed),
        Ok(Err(error)) => Err(StepFailure::from_error(FailureKind::Storage, &error)),
        Err(error) => Err(StepFailure::new(FailureKind::Storage, format!("its files were not made whole: {error}"))),
    }
}

async fn within(job: &Job, limit: Duration) -> Result<StepOutcome, StepFailure> {
    let mut running = job.action.run(&job.cx);
    if let Ok(ended) = timeout(limit, &mut running).await {
        return ended;
    }
    job.cx.cancel.cancel();
    let too_late = || {
        let message = format!("was not done within {}", crate::base::format_duration(limit));
        StepFailure::new(FailureKind::Leak, message)
    };
    match timeout(GRACE, running).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(failure)) => Err(too_late().details([failure.message]).details(failure.details)),
        Err(_) => Err(too_late()),
    }
}
