//! What an edited plan changes about a run that has begun.

use std::collections::BTreeMap;

use super::graph::Life;
use super::state::RunState;
use crate::base::Digest;
use crate::plan::{Address, StepClass, StepSpec};

/// How two lists of steps differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amendment {
    /// Steps that are new.
    pub added: Vec<Address>,
    /// Steps that are gone.
    pub removed: Vec<Address>,
    /// Steps whose key changed.
    pub changed: Vec<Address>,
}

impl Amendment {
    /// From one list to another.
    pub fn between(before: &[StepSpec], after: &[StepSpec]) -> Self {
        let (old, new) = (keys(before), keys(after));
        let missing_in = |list: &[StepSpec], other: &BTreeMap<Address, Digest>| -> Vec<Address> {
            list.iter().map(|step| &step.address).filter(|address| !other.contains_key(*address)).cloned().collect()
        };
        let differs = |step: &&StepSpec| old.get(&step.address).is_some_and(|key| *key != step.key);
        Self {
            added: missing_in(after, &old),
            removed: missing_in(before, &new),
            changed: after.iter().filter(differs).map(|step| step.address.clone()).collect(),
        }
    }
}

/// The keys of a list of steps.
pub(super) fn keys(steps: &[StepSpec]) -> BTreeMap<Address, Digest> {
    steps.iter().map(|step| (step.address.clone(), step.key.clone())).collect()
}

/// The steps of an edited plan, preceded by those that end what deployments left open that are no longer in it: what
/// was started must be ended even if nobody wants to measure it any more.
pub(super) fn with_open_endings(current: Vec<StepSpec>, frozen: &[StepSpec], state: &RunState) -> Vec<StepSpec> {
    let present = keys(&current);
    let still_owed = |step: &&StepSpec| {
        step.class == StepClass::Obligation
            && !present.contains_key(&step.address)
            && Life::of(step).is_some_and(|life| state.owes(&life))
    };
    let mut steps: Vec<StepSpec> = frozen.iter().filter(still_owed).cloned().collect();
    for step in &mut steps {
        step.needs.clear();
    }
    steps.extend(current);
    steps
}
