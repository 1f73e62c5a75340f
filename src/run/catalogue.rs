//! Runs in a results folder: found, listed, shown. Everything is read from journals, none is locked or changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::RunError;
use super::layout::RunLayout;
use super::lock::RunLock;
use super::open::read_state;
use super::state::RunState;
use super::step::Obligation;
use crate::base::list_dir;

/// How a run stands as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// A process has it.
    Running,
    /// Its last session left nothing to be done, with this exit code.
    Finished(u8),
    /// Something is still to be done.
    Unfinished,
    /// Its journal cannot be read, and why.
    Damaged(String),
}

/// One run in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunInfo {
    /// Its id: the name of its folder where the journal does not tell.
    pub id: String,
    /// Its plan's name: the name of the folder above where the journal does not tell.
    pub plan: String,
    /// Its folder.
    pub dir: PathBuf,
    /// When it was made, RFC 3339; empty where the journal does not tell.
    pub created: String,
    /// How it stands.
    pub status: RunStatus,
    /// How many sessions it had.
    pub sessions: usize,
    /// How many steps are in each state.
    pub steps: BTreeMap<String, usize>,
    /// What is still open.
    pub obligations: Vec<Obligation>,
}

/// Every run below `<results>/<plan>/`, oldest first.
///
/// # Errors
/// When a folder cannot be listed.
pub fn list_runs(results: &Path) -> Result<Vec<RunInfo>, RunError> {
    let mut runs = Vec::new();
    for plan in list_dir(results)?.iter().filter(|name| !name.starts_with('.')) {
        let folder = results.join(plan);
        if !folder.is_dir() {
            continue;
        }
        for name in list_dir(&folder)? {
            let dir = folder.join(&name);
            // `latest` is a second name of a run that is listed under its own.
            if !name.starts_with('.') && !dir.is_symlink() && RunLayout::new(&dir).journal().is_file() {
                runs.push(show_run(&dir));
            }
        }
    }
    runs.sort_by(|one, other| one.created.cmp(&other.created).then_with(|| one.dir.cmp(&other.dir)));
    Ok(runs)
}

/// The run in a folder.
pub fn show_run(dir: &Path) -> RunInfo {
    let layout = RunLayout::new(dir);
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let mut info = RunInfo {
        id: name(Some(dir)),
        plan: name(dir.parent()),
        dir: dir.to_owned(),
        created: String::new(),
        status: RunStatus::Unfinished,
        sessions: 0,
        steps: BTreeMap::new(),
        obligations: Vec::new(),
    };
    match read_state(&layout) {
        Ok(state) => fill(&mut info, &layout, &state),
        Err(error) => info.status = RunStatus::Damaged(error.to_string()),
    }
    info
}

fn fill(info: &mut RunInfo, layout: &RunLayout, state: &RunState) {
    state.run().clone_into(&mut info.id);
    if let Some(plan) = state.plan() {
        plan.as_str().clone_into(&mut info.plan);
    }
    state.created().clone_into(&mut info.created);
    info.sessions = state.sessions().len();
    for record in state.steps().values() {
        *info.steps.entry(record.phase.word().to_owned()).or_default() += 1;
    }
    info.obligations = state.open().map(|open| open.obligation.clone()).collect();
    info.status = match state.sessions().last().and_then(|session| session.ended) {
        _ if RunLock::is_held(layout) => RunStatus::Running,
        Some((code, 0)) if info.obligations.is_empty() => RunStatus::Finished(code),
        Some(_) | None => RunStatus::Unfinished,
    };
}

/// The run that a text names: a folder, `latest` (of that plan, else of all), or the beginning or end of an id that only
/// one run has.
///
/// # Errors
/// [`RunError::NotARun`] when none is named so, [`RunError::Ambiguous`] when several are; when folders cannot be listed.
pub fn find_run(results: &Path, plan: Option<&str>, text: &str) -> Result<PathBuf, RunError> {
    let direct = Path::new(text);
    if RunLayout::new(direct).journal().is_file() {
        return Ok(direct.to_owned());
    }
    let mut runs = list_runs(results)?;
    runs.retain(|run| plan.is_none_or(|plan| run.plan == plan));
    if text == "latest" {
        return runs.pop().map(|run| run.dir).ok_or_else(|| RunError::NotARun { dir: results.join("latest") });
    }
    runs.retain(|run| run.id.starts_with(text) || run.id.ends_with(text));
    match &runs[..] {
        [run] => Ok(run.dir.clone()),
        [] => Err(RunError::NotARun { dir: results.join(text) }),
        several => {
            Err(RunError::Ambiguous { text: text.to_owned(), runs: several.iter().map(|run| run.id.clone()).collect() })
        }
    }
}
