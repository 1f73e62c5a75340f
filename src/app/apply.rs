//! `dynbench apply`: starts a run, or goes on with one.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalog::catalog;
use super::error::AppError;
use crate::base::{Clock, Name, SystemClock, Timestamp, read_text, slug};
use crate::measure::best_level;
use crate::plan::{Address, Plan, StepSpec, expand, expand_searched, select};
use crate::run::{
    Cause, Choice, Edits, EventSink, ExecuteOptions, ExitCode, Expand, Frozen, Judge, NewRun, Run, RunError, RunLayout,
    RunReport, RunStatus, SourceFile, Stop, StopSignal, point_to, read_state, run_id, runs_of_plan, show_run,
    steps_after,
};
use crate::steps;
use crate::target::Left;

/// Where runs are kept, below the working directory.
pub(super) const RESULTS: &str = "results";

/// Name of the frozen copy of the plan.
const PLAN_SOURCE: &str = "plan.toml";
/// Name of the frozen list of `--set`.
const SETS_SOURCE: &str = "sets.json";

/// What to do about edits of the plan, and with earlier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EditChoice {
    /// Start a run; stop if one is unfinished.
    #[default]
    Start,
    /// `--new`: start a run whatever became of earlier ones.
    New,
    /// `--resume`: go on; edits that would cost a good point are refused.
    Resume,
    /// `--resume --frozen`: go on with the plan as it was.
    ResumeFrozen,
    /// `--resume --accept-changes`: go on, measuring again what edits made invalid.
    ResumeAccepting,
}

impl EditChoice {
    fn resumes(self) -> bool {
        match self {
            Self::Start | Self::New => false,
            Self::Resume | Self::ResumeFrozen | Self::ResumeAccepting => true,
        }
    }

    fn edits(self) -> Edits {
        match self {
            Self::Start | Self::New | Self::Resume => Edits::Careful,
            Self::ResumeFrozen => Edits::Ignore,
            Self::ResumeAccepting => Edits::Accept,
        }
    }
}

/// How to apply a plan.
#[derive(Default)]
pub struct ApplyOptions {
    /// Edits and earlier runs.
    pub edits: EditChoice,
    /// The run's own folder instead of `results/<plan>/<run>/`.
    pub output_dir: Option<PathBuf>,
    /// `--only`
    pub only: Vec<String>,
    /// `--rerun`
    pub rerun: Vec<String>,
    /// `--until`
    pub until: Option<String>,
    /// `--keep`
    pub keep: bool,
    /// By which it is stopped.
    pub stop: Stop,
    /// Who hears of it.
    pub sinks: Vec<Arc<dyn EventSink>>,
}

/// How a session ended.
#[derive(Debug)]
pub struct Applied {
    /// The run's folder.
    pub dir: PathBuf,
    /// Every step, every cause.
    pub report: RunReport,
    /// The text of SUMMARY.txt, if there is one.
    pub summary: Option<String>,
    /// What stays behind for a good reason, and what could not be given back, a sentence each.
    pub notes: Vec<String>,
}

/// The newest run of a plan, or the one in the folder given; `None` when there is none.
pub(super) fn existing_run(plan: &Name, output_dir: Option<&Path>) -> Result<Option<PathBuf>, AppError> {
    if let Some(dir) = output_dir {
        return Ok(dir.join(".run/journal.jsonl").is_file().then(|| dir.to_owned()));
    }
    let folder = runs_of_plan(Path::new(RESULTS), plan);
    let newest = crate::base::list_dir(&folder)?
        .into_iter()
        .rev()
        .filter(|name| name != "latest")
        .map(|name| folder.join(name))
        .find(|dir| dir.join(".run/journal.jsonl").is_file());
    Ok(newest)
}

/// The `--set` values that a plan's newest run was last applied with: a resume without any takes these again. The plan
/// alone may not even be valid without them, so only its name is read.
///
/// # Errors
/// When the run cannot be read.
pub fn frozen_sets(path: &Path, output_dir: Option<&Path>) -> Result<Vec<String>, AppError> {
    let Some(name) = plan_name(path) else { return Ok(Vec::new()) };
    let Some(run) = existing_run(&name, output_dir)? else { return Ok(Vec::new()) };
    let layout = RunLayout::new(&run);
    let generation = read_state(&layout)?.generation();
    let path = layout.frozen(generation).join("sources").join(SETS_SOURCE);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    Ok(serde_json::from_str(&read_text(&path)?).map_err(|source| RunError::Decode { path, source })?)
}

/// The name of a plan that need not be valid otherwise; what is wrong with it is for the check to say.
fn plan_name(path: &Path) -> Option<Name> {
    let table: toml::Table = read_text(path).ok()?.parse().ok()?;
    match table.get("name") {
        Some(name) => Name::new(name.as_str()?).ok(),
        None => Name::new(&slug(&path.file_stem()?.to_string_lossy())).ok(),
    }
}

/// Starts or continues a run of a checked plan.
///
/// # Errors
/// Before anything is started: an unfinished run that nobody chose about, refused edits, another process, a pattern
/// that matches nothing, a folder that cannot be written. What happens later is in the report.
pub async fn apply(path: &Path, sets: &[String], plan: Plan, options: ApplyOptions) -> Result<Applied, AppError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let output_dir = options.output_dir.as_deref();
    let existing = existing_run(&plan.name, output_dir)?;
    let steps = match existing.as_deref().filter(|_| options.edits.resumes()) {
        Some(dir) => steps_after(dir, &plan, &expander())?,
        None => expand(&plan, &catalog()),
    };
    let choice = choice(&options, &steps)?;
    let sources = vec![
        SourceFile { name: PLAN_SOURCE.to_owned(), bytes: read_text(path)?.into_bytes() },
        SourceFile { name: SETS_SOURCE.to_owned(), bytes: serde_json::json!(sets).to_string().into_bytes() },
    ];
    let frozen = Frozen { plan: plan.clone(), steps, sources };
    let known = existing.as_deref().map(show_run);
    // Of a damaged one nothing is known but its folder; opening it says what is wrong.
    let sound = known.as_ref().filter(|known| !matches!(known.status, RunStatus::Damaged(_)));
    if let Some(known) = sound.filter(|known| known.plan != plan.name.as_str()) {
        let (dir, other) = (known.dir.display(), &known.plan);
        let help = "choose another --output-dir".to_owned();
        return Err(AppError::Usage { message: format!("{dir} holds a run of the plan {other}"), help: Some(help) });
    }
    let status = known.map(|known| known.status);
    let finished = matches!(status, Some(RunStatus::Finished(_)));
    let run = match existing {
        // Of one that another process works on only that can be said.
        Some(dir)
            if options.edits.resumes()
                || (options.edits == EditChoice::Start && status == Some(RunStatus::Running)) =>
        {
            let run = Run::open(&dir, Arc::clone(&clock))?;
            if !options.edits.resumes() {
                return Err(unfinished(dir, false, path, &options));
            }
            run
        }
        Some(dir) if options.edits == EditChoice::Start && (!finished || output_dir.is_some()) => {
            return Err(unfinished(dir, finished, path, &options));
        }
        Some(_) | None => create(&plan, &frozen, output_dir, Arc::clone(&clock))?,
    };
    let dir = run.layout().root().to_owned();
    if output_dir.is_none() {
        // Also on resume: a crash may have come between the journal's first line and the link.
        point_to(&dir)?;
    }
    let layout = run.layout().clone();
    let current = (options.edits != EditChoice::ResumeFrozen).then_some(frozen);
    let judged = if current.is_some() { plan } else { run.plan().clone() };
    let execute = ExecuteOptions {
        choice,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        stop: options.stop,
        sinks: options.sinks,
        judge: Some(judge(judged, dir.clone())),
        expand: Some(expander()),
    };
    let id = run.state().run().to_owned();
    let mut report = run.execute(current, &steps::action, execute).await?;
    // Leases are renewed until here: results are safe, and deployments are gone or kept on purpose.
    let notes = match steps::release(&id, left(&report)).await {
        Ok(notes) => notes,
        Err(failure) => {
            let details = failure.details.into_iter().chain(failure.help);
            report.causes.push(Cause::new(ExitCode::LEAKED, failure.message));
            details.collect()
        }
    };
    let summary = layout.summary();
    let summary = if summary.is_file() { Some(read_text(&summary)?) } else { None };
    Ok(Applied { dir, report, summary, notes })
}

fn unfinished(dir: PathBuf, finished: bool, plan: &Path, options: &ApplyOptions) -> AppError {
    AppError::Unfinished { dir, finished, plan: plan.to_owned(), output_dir: options.output_dir.clone() }
}

/// All steps of a plan whose searches have found this.
pub(super) fn expander() -> Expand {
    Arc::new(|plan, outcomes| expand_searched(plan, &catalog(), outcomes))
}

/// What a session leaves behind.
fn left(report: &RunReport) -> Left {
    let unsure = [ExitCode::LEAKED, ExitCode::STORAGE, ExitCode::BUG];
    if report.causes.iter().any(|cause| unsure.contains(&cause.code)) {
        Left::Leaked
    } else if report.obligations.is_empty() {
        Left::Nothing
    } else {
        Left::ByWish
    }
}

fn create(plan: &Plan, frozen: &Frozen, output_dir: Option<&Path>, clock: Arc<dyn Clock>) -> Result<Run, AppError> {
    let id = run_id(clock.now(), entropy());
    let dir = output_dir.map_or_else(|| runs_of_plan(Path::new(RESULTS), &plan.name).join(&id), Path::to_owned);
    let new = NewRun {
        dir: dir.clone(),
        id,
        nonce: nonce(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        frozen: frozen.clone(),
    };
    Ok(Run::create(&new, clock)?)
}

/// Different at every call: the standard library seeds its hashers from the system's entropy. What comes of it (the
/// run's id and nonce) is recorded, so that every prompt can be made again.
fn entropy() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Something to mix into prompts that no cache can have seen.
pub fn nonce() -> String {
    format!("{:08x}", entropy() & 0xffff_ffff)
}

/// The exit code of a program that was stopped by this signal.
pub fn exit_code_of(signal: StopSignal) -> ExitCode {
    signal.exit_code()
}

fn choice(options: &ApplyOptions, steps: &[StepSpec]) -> Result<Choice, AppError> {
    let addresses: Vec<Address> = steps.iter().map(|step| step.address.clone()).collect();
    let chosen = |patterns: &[String]| -> Result<BTreeSet<Address>, AppError> {
        let mut all = BTreeSet::new();
        for pattern in patterns {
            all.extend(select(pattern, &addresses).map_err(AppError::NoStep)?);
        }
        Ok(all)
    };
    let until = options.until.as_ref().map(|pattern| chosen(std::slice::from_ref(pattern))).transpose()?;
    // Of several that match, the last in the order of the run: everything before it is done.
    let until = until.and_then(|found| addresses.iter().rev().find(|address| found.contains(*address)).cloned());
    Ok(Choice {
        edits: options.edits.edits(),
        only: if options.only.is_empty() { None } else { Some(chosen(&options.only)?) },
        rerun: chosen(&options.rerun)?,
        until,
        keep: options.keep,
    })
}

/// Exit code 4: a deployment that was measured has no valid level that keeps all objectives.
fn judge(plan: Plan, dir: PathBuf) -> Judge {
    Box::new(move |_| {
        if plan.objectives.is_empty() {
            return Vec::new();
        }
        let info = steps::run_info(&plan, "", Timestamp(0), Vec::new());
        let Ok(results) = steps::with_plan(&dir, &plan, info) else {
            // The summary could not read them either: its failure is a cause of its own.
            return Vec::new();
        };
        let mut causes = Vec::new();
        for deployment in results.deployments() {
            for workload in results.workloads() {
                let points: Vec<_> =
                    results.sweep(&deployment, &workload).into_iter().filter(|point| point.is_valid()).collect();
                if !points.is_empty() && best_level(points, &results.info.objectives).is_none() {
                    causes.push(Cause::new(
                        ExitCode::OBJECTIVE,
                        format!("no level of {deployment} ({workload}) keeps all objectives"),
                    ));
                }
            }
        }
        causes
    })
}
