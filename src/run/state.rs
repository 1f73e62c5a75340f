//! What the journal's events add up to: a state machine without effects that refuses what cannot happen.
//!
//! The same rules serve the running session, which applies an event before it writes it, and every reader of a journal:
//! a journal that breaks them was not written by this program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use indexmap::IndexMap;
use serde_json::Value;

use super::graph::Life;
use super::journal::{Event, Line};
use super::step::{Obligation, StepFailure, StepOutcome, StepReport};
use crate::base::{Digest, Name};
use crate::plan::{Address, StepSpec};

/// Something that cannot happen in a run's state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IllegalEvent {
    /// The first event must be the run's creation, and no other may be.
    #[error("a journal begins with the creation of its run, once")]
    Creation,
    /// Something happened outside of a session.
    #[error("nothing happens between sessions")]
    NoSession,
    /// Sessions are numbered without gaps.
    #[error("session {found} cannot follow session {last}")]
    Session {
        /// Its number.
        found: u32,
        /// The last one's.
        last: u32,
    },
    /// A step that cannot start.
    #[error("attempt {attempt} at {address} cannot start: {why}")]
    Start {
        /// The step.
        address: Address,
        /// The attempt.
        attempt: u32,
        /// The rule.
        why: &'static str,
    },
    /// A step that cannot end.
    #[error("attempt {attempt} at {address} cannot end: it is not running")]
    End {
        /// The step.
        address: Address,
        /// The attempt.
        attempt: u32,
    },
    /// A step that is running cannot be skipped, and one without a result cannot be voided.
    #[error("{address} cannot be {what} now")]
    Step {
        /// The step.
        address: Address,
        /// What cannot be.
        what: &'static str,
    },
    /// An obligation that was opened before.
    #[error("obligation {id} was opened before")]
    Opened {
        /// Its id.
        id: String,
    },
    /// An obligation that is not open.
    #[error("obligation {id} is not open")]
    NotOpen {
        /// Its id.
        id: String,
    },
    /// Generations are numbered without gaps.
    #[error("generation {found} of the plan cannot follow generation {last}")]
    Generation {
        /// Its number.
        found: u32,
        /// The last one's.
        last: u32,
    },
}

/// A result and where its files are.
#[derive(Debug, Clone, PartialEq)]
pub struct Success {
    /// The result.
    pub outcome: StepOutcome,
    /// Digest of its files' manifest.
    pub manifest: Option<Digest>,
    /// Where they lie, relative to the run's folder; `None`: with the attempts.
    pub place: Option<PathBuf>,
}

/// How the newest attempt at a step stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Phase {
    /// There was none.
    #[default]
    Never,
    /// It started, and nothing more is known.
    Started,
    /// It has a result.
    Succeeded(Success),
    /// It has none.
    Failed(StepFailure),
    /// It was cut short.
    Interrupted(String),
    /// It did not run though it was due.
    Skipped(String),
    /// It had a result that does not count any more.
    Voided(String),
}

impl Phase {
    /// One word, which also goes into digests of inputs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Never => "pending",
            Self::Started => "running",
            Self::Succeeded(success) if success.outcome.invalid.is_empty() => "succeeded",
            Self::Succeeded(_) | Self::Voided(_) => "invalid",
            Self::Failed(_) => "failed",
            Self::Interrupted(_) => "interrupted",
            Self::Skipped(_) => "skipped",
        }
    }
}

/// All that is known of one step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepRecord {
    /// The number of the newest attempt; 0: there was none.
    pub attempts: u32,
    /// How it stands.
    pub phase: Phase,
    /// The step's key when the newest attempt started.
    pub key: Option<Digest>,
    /// Digest of its inputs then.
    pub inputs: Option<Digest>,
    /// What answered then.
    pub incarnation: Option<Digest>,
    /// The newest output that it ever had.
    pub output: Option<Value>,
}

impl StepRecord {
    /// How the step stands, for those who sum up.
    pub fn report(&self, address: &Address) -> StepReport {
        let (output, invalid) = match &self.phase {
            Phase::Succeeded(success) => (Some(success.outcome.output.clone()), success.outcome.invalid.clone()),
            Phase::Never
            | Phase::Started
            | Phase::Failed(_)
            | Phase::Interrupted(_)
            | Phase::Skipped(_)
            | Phase::Voided(_) => (None, Vec::new()),
        };
        let reason = match &self.phase {
            Phase::Failed(failure) => Some(failure.message.clone()),
            Phase::Interrupted(reason) | Phase::Skipped(reason) | Phase::Voided(reason) => Some(reason.clone()),
            Phase::Succeeded(_) => invalid.first().map(|invalid| invalid.reason.clone()),
            Phase::Never | Phase::Started => None,
        };
        let (address, state) = (address.clone(), self.phase.word().to_owned());
        StepReport { address, state, reason, attempt: self.attempts, output, invalid }
    }
}

/// A session of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// When it began, RFC 3339.
    pub started: String,
    /// On which machine.
    pub host: String,
    /// Its exit code and how many steps were left, if it ended in order.
    pub ended: Option<(u8, u32)>,
}

/// An obligation that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenObligation {
    /// What must be ended.
    pub obligation: Obligation,
    /// Whose it is.
    pub life: Option<Life>,
}

/// What one run has come to.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    run: String,
    plan: Option<Name>,
    tool: String,
    nonce: String,
    created: String,
    generation: u32,
    frozen: Option<Digest>,
    steps: BTreeMap<Address, StepRecord>,
    open: IndexMap<String, OpenObligation>,
    known_obligations: BTreeSet<String>,
    incarnations: BTreeMap<Life, Vec<(Digest, Value)>>,
    sessions: Vec<SessionRecord>,
}

impl Default for RunState {
    fn default() -> Self {
        Self {
            run: String::new(),
            plan: None,
            tool: String::new(),
            nonce: String::new(),
            created: String::new(),
            generation: 0,
            frozen: None,
            steps: BTreeMap::new(),
            open: IndexMap::new(),
            known_obligations: BTreeSet::new(),
            incarnations: BTreeMap::new(),
            sessions: Vec::new(),
        }
    }
}

static NOTHING: StepRecord =
    StepRecord { attempts: 0, phase: Phase::Never, key: None, inputs: None, incarnation: None, output: None };

impl RunState {
    /// The state after a whole journal.
    ///
    /// # Errors
    /// The number of the line (from 1) that cannot follow those before it, and why.
    pub fn replay(lines: &[Line]) -> Result<Self, (usize, IllegalEvent)> {
        let mut state = Self::default();
        for (at, line) in lines.iter().enumerate() {
            state.apply(&line.event, &line.time).map_err(|error| (at + 1, error))?;
        }
        if state.generation == 0 {
            return Err((1, IllegalEvent::Creation));
        }
        Ok(state)
    }

    /// Takes in one event, which happened at `time` (RFC 3339).
    ///
    /// # Errors
    /// When it cannot happen now; then nothing has changed.
    pub fn apply(&mut self, event: &Event, time: &str) -> Result<(), IllegalEvent> {
        self.refuse_out_of_session(event)?;
        match event {
            Event::RunCreated { run, plan, tool, nonce, steps } => {
                self.run.clone_from(run);
                self.plan = Some(plan.clone());
                self.tool.clone_from(tool);
                self.nonce.clone_from(nonce);
                time.clone_into(&mut self.created);
                self.generation = 1;
                self.frozen = Some(steps.clone());
            }
            Event::SessionStarted { number, host, .. } => {
                let last = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
                if *number != last + 1 {
                    return Err(IllegalEvent::Session { found: *number, last });
                }
                self.sessions.push(SessionRecord { started: time.to_owned(), host: host.clone(), ended: None });
            }
            Event::SessionEnded { code, outstanding } => {
                let session = self.sessions.last_mut().ok_or(IllegalEvent::NoSession)?;
                session.ended = Some((*code, *outstanding));
            }
            Event::StepStarted { address, attempt, key, inputs, incarnation } => {
                let record = self.steps.entry(address.clone()).or_default();
                let refuse = |why| IllegalEvent::Start { address: address.clone(), attempt: *attempt, why };
                if record.phase == Phase::Started {
                    return Err(refuse("another is running"));
                }
                if *attempt != record.attempts + 1 {
                    return Err(refuse("attempts are numbered without gaps"));
                }
                record.attempts = *attempt;
                record.phase = Phase::Started;
                record.key = Some(key.clone());
                record.inputs.clone_from(inputs);
                record.incarnation.clone_from(incarnation);
            }
            Event::StepSucceeded { address, attempt, outcome, manifest, place, adopted: _ } => {
                let record = self.running(address, *attempt)?;
                record.output = Some(outcome.output.clone());
                record.phase = Phase::Succeeded(Success {
                    outcome: outcome.clone(),
                    manifest: manifest.clone(),
                    place: place.clone(),
                });
            }
            Event::StepFailed { address, attempt, failure } => {
                self.running(address, *attempt)?.phase = Phase::Failed(failure.clone());
            }
            Event::StepInterrupted { address, attempt, reason } => {
                self.running(address, *attempt)?.phase = Phase::Interrupted(reason.clone());
            }
            Event::StepSkipped { address, because } => {
                let record = self.steps.entry(address.clone()).or_default();
                if record.phase == Phase::Started {
                    return Err(IllegalEvent::Step { address: address.clone(), what: "skipped" });
                }
                record.phase = Phase::Skipped(because.clone());
            }
            Event::StepVoided { address, reason } => match self.steps.get_mut(address) {
                Some(record) if matches!(record.phase, Phase::Succeeded(_)) => {
                    record.phase = Phase::Voided(reason.clone());
                }
                Some(_) | None => return Err(IllegalEvent::Step { address: address.clone(), what: "voided" }),
            },
            Event::ObligationOpened { obligation, life } => {
                if !self.known_obligations.insert(obligation.id.clone()) {
                    return Err(IllegalEvent::Opened { id: obligation.id.clone() });
                }
                let open = OpenObligation { obligation: obligation.clone(), life: life.clone() };
                self.open.insert(obligation.id.clone(), open);
            }
            Event::ObligationClosed { id } => {
                if self.open.shift_remove(id).is_none() {
                    return Err(IllegalEvent::NotOpen { id: id.clone() });
                }
            }
            Event::IncarnationRecorded { life, incarnation, digest, address: _ } => {
                let lives = self.incarnations.entry(life.clone()).or_default();
                if lives.last().is_none_or(|(last, _)| last != digest) {
                    lives.push((digest.clone(), incarnation.clone()));
                }
            }
            Event::PlanAmended { generation, steps, .. } => {
                if *generation != self.generation + 1 {
                    return Err(IllegalEvent::Generation { found: *generation, last: self.generation });
                }
                self.generation = *generation;
                self.frozen = Some(steps.clone());
            }
            Event::Note { .. } => {}
        }
        Ok(())
    }

    fn refuse_out_of_session(&self, event: &Event) -> Result<(), IllegalEvent> {
        let creates = matches!(event, Event::RunCreated { .. });
        if creates != (self.generation == 0) {
            return Err(IllegalEvent::Creation);
        }
        let outside = creates || matches!(event, Event::SessionStarted { .. });
        if !outside && self.sessions.last().is_none_or(|session| session.ended.is_some()) {
            return Err(IllegalEvent::NoSession);
        }
        Ok(())
    }

    fn running(&mut self, address: &Address, attempt: u32) -> Result<&mut StepRecord, IllegalEvent> {
        match self.steps.get_mut(address) {
            Some(record) if record.phase == Phase::Started && record.attempts == attempt => Ok(record),
            Some(_) | None => Err(IllegalEvent::End { address: address.clone(), attempt }),
        }
    }

    /// The run's id.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The plan's name.
    pub fn plan(&self) -> Option<&Name> {
        self.plan.as_ref()
    }

    /// Version of the program that made the run.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// What is mixed into its prompts.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// When it was made, RFC 3339.
    pub fn created(&self) -> &str {
        &self.created
    }

    /// The number of the frozen plan that counts.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Digest of the frozen steps that count.
    pub fn frozen(&self) -> Option<&Digest> {
        self.frozen.as_ref()
    }

    /// What is known of a step.
    pub fn step(&self, address: &Address) -> &StepRecord {
        self.steps.get(address).unwrap_or(&NOTHING)
    }

    /// Every step that anything is known of.
    pub fn steps(&self) -> &BTreeMap<Address, StepRecord> {
        &self.steps
    }

    /// How each of these steps stands.
    pub fn reports(&self, steps: &[StepSpec]) -> Vec<StepReport> {
        steps.iter().map(|step| self.step(&step.address).report(&step.address)).collect()
    }

    /// What is open, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &OpenObligation> {
        self.open.values()
    }

    /// Whether something of that life is open.
    pub fn owes(&self, life: &Life) -> bool {
        self.open.values().any(|open| open.life.as_ref() == Some(life))
    }

    /// What answers for that life, as it was last recorded.
    pub fn incarnation(&self, life: &Life) -> Option<&Digest> {
        self.incarnations.get(life).and_then(|lives| lives.last()).map(|(digest, _)| digest)
    }

    /// All incarnations of all lives, in the order in which they were recorded.
    pub fn incarnations(&self) -> &BTreeMap<Life, Vec<(Digest, Value)>> {
        &self.incarnations
    }

    /// All sessions.
    pub fn sessions(&self) -> &[SessionRecord] {
        &self.sessions
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
