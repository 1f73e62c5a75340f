//! Which step may start now, and which never will.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::decide::{Decision, Why};
use super::super::error::RunError;
use super::super::events::{EventBody, EventLevel};
use super::super::graph::{Life, Role};
use super::super::journal::Event;
use super::super::publish;
use super::super::session::inputs_digest;
use super::super::state::Phase;
use super::super::step::{FailureKind, Progress, StepContext, StepFailure};
use super::core::{Dispatcher, Halt, Running, Standing};
use super::task::{self, Job};
use crate::base::FileError;
use crate::plan::{NeedMode, StepClass, Teardown};

/// Steps that do not disturb each other run together, up to so many.
const TOGETHER: usize = 8;

/// Before the second attempt; doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whether a step's needs are met.
enum Needs {
    Met,
    NotYet,
    Blocked(String),
}

impl Dispatcher {
    /// Ends every waiting step that cannot or need not run. Returns whether there was one.
    pub(super) fn settle(&mut self) -> bool {
        let mut changed = false;
        for at in 0..self.standing.len() {
            if self.standing[at] != Standing::Waiting {
                continue;
            }
            if let Some(end) = self.end_without_running(at) {
                if let Standing::Skipped(because) = &end {
                    self.skip(at, because.clone());
                }
                self.standing[at] = end;
                changed = true;
            }
        }
        changed
    }

    fn end_without_running(&self, at: usize) -> Option<Standing> {
        let role = self.graph.role(at);
        match &self.halt {
            Some((Halt::WindUp, reason)) if !role.cleans_up() && role != Role::Conclude => {
                return Some(Standing::Skipped(reason.clone()));
            }
            Some((Halt::ClearUp, _)) if !role.cleans_up() => return Some(Standing::NotReached),
            Some((Halt::WindUp | Halt::ClearUp, _)) | None => {}
        }
        match self.needs_of(at) {
            Needs::NotYet => None,
            Needs::Blocked(because) => Some(Standing::Skipped(because)),
            Needs::Met if self.verdicts[at].decision == Decision::Run(Why::Asked) => None,
            Needs::Met if role.cleans_up() && !self.is_touched(at) => {
                Some(Standing::NotNeeded("nothing was started".to_owned()))
            }
            Needs::Met if role == Role::Obligation && self.stays_for_inspection(at) => {
                Some(Standing::NotNeeded("something of it failed, and policy.teardown says on-success".to_owned()))
            }
            Needs::Met => None,
        }
    }

    fn needs_of(&self, at: usize) -> Needs {
        let mut needs = Needs::Met;
        for (other, mode) in self.graph.needs(at) {
            let name = &self.graph.step(*other).address;
            match (&self.standing[*other], mode) {
                (Standing::Waiting | Standing::Running, _) => needs = Needs::NotYet,
                (_, NeedMode::Ended) | (Standing::Succeeded, _) => {}
                (
                    Standing::Kept | Standing::NotNeeded(_) | Standing::NotChosen | Standing::NotReached,
                    NeedMode::Succeeded,
                ) => {
                    let has_result = matches!(&self.state.step(name).phase,
                        Phase::Succeeded(success) if success.outcome.invalid.is_empty());
                    if !has_result {
                        return Needs::Blocked(format!("needs {name}, which has no result"));
                    }
                }
                (Standing::Failed, NeedMode::Succeeded) => {
                    return Needs::Blocked(format!("needs {name}, which failed"));
                }
                (Standing::Invalid, NeedMode::Succeeded) => {
                    return Needs::Blocked(format!("needs {name}, whose result is invalid"));
                }
                (Standing::Interrupted, NeedMode::Succeeded) => {
                    return Needs::Blocked(format!("needs {name}, which was interrupted"));
                }
                // The first cause is what helps, however long the chain from there.
                (Standing::Skipped(because), NeedMode::Succeeded) => return Needs::Blocked(because.clone()),
            }
        }
        needs
    }

    /// Whether there is anything for a step that cleans up: something before it ran, or something is open.
    fn is_touched(&self, at: usize) -> bool {
        self.graph.needs(at).iter().any(|(other, _)| self.tries[*other] > 0)
            || Life::of(self.graph.step(at)).is_some_and(|life| self.state.owes(&life))
    }

    fn stays_for_inspection(&self, at: usize) -> bool {
        let life = Life::of(self.graph.step(at));
        let failed =
            |other: usize| self.standing[other] == Standing::Failed && Life::of(self.graph.step(other)) == life;
        match self.shared.plan.policy.teardown {
            Teardown::OnSuccess => (0..self.standing.len()).any(failed),
            Teardown::Always | Teardown::Never => false,
        }
    }

    pub(super) fn give_up(&mut self, at: usize, because: String) {
        self.skip(at, because.clone());
        self.standing[at] = Standing::Skipped(because);
    }

    fn skip(&mut self, at: usize, because: String) {
        let address = self.graph.step(at).address.clone();
        // A good point that was to be measured again and is not keeps what it has.
        let keeps_result =
            self.graph.role(at) == Role::Point && matches!(self.state.step(&address).phase, Phase::Succeeded(_));
        if !keeps_result {
            self.record_done(&Event::StepSkipped { address: address.clone(), because: because.clone() });
        }
        self.emit(
            EventLevel::Warn,
            format!("{address} skipped: {because}"),
            EventBody::StepSkipped { address, because },
        );
    }

    /// Starts what may start, in the order of the run. Returns whether anything changed.
    pub(super) fn start_ready(&mut self) -> bool {
        let mut changed = false;
        for at in 0..self.standing.len() {
            if self.standing[at] != Standing::Waiting || !matches!(self.needs_of(at), Needs::Met) {
                continue;
            }
            let alone = |place: &usize| !self.graph.step(*place).overlaps;
            let disturbed = self.running.keys().any(alone);
            let has_room = if alone(&at) { self.running.is_empty() } else { self.running.len() < TOGETHER };
            if disturbed || !has_room {
                // Nothing overtakes it: a step that must be alone would otherwise wait for ever.
                break;
            }
            self.start(at);
            changed = true;
        }
        changed
    }

    fn start(&mut self, at: usize) {
        let spec = self.graph.step(at).clone();
        let role = self.graph.role(at);
        let address = spec.address.clone();
        let attempt = self.state.step(&address).attempts + 1;
        let started = Event::StepStarted {
            address: address.clone(),
            attempt,
            key: spec.key.clone(),
            inputs: (spec.class == StepClass::Pure).then(|| inputs_digest(&self.graph, &self.state, at)),
            incarnation: Life::of(&spec).and_then(|life| self.state.incarnation(&life).cloned()),
        };
        match self.record(&started) {
            Ok(()) => {}
            // Cleaning up goes on even if nobody will be able to read that it did.
            Err(RunError::JournalBroken { .. }) if role.cleans_up() => {}
            Err(RunError::JournalBroken { .. }) => {
                self.standing[at] = Standing::NotReached;
                return;
            }
            Err(error) => {
                self.bug(&error.to_string());
                self.standing[at] = Standing::Failed;
                return;
            }
        }
        self.tries[at] += 1;
        self.emit(
            EventLevel::Info,
            format!("{address}: {}", spec.summary),
            EventBody::StepStarted { address: address.clone(), attempt },
        );
        if let Err(error) = self.make_room(at, attempt)
            && !role.cleans_up()
        {
            self.failed(at, attempt, StepFailure::from_error(FailureKind::Storage, &error));
            return;
        }
        let cancel = CancellationToken::new();
        let (progress, seen) = watch::channel(Progress::default());
        let mut cx = StepContext::new(
            spec,
            attempt,
            Arc::clone(&self.shared),
            cancel.clone(),
            self.layout.part(&address, attempt),
            self.asking.clone(),
            progress,
        );
        cx.asked = self.verdicts[at].decision == Decision::Run(Why::Asked);
        let job = Job {
            action: Arc::clone(&self.actions[at]),
            cx,
            delay: pause(self.tries[at]),
            limit: role.cleans_up().then_some(self.shared.plan.policy.teardown_deadline),
            layout: self.layout.clone(),
            keeps_folder: role == Role::Point,
        };
        let abort = self.tasks.spawn(task::run(job));
        let running = Running {
            task: abort.id(),
            abort,
            cancel,
            progress: seen,
            attempt,
            since: self.shared.clock.elapsed(),
            told_to_end: false,
        };
        self.running.insert(at, running);
        self.standing[at] = Standing::Running;
    }

    /// Moves an earlier result out of the way and makes the attempt's folder.
    fn make_room(&self, at: usize, attempt: u32) -> Result<(), FileError> {
        let address = &self.graph.step(at).address;
        if let Some(place) = self.graph.published_at(at) {
            publish::give_way(&self.layout, address, &place)?;
        }
        publish::prepare(&self.layout, address, attempt)?;
        Ok(())
    }
}

/// How long to wait before the attempt with this number in this session.
fn pause(attempt: u32) -> Duration {
    match attempt.checked_sub(2) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_PAUSE.saturating_mul(1 << doublings.min(8)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let seconds: Vec<_> = (1..9).map(|attempt| pause(attempt).as_secs()).collect();
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 30, 30]);
    }
}
