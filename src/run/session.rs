//! What one session will do with every step, before it does anything: the facts gathered, the decisions made until
//! they agree with each other.
//!
//! Whether an effect runs depends on what needs it, and whether a summary runs on what went before it, so deciding is
//! repeated until nothing changes. More steps that run never make another one stop running: it ends.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{Decision, Edits, Ending, Facts, KeyMatch, Recorded, Refusal, Selection, Why, WhyNot, decide};
use super::error::RunError;
use super::events::Outlook;
use super::explain::explain;
use super::frozen;
use super::graph::{Graph, Life, Role};
use super::layout::RunLayout;
use super::publish;
use super::state::{Phase, RunState, StepRecord};
use crate::base::{Digest, digest_json};
use crate::plan::{Address, NeedMode, Policy, Teardown};

/// The member of a pure step's output that lists its files, relative to the run's folder: if one is missing the step
/// runs again.
pub const FILES: &str = "files";

/// What the user chose for a session. Addresses must be the plan's.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// What to do with edits of the plan.
    pub edits: Edits,
    /// `--only`: these steps and what they need.
    pub only: Option<BTreeSet<Address>>,
    /// `--rerun`: these, even if they have a good result.
    pub rerun: BTreeSet<Address>,
    /// `--until`: nothing that comes after this step.
    pub until: Option<Address>,
    /// `--keep`: no deployment is ended.
    pub keep: bool,
}

/// What the disk says about a step's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// All files are there and unchanged, or the step has none.
    Good,
    /// Some are missing or changed.
    Bad,
}

/// What the disk says about every step that has something there.
pub(super) type Evidence = BTreeMap<Address, Files>;

/// A decision and the words for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) decision: Decision,
    pub(super) why: String,
}

/// Looks at the files of every recorded result. Reads all published results once: their digests are the evidence.
pub(super) fn look(layout: &RunLayout, graph: &Graph, state: &RunState) -> Evidence {
    let mut evidence = Evidence::new();
    for (at, step) in graph.steps().iter().enumerate() {
        let record = state.step(&step.address);
        let files = match &record.phase {
            Phase::Succeeded(success) => {
                let listed = success.outcome.output.get(FILES).and_then(serde_json::Value::as_array);
                let all_there = listed.into_iter().flatten().all(|file| match file.as_str() {
                    Some(file) => layout.root().join(file).is_file(),
                    None => false,
                });
                let place = success.place.as_deref();
                let whole = success.manifest.as_ref().is_none_or(|manifest| {
                    publish::find_whole(layout, &step.address, record.attempts, place, Some(manifest)).is_some()
                });
                if all_there && whole { Files::Good } else { Files::Bad }
            }
            Phase::Started => {
                let place = graph.published_at(at);
                match publish::find_whole(layout, &step.address, record.attempts, place.as_deref(), None) {
                    Some((_, manifest, _)) if Some(&manifest.key) == record.key.as_ref() => Files::Good,
                    Some(_) | None => Files::Bad,
                }
            }
            Phase::Never | Phase::Failed(_) | Phase::Interrupted(_) | Phase::Skipped(_) | Phase::Voided(_) => continue,
        };
        evidence.insert(step.address.clone(), files);
    }
    evidence
}

/// Digest of what a pure step is made from, as it stands now. Attempts are counted, so a result that was made again
/// under the same key still changes it.
pub(super) fn inputs_digest(graph: &Graph, state: &RunState, at: usize) -> Digest {
    let inputs: Vec<_> = graph
        .inputs(at)
        .iter()
        .map(|other| {
            let address = &graph.step(*other).address;
            let record = state.step(address);
            (address, record.attempts, record.phase.word())
        })
        .collect();
    digest_json(&serde_json::to_value(inputs).expect("addresses and numbers are JSON"))
}

/// Everything that one session's decisions rest on.
pub(super) struct Survey<'a> {
    pub(super) graph: &'a Graph,
    pub(super) state: &'a RunState,
    pub(super) evidence: &'a Evidence,
    /// Keys of the frozen steps: an edit that they already have was accepted before.
    pub(super) frozen_keys: &'a BTreeMap<Address, Digest>,
    pub(super) choice: &'a Choice,
    pub(super) policy: &'a Policy,
}

impl Survey<'_> {
    /// A decision for every step, by its place.
    pub(super) fn decide_all(&self) -> Result<Vec<Verdict>, RunError> {
        let selections = self.selections()?;
        let mut decisions = vec![Decision::NotNeeded(WhyNot::NobodyNeeds); self.graph.steps().len()];
        loop {
            let mut changed = false;
            for at in 0..decisions.len() {
                let decision = decide(&self.facts(at, &decisions, selections[at]));
                changed |= decision != decisions[at];
                decisions[at] = decision;
            }
            if !changed {
                break;
            }
        }
        Ok((0..decisions.len()).map(|at| self.verdict(at, &decisions)).collect())
    }

    /// Every point whose good result the edits would cost, with what differs.
    pub(super) fn refusals(&self, layout: &RunLayout, verdicts: &[Verdict]) -> Vec<Refusal> {
        let refused = |(at, verdict): (usize, &Verdict)| (verdict.decision == Decision::Refuse).then_some(at);
        verdicts
            .iter()
            .enumerate()
            .filter_map(refused)
            .map(|at| {
                let step = self.graph.step(at);
                let before = self.state.step(&step.address).key.as_ref();
                let before = before.and_then(|key| frozen::fingerprint(layout, key)).unwrap_or_default();
                Refusal { address: step.address.clone(), diffs: explain(&before, &step.fingerprint) }
            })
            .collect()
    }

    fn selections(&self) -> Result<Vec<Selection>, RunError> {
        let known = |address: &Address| {
            self.graph.place_of(address).ok_or_else(|| RunError::UnknownStep { address: address.clone() })
        };
        for address in self.choice.only.iter().flatten().chain(&self.choice.rerun) {
            known(address)?;
        }
        let until = self.choice.until.as_ref().map(known).transpose()?;
        let before = until.map(|at| self.graph.ancestors(at));
        let selection = |at: usize| {
            let address = &self.graph.step(at).address;
            match (&before, &self.choice.only) {
                (Some(before), _) if Some(at) != until && !before.contains(&at) => Selection::Beyond,
                (_, Some(only)) if only.contains(address) => Selection::Named,
                (_, Some(_)) => Selection::Others,
                (Some(_), None) if Some(at) == until => Selection::Named,
                (_, None) => Selection::Everything,
            }
        };
        Ok((0..self.graph.steps().len()).map(selection).collect())
    }

    fn facts(&self, at: usize, decisions: &[Decision], selection: Selection) -> Facts {
        let step = self.graph.step(at);
        let record = self.state.step(&step.address);
        let recorded = self.recorded(at, record);
        let runs = |other: usize| matches!(decisions[other], Decision::Run(_));
        let role = self.graph.role(at);
        let pure = matches!(role, Role::Prepare | Role::Conclude);
        let made_from_others = pure
            && recorded == Recorded::Valid
            && record.inputs.as_ref() != Some(&inputs_digest(self.graph, self.state, at));
        let inputs_run = if pure {
            self.graph.inputs(at).iter().any(|other| runs(*other))
        } else {
            self.graph.needs(at).iter().any(|(other, _)| runs(*other))
        };
        Facts {
            role,
            recorded,
            key: self.key_match(at, record, recorded),
            files: self.evidence.get(&step.address) != Some(&Files::Bad),
            selection,
            rerun: self.choice.rerun.contains(&step.address),
            edits: self.choice.edits,
            demanded: self.graph.needed_by(at).iter().any(|(other, mode)| *mode == NeedMode::Succeeded && runs(*other)),
            inputs: made_from_others || inputs_run,
            owed: Life::of(step).is_some_and(|life| self.state.owes(&life)),
            ending: match self.policy.teardown {
                _ if self.choice.keep => Ending::Keep,
                Teardown::Never => Ending::Never,
                Teardown::Always | Teardown::OnSuccess => Ending::Due,
            },
            held: role == Role::Point && self.is_held(at, decisions),
        }
    }

    fn recorded(&self, at: usize, record: &StepRecord) -> Recorded {
        match &record.phase {
            Phase::Never => Recorded::Never,
            Phase::Started => {
                let whole = self.evidence.get(&self.graph.step(at).address) == Some(&Files::Good);
                if whole { Recorded::Whole } else { Recorded::Interrupted }
            }
            Phase::Interrupted(_) => Recorded::Interrupted,
            Phase::Failed(_) => Recorded::Failed,
            Phase::Skipped(_) => Recorded::Skipped,
            Phase::Voided(_) => Recorded::InvalidByMoment,
            Phase::Succeeded(success) => match success.outcome.invalid.as_slice() {
                [] => Recorded::Valid,
                reasons if reasons.iter().all(|reason| reason.momentary) => Recorded::InvalidByMoment,
                _ => Recorded::InvalidByConfiguration,
            },
        }
    }

    fn key_match(&self, at: usize, record: &StepRecord, recorded: Recorded) -> KeyMatch {
        let step = self.graph.step(at);
        match (&record.key, recorded) {
            (None, _) | (_, Recorded::Never | Recorded::Skipped) => KeyMatch::Equal,
            (Some(key), _) if *key == step.key => KeyMatch::Equal,
            (Some(_), _) if self.frozen_keys.get(&step.address) == Some(&step.key) => KeyMatch::Accepted,
            (Some(_), _) => KeyMatch::Edited,
        }
    }

    /// Whether the levels just below it stay invalid, so many that the policy gives up.
    fn is_held(&self, at: usize, decisions: &[Decision]) -> bool {
        let limit = self.policy.stop_after as usize;
        let level = |place: usize| self.graph.step(place).level.map(|level| level.value());
        let below: Vec<usize> = self.graph.sweep(at).take_while(|other| *other != at).collect();
        limit > 0
            && below.len() >= limit
            && below.iter().rev().take(limit).all(|other| {
                let record = self.state.step(&self.graph.step(*other).address);
                decisions[*other] == Decision::Keep
                    && level(*other) < level(at)
                    && self.recorded(*other, record) == Recorded::InvalidByConfiguration
            })
    }

    fn verdict(&self, at: usize, decisions: &[Decision]) -> Verdict {
        let runs = |other: usize| matches!(decisions[other], Decision::Run(_));
        let name = |other: usize| self.graph.step(other).address.to_string();
        let record = self.state.step(&self.graph.step(at).address);
        let why = match decisions[at] {
            Decision::Keep => match &record.phase {
                Phase::Succeeded(success) if !success.outcome.invalid.is_empty() => {
                    format!(
                        "invalid by configuration ({}); `--rerun` measures it again",
                        reasons(&success.outcome.invalid)
                    )
                }
                Phase::Never
                | Phase::Started
                | Phase::Succeeded(_)
                | Phase::Failed(_)
                | Phase::Interrupted(_)
                | Phase::Skipped(_)
                | Phase::Voided(_) => "done".to_owned(),
            },
            Decision::Adopt => format!("attempt {} is whole; only its last journal line is missing", record.attempts),
            Decision::Refuse => "the edit would invalidate its result".to_owned(),
            Decision::NotChosen => "not chosen".to_owned(),
            Decision::NotNeeded(why) => why.to_string(),
            Decision::Run(Why::Needed) => {
                let mut needing = self
                    .graph
                    .needed_by(at)
                    .iter()
                    .filter(|(other, mode)| *mode == NeedMode::Succeeded && runs(*other));
                needing
                    .next()
                    .map_or_else(|| Why::Needed.to_string(), |(other, _)| format!("{} needs it", name(*other)))
            }
            Decision::Run(Why::Inputs) => {
                let direct = self.graph.needs(at).iter().map(|(other, _)| *other);
                let running = direct.chain(self.graph.inputs(at).iter().copied()).find(|other| runs(*other));
                running.map_or_else(|| Why::Inputs.to_string(), |other| format!("{} runs", name(other)))
            }
            Decision::Run(Why::InvalidByMoment) => match &record.phase {
                Phase::Succeeded(success) => format!("invalid: {}", reasons(&success.outcome.invalid)),
                Phase::Voided(reason) => reason.clone(),
                Phase::Never | Phase::Started | Phase::Failed(_) | Phase::Interrupted(_) | Phase::Skipped(_) => {
                    Why::InvalidByMoment.to_string()
                }
            },
            Decision::Run(why) => why.to_string(),
        };
        Verdict { decision: decisions[at], why }
    }
}

fn reasons(invalid: &[super::step::Invalid]) -> String {
    invalid.iter().map(|reason| reason.reason.as_str()).collect::<Vec<_>>().join("; ")
}

/// The verdicts for people and programs.
pub(super) fn outlooks(graph: &Graph, verdicts: &[Verdict]) -> Vec<Outlook> {
    let outlook = |(step, verdict): (&crate::plan::StepSpec, &Verdict)| Outlook {
        address: step.address.clone(),
        kind: step.kind.clone(),
        summary: step.summary.clone(),
        decision: match verdict.decision {
            Decision::Keep => "keep",
            Decision::Adopt => "adopt",
            Decision::Run(_) => "run",
            Decision::Refuse => "refuse",
            Decision::NotNeeded(_) => "not-needed",
            Decision::NotChosen => "not-chosen",
        },
        why: verdict.why.clone(),
        estimate_seconds: step.estimate.map(|estimate| estimate.as_secs_f64()),
    };
    graph.steps().iter().zip(verdicts).map(outlook).collect()
}
