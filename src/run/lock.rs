//! One process per run: an OS lock that the system itself takes back when the process dies.
//!
//! The note beside the lock only says who has it; it is never evidence.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::RunError;
use super::layout::RunLayout;
use crate::base::{FileError, Timestamp, read_text, write_atomic};

/// Who has a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Machine.
    pub host: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Command line.
    pub command: Vec<String>,
}

impl Holder {
    /// This process.
    pub fn this_process(now: Timestamp) -> Self {
        Self {
            pid: std::process::id(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            since: now.rfc3339(),
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        }
    }
}

/// The lock of a run, as long as this lives.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// Looking at a lock takes it for an instant, so one refusal is no evidence yet.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

impl RunLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`RunError::Locked`] when another process has it; when the lock file cannot be made or locked.
    pub fn take(layout: &RunLayout, holder: &Holder) -> Result<Self, RunError> {
        let file = open(&layout.lock())?;
        let mut tries = 1;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(RunError::Locked { dir: layout.root().to_owned(), holder: who(layout) });
                }
                Err(TryLockError::Error(source)) => {
                    return Err(FileError::new("lock", &layout.lock(), source).into());
                }
            }
        }
        let note = serde_json::to_vec_pretty(holder).expect("a holder holds nothing that JSON cannot say");
        write_atomic(&layout.lock_note(), &note)?;
        Ok(Self { _file: file })
    }

    /// Whether a process has the lock now. Changes nothing.
    pub fn is_held(layout: &RunLayout) -> bool {
        File::open(layout.lock()).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

fn open(path: &Path) -> Result<File, FileError> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    opened.map_err(|source| FileError::new("open for locking", path, source))
}

fn who(layout: &RunLayout) -> String {
    let holder: Option<Holder> = read_text(&layout.lock_note()).ok().and_then(|text| serde_json::from_str(&text).ok());
    match holder {
        Some(holder) => {
            format!("process {} on {} since {} ({})", holder.pid, holder.host, holder.since, holder.command.join(" "))
        }
        None => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_has_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let layout = RunLayout::new(dir.path());
        crate::base::create_dir(&layout.inner()).unwrap();
        assert!(!RunLock::is_held(&layout));
        let holder = Holder::this_process(Timestamp(0));
        let lock = RunLock::take(&layout, &holder).unwrap();
        assert!(RunLock::is_held(&layout));
        let error = RunLock::take(&layout, &holder).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        assert_eq!(error.exit_code(), super::super::outcome::ExitCode::LOCKED);
        drop(lock);
        RunLock::take(&layout, &holder).unwrap();
    }
}
