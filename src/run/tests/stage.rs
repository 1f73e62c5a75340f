//! A place for one run and its world, and runners that die or lose their disk at a chosen instant.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::super::*;
use super::world::{World, address, frozen};
use crate::base::{Clock, ManualClock, Timestamp};
use crate::plan::StepSpec;

/// The instant at which a runner dies: around the n-th line that it writes in this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::run) enum Death {
    Before(usize),
    Amid(usize),
    After(usize),
}

struct Died;

struct Mortal {
    file: Box<dyn JournalFile>,
    written: Arc<Mutex<usize>>,
    death: Option<Death>,
}

impl JournalFile for Mortal {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let number = {
            let mut written = self.written.lock().unwrap();
            *written += 1;
            *written
        };
        match self.death {
            Some(Death::Before(at)) if at == number => resume_unwind(Box::new(Died)),
            Some(Death::Amid(at)) if at == number => {
                self.file.append(&bytes[..bytes.len() / 2])?;
                resume_unwind(Box::new(Died))
            }
            Some(Death::After(at)) if at == number => {
                self.file.append(bytes)?;
                resume_unwind(Box::new(Died))
            }
            Some(_) | None => self.file.append(bytes),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        // Machines do not crash here, processes do: what was written stays.
        Ok(())
    }
}

/// A journal on a disk that is full from the n-th line on.
pub(in crate::run) struct FullFrom {
    pub(in crate::run) file: Box<dyn JournalFile>,
    pub(in crate::run) lines: usize,
}

impl JournalFile for FullFrom {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.lines == 0 {
            self.file.append(&bytes[..bytes.len() / 3])?;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.lines -= 1;
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A place for one run, and its world.
pub(in crate::run) struct Stage {
    pub(in crate::run) dir: PathBuf,
    pub(in crate::run) world: World,
    pub(in crate::run) frozen: Frozen,
    pub(in crate::run) clock: Arc<dyn Clock>,
    /// Makes the plan grow, if it searches.
    pub(in crate::run) expand: Option<Expand>,
    _folder: tempfile::TempDir,
}

impl Stage {
    pub(in crate::run) fn new(deployments: &[&str], levels: &[u32]) -> Self {
        Self::of(frozen(deployments, levels, 1))
    }

    pub(in crate::run) fn of(frozen: Frozen) -> Self {
        // Hundreds of runs that sync every file: in memory where that is to be had. What is tested does not depend on it.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        Self {
            dir: folder.path().join("test/20261124-221003-0001"),
            world: World::default(),
            frozen,
            clock: Arc::new(ManualClock::at(Timestamp(1_795_558_203_250_000_000))),
            expand: None,
            _folder: folder,
        }
    }

    pub(in crate::run) fn layout(&self) -> RunLayout {
        RunLayout::new(&self.dir)
    }

    /// Takes the run: made when it is not there.
    pub(in crate::run) fn take(&self) -> Result<Run, RunError> {
        if self.layout().journal().exists() {
            return Run::open(&self.dir, Arc::clone(&self.clock));
        }
        let new = NewRun {
            dir: self.dir.clone(),
            id: "20261124-221003-0001".to_owned(),
            nonce: "n".to_owned(),
            tool: "0.1.0".to_owned(),
            frozen: self.frozen.clone(),
        };
        Run::create(&new, Arc::clone(&self.clock))
    }

    /// One session, from start to end.
    pub(in crate::run) fn session(&self, options: ExecuteOptions) -> Result<RunReport, RunError> {
        self.session_with(options, |file| file)
    }

    pub(in crate::run) fn session_with(
        &self,
        mut options: ExecuteOptions,
        wrap: impl FnOnce(Box<dyn JournalFile>) -> Box<dyn JournalFile>,
    ) -> Result<RunReport, RunError> {
        options.expand.clone_from(&self.expand);
        let mut run = self.take()?;
        run.wrap_journal(wrap);
        let world = self.world.clone();
        let actions = move |kind: &str| world.action(kind);
        runtime().block_on(run.execute(Some(self.frozen.clone()), &actions, options))
    }

    /// One session of everything, that must be able to begin.
    pub(in crate::run) fn go(&self) -> RunReport {
        self.session(ExecuteOptions::default()).unwrap()
    }

    /// One session that dies. Returns the report if it ended before, and how many lines it wrote.
    pub(in crate::run) fn die(&self, death: Option<Death>) -> (Option<RunReport>, usize) {
        let written = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&written);
        let session = AssertUnwindSafe(|| {
            self.session_with(ExecuteOptions::default(), |file| Box::new(Mortal { file, written: counter, death }))
        });
        let report = match catch_unwind(session) {
            Ok(report) => Some(report.unwrap()),
            Err(payload) if payload.is::<Died>() => None,
            Err(payload) => resume_unwind(payload),
        };
        let lines = *written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (report, lines)
    }

    pub(in crate::run) fn state(&self) -> RunState {
        read_state(&self.layout()).unwrap()
    }

    pub(in crate::run) fn points(&self) -> Vec<&StepSpec> {
        self.frozen.steps.iter().filter(|step| step.kind == "load").collect()
    }

    /// The text that is published for a point, if what is published is whole.
    pub(in crate::run) fn published(&self, place: &str) -> Option<String> {
        let folder = self.dir.join(place);
        manifest_in(&folder)?;
        assert_eq!(faults(&folder), Vec::<String>::new(), "{place}");
        Some(fs::read_to_string(folder.join("results.json")).unwrap())
    }

    pub(in crate::run) fn word(report: &RunReport, step: &str) -> String {
        report.steps.iter().find(|state| state.address.as_str() == step).unwrap().state.clone()
    }
}

pub(in crate::run) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

pub(in crate::run) fn only(steps: &[&str]) -> Choice {
    Choice { only: Some(steps.iter().map(|step| address(step)).collect()), ..Choice::default() }
}

pub(in crate::run) fn rerun(steps: &[&str]) -> Choice {
    Choice { rerun: steps.iter().map(|step| address(step)).collect(), ..Choice::default() }
}

pub(in crate::run) fn choose(choice: Choice) -> ExecuteOptions {
    ExecuteOptions { choice, ..ExecuteOptions::default() }
}
