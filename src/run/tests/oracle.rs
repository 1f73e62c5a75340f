//! Whole sessions' decisions against a slow and obvious oracle, over random histories of a run.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::super::decide::Decision;
use super::super::session::{Choice, Evidence, Files, Survey, inputs_digest};
use super::super::*;
use super::world::frozen;
use crate::base::Digest;
use crate::plan::{Address, NeedMode};

#[derive(Debug, Clone, Copy, PartialEq)]
enum History {
    Never,
    Good,
    Damaged,
    Moment,
    Config,
    Failed,
    Skipped,
    Cut,
    CutWhole,
}

fn history() -> impl Strategy<Value = History> {
    use History::*;
    proptest::sample::select(vec![Never, Good, Good, Good, Damaged, Moment, Config, Failed, Skipped, Cut, CutWhole])
}

/// A run's state with this history of every step.
fn state_of(graph: &Graph, histories: &[History], open: &[bool]) -> (RunState, Evidence) {
    let mut state = RunState::default();
    let mut evidence = Evidence::new();
    let apply = |state: &mut RunState, event: Event| state.apply(&event, "t").unwrap();
    apply(
        &mut state,
        Event::RunCreated {
            run: "r".into(),
            plan: super::world::name("p"),
            tool: "t".into(),
            nonce: "n".into(),
            steps: Digest::of(b""),
        },
    );
    let session =
        |number| Event::SessionStarted { number, tool: "t".into(), pid: 1, host: "h".into(), command: vec![] };
    apply(&mut state, session(1));
    for (at, step) in graph.steps().iter().enumerate() {
        let address = step.address.clone();
        let history = histories[at];
        if history == History::Never {
            continue;
        }
        if history == History::Skipped {
            apply(&mut state, Event::StepSkipped { address, because: "b".into() });
            continue;
        }
        let pure = matches!(graph.role(at), Role::Prepare | Role::Conclude);
        let inputs = pure.then(|| inputs_digest(graph, &state, at));
        let started = Event::StepStarted {
            address: address.clone(),
            attempt: 1,
            key: step.key.clone(),
            inputs,
            incarnation: None,
        };
        apply(&mut state, started);
        let momentary = history == History::Moment;
        let invalid = match history {
            History::Moment | History::Config => vec![Invalid { rule: "r".into(), reason: "r".into(), momentary }],
            _ => Vec::new(),
        };
        let good = if history == History::Damaged { Files::Bad } else { Files::Good };
        match history {
            History::Failed => {
                let failure = StepFailure::new(FailureKind::Lasting, "f");
                apply(&mut state, Event::StepFailed { address, attempt: 1, failure });
            }
            History::Cut => drop(evidence.insert(address, Files::Bad)),
            History::CutWhole => drop(evidence.insert(address, Files::Good)),
            History::Good | History::Damaged | History::Moment | History::Config => {
                evidence.insert(address.clone(), good);
                let outcome = StepOutcome { output: json!(null), invalid };
                apply(
                    &mut state,
                    Event::StepSucceeded { address, attempt: 1, outcome, manifest: None, place: None, adopted: false },
                );
            }
            History::Never | History::Skipped => unreachable!("dealt with above"),
        }
    }
    for (number, (step, _)) in
        graph.steps().iter().filter(|step| step.kind == "deploy").zip(open).enumerate().filter(|(_, (_, open))| **open)
    {
        let obligation = Obligation {
            id: number.to_string(),
            address: step.address.clone(),
            target: "t".into(),
            what: "w".into(),
            handle: json!(null),
        };
        apply(&mut state, Event::ObligationOpened { obligation, life: Life::of(step) });
    }
    (state, evidence)
}

/// Which steps run, told apart from the code: first the points, then what they need, then what follows.
fn oracle(graph: &Graph, histories: &[History], open: &[bool]) -> BTreeSet<Address> {
    use History::*;
    let steps = graph.steps();
    let place = |address: &Address| steps.iter().position(|step| step.address == *address).unwrap();
    let mut runs: BTreeSet<usize> = BTreeSet::new();
    // 1. Points without a good result, except above two levels that stay invalid.
    let points: Vec<usize> = (0..steps.len()).filter(|at| steps[*at].kind == "load").collect();
    for (order, at) in points.iter().enumerate() {
        let same = |other: &usize| steps[*other].deployment == steps[*at].deployment;
        let below: Vec<usize> = points[..order].iter().copied().filter(same).collect();
        let stays = |other: &usize| histories[*other] == Config;
        let held = below.len() >= 2 && below[below.len() - 2..].iter().all(stays);
        let good = matches!(histories[*at], Good | Config | CutWhole);
        if !good && !held {
            runs.insert(*at);
        }
    }
    // 2. Pure steps before the points, and everything that something running needs.
    let direct = |at: usize, mode: Option<NeedMode>| -> Vec<usize> {
        let needs = steps[at].needs.iter().filter(|need| mode.is_none_or(|mode| need.mode == mode));
        needs.map(|need| place(&need.address)).collect()
    };
    loop {
        let before = runs.len();
        for at in 0..steps.len() {
            let needed =
                (0..steps.len()).any(|o| runs.contains(&o) && direct(o, Some(NeedMode::Succeeded)).contains(&at));
            let fresh = histories[at] == Good;
            let run = match steps[at].kind.as_str() {
                "preflight" | "deploy" | "wait" | "warm-up" => needed,
                // Damage of an input's files does not matter: its result is in the journal.
                "discover" => needed && !matches!(histories[at], Good | Damaged),
                "render" => !fresh || direct(at, None).iter().any(|other| runs.contains(other)),
                "collect" | "teardown" => {
                    let life =
                        steps.iter().filter(|s| s.kind == "deploy").position(|s| s.deployment == steps[at].deployment);
                    let owed = open[life.unwrap()];
                    let follows = direct(at, None).iter().any(|other| runs.contains(other));
                    let due = if steps[at].kind == "teardown" {
                        owed
                    } else {
                        owed && !matches!(histories[at], Good | Damaged)
                    };
                    follows || due
                }
                "summarize" => {
                    let measured = points.iter().any(|point| runs.contains(point));
                    let behind = (0..steps.len())
                        .filter(|o| matches!(steps[*o].kind.as_str(), "load" | "warm-up" | "render" | "teardown"));
                    !fresh || measured || behind.into_iter().any(|other| runs.contains(&other))
                }
                "plot" => {
                    let inputs = ["load", "warm-up", "render", "summarize"];
                    !fresh || (0..steps.len()).any(|o| inputs.contains(&steps[o].kind.as_str()) && runs.contains(&o))
                }
                _ => false,
            };
            if run {
                runs.insert(at);
            }
        }
        if runs.len() == before {
            return runs.into_iter().map(|at| steps[at].address.clone()).collect();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_sessions_decisions_are_those_of_the_oracle(
        histories in proptest::collection::vec(history(), 24),
        open in proptest::collection::vec(any::<bool>(), 2),
    ) {
        let plan = frozen(&["agg", "disagg"], &[1, 2, 4], 1);
        let graph = Graph::new(plan.steps.clone()).unwrap();
        prop_assert_eq!(graph.steps().len(), histories.len());
        let (state, evidence) = state_of(&graph, &histories, &open);
        let frozen_keys: BTreeMap<_, _> = plan.steps.iter().map(|s| (s.address.clone(), s.key.clone())).collect();
        let choice = Choice::default();
        let survey = Survey {
            graph: &graph,
            state: &state,
            evidence: &evidence,
            frozen_keys: &frozen_keys,
            choice: &choice,
            policy: &plan.plan.policy,
        };
        let verdicts = survey.decide_all().unwrap();
        let runs: BTreeSet<Address> = graph
            .steps()
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| matches!(verdict.decision, Decision::Run(_)))
            .map(|(step, _)| step.address.clone())
            .collect();
        prop_assert_eq!(runs, oracle(&graph, &histories, &open));
    }
}
