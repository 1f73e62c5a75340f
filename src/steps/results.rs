//! What a report must know of a run: from its plan and its steps' states.

use std::path::Path;

use serde_json::Value;

use super::point::bounds;
use super::search;
use super::surroundings::target;
use crate::base::{Timestamp, digest_json};
use crate::measure::CompareRules;
use crate::plan::{Deployment, IncarnationPolicy, Plan};
use crate::report::{DeploymentInfo, ReportError, RunInfo, RunResults, StepNote, StepState};
use crate::run::StepReport;

/// Steps that did not do what they should, from the states of all.
pub fn notes(states: &[StepReport]) -> Vec<StepNote> {
    states.iter().filter_map(note).collect()
}

fn note(report: &StepReport) -> Option<StepNote> {
    let state = match report.state.as_str() {
        "failed" => StepState::Failed,
        "interrupted" => StepState::Interrupted,
        "skipped" => StepState::Skipped,
        _ => return None,
    };
    let reason = report.reason.clone().unwrap_or_else(|| "no reason was recorded".to_owned());
    Some(StepNote { address: report.address.to_string(), state, reason })
}

/// The head of a report.
pub fn run_info(plan: &Plan, run: &str, started: Timestamp, notes: Vec<StepNote>) -> RunInfo {
    RunInfo {
        plan: plan.name.to_string(),
        run: run.to_owned(),
        model: plan.model.id.clone(),
        started,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        deployments: plan.deployments.values().map(|deployment| deployment_info(plan, deployment)).collect(),
        workloads: plan.workloads.keys().cloned().collect(),
        notes,
        incarnations_matter: plan.policy.incarnation != IncarnationPolicy::Any,
        objectives: bounds(plan),
        searches: Vec::new(),
        compare: CompareRules {
            primary: plan.compare.primary.clone(),
            baseline: plan.compare.baseline.clone(),
            margin: plan.compare.margin,
        },
    }
}

fn deployment_info(plan: &Plan, deployment: &Deployment) -> DeploymentInfo {
    let target = target(&deployment.target.kind);
    let simulated = target.is_some_and(|target| target.simulated(deployment));
    // Where the embedded engine runs in a cluster, its parameters are variables of its template.
    let scale = ["/time-scale", "/vars/set/time-scale"];
    let keys = Value::Object(deployment.values.json.clone());
    let scale = scale.iter().find_map(|path| keys.pointer(path)).and_then(Value::as_f64).unwrap_or(1.0);
    DeploymentInfo {
        name: deployment.name.clone(),
        target: deployment.target.kind.clone(),
        gpus: gpus(plan, deployment),
        fingerprint: target.map(|target| digest_json(&target.fingerprint(plan, deployment)).short().to_owned()),
        engine_arguments: target.map(|target| target.engine_arguments(plan, deployment)).unwrap_or_default(),
        time_scale: simulated.then_some(scale),
    }
}

fn gpus(plan: &Plan, deployment: &Deployment) -> Option<f64> {
    deployment.gpus.or_else(|| target(&deployment.target.kind)?.gpus(plan, deployment))
}

/// Reads all published points of a run. GPUs and objectives are those of the plan as it is now: correcting them needs no
/// new measurement.
///
/// # Errors
/// When a point is damaged, or newer than this program.
pub fn with_plan(dir: &Path, plan: &Plan, info: RunInfo) -> Result<RunResults, ReportError> {
    let mut results = RunResults::read(dir, info)?;
    for point in &mut results.points {
        if let Some(deployment) = plan.deployments.get(&point.summary.meta.deployment) {
            point.summary.set_gpus(gpus(plan, deployment));
        }
        let objectives = bounds(plan);
        if point.summary.objectives != objectives {
            let records = point.records()?;
            point.summary.set_objectives(&objectives, &records);
        }
    }
    results.info.searches = search::answers(plan, &results);
    Ok(results)
}
