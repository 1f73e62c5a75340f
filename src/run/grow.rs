//! Plans that grow: a search decides by what was measured which load is measured next.
//!
//! The steps that follow are a function of the plan and of what is recorded, so every session finds the same ones. A running
//! session adds them when a point ends: the longer list is frozen as a new generation, the journal names it
//! (`plan.amended`), and only then may a step of it start. A death before that line leaves nothing behind that counts; the
//! next session comes to the same list.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::error::RunError;
use super::frozen;
use super::layout::{self, RunLayout};
use super::open::read_state;
use super::publish;
use super::state::{Phase, RunState};
use super::step::StepOutcome;
use crate::plan::{Address, LoadOutcome, Outcomes, Plan, StepSpec};

/// From a plan and what its searches have found to all its steps.
pub type Expand = Arc<dyn Fn(&Plan, &Outcomes) -> Vec<StepSpec> + Send + Sync>;

/// The member of a point's output that says whether it keeps the objectives: a [`LoadOutcome`].
pub const OBJECTIVES: &str = "objectives";

/// The steps of a plan after what is recorded: `present`, and those that follow from it. Steps that are present keep
/// their meaning, whatever this version of the program would make of them. With a layout also attempts count that are whole
/// and lack only their last line.
pub(super) fn grown(
    expand: &Expand,
    plan: &Plan,
    present: &[StepSpec],
    state: &RunState,
    layout: Option<&RunLayout>,
) -> Vec<StepSpec> {
    let mut steps = present.to_vec();
    if !plan.workloads.values().any(|workload| workload.shape.search.is_some()) {
        return steps;
    }
    // Each round adds a load at least, and a search has at most so many.
    loop {
        let longer = merged(&steps, expand(plan, &outcomes(&steps, state, layout)));
        if longer == steps {
            return steps;
        }
        steps = longer;
    }
}

/// What the measured points say.
fn outcomes(steps: &[StepSpec], state: &RunState, layout: Option<&RunLayout>) -> Outcomes {
    let workloads: BTreeSet<_> = steps.iter().filter_map(|step| step.workload.as_ref()).collect();
    let found = |step: &StepSpec| {
        let record = state.step(&step.address);
        if record.key.as_ref() != Some(&step.key) {
            return None;
        }
        match &record.phase {
            Phase::Succeeded(success) => verdict(&success.outcome),
            Phase::Started => {
                let place = layout::place(step, workloads.len() > 1);
                let whole = publish::find_whole(layout?, &step.address, record.attempts, place.as_deref(), None);
                whole
                    .filter(|(_, manifest, _)| manifest.key == step.key)
                    .and_then(|(_, manifest, _)| verdict(&manifest.outcome))
            }
            Phase::Never | Phase::Failed(_) | Phase::Interrupted(_) | Phase::Skipped(_) | Phase::Voided(_) => None,
        }
    };
    let named = |step: &StepSpec| {
        let outcome = found(step)?;
        Some(((step.deployment.clone()?, step.workload.clone()?, step.block, step.level?), outcome))
    };
    steps.iter().filter_map(named).collect()
}

/// Whether a point keeps the objectives; `None` for one that is to be measured again.
fn verdict(outcome: &StepOutcome) -> Option<LoadOutcome> {
    if !outcome.invalid.is_empty() && outcome.invalid.iter().all(|reason| reason.momentary) {
        return None;
    }
    serde_json::from_value(outcome.output.get(OBJECTIVES)?.clone()).ok()
}

/// The longer list, with present steps as they are but for what they need; those that it lacks stay before it.
fn merged(present: &[StepSpec], longer: Vec<StepSpec>) -> Vec<StepSpec> {
    let names: BTreeSet<&Address> = longer.iter().map(|step| &step.address).collect();
    let mut steps: Vec<StepSpec> = present.iter().filter(|step| !names.contains(&step.address)).cloned().collect();
    for step in longer {
        let known = present.iter().find(|known| known.address == step.address);
        steps.push(match known {
            Some(known) => StepSpec { needs: step.needs, ..known.clone() },
            None => step,
        });
    }
    steps
}

/// The steps of a plan as the run in this folder would go on with them.
///
/// # Errors
/// When the run cannot be read.
pub fn steps_after(run: &Path, plan: &Plan, expand: &Expand) -> Result<Vec<StepSpec>, RunError> {
    let layout = RunLayout::new(run);
    let state = read_state(&layout)?;
    Ok(grown(expand, plan, &expand(plan, &Outcomes::new()), &state, Some(&layout)))
}

/// Freezes a longer list as the generation after this one, with the same plan and sources.
pub(super) fn freeze_longer(
    layout: &RunLayout,
    generation: u32,
    plan: &Plan,
    steps: &[StepSpec],
) -> Result<(), RunError> {
    let sources = frozen::sources(layout, generation)?;
    let longer = frozen::Frozen { plan: plan.clone(), steps: steps.to_vec(), sources };
    frozen::freeze(layout, generation + 1, &longer)
}
