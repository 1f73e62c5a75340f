//! `dynbench cleanup`: ends what interrupted runs left behind, from their journals.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::apply::RESULTS;
use super::error::AppError;
use crate::base::{Clock, SystemClock};
use crate::run::{RunInfo, Settling, find_run, list_runs, show_run};
use crate::steps::end_obligation;

/// Which runs.
#[derive(Debug, Clone, Default)]
pub struct CleanupScope {
    /// One run: its folder, its id or the start of it, or `latest`.
    pub run: Option<String>,
    /// All runs of the plan of this name.
    pub plan: Option<String>,
}

/// Something that a run left behind.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// The run's folder.
    pub run: PathBuf,
    /// What it is.
    pub what: String,
}

/// What became of one of them.
#[derive(Debug, Clone)]
pub struct Cleaned {
    /// What it was.
    pub leftover: Leftover,
    /// Why it is still there; `None`: it is gone.
    pub failed: Option<String>,
}

fn runs(scope: &CleanupScope) -> Result<Vec<RunInfo>, AppError> {
    let results = Path::new(RESULTS);
    if let Some(run) = &scope.run {
        return Ok(vec![show_run(&find_run(results, None, run)?)]);
    }
    let mut all = list_runs(results)?;
    all.retain(|run| scope.plan.as_ref().is_none_or(|plan| run.plan == *plan));
    Ok(all)
}

/// What would be ended.
///
/// # Errors
/// When runs cannot be listed, or the one named is none.
pub fn leftovers(scope: &CleanupScope) -> Result<Vec<Leftover>, AppError> {
    let open = runs(scope)?.into_iter().flat_map(|run| {
        let dir = run.dir.clone();
        run.obligations.into_iter().map(move |open| Leftover { run: dir.clone(), what: open.what })
    });
    Ok(open.collect())
}

/// Ends all of it, verifies that it is gone, and records that in each run's journal.
///
/// # Errors
/// When runs cannot be listed, one is in use by another dynbench, or a journal cannot be written.
pub async fn cleanup(scope: &CleanupScope) -> Result<Vec<Cleaned>, AppError> {
    let mut cleaned = Vec::new();
    let cancel = CancellationToken::new();
    for run in runs(scope)?.into_iter().filter(|run| !run.obligations.is_empty()) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let mut settling = Settling::begin(&run.dir, env!("CARGO_PKG_VERSION"), clock)?;
        let deadline = settling.plan().policy.teardown_deadline;
        for open in settling.open() {
            let failed = match end_obligation(&open, deadline, &cancel).await {
                Ok(()) => {
                    settling.met(&open.id)?;
                    None
                }
                Err(failure) => Some(failure.message),
            };
            cleaned.push(Cleaned { leftover: Leftover { run: run.dir.clone(), what: open.what }, failed });
        }
        settling.end()?;
    }
    Ok(cleaned)
}
