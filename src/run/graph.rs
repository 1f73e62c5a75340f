//! The list of steps as a graph: who needs whom, and what each step is for.
//!
//! A step's role follows from its class and its place alone, so that this floor needs to know no kind of step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::Name;
use crate::plan::{Address, NeedMode, StepClass, StepSpec};

/// One coming to life of a deployment: each block has its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Life {
    /// The deployment.
    pub deployment: Name,
    /// The block, from 1.
    pub block: u32,
}

impl Life {
    /// The life that a step belongs to.
    pub fn of(step: &StepSpec) -> Option<Self> {
        step.deployment.as_ref().map(|deployment| Self { deployment: deployment.clone(), block: step.block })
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.block {
            1 => write!(f, "{}", self.deployment),
            block => write!(f, "{} (block {block})", self.deployment),
        }
    }
}

/// What a step is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// An effect whose result goes into a pure step that points need (discover): frozen with the run.
    Input,
    /// A pure step that points need (render).
    Prepare,
    /// An effect or light measurement that points need (preflight, deploy, wait, warm-up): only for their sake.
    Supply,
    /// A measurement at a level.
    Point,
    /// An effect that no point needs (collect): for the sake of what ran before it.
    FollowUp,
    /// What must happen as long as something is owed (teardown).
    Obligation,
    /// A pure step that no point needs (summarize, plot).
    Conclude,
}

impl Role {
    /// Whether it still runs when the run is being stopped.
    pub fn cleans_up(self) -> bool {
        match self {
            Self::FollowUp | Self::Obligation => true,
            Self::Input | Self::Prepare | Self::Supply | Self::Point | Self::Conclude => false,
        }
    }
}

/// Why a list of steps cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two steps with one address.
    #[error("two steps are called {address}")]
    Twice {
        /// The address.
        address: Address,
    },
    /// A need that is no step.
    #[error("{address} needs {need}, which is no step")]
    Unknown {
        /// The step.
        address: Address,
        /// What it needs.
        need: Address,
    },
    /// Steps that need each other.
    #[error("{address} needs itself in the end")]
    Cycle {
        /// One of them.
        address: Address,
    },
}

/// Steps in the order of the run, and what follows from their needs. Steps are known by their place in the list.
#[derive(Debug, Clone)]
pub struct Graph {
    steps: Vec<StepSpec>,
    places: BTreeMap<Address, usize>,
    needs: Vec<Vec<(usize, NeedMode)>>,
    needed_by: Vec<Vec<(usize, NeedMode)>>,
    roles: Vec<Role>,
    inputs: Vec<BTreeSet<usize>>,
    several_workloads: bool,
}

impl Graph {
    /// From a list.
    ///
    /// # Errors
    /// When addresses are not unique, a need is no step, or steps need each other.
    pub fn new(steps: Vec<StepSpec>) -> Result<Self, GraphError> {
        let mut places = BTreeMap::new();
        for (at, step) in steps.iter().enumerate() {
            if places.insert(step.address.clone(), at).is_some() {
                return Err(GraphError::Twice { address: step.address.clone() });
            }
        }
        let mut needs = vec![Vec::new(); steps.len()];
        let mut needed_by = vec![Vec::new(); steps.len()];
        for (at, step) in steps.iter().enumerate() {
            for need in &step.needs {
                let Some(&other) = places.get(&need.address) else {
                    return Err(GraphError::Unknown { address: step.address.clone(), need: need.address.clone() });
                };
                needs[at].push((other, need.mode));
                needed_by[other].push((at, need.mode));
            }
        }
        let workloads: BTreeSet<_> = steps.iter().filter_map(|step| step.workload.as_ref()).collect();
        let several_workloads = workloads.len() > 1;
        let mut graph =
            Self { roles: Vec::new(), inputs: Vec::new(), steps, places, needs, needed_by, several_workloads };
        graph.refuse_cycles()?;
        graph.roles = graph.find_roles();
        graph.inputs = (0..graph.steps.len()).map(|at| graph.find_inputs(at)).collect();
        Ok(graph)
    }

    fn refuse_cycles(&self) -> Result<(), GraphError> {
        let mut open: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let mut free: Vec<usize> = (0..open.len()).filter(|at| open[*at] == 0).collect();
        let mut seen = 0;
        while let Some(at) = free.pop() {
            seen += 1;
            for (other, _) in &self.needed_by[at] {
                open[*other] -= 1;
                if open[*other] == 0 {
                    free.push(*other);
                }
            }
        }
        if seen == open.len() {
            return Ok(());
        }
        let at = open.iter().position(|count| *count > 0).expect("fewer steps were freed than there are");
        Err(GraphError::Cycle { address: self.steps[at].address.clone() })
    }

    fn find_roles(&self) -> Vec<Role> {
        let is_point = |at: usize| self.steps[at].class == StepClass::Measurement && self.steps[at].level.is_some();
        let points: Vec<usize> = (0..self.steps.len()).filter(|at| is_point(*at)).collect();
        let supplies = self.reach(points, |mode| mode == NeedMode::Succeeded);
        let feeds_pure = |at: usize| {
            self.needed_by[at].iter().any(|(other, mode)| {
                *mode == NeedMode::Succeeded && self.steps[*other].class == StepClass::Pure && supplies.contains(other)
            })
        };
        let role = |at: usize| match self.steps[at].class {
            StepClass::Obligation => Role::Obligation,
            StepClass::Pure if supplies.contains(&at) => Role::Prepare,
            StepClass::Pure => Role::Conclude,
            StepClass::Measurement if is_point(at) => Role::Point,
            StepClass::Effect if supplies.contains(&at) && feeds_pure(at) => Role::Input,
            StepClass::Effect | StepClass::Measurement if supplies.contains(&at) => Role::Supply,
            StepClass::Effect | StepClass::Measurement => Role::FollowUp,
        };
        (0..self.steps.len()).map(role).collect()
    }

    /// Everything that these steps need in the end, over needs of such modes, without them.
    fn reach(&self, from: Vec<usize>, over: impl Fn(NeedMode) -> bool) -> BTreeSet<usize> {
        let (mut found, mut open) = (BTreeSet::new(), from);
        while let Some(at) = open.pop() {
            for (other, mode) in &self.needs[at] {
                if over(*mode) && found.insert(*other) {
                    open.push(*other);
                }
            }
        }
        found
    }

    fn find_inputs(&self, at: usize) -> BTreeSet<usize> {
        let mut inputs: BTreeSet<usize> = self
            .ancestors(at)
            .into_iter()
            .filter(|other| match self.steps[*other].class {
                StepClass::Pure | StepClass::Measurement => true,
                StepClass::Effect | StepClass::Obligation => false,
            })
            .collect();
        inputs.extend(self.needs[at].iter().map(|(other, _)| *other));
        inputs
    }

    /// All steps, in the order of the run.
    pub fn steps(&self) -> &[StepSpec] {
        &self.steps
    }

    /// The step at a place.
    pub fn step(&self, at: usize) -> &StepSpec {
        &self.steps[at]
    }

    /// The place of a step.
    pub fn place_of(&self, address: &Address) -> Option<usize> {
        self.places.get(address).copied()
    }

    /// What a step is for.
    pub fn role(&self, at: usize) -> Role {
        self.roles[at]
    }

    /// What a step needs directly.
    pub fn needs(&self, at: usize) -> &[(usize, NeedMode)] {
        &self.needs[at]
    }

    /// Who needs a step directly.
    pub fn needed_by(&self, at: usize) -> &[(usize, NeedMode)] {
        &self.needed_by[at]
    }

    /// Everything that must have ended before a step, however.
    pub fn ancestors(&self, at: usize) -> BTreeSet<usize> {
        self.reach(vec![at], |_| true)
    }

    /// What a pure step's result is made from: the steps it needs directly, and every pure step and measurement behind
    /// them. What ends a deployment stands between measurements and the summary, but says nothing about either.
    pub fn inputs(&self, at: usize) -> &BTreeSet<usize> {
        &self.inputs[at]
    }

    /// Where a step's results are published, relative to the run's folder.
    pub fn published_at(&self, at: usize) -> Option<std::path::PathBuf> {
        super::layout::place(&self.steps[at], self.several_workloads)
    }

    /// Points of the same deployment, workload and block, in the order of the run.
    pub fn sweep(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let one = &self.steps[at];
        (0..self.steps.len()).filter(move |other| {
            let step = &self.steps[*other];
            self.roles[*other] == Role::Point
                && step.deployment == one.deployment
                && step.workload == one.workload
                && step.block == one.block
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::world;
    use super::*;

    #[test]
    fn roles_follow_from_class_and_place() {
        let graph = Graph::new(world::steps(&["agg", "disagg"], &[1, 2], 1)).unwrap();
        let role = |address: &str| graph.role(graph.place_of(&Address(address.to_owned())).unwrap());
        assert_eq!(role("agg/discover"), Role::Input);
        assert_eq!(role("agg/render"), Role::Prepare);
        for supply in ["agg/preflight", "disagg/deploy", "disagg/wait", "agg/default/warm-up"] {
            assert_eq!(role(supply), Role::Supply, "{supply}");
        }
        assert_eq!(role("disagg/default/load/c2"), Role::Point);
        assert_eq!(role("agg/collect"), Role::FollowUp);
        assert_eq!(role("agg/teardown"), Role::Obligation);
        assert_eq!(role("summarize"), Role::Conclude);
        assert_eq!(role("plot/pareto"), Role::Conclude);
    }

    #[test]
    fn the_summary_is_made_from_every_point_though_it_needs_only_teardowns() {
        let graph = Graph::new(world::steps(&["agg"], &[1, 2], 1)).unwrap();
        let place = |address: &str| graph.place_of(&Address(address.to_owned())).unwrap();
        let inputs = graph.inputs(place("summarize"));
        assert!(inputs.contains(&place("agg/default/load/c1")) && inputs.contains(&place("agg/default/load/c2")));
        assert!(!inputs.contains(&place("agg/deploy")));
    }

    #[test]
    fn lists_that_cannot_be_run_are_refused() {
        let steps = world::steps(&["agg"], &[1], 1);
        let mut twice = steps.clone();
        twice.push(steps[0].clone());
        assert!(matches!(Graph::new(twice), Err(GraphError::Twice { .. })));
        assert!(matches!(Graph::new(steps[1..].to_vec()), Err(GraphError::Unknown { .. })));
        let mut circle = steps.clone();
        let last = steps.last().unwrap().address.clone();
        circle[0].needs.push(crate::plan::Need { address: last, mode: NeedMode::Ended });
        assert!(matches!(Graph::new(circle), Err(GraphError::Cycle { .. })));
    }
}
