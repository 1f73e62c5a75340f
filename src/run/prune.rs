//! Old runs removed, but never one that a process has, that left something running, or that cannot be understood.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::catalogue::{RunInfo, RunStatus, list_runs};
use super::error::RunError;
use super::layout::RunLayout;
use super::lock::{Holder, RunLock};
use crate::base::{FileError, Timestamp, link_latest, remove_dir, rename};

/// Which runs may go. With both rules a run goes when either says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct PruneRule {
    /// All but so many newest of each plan.
    pub keep_newest: Option<usize>,
    /// All made longer ago than this.
    pub older_than: Option<Duration>,
}

/// What became of a run that a rule named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// Its folder.
    pub dir: PathBuf,
    /// Why it stays; `None`: it is gone (or would be).
    pub stays: Option<String>,
}

/// Removes runs by a rule. `really`: false only tells what would be done.
///
/// # Errors
/// When folders cannot be listed or removed.
pub fn prune_runs(results: &Path, rule: PruneRule, now: Timestamp, really: bool) -> Result<Vec<Pruned>, RunError> {
    let runs = list_runs(results)?;
    let newer = |run: &RunInfo| {
        let of_plan = runs.iter().filter(|other| other.plan == run.plan);
        of_plan.filter(|other| (&other.created, &other.dir) > (&run.created, &run.dir)).count()
    };
    let named = |run: &&RunInfo| {
        rule.keep_newest.is_some_and(|keep| newer(run) >= keep)
            || rule.older_than.is_some_and(|limit| age(run, now).is_some_and(|age| age > limit))
    };
    let mut pruned = Vec::new();
    for run in runs.iter().filter(named) {
        let mut stays = why_it_stays(run);
        if stays.is_none() && really {
            stays = remove(run, now)?;
        }
        pruned.push(Pruned { dir: run.dir.clone(), stays });
    }
    Ok(pruned)
}

fn age(run: &RunInfo, now: Timestamp) -> Option<Duration> {
    let created: jiff::Timestamp = run.created.parse().ok()?;
    let nanos = u64::try_from(created.as_nanosecond()).ok()?;
    Some(Duration::from_nanos(now.0.saturating_sub(nanos)))
}

fn why_it_stays(run: &RunInfo) -> Option<String> {
    match &run.status {
        RunStatus::Running => Some("a process has it".to_owned()),
        RunStatus::Damaged(what) => Some(format!("it cannot be read ({what}), so nobody knows what it left running")),
        RunStatus::Finished(_) | RunStatus::Unfinished if !run.obligations.is_empty() => {
            Some(format!("{} was not ended; `dynbench cleanup` ends it", run.obligations[0].what))
        }
        RunStatus::Finished(_) | RunStatus::Unfinished => None,
    }
}

fn remove(run: &RunInfo, now: Timestamp) -> Result<Option<String>, RunError> {
    let _lock = match RunLock::take(&RunLayout::new(&run.dir), &Holder::this_process(now)) {
        Ok(lock) => lock,
        Err(RunError::Locked { holder, .. }) => return Ok(Some(format!("{holder} has it"))),
        Err(error) => return Err(error),
    };
    // Under another name first: a run that is half removed must not look like one.
    let doomed = run.dir.with_file_name(format!(".removed-{}", run.id));
    rename(&run.dir, &doomed)?;
    remove_dir(&doomed)?;
    mend_latest(&run.dir)?;
    Ok(None)
}

/// Points `latest` at the newest run that is left, if it pointed at the one that is gone.
fn mend_latest(gone: &Path) -> Result<(), RunError> {
    let Some(folder) = gone.parent() else { return Ok(()) };
    let latest = folder.join("latest");
    if !latest.is_symlink() || latest.exists() {
        return Ok(());
    }
    let is_run = |name: &String| RunLayout::new(folder.join(name)).journal().is_file();
    match crate::base::list_dir(folder)?.into_iter().rfind(is_run) {
        Some(newest) => Ok(link_latest(&latest, Path::new(&newest))?),
        None => Ok(std::fs::remove_file(&latest).map_err(|source| FileError::new("remove", &latest, source))?),
    }
}
