//! What a session tells: steps and their states, progress, and why the exit code is what it is.

use super::super::decide::{Decision, WhyNot};
use super::super::events::{EventBody, EventLevel, Events};
use super::super::graph::{Life, Role};
use super::super::journal::{Event, Journal};
use super::super::outcome::{Cause, ExitCode, RunReport};
use super::super::state::Phase;
use super::super::step::StepReport;
use super::core::{Dispatcher, Standing};
use crate::plan::{Address, Teardown};

impl Dispatcher {
    pub(super) fn tell_kept(&mut self) {
        for at in 0..self.standing.len() {
            if self.standing[at] == Standing::Kept {
                let address = self.graph.step(at).address.clone();
                let message = format!("{address} kept: {}", self.verdicts[at].why);
                self.emit(EventLevel::Info, message, EventBody::StepKept { address });
            }
        }
    }

    pub(super) fn tell_progress(&mut self) {
        let mut news = Vec::new();
        for (at, running) in &mut self.running {
            // The sender lives in the step's context; when it is gone there is no news.
            if running.progress.has_changed().unwrap_or(false) {
                news.push((*at, running.progress.borrow_and_update().clone()));
            }
        }
        for (at, progress) in news {
            let address = self.graph.step(at).address.clone();
            let message = format!("{address}: {}", progress.doing);
            self.emit(EventLevel::Info, message, EventBody::StepProgress { address, progress });
        }
    }

    /// Every step and how it stands, in the order of the run.
    pub(super) fn reports(&self) -> Vec<StepReport> {
        (0..self.standing.len()).map(|at| self.report_of(at)).collect()
    }

    fn report_of(&self, at: usize) -> StepReport {
        let address = self.graph.step(at).address.clone();
        let record = self.state.step(&address);
        let (state, reason) = match &self.standing[at] {
            Standing::Waiting => ("pending", None),
            Standing::Running => ("running", None),
            Standing::Succeeded => ("succeeded", None),
            Standing::Invalid => ("invalid", None),
            Standing::Failed => ("failed", None),
            Standing::Interrupted => ("interrupted", None),
            Standing::Skipped(because) => ("skipped", Some(because.clone())),
            Standing::Kept => (kept_word(&record.phase), None),
            Standing::NotNeeded(why) => (kept_word(&record.phase), Some(why.clone())),
            Standing::NotChosen => (kept_word(&record.phase), Some("not chosen".to_owned())),
            Standing::NotReached => (kept_word(&record.phase), Some("not reached".to_owned())),
        };
        let report = record.report(&address);
        StepReport { state: state.to_owned(), reason: reason.or(report.reason), ..report }
    }

    fn outstanding(&self) -> Vec<Address> {
        let due = |at: &usize| match &self.standing[*at] {
            Standing::Waiting
            | Standing::Running
            | Standing::Interrupted
            | Standing::Skipped(_)
            | Standing::NotChosen
            | Standing::NotReached => true,
            Standing::Succeeded | Standing::Invalid | Standing::Failed | Standing::Kept | Standing::NotNeeded(_) => {
                false
            }
        };
        (0..self.standing.len()).filter(due).map(|at| self.graph.step(at).address.clone()).collect()
    }

    /// Obligations that are open though nobody wished so.
    fn leaks(&self) -> Vec<String> {
        if self.keep || self.shared.plan.policy.teardown == Teardown::Never {
            return Vec::new();
        }
        let by_wish = |life: Option<&Life>| {
            self.graph.steps().iter().enumerate().any(|(at, step)| {
                self.graph.role(at) == Role::Obligation
                    && Life::of(step).as_ref() == life
                    && matches!(self.standing[at], Standing::NotNeeded(_))
                    && self.shared.plan.policy.teardown == Teardown::OnSuccess
            })
        };
        let open = self.state.open().filter(|open| !by_wish(open.life.as_ref()));
        open.map(|open| open.obligation.what.clone()).collect()
    }

    fn all_causes(&mut self) -> Vec<Cause> {
        let mut causes = std::mem::take(&mut self.causes);
        if let Some(signal) = self.stop.signal() {
            causes.push(Cause::new(signal.exit_code(), format!("interrupted by {}", signal.name())));
        }
        for what in self.leaks() {
            causes.push(Cause::new(ExitCode::LEAKED, format!("{what} was not ended")));
        }
        for at in 0..self.standing.len() {
            let address = &self.graph.step(at).address;
            let held = self.verdicts[at].decision == Decision::NotNeeded(WhyNot::Held);
            let word = self.report_of(at).state;
            match &self.standing[at] {
                Standing::Failed => causes.push(Cause::new(ExitCode::FAILED, format!("{address} failed"))),
                Standing::Invalid => causes.push(Cause::new(ExitCode::FAILED, format!("{address} is invalid"))),
                Standing::Kept if word == "invalid" => {
                    causes.push(Cause::new(ExitCode::FAILED, format!("{address} is invalid")));
                }
                Standing::NotNeeded(why) if held => {
                    causes.push(Cause::new(ExitCode::FAILED, format!("{address} is not measured: {why}")));
                }
                Standing::Waiting
                | Standing::Running
                | Standing::Succeeded
                | Standing::Interrupted
                | Standing::Skipped(_)
                | Standing::Kept
                | Standing::NotNeeded(_)
                | Standing::NotChosen
                | Standing::NotReached => {}
            }
        }
        let left = self.outstanding().len();
        if left > 0 {
            let steps = if left == 1 { "step is" } else { "steps are" };
            causes.push(Cause::new(ExitCode::OUTSTANDING, format!("{left} {steps} outstanding")));
        }
        causes
    }

    /// Ends the session: asks the judge for further causes, writes the journal's last line, tells the end.
    pub(in crate::run) fn conclude(mut self, judge: impl FnOnce(&RunReport) -> Vec<Cause>) -> RunReport {
        let mut report = RunReport {
            steps: self.reports(),
            outstanding: self.outstanding(),
            causes: self.all_causes(),
            obligations: self.state.open().map(|open| open.obligation.clone()).collect(),
            unrecorded: Vec::new(),
        };
        let further = judge(&report);
        report.causes.extend(further);
        let left = u32::try_from(report.outstanding.len()).unwrap_or(u32::MAX);
        let ended = Event::SessionEnded { code: report.exit_code().0, outstanding: left };
        let before = self.causes.len();
        self.record_done(&ended);
        report.causes.extend(self.causes.drain(before..));
        let (journal, events): (Journal, &mut Events) = (self.journal, &mut self.events);
        report.unrecorded = journal.into_unrecorded();
        let code = report.exit_code();
        let message = if report.causes.is_empty() {
            "done".to_owned()
        } else {
            report.causes.iter().map(|cause| cause.message.as_str()).collect::<Vec<_>>().join("; ")
        };
        let level = if report.causes.is_empty() { EventLevel::Info } else { EventLevel::Warn };
        let body = EventBody::Finished {
            code,
            causes: report.causes.clone(),
            obligations: report.obligations.clone(),
            unrecorded: report.unrecorded.clone(),
        };
        events.emit(self.shared.clock.now(), level, message, body);
        report
    }
}

/// The state of a step that did not run in this session.
fn kept_word(phase: &Phase) -> &'static str {
    match phase {
        Phase::Succeeded(success) if success.outcome.invalid.is_empty() => "kept",
        Phase::Succeeded(_)
        | Phase::Never
        | Phase::Started
        | Phase::Failed(_)
        | Phase::Interrupted(_)
        | Phase::Skipped(_)
        | Phase::Voided(_) => phase.word(),
    }
}
