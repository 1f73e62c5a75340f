//! A run from outside: make it or open it, then execute one session of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::amend::{self, Amendment};
use super::decide::{Decision, Edits};
use super::dispatcher::{Dispatcher, Parts};
use super::error::RunError;
use super::events::{EVENTS_SCHEMA, EventBody, EventLevel, EventSink, Events, Outlook};
use super::frozen::{self, Frozen};
use super::graph::Graph;
use super::grow::{Expand, grown};
use super::journal::{self, Event, Journal, Replay};
use super::layout::{self, RunLayout};
use super::lock::{Holder, RunLock};
use super::outcome::{Cause, RunReport};
use super::publish;
use super::session::{self, Choice, Survey, Verdict};
use super::state::{Phase, RunState};
use super::step::{RunShared, StepAction};
use super::stop::Stop;
use crate::base::Clock;
use crate::plan::{Plan, StepSpec};

/// From the name of a step kind to what it does.
pub type Actions<'a> = dyn Fn(&str) -> Option<Arc<dyn StepAction>> + Sync + 'a;

/// What a new run is made from.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its folder: it must not exist, or be empty.
    pub dir: PathBuf,
    /// Its id, from [`layout::run_id`].
    pub id: String,
    /// Mixed into every prompt.
    pub nonce: String,
    /// Version of the program.
    pub tool: String,
    /// The plan and what follows from it.
    pub frozen: Frozen,
}

/// What a further judge of a report says: causes that this floor cannot know, such as missed objectives.
pub type Judge = Box<dyn FnOnce(&RunReport) -> Vec<Cause> + Send>;

/// How a session is to be run.
#[derive(Default)]
pub struct ExecuteOptions {
    /// What the user chose.
    pub choice: Choice,
    /// Version of the program.
    pub tool: String,
    /// The handle by which the session is stopped.
    pub stop: Stop,
    /// Who wants to hear of it.
    pub sinks: Vec<Arc<dyn EventSink>>,
    /// Asked before the last event.
    pub judge: Option<Judge>,
    /// Makes a longer list of steps, where the plan searches.
    pub expand: Option<Expand>,
}

/// A run that this process has, until this is dropped.
pub struct Run {
    layout: RunLayout,
    clock: Arc<dyn Clock>,
    holder: Holder,
    journal: Journal,
    state: RunState,
    torn: bool,
    plan: Plan,
    steps: Vec<StepSpec>,
    _lock: RunLock,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("dir", &self.layout.root()).field("id", &self.state.run()).finish_non_exhaustive()
    }
}

impl Run {
    /// Makes a run and takes it. Nothing counts before the journal's first line, which comes last.
    ///
    /// # Errors
    /// When the folder holds something, the steps cannot be run, or files cannot be written.
    pub fn create(new: &NewRun, clock: Arc<dyn Clock>) -> Result<Self, RunError> {
        Graph::new(new.frozen.steps.clone())?;
        let layout = layout::create(&new.dir)?;
        let holder = Holder::this_process(clock.now());
        let lock = RunLock::take(&layout, &holder)?;
        if layout.journal().exists() {
            return Err(RunError::Exists { dir: new.dir.clone() });
        }
        frozen::freeze(&layout, 1, &new.frozen)?;
        let first = Event::RunCreated {
            run: new.id.clone(),
            plan: new.frozen.plan.name.clone(),
            tool: new.tool.clone(),
            nonce: new.nonce.clone(),
            steps: frozen::digest_of(&new.frozen.steps),
        };
        Journal::create(&layout.journal(), clock.now(), &first)?;
        Self::with_lock(layout, clock, holder, lock)
    }

    /// Takes a run up again. A torn last line of its journal is cut off.
    ///
    /// # Errors
    /// When there is none, another process has it, or its journal is damaged or newer.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, RunError> {
        let layout = RunLayout::new(dir);
        if !layout.journal().is_file() {
            return Err(RunError::NotARun { dir: dir.to_owned() });
        }
        let holder = Holder::this_process(clock.now());
        let lock = RunLock::take(&layout, &holder)?;
        Self::with_lock(layout, clock, holder, lock)
    }

    fn with_lock(layout: RunLayout, clock: Arc<dyn Clock>, holder: Holder, lock: RunLock) -> Result<Self, RunError> {
        let (journal, replay) = Journal::open(&layout)?;
        let state = replayed(&layout, &replay)?;
        let (plan, steps) = frozen::thaw(&layout, state.generation())?;
        Ok(Self { layout, clock, holder, journal, state, torn: replay.torn.is_some(), plan, steps, _lock: lock })
    }

    /// Where its files are.
    pub fn layout(&self) -> &RunLayout {
        &self.layout
    }

    /// What it has come to.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// The frozen plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The frozen steps.
    pub fn steps(&self) -> &[StepSpec] {
        &self.steps
    }

    /// Puts something between the journal and its file.
    #[cfg(test)]
    pub(super) fn wrap_journal(
        &mut self,
        wrap: impl FnOnce(Box<dyn journal::JournalFile>) -> Box<dyn journal::JournalFile>,
    ) {
        self.journal.wrap(wrap);
    }

    /// Runs one session: what is due is done, what is done is kept. `current`: the plan as it is now; `None`, or
    /// [`Edits::Ignore`]: as it was frozen.
    ///
    /// # Errors
    /// Before anything was started only: when edits are refused, a chosen step is none, a kind of step is not known, or
    /// the journal cannot be written at all. What happens later is in the report.
    pub async fn execute(
        mut self,
        current: Option<Frozen>,
        actions: &Actions<'_>,
        options: ExecuteOptions,
    ) -> Result<RunReport, RunError> {
        let ExecuteOptions { choice, tool, stop, sinks, judge, expand } = options;
        let expand = expand.filter(|_| choice.until.is_none());
        let current = current.filter(|_| choice.edits != Edits::Ignore);
        let plan = current.as_ref().map_or_else(|| self.plan.clone(), |current| current.plan.clone());
        let steps = current.as_ref().map_or_else(|| self.steps.clone(), |current| current.steps.clone());
        let steps = match &expand {
            Some(expand) => grown(expand, &plan, &steps, &self.state, Some(&self.layout)),
            None => steps,
        };
        let graph = Graph::new(amend::with_open_endings(steps, &self.steps, &self.state))?;
        let places = graph.steps().iter().enumerate();
        let places = places.filter_map(|(at, step)| Some((&step.address, graph.published_at(at)?)));
        publish::put_repeats_back(&self.layout, places)?;
        let verdicts = decisions(&self.layout, &graph, &self.state, &self.steps, &choice, &plan)?;
        let by_kind = |step: &StepSpec| {
            let unknown = || RunError::UnknownKind { kind: step.kind.clone(), address: step.address.clone() };
            actions(&step.kind).ok_or_else(unknown)
        };
        let actions: Vec<_> = graph.steps().iter().map(by_kind).collect::<Result<_, _>>()?;

        let session = self.begin_session(&tool)?;
        let sources = match current {
            Some(current) => current.sources,
            None => frozen::sources(&self.layout, self.state.generation())?,
        };
        self.amend(&plan, graph.steps(), sources)?;
        let mut events = Events::new(sinks, self.layout.events());
        let hello = EventBody::Hello {
            schema: EVENTS_SCHEMA,
            run: self.state.run().to_owned(),
            tool,
            dir: self.layout.root().to_owned(),
            session,
        };
        let now = self.clock.now();
        events.emit(now, EventLevel::Info, format!("run {}, session {session}", self.state.run()), hello);
        let outlooks = session::outlooks(&graph, &verdicts);
        let due = outlooks.iter().filter(|outlook| outlook.decision == "run").count();
        events.emit(
            now,
            EventLevel::Info,
            format!("{due} of {} steps will run", outlooks.len()),
            EventBody::Plan { steps: outlooks },
        );
        self.end_what_was_running(&graph, &verdicts)?;

        let shared = RunShared {
            id: self.state.run().to_owned(),
            dir: self.layout.root().to_owned(),
            plan,
            steps: graph.steps().to_vec(),
            nonce: self.state.nonce().to_owned(),
            clock: Arc::clone(&self.clock),
        };
        let mut dispatcher = Dispatcher::new(Parts {
            graph,
            layout: self.layout,
            shared: Arc::new(shared),
            state: self.state,
            journal: self.journal,
            events,
            actions,
            verdicts,
            keep: choice.keep,
            stop,
            expand,
        });
        dispatcher.run().await;
        Ok(dispatcher.conclude(judge.unwrap_or_else(|| Box::new(|_| Vec::new()))))
    }

    pub(super) fn record(&mut self, event: &Event) -> Result<(), RunError> {
        let now = self.clock.now();
        self.state.apply(event, &now.rfc3339())?;
        self.journal.append(now, event)
    }

    pub(super) fn begin_session(&mut self, tool: &str) -> Result<u32, RunError> {
        let number = u32::try_from(self.state.sessions().len()).unwrap_or(u32::MAX).saturating_add(1);
        self.record(&Event::SessionStarted {
            number,
            tool: tool.to_owned(),
            pid: self.holder.pid,
            host: self.holder.host.clone(),
            command: self.holder.command.clone(),
        })?;
        if self.torn {
            let text = "the journal's last line was torn; it is kept as journal.torn-*".to_owned();
            self.record(&Event::Note { address: None, text })?;
        }
        Ok(number)
    }

    /// Freezes the plan as it is now, if it differs from what is frozen.
    fn amend(&mut self, plan: &Plan, steps: &[StepSpec], sources: Vec<frozen::SourceFile>) -> Result<(), RunError> {
        if *plan == self.plan && steps == self.steps {
            return Ok(());
        }
        let amendment = Amendment::between(&self.steps, steps);
        let generation = self.state.generation() + 1;
        let frozen = Frozen { plan: plan.clone(), steps: steps.to_vec(), sources };
        frozen::freeze(&self.layout, generation, &frozen)?;
        self.record(&Event::PlanAmended {
            generation,
            steps: frozen::digest_of(steps),
            added: amendment.added,
            removed: amendment.removed,
            changed: amendment.changed,
        })
    }

    /// Every step that started in an earlier session and never ended gets its end: its result, if that is whole.
    fn end_what_was_running(&mut self, graph: &Graph, verdicts: &[Verdict]) -> Result<(), RunError> {
        let started = self.state.steps().iter().filter(|(_, record)| record.phase == Phase::Started);
        let started: Vec<_> = started.map(|(address, record)| (address.clone(), record.attempts)).collect();
        for (address, attempt) in started {
            let at = graph.place_of(&address);
            let adopted = at.filter(|at| verdicts[*at].decision == Decision::Adopt);
            let place = adopted.and_then(|at| graph.published_at(at));
            let whole =
                adopted.and_then(|_| publish::find_whole(&self.layout, &address, attempt, place.as_deref(), None));
            let Some((from, manifest, digest)) = whole else {
                let reason = "the process ended while it ran".to_owned();
                self.record(&Event::StepInterrupted { address, attempt, reason })?;
                continue;
            };
            if let Some(place) = &place {
                publish::publish(&self.layout, &address, &from, place)?;
            }
            self.record(&Event::StepSucceeded {
                address,
                attempt,
                outcome: manifest.outcome,
                manifest: Some(digest),
                place,
                adopted: true,
            })?;
        }
        Ok(())
    }
}

fn replayed(layout: &RunLayout, replay: &Replay) -> Result<RunState, RunError> {
    RunState::replay(&replay.lines).map_err(|(line, source)| RunError::Impossible {
        path: layout.journal(),
        line,
        source,
    })
}

/// Reads a run's state without taking the run: for lists and previews. A session may be writing meanwhile.
///
/// # Errors
/// When there is no run, or its journal is damaged or newer.
pub fn read_state(layout: &RunLayout) -> Result<RunState, RunError> {
    if !layout.journal().is_file() {
        return Err(RunError::NotARun { dir: layout.root().to_owned() });
    }
    let replay = journal::read(&layout.journal())?;
    replayed(layout, &replay)
}

fn decisions(
    layout: &RunLayout,
    graph: &Graph,
    state: &RunState,
    frozen_steps: &[StepSpec],
    choice: &Choice,
    plan: &Plan,
) -> Result<Vec<Verdict>, RunError> {
    let evidence = session::look(layout, graph, state);
    let frozen_keys = amend::keys(frozen_steps);
    let survey = Survey { graph, state, evidence: &evidence, frozen_keys: &frozen_keys, choice, policy: &plan.policy };
    let verdicts = survey.decide_all()?;
    let refusals = survey.refusals(layout, &verdicts);
    if refusals.is_empty() { Ok(verdicts) } else { Err(RunError::Refused { refusals }) }
}

/// What a session would do with every step, without doing it. `run`: the folder of the run that would go on; `None`:
/// a new one. `current`: the plan as it is now; `None`: as it was frozen.
///
/// # Errors
/// As [`Run::execute`], before anything is started.
pub fn preview(run: Option<&Path>, current: Option<&Frozen>, choice: &Choice) -> Result<Vec<Outlook>, RunError> {
    let (layout, state, frozen) = match run {
        Some(dir) => {
            let layout = RunLayout::new(dir);
            let state = read_state(&layout)?;
            let frozen = frozen::thaw(&layout, state.generation())?;
            (layout, state, Some(frozen))
        }
        None => (RunLayout::new(PathBuf::new()), RunState::default(), None),
    };
    let frozen_steps = frozen.as_ref().map_or(&[][..], |(_, steps)| steps.as_slice());
    let now = current.filter(|_| choice.edits != Edits::Ignore || frozen.is_none());
    let now = now.map(|current| (&current.plan, &current.steps));
    let Some((plan, steps)) = now.or_else(|| frozen.as_ref().map(|(plan, steps)| (plan, steps))) else {
        return Ok(Vec::new());
    };
    let graph = Graph::new(amend::with_open_endings(steps.clone(), frozen_steps, &state))?;
    let verdicts = decisions(&layout, &graph, &state, frozen_steps, choice, plan)?;
    Ok(session::outlooks(&graph, &verdicts))
}

/// What differs between the meaning of a step's recorded result and of the step as it is now, field by field; empty
/// when nothing does, `None` when it has no result.
///
/// # Errors
/// When the run cannot be read.
pub fn explain_step(run: &Path, step: &StepSpec) -> Result<Option<Vec<super::explain::FieldDiff>>, RunError> {
    let layout = RunLayout::new(run);
    let state = read_state(&layout)?;
    let key = state.step(&step.address).key.as_ref();
    Ok(key.map(|key| {
        let before = frozen::fingerprint(&layout, key).unwrap_or_default();
        super::explain::explain(&before, &step.fingerprint)
    }))
}
