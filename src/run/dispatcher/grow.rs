//! Adding what a search measures next to a session that runs.

use std::sync::Arc;

use super::super::amend::Amendment;
use super::super::decide::{Decision, Why};
use super::super::events::{EventBody, EventLevel};
use super::super::frozen;
use super::super::graph::Graph;
use super::super::grow::{freeze_longer, grown};
use super::super::journal::Event;
use super::super::session::Verdict;
use super::super::step::RunShared;
use super::core::{Dispatcher, Running, Standing};
use crate::plan::StepSpec;

impl Dispatcher {
    /// Takes in the steps that follow from what has just been measured, if there are any. They are frozen and journalled
    /// before any of them can start.
    pub(super) fn grow(&mut self) {
        let Some(expand) = self.expand.clone().filter(|_| self.halt.is_none()) else { return };
        let longer = grown(&expand, &self.shared.plan, self.graph.steps(), &self.state, None);
        if longer == self.graph.steps() {
            return;
        }
        let amendment = Amendment::between(self.graph.steps(), &longer);
        let graph = match Graph::new(longer) {
            Ok(graph) => graph,
            Err(error) => return self.bug(&error.to_string()),
        };
        let generation = self.state.generation();
        if let Err(error) = freeze_longer(&self.layout, generation, &self.shared.plan, graph.steps()) {
            return self.storage_failed(&error.to_string());
        }
        let event = Event::PlanAmended {
            generation: generation + 1,
            steps: frozen::digest_of(graph.steps()),
            added: amendment.added.clone(),
            removed: amendment.removed,
            changed: amendment.changed,
        };
        if self.record(&event).is_err() {
            // What could not be written stops the run by itself.
            return;
        }
        self.take_over(graph);
        for address in amendment.added {
            let message = format!("the search goes on with {address}");
            self.emit(EventLevel::Info, message, EventBody::Note { address: Some(address) });
        }
    }

    /// Moves everything that is known by place to the places of a longer graph.
    fn take_over(&mut self, graph: Graph) {
        let old = |step: &StepSpec| self.graph.place_of(&step.address);
        let from: Vec<Option<usize>> = graph.steps().iter().map(old).collect();
        // A search adds points beside a point: there is one whose action they share.
        let of_kind = |step: &StepSpec| {
            let other = self.graph.steps().iter().position(|known| known.kind == step.kind);
            Arc::clone(&self.actions[other.expect("a load is added to a sweep that has one")])
        };
        let chosen = |step: &StepSpec| {
            let sweep = |other: &StepSpec| {
                other.kind == step.kind
                    && (&other.deployment, &other.workload, other.block)
                        == (&step.deployment, &step.workload, step.block)
            };
            let mut own = (0..self.standing.len()).filter(|at| sweep(self.graph.step(*at)));
            own.all(|at| self.standing[at] != Standing::NotChosen)
        };
        let (mut standing, mut tries, mut actions, mut verdicts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (step, from) in graph.steps().iter().zip(&from) {
            if let Some(at) = *from {
                standing.push(self.standing[at].clone());
                tries.push(self.tries[at]);
                actions.push(Arc::clone(&self.actions[at]));
                verdicts.push(self.verdicts[at].clone());
                continue;
            }
            let (stands, decision) = match chosen(step) {
                true => (Standing::Waiting, Decision::Run(Why::Never)),
                false => (Standing::NotChosen, Decision::NotChosen),
            };
            standing.push(stands);
            tries.push(0);
            actions.push(of_kind(step));
            verdicts.push(Verdict { decision, why: "the search goes on with it".to_owned() });
        }
        let mut running: std::collections::BTreeMap<usize, Running> = std::collections::BTreeMap::new();
        for (at, one) in std::mem::take(&mut self.running) {
            let to = from.iter().position(|from| *from == Some(at));
            running.insert(to.expect("a step that runs stays in the list"), one);
        }
        let shared = &self.shared;
        self.shared = Arc::new(RunShared {
            id: shared.id.clone(),
            dir: shared.dir.clone(),
            plan: shared.plan.clone(),
            steps: graph.steps().to_vec(),
            nonce: shared.nonce.clone(),
            clock: Arc::clone(&shared.clock),
        });
        (self.standing, self.tries, self.actions, self.verdicts) = (standing, tries, actions, verdicts);
        self.running = running;
        self.graph = graph;
    }
}
