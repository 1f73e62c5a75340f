//! What follows from the end of a step: publishing, another try, skipping, stopping.

use tokio::task::{Id, JoinError};

use super::super::events::{EventBody, EventLevel};
use super::super::graph::Role;
use super::super::journal::Event;
use super::super::outcome::{Cause, ExitCode};
use super::super::publish;
use super::super::state::Phase;
use super::super::step::{FailureKind, Invalid, StepFailure};
use super::core::{Dispatcher, Halt, Running, Standing};
use super::task::Sealed;
use crate::plan::OnFailure;

impl Dispatcher {
    pub(super) fn ended(&mut self, ended: Result<(Id, Result<Sealed, StepFailure>), JoinError>) {
        let (task, result) = match ended {
            Ok((task, result)) => (task, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let at = self.running.iter().find(|(_, running)| running.task == task).map(|(at, _)| *at);
        let at = at.expect("every task of the set belongs to a running step");
        let running = self.running.remove(&at).expect("it was just found");
        match result {
            Ok(Ok(sealed)) => self.succeeded(at, &running, sealed),
            Ok(Err(failure)) if running.told_to_end || failure.class == FailureKind::Interrupted => {
                self.interrupted(at, running.attempt, &failure.message);
            }
            Ok(Err(failure)) => self.failed(at, running.attempt, failure),
            Err(error) if error.is_panic() => {
                let said = panic_text(error);
                let address = self.graph.step(at).address.clone();
                self.causes.push(Cause::new(ExitCode::BUG, format!("{address} panicked: {said}")));
                let failure = StepFailure::new(FailureKind::Lasting, format!("panicked: {said}"))
                    .help("this is a bug; please report it with the run's `.run` folder");
                self.failed(at, running.attempt, failure);
            }
            Err(_) => self.interrupted(at, running.attempt, "it did not end when it was told to"),
        }
    }

    fn succeeded(&mut self, at: usize, running: &Running, sealed: Sealed) {
        let address = self.graph.step(at).address.clone();
        let attempt = running.attempt;
        let place = if sealed.manifest.is_some() { self.graph.published_at(at) } else { None };
        if let Some(place) = &place {
            let whole = self.layout.whole(&address, attempt);
            if let Err(error) = publish::publish(&self.layout, &address, &whole, place) {
                self.failed(at, attempt, StepFailure::from_error(FailureKind::Storage, &error));
                return;
            }
        }
        let invalid = sealed.outcome.invalid.clone();
        self.record_done(&Event::StepSucceeded {
            address: address.clone(),
            attempt,
            outcome: sealed.outcome,
            manifest: sealed.manifest,
            place,
            adopted: false,
        });
        if invalid.is_empty() {
            self.standing[at] = Standing::Succeeded;
            let seconds = self.shared.clock.elapsed().saturating_sub(running.since).as_secs_f64();
            let body = EventBody::StepSucceeded { address: address.clone(), attempt, seconds: Some(seconds) };
            self.emit(EventLevel::Info, format!("{address} succeeded"), body);
            return;
        }
        let again = invalid.iter().all(|reason| reason.momentary) && self.has_another_try(at);
        self.standing[at] = if again { Standing::Waiting } else { Standing::Invalid };
        let message = format!("{address} is invalid: {}", in_words(&invalid));
        self.emit(EventLevel::Warn, message, EventBody::StepInvalid { address, attempt, invalid, again });
        if !again {
            self.consider_giving_up(at);
        }
    }

    pub(super) fn failed(&mut self, at: usize, attempt: u32, failure: StepFailure) {
        let address = self.graph.step(at).address.clone();
        self.record_done(&Event::StepFailed { address: address.clone(), attempt, failure: failure.clone() });
        let again = failure.class == FailureKind::Passing && self.has_another_try(at);
        self.standing[at] = if again { Standing::Waiting } else { Standing::Failed };
        let (class, message) = (failure.class, format!("{address}: {}", failure.message));
        let level = if again { EventLevel::Warn } else { EventLevel::Error };
        self.emit(level, message.clone(), EventBody::StepFailed { address, attempt, failure, again });
        if again {
            return;
        }
        match class {
            FailureKind::Storage => self.storage_failed(&message),
            FailureKind::Preflight => {
                self.causes.push(Cause::new(ExitCode::PREFLIGHT, message.clone()));
                self.stop_starting(Halt::ClearUp, message);
            }
            FailureKind::Locked => {
                self.causes.push(Cause::new(ExitCode::LOCKED, message.clone()));
                self.stop_starting(Halt::ClearUp, message);
            }
            FailureKind::Leak => self.causes.push(Cause::new(ExitCode::LEAKED, message)),
            FailureKind::Passing | FailureKind::Lasting | FailureKind::Interrupted => {
                if self.shared.plan.policy.on_failure == OnFailure::Stop {
                    self.stop_starting(Halt::WindUp, format!("policy.on-failure says stop, and {message}"));
                }
            }
        }
        self.consider_giving_up(at);
    }

    pub(super) fn interrupted(&mut self, at: usize, attempt: u32, reason: &str) {
        let address = self.graph.step(at).address.clone();
        self.record_done(&Event::StepInterrupted { address: address.clone(), attempt, reason: reason.to_owned() });
        self.standing[at] = Standing::Interrupted;
        let message = format!("{address} was interrupted: {reason}");
        self.emit(EventLevel::Warn, message, EventBody::StepInterrupted { address, attempt });
    }

    fn has_another_try(&self, at: usize) -> bool {
        self.tries[at] <= self.shared.plan.policy.retries
            && (self.halt.is_none() || self.graph.role(at).cleans_up() && self.journal.broken().is_none())
    }

    /// After enough points in a row without a good result the higher levels of the sweep are not worth the time.
    fn consider_giving_up(&mut self, at: usize) {
        let limit = self.shared.plan.policy.stop_after as usize;
        if self.graph.role(at) != Role::Point || limit == 0 {
            return;
        }
        let level = |place: usize| self.graph.step(place).level.map(|level| level.value());
        let sweep: Vec<usize> = self.graph.sweep(at).collect();
        let until_here = sweep.iter().rev().skip_while(|other| **other != at);
        let in_a_row = until_here.take_while(|other| self.has_no_good_result(**other)).count();
        if in_a_row < limit {
            return;
        }
        let because = format!("{in_a_row} points in a row below it have no good result (policy.stop-after)");
        let higher: Vec<usize> = sweep
            .into_iter()
            .filter(|other| self.standing[*other] == Standing::Waiting && level(*other) > level(at))
            .collect();
        for other in higher {
            self.give_up(other, because.clone());
        }
    }

    fn has_no_good_result(&self, at: usize) -> bool {
        match &self.standing[at] {
            Standing::Failed | Standing::Invalid => true,
            Standing::Kept => matches!(&self.state.step(&self.graph.step(at).address).phase,
                Phase::Succeeded(success) if !success.outcome.invalid.is_empty()),
            Standing::Waiting
            | Standing::Running
            | Standing::Succeeded
            | Standing::Interrupted
            | Standing::Skipped(_)
            | Standing::NotNeeded(_)
            | Standing::NotChosen
            | Standing::NotReached => false,
        }
    }
}

fn in_words(invalid: &[Invalid]) -> String {
    invalid.iter().map(|reason| reason.reason.as_str()).collect::<Vec<_>>().join("; ")
}

fn panic_text(error: JoinError) -> String {
    let payload = error.into_panic();
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
