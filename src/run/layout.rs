//! Where everything of a run lies, and the names of runs.
//!
//! ```text
//! <run>/SUMMARY.txt  plots/  logs/  <deployment>/c<N>/  <deployment>/<workload>/c<N>/  .../r<k>/
//! <run>/.run/journal.jsonl  events.jsonl  lock  lock.json  frozen/<generation>/  keys/<digest>.json
//! <run>/.run/attempts/<address>/<n>.part -> <n>      superseded/<address>/<n>
//! ```
//!
//! Pure: only [`create`] and [`point_to`] touch the disk.

use std::path::{Path, PathBuf};

use super::error::RunError;
use crate::base::{Digest, Name, Timestamp, create_dir, link_latest, list_dir};
use crate::plan::{Address, StepClass, StepSpec};

/// The paths of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLayout {
    root: PathBuf,
}

impl RunLayout {
    /// Of the run in this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The summary for people.
    pub fn summary(&self) -> PathBuf {
        self.root.join("SUMMARY.txt")
    }

    /// Pictures.
    pub fn plots(&self) -> PathBuf {
        self.root.join("plots")
    }

    /// Logs of deployments.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// What the runner itself needs.
    pub fn inner(&self) -> PathBuf {
        self.root.join(".run")
    }

    /// The truth about the run.
    pub fn journal(&self) -> PathBuf {
        self.inner().join("journal.jsonl")
    }

    /// The event stream of all sessions; derived, may lose its end.
    pub fn events(&self) -> PathBuf {
        self.inner().join("events.jsonl")
    }

    /// What the run was started from; each accepted edit of the plan makes a new generation, from 1.
    pub fn frozen(&self, generation: u32) -> PathBuf {
        self.inner().join("frozen").join(generation.to_string())
    }

    /// The fingerprint behind a key.
    pub fn fingerprint(&self, key: &Digest) -> PathBuf {
        self.inner().join("keys").join(format!("{key}.json"))
    }

    /// All attempts.
    pub fn all_attempts(&self) -> PathBuf {
        self.inner().join("attempts")
    }

    /// All attempts at one step.
    pub fn attempts(&self, step: &Address) -> PathBuf {
        self.all_attempts().join(step.file_stem())
    }

    /// An attempt that is under way, or that never got whole.
    pub fn part(&self, step: &Address, attempt: u32) -> PathBuf {
        self.attempts(step).join(format!("{attempt}.part"))
    }

    /// An attempt that is whole but not published (yet).
    pub fn whole(&self, step: &Address, attempt: u32) -> PathBuf {
        self.attempts(step).join(attempt.to_string())
    }

    /// All that was published and gave way.
    pub fn all_superseded(&self) -> PathBuf {
        self.inner().join("superseded")
    }

    /// An attempt that was published and gave way to a newer one.
    pub fn superseded(&self, step: &Address, attempt: u32) -> PathBuf {
        self.all_superseded().join(step.file_stem()).join(attempt.to_string())
    }

    /// The file whose OS lock means that a process has the run.
    pub fn lock(&self) -> PathBuf {
        self.inner().join("lock")
    }

    /// Who has the lock, for messages only.
    pub fn lock_note(&self) -> PathBuf {
        self.inner().join("lock.json")
    }
}

/// `20261124-221003-7f3a`: sorts by time, and two runs started in the same second differ.
pub fn run_id(now: Timestamp, entropy: u64) -> String {
    format!("{}-{:04x}", now.compact(), entropy & 0xffff)
}

/// Where the runs of a plan lie: `<results>/<plan>`.
pub fn runs_of_plan(results: &Path, plan: &Name) -> PathBuf {
    results.join(plan.as_str())
}

/// Where in the run's folder a step's results are published, if they are: points only. `several_workloads`: whether
/// the run has more than one, so that their levels need a folder each.
pub fn place(step: &StepSpec, several_workloads: bool) -> Option<PathBuf> {
    let (StepClass::Measurement, Some(level), Some(deployment)) = (step.class, step.level, &step.deployment) else {
        return None;
    };
    let mut place = PathBuf::from(deployment.as_str());
    if several_workloads {
        place.extend(step.workload.as_ref().map(Name::as_str));
    }
    place.push(level.to_string());
    if step.block > 1 {
        place.push(format!("r{}", step.block));
    }
    Some(place)
}

/// Makes the folder of a new run.
///
/// # Errors
/// When it holds a run or anything else already, or cannot be made.
pub(super) fn create(root: &Path) -> Result<RunLayout, RunError> {
    let layout = RunLayout::new(root);
    let present = list_dir(root)?;
    if present.iter().any(|name| name == ".run") {
        // A crash between making the folder and writing the journal's first line left nothing worth keeping.
        if layout.journal().exists() || present.len() > 1 {
            return Err(RunError::Exists { dir: root.to_owned() });
        }
    } else if !present.is_empty() {
        return Err(RunError::NotEmpty { dir: root.to_owned() });
    }
    create_dir(&layout.inner())?;
    Ok(layout)
}

/// Points `latest`, beside the run, at it.
///
/// # Errors
/// When `latest` is something other than a link, or cannot be made.
pub fn point_to(run: &Path) -> Result<(), RunError> {
    if let (Some(parent), Some(name)) = (run.parent(), run.file_name()) {
        link_latest(&parent.join("latest"), Path::new(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::world;
    use super::*;

    #[test]
    fn a_points_place_follows_deployment_workload_level_and_repeat() {
        let steps = world::steps(&["agg"], &[64], 2);
        let places = |several| -> Vec<String> {
            steps.iter().filter_map(|step| place(step, several)).map(|path| path.display().to_string()).collect()
        };
        assert_eq!(places(false), ["agg/c64", "agg/c64/r2"]);
        assert_eq!(places(true), ["agg/default/c64", "agg/default/c64/r2"]);
    }

    #[test]
    fn run_ids_sort_by_time() {
        let early = run_id(Timestamp(1_795_558_203_250_000_000), 0xffff_ffff);
        let late = run_id(Timestamp(1_795_558_204_250_000_000), 7);
        assert_eq!((early.as_str(), late.as_str()), ("20261124-221003-ffff", "20261124-221004-0007"));
        assert!(early < late);
    }

    #[test]
    fn a_folder_that_holds_anything_is_no_place_for_a_new_run() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "").unwrap();
        assert!(matches!(create(dir.path()), Err(RunError::NotEmpty { .. })));
        let fresh = dir.path().join("run");
        let layout = create(&fresh).unwrap();
        create(&fresh).unwrap();
        std::fs::write(layout.journal(), "").unwrap();
        assert!(matches!(create(&fresh), Err(RunError::Exists { .. })));
    }

    #[test]
    fn latest_points_at_the_run_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("20261124-221003-0001");
        create(&run).unwrap();
        point_to(&run).unwrap();
        assert_eq!(std::fs::canonicalize(dir.path().join("latest")).unwrap(), std::fs::canonicalize(run).unwrap());
    }
}
