//! `dynbench runs`: what lies below `results/`.

use std::path::{Path, PathBuf};

use super::apply::RESULTS;
use super::error::AppError;
use crate::base::{Clock, SystemClock};
use crate::run::{
    Finding, PruneRule, Pruned, RunInfo, RunLayout, StepReport, TimeSpent, export_run, find_run, frozen_of,
    fsck as check_run, import_run, list_runs, prune_runs, read_journal, read_state, show_run, time_spent,
};

/// The folder of a run: by folder, id, start of an id, or `latest`.
///
/// # Errors
/// When there is none, or several.
pub fn find(run: &str) -> Result<PathBuf, AppError> {
    Ok(find_run(Path::new(RESULTS), None, run)?)
}

/// All runs, oldest first.
///
/// # Errors
/// When a folder cannot be listed.
pub fn list() -> Result<Vec<RunInfo>, AppError> {
    Ok(list_runs(Path::new(RESULTS))?)
}

/// A run as it stands.
#[derive(Debug)]
pub struct Shown {
    /// What is known of it as a whole.
    pub info: RunInfo,
    /// Each of its steps.
    pub steps: Vec<StepReport>,
    /// Where its time went.
    pub spent: TimeSpent,
}

/// One run, its steps, and where its time went.
///
/// # Errors
/// When it cannot be read.
pub fn show(run: &str) -> Result<Shown, AppError> {
    let dir = find(run)?;
    let layout = RunLayout::new(&dir);
    let state = read_state(&layout)?;
    let (_, steps) = frozen_of(&dir)?;
    let spent = time_spent(&read_journal(&layout.journal())?.lines, &steps);
    Ok(Shown { info: show_run(&dir), steps: state.reports(&steps), spent })
}

/// Removes all but the newest `keep` finished runs of each plan.
///
/// # Errors
/// When a folder cannot be listed or removed.
pub fn prune(keep: usize, dry_run: bool) -> Result<Vec<Pruned>, AppError> {
    let rule = PruneRule { keep_newest: Some(keep), older_than: None };
    Ok(prune_runs(Path::new(RESULTS), rule, SystemClock::default().now(), !dry_run)?)
}

/// Verifies a run, and repairs what is safe to repair.
///
/// # Errors
/// When it is in use, or cannot be read at all.
pub fn fsck(run: &str) -> Result<Vec<Finding>, AppError> {
    Ok(check_run(&find(run)?, true, SystemClock::default().now())?)
}

/// Packs a run into one file.
///
/// # Errors
/// When it is in use, or the file cannot be written.
pub fn export(run: &str, file: &Path) -> Result<PathBuf, AppError> {
    let dir = find(run)?;
    export_run(&dir, file, SystemClock::default().now())?;
    Ok(dir)
}

/// Unpacks a run; its folder.
///
/// # Errors
/// When the file is no run, is damaged, or the run is there already.
pub fn import(file: &Path) -> Result<PathBuf, AppError> {
    Ok(import_run(file, Path::new(RESULTS), SystemClock::default().now())?)
}
