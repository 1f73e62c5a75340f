//! Ending what a run left open, outside of any step: what `dynbench cleanup` does to a journal.

use std::path::Path;
use std::sync::Arc;

use super::error::RunError;
use super::journal::Event;
use super::layout::RunLayout;
use super::open::Run;
use super::outcome::ExitCode;
use super::step::Obligation;
use crate::base::Clock;
use crate::plan::{Plan, StepSpec};

/// A session that does nothing but record what was ended. The run is this process's as long as it lives.
#[derive(Debug)]
pub struct Settling {
    run: Run,
    /// How the run stood before: ending leftovers changes nothing about its results.
    before: (u8, u32),
}

impl Settling {
    /// Takes the run.
    ///
    /// # Errors
    /// As [`Run::open`], and when the journal cannot be written.
    pub fn begin(dir: &Path, tool: &str, clock: Arc<dyn Clock>) -> Result<Self, RunError> {
        let mut run = Run::open(dir, clock)?;
        let last = run.state().sessions().last().and_then(|session| session.ended);
        // A session that never ended left at least one step to be done.
        let before = last.unwrap_or((ExitCode::OUTSTANDING.0, 1));
        run.begin_session(tool)?;
        Ok(Self { run, before })
    }

    /// The frozen plan.
    pub fn plan(&self) -> &Plan {
        self.run.plan()
    }

    /// What is open.
    pub fn open(&self) -> Vec<Obligation> {
        self.run.state().open().map(|open| open.obligation.clone()).collect()
    }

    /// Records that the obligation with this id is met.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn met(&mut self, id: &str) -> Result<(), RunError> {
        self.run.record(&Event::ObligationClosed { id: id.to_owned() })
    }

    /// Ends the session.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn end(mut self) -> Result<(), RunError> {
        let (code, outstanding) = self.before;
        let leaked = code == ExitCode::LEAKED.0;
        let code = if leaked && self.open().is_empty() { ExitCode::DONE.0 } else { code };
        self.run.record(&Event::SessionEnded { code, outstanding })
    }
}

/// The newest frozen plan and steps of a run, without taking it.
///
/// # Errors
/// When it is no run, or cannot be read.
pub fn frozen_of(dir: &Path) -> Result<(Plan, Vec<StepSpec>), RunError> {
    let layout = RunLayout::new(dir);
    let state = super::open::read_state(&layout)?;
    super::frozen::thaw(&layout, state.generation())
}
