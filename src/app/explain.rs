//! `dynbench explain`: why a step would or would not run again, field by field.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::apply::RESULTS;
use super::apply::expander;
use super::error::AppError;
use crate::plan::{Address, NoMatch, Plan, StepSpec, select};
use crate::run::{
    Choice, Edits, FieldDiff, Frozen, Outlook, RunLayout, StepReport, explain_step, find_run, frozen_of, preview,
    read_state, steps_after,
};

/// All that is known of one step of one run.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The run's folder.
    pub run: PathBuf,
    /// The step.
    pub step: StepSpec,
    /// What the journal says of it.
    pub record: StepReport,
    /// What a resume would do with it, and why.
    pub outlook: Option<Outlook>,
    /// What differs between what was measured and what the plan asks for now; `None`: it has no result.
    pub differences: Option<Vec<FieldDiff>>,
}

/// Explains the step at `address` of a run. `plan`: the plan as it is now; `None`: as it was frozen.
///
/// # Errors
/// When there is no such run or step.
pub fn explain(run: &str, address: &str, plan: Option<&Plan>) -> Result<Explanation, AppError> {
    let dir = find_run(Path::new(RESULTS), plan.map(|plan| plan.name.as_str()), run)?;
    let layout = RunLayout::new(&dir);
    let state = read_state(&layout)?;
    let frozen = match plan {
        Some(plan) => Frozen { plan: plan.clone(), steps: steps_after(&dir, plan, &expander())?, sources: Vec::new() },
        None => {
            let (plan, steps) = frozen_of(&dir)?;
            Frozen { plan, steps, sources: Vec::new() }
        }
    };
    let step = one(&frozen.steps, address)?;
    let choice = Choice { edits: Edits::Accept, ..Choice::default() };
    let outlooks = preview(Some(&dir), Some(&frozen), &choice)?;
    Ok(Explanation {
        record: state.step(&step.address).report(&step.address),
        outlook: outlooks.into_iter().find(|outlook| outlook.address == step.address),
        differences: explain_step(&dir, &step)?,
        run: dir,
        step,
    })
}

/// The step whose address that is; never a whole group of steps.
fn one(steps: &[StepSpec], address: &str) -> Result<StepSpec, AppError> {
    if let Some(step) = steps.iter().find(|step| step.address.as_str() == address) {
        return Ok(step.clone());
    }
    let addresses: Vec<Address> = steps.iter().map(|step| step.address.clone()).collect();
    match select(address, &addresses) {
        Ok(found) => {
            let nearest = found.first().map(ToString::to_string);
            Err(AppError::NoStep(NoMatch { pattern: address.to_owned(), nearest }))
        }
        Err(no_match) => Err(AppError::NoStep(no_match)),
    }
}
