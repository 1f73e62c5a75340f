//! What a report must know of a run beside its points; kept in the run's own `results.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::dataset::RunResults;
use super::error::ReportError;
use super::format::{FileKind, RESULTS_CSV, RESULTS_JSON, from_json, to_json};
use super::rows::{rows, write_csv};
use crate::base::{Name, Timestamp, write_atomic, write_atomic_with};
use crate::measure::{Bound, CompareRules, Level, METRICS};

/// A run, without its points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// Name of the plan.
    pub plan: String,
    /// Id of the run.
    pub run: String,
    /// The model's id.
    pub model: String,
    /// When the run began.
    pub started: Timestamp,
    /// Version of the program that measured.
    pub tool_version: String,
    /// What was compared, in the order of the plan.
    pub deployments: Vec<DeploymentInfo>,
    /// Traffic, in the order of the plan.
    pub workloads: Vec<Name>,
    /// Steps that did not do what they should.
    pub notes: Vec<StepNote>,
    /// Whether it is worth a word when the levels of one sweep were measured on several lives of a deployment.
    pub incarnations_matter: bool,
    /// Bounds of the plan.
    pub objectives: Vec<Bound>,
    /// What the verdict is about.
    pub compare: CompareRules,
    /// What searches for the highest load found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<SearchAnswer>,
}

/// What a search for the highest load that keeps the objectives came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchAnswer {
    /// Of this deployment.
    pub deployment: Name,
    /// With this workload.
    pub workload: Name,
    /// The highest load that keeps the objectives.
    pub kept: Option<Level>,
    /// The lowest that does not.
    pub missed: Option<Level>,
    /// Loads on the way to it.
    pub loads: u32,
    /// How the search ended, in words.
    pub ended: String,
}

/// One deployment, as far as a report needs to know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentInfo {
    /// Its name.
    pub name: Name,
    /// How it came to life, such as `process`.
    pub target: String,
    /// GPUs, prefill and decode both; `None` when unknown.
    pub gpus: Option<f64>,
    /// Digest of what it is; two deployments with the same one are an A/A control.
    pub fingerprint: Option<String>,
    /// Flags that its engines get, `--flag value`; empty when they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engine_arguments: Vec<String>,
    /// Factor on every duration, when it is the embedded engine: 1 is real time, 0.1 ten times as fast. `None`: it is not.
    pub time_scale: Option<f64>,
}

/// A step that did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepNote {
    /// Its address.
    pub address: String,
    /// What became of it.
    pub state: StepState,
    /// Why, in one line.
    pub reason: String,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// It failed.
    Failed,
    /// It was cut off.
    Interrupted,
    /// It was not started.
    Skipped,
    /// What it wanted to keep could not be had any more.
    Lost,
    /// It is still due.
    Outstanding,
}

impl StepState {
    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
            Self::Lost => "lost",
            Self::Outstanding => "outstanding",
        }
    }
}

impl RunInfo {
    /// The deployment of that name.
    pub fn deployment(&self, name: &Name) -> Option<&DeploymentInfo> {
        self.deployments.iter().find(|deployment| deployment.name == *name)
    }
}

/// Reads what a finished (or half-finished) run wrote about itself at its top.
///
/// # Errors
/// When `results.json` is missing, damaged, something else, or newer than this program.
pub fn read_info(run_dir: &Path) -> Result<RunInfo, ReportError> {
    from_json(FileKind::Run, &run_dir.join(RESULTS_JSON), "run")
}

/// Writes `results.json` and `results.csv` at the top of a run: the run, the definition of every metric, and one row
/// for each point and metric.
///
/// # Errors
/// When a file cannot be written.
pub fn write_run_results(run_dir: &Path, results: &RunResults) -> Result<(), ReportError> {
    let points = || results.points.iter().map(|point| &point.summary);
    write_atomic_with(&run_dir.join(RESULTS_CSV), |file| write_csv(file, points()))?;
    let definitions: serde_json::Map<String, Value> = METRICS
        .iter()
        .map(|row| (row.id.to_owned(), json!({"title": row.title, "unit": row.unit, "definition": row.definition})))
        .collect();
    let all_rows: Vec<_> = points().flat_map(rows).collect();
    let become_json = "numbers, texts and maps with text keys become JSON";
    let contents = vec![
        ("simulated", Value::Bool(results.is_simulated())),
        ("run", serde_json::to_value(&results.info).expect(become_json)),
        ("metrics", Value::Object(definitions)),
        ("rows", serde_json::to_value(all_rows).expect(become_json)),
    ];
    write_atomic(&run_dir.join(RESULTS_JSON), &to_json(FileKind::Run, contents))?;
    Ok(())
}
