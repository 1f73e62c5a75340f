//! Answers to what running steps ask.

use tokio::sync::oneshot;

use super::super::error::RunError;
use super::super::events::{EventBody, EventLevel};
use super::super::graph::{Life, Role};
use super::super::journal::Event;
use super::super::state::Phase;
use super::super::step::{Obligation, Request};
use super::core::{Dispatcher, Standing};
use crate::base::{Digest, digest_json};
use crate::plan::{Address, IncarnationPolicy, StepClass, Teardown};

impl Dispatcher {
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::Open(obligation, answer) => {
                let opened = self.open(obligation);
                reply(answer, opened);
            }
            Request::Close(id, answer) => {
                let closed = self.close(id);
                reply(answer, closed);
            }
            Request::Incarnation(address, incarnation, answer) => {
                let recorded = self.incarnation(&address, incarnation);
                reply(answer, recorded);
            }
            Request::Note(address, text, answer) => {
                let event = Event::Note { address: Some(address.clone()), text: text.clone() };
                let noted = done_anyway(self.record(&event));
                self.emit(EventLevel::Info, format!("{address}: {text}"), EventBody::Note { address: Some(address) });
                reply(answer, noted);
            }
            Request::Output(address, answer) => reply(answer, self.state.step(&address).output.clone()),
            Request::Obligations(answer) => {
                reply(answer, self.state.open().map(|open| open.obligation.clone()).collect());
            }
            Request::States(answer) => reply(answer, self.reports()),
        }
    }

    fn open(&mut self, obligation: Obligation) -> Result<(), RunError> {
        let life = self.graph.place_of(&obligation.address).and_then(|at| Life::of(self.graph.step(at)));
        let (id, what, address) = (obligation.id.clone(), obligation.what.clone(), obligation.address.clone());
        let recorded = self.record(&Event::ObligationOpened { obligation, life: life.clone() });
        if let Err(RunError::JournalBroken { .. }) = &recorded {
            // The deed will not be done, so nothing is owed; only the attempt to say so is on record for printing.
            let now = self.now().rfc3339();
            self.state.apply(&Event::ObligationClosed { id }, &now)?;
            return recorded;
        }
        recorded?;
        self.emit(
            EventLevel::Info,
            format!("{address} starts {what}"),
            EventBody::ObligationOpened { id, what, address },
        );
        self.make_ending_due(life.as_ref());
        Ok(())
    }

    /// Something was started that nobody had expected when the session was planned: it must be ended too.
    fn make_ending_due(&mut self, life: Option<&Life>) {
        if self.keep || self.shared.plan.policy.teardown == Teardown::Never {
            return;
        }
        for at in 0..self.standing.len() {
            let waits = match &self.standing[at] {
                Standing::NotNeeded(_) | Standing::Kept => true,
                Standing::Waiting
                | Standing::Running
                | Standing::Succeeded
                | Standing::Invalid
                | Standing::Failed
                | Standing::Interrupted
                | Standing::Skipped(_)
                | Standing::NotChosen
                | Standing::NotReached => false,
            };
            if waits && self.graph.role(at) == Role::Obligation && Life::of(self.graph.step(at)).as_ref() == life {
                self.standing[at] = Standing::Waiting;
            }
        }
    }

    fn close(&mut self, id: String) -> Result<(), RunError> {
        let what = self.state.open().find(|open| open.obligation.id == id).map(|open| open.obligation.what.clone());
        done_anyway(self.record(&Event::ObligationClosed { id: id.clone() }))?;
        let what = what.unwrap_or_default();
        self.emit(EventLevel::Info, format!("{what} is gone"), EventBody::ObligationClosed { id, what });
        Ok(())
    }

    fn incarnation(&mut self, address: &Address, incarnation: serde_json::Value) -> Result<(), RunError> {
        let Some(life) = self.graph.place_of(address).and_then(|at| Life::of(self.graph.step(at))) else {
            return Ok(());
        };
        let digest = digest_json(&incarnation);
        self.record(&Event::IncarnationRecorded {
            address: address.clone(),
            life: life.clone(),
            incarnation,
            digest: digest.clone(),
        })?;
        let others = self.measured_on_others(&life, &digest);
        let points = others.iter().filter(|at| self.graph.role(**at) == Role::Point).count();
        if points == 0 {
            return Ok(());
        }
        match self.shared.plan.policy.incarnation {
            IncarnationPolicy::Any => Ok(()),
            IncarnationPolicy::Warn => {
                let text = format!("{points} points of {life} were measured on another incarnation");
                self.warn(address, text)
            }
            IncarnationPolicy::SamePerSweep => self.void(address, &life, others),
        }
    }

    fn warn(&mut self, address: &Address, text: String) -> Result<(), RunError> {
        self.record(&Event::Note { address: Some(address.clone()), text: text.clone() })?;
        self.emit(EventLevel::Warn, text, EventBody::Diagnostic { address: Some(address.clone()), help: None });
        Ok(())
    }

    /// Measurements of a life that count now and come from another incarnation than this one.
    fn measured_on_others(&self, life: &Life, now: &Digest) -> Vec<usize> {
        let from_another = |at: &usize| {
            let step = self.graph.step(*at);
            let record = self.state.step(&step.address);
            let counts = match &self.standing[*at] {
                Standing::Succeeded | Standing::Kept => true,
                // A warm-up that nobody needed until now.
                Standing::NotNeeded(_) => self.graph.role(*at) == Role::Supply,
                Standing::Waiting
                | Standing::Running
                | Standing::Invalid
                | Standing::Failed
                | Standing::Interrupted
                | Standing::Skipped(_)
                | Standing::NotChosen
                | Standing::NotReached => false,
            };
            counts
                && step.class == StepClass::Measurement
                && Life::of(step).as_ref() == Some(life)
                && matches!(&record.phase, Phase::Succeeded(success) if success.outcome.invalid.is_empty())
                && record.incarnation.as_ref() != Some(now)
        };
        (0..self.standing.len()).filter(from_another).collect()
    }

    /// Makes measurements due again. Not for ever: a deployment that keeps dying would never be done.
    fn void(&mut self, address: &Address, life: &Life, measured: Vec<usize>) -> Result<(), RunError> {
        let resweeps = self.resweeps.entry(life.clone()).or_default();
        *resweeps += 1;
        if *resweeps > self.shared.plan.policy.retries.max(1) {
            let text = format!("{life} has another incarnation again; its points are not measured once more");
            return self.warn(address, text);
        }
        for at in measured {
            let step = self.graph.step(at).address.clone();
            let reason = format!("was measured on another incarnation of {life}");
            self.record(&Event::StepVoided { address: step.clone(), reason: reason.clone() })?;
            self.standing[at] = Standing::Waiting;
            let message = format!("{step} {reason}");
            self.emit(EventLevel::Warn, message, EventBody::StepVoided { address: step, reason });
        }
        Ok(())
    }
}

/// What happened has happened, recorded or not: it is printed at the end, and the one who did it goes on.
fn done_anyway(recorded: Result<(), RunError>) -> Result<(), RunError> {
    match recorded {
        Err(RunError::JournalBroken { .. }) => Ok(()),
        other => other,
    }
}

/// A step that was ended meanwhile waits for no answer.
fn reply<T>(answer: oneshot::Sender<T>, with: T) {
    let _ = answer.send(with);
}
