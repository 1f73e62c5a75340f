//! `dynbench plan`: what would be done, why, how long it takes and what it costs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::apply::{existing_run, expander};
use super::catalog::catalog;
use super::error::AppError;
use crate::plan::{Plan, StepSpec, expand, gpu_hours};
use crate::run::{Choice, Edits, Frozen, Outlook, preview as outlooks, steps_after};

/// What would be done.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The run that would go on; `None`: a new one would start.
    pub run: Option<PathBuf>,
    /// Every step.
    pub steps: Vec<StepSpec>,
    /// What would be done with each, in the same order as far as they are the same.
    pub outlooks: Vec<Outlook>,
    /// Warm-up and load of what would run, one after another.
    pub duration: Duration,
    /// GPU hours of these; `None` when some deployment's GPUs are not known.
    pub gpu_hours: Option<f64>,
}

impl Preview {
    /// How many steps have something to do.
    pub fn work_left(&self) -> usize {
        self.outlooks.iter().filter(|outlook| matches!(outlook.decision, "run" | "adopt" | "refuse")).count()
    }
}

/// What `apply --resume` would do with this plan now. Changes nothing.
///
/// # Errors
/// When an earlier run of the plan cannot be read.
pub fn preview(plan: &Plan, output_dir: Option<&Path>) -> Result<Preview, AppError> {
    let run = existing_run(&plan.name, output_dir)?;
    let steps = match &run {
        Some(dir) => steps_after(dir, plan, &expander())?,
        None => expand(plan, &catalog()),
    };
    let frozen = Frozen { plan: plan.clone(), steps: steps.clone(), sources: Vec::new() };
    let choice = Choice { edits: Edits::Accept, ..Choice::default() };
    let outlooks = outlooks(run.as_deref(), Some(&frozen), &choice)?;
    let runs = |step: &&StepSpec| {
        outlooks.iter().any(|outlook| outlook.address == step.address && matches!(outlook.decision, "run" | "refuse"))
    };
    let due: Vec<_> = steps.iter().filter(runs).cloned().collect();
    let duration = due.iter().filter_map(|step| step.estimate).sum();
    let gpu_hours = gpu_hours(plan, &due, &catalog());
    Ok(Preview { run, steps, outlooks, duration, gpu_hours })
}
