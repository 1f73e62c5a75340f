//! The log of the truth: what the server itself knows of each completion request, one JSON object a line.
//!
//! Records reach a thread of its own through a bounded queue and only after their request has ended, so that no file
//! ever holds up a token. A full queue loses records, never time; how many is in `/metrics`. Everything is in the file
//! at most a second later, and at the server's end.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::FileError;

/// Version of [`TruthRecord`]. 1: the first.
pub const TRUTH_FORMAT: u32 = 1;

/// Records that may wait for the file: more than any level has requests at once.
const QUEUE: usize = 65_536;
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// How a completion request ended, as the server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// All that was to be sent was sent.
    Finished,
    /// The client, or the server's own end, closed the connection before.
    Disconnected,
    /// Answered with an error status.
    Refused,
    /// Failed on purpose after it was begun.
    Faulted,
}

impl Ending {
    /// As it stands in `/metrics`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Disconnected => "disconnected",
            Self::Refused => "refused",
            Self::Faulted => "faulted",
        }
    }
}

/// One line of the log. Times are nanoseconds; offsets count from the arrival.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthRecord {
    /// [`TRUTH_FORMAT`].
    pub format: u32,
    /// `x-request-id` as sent; without one `sim-N` for the N-th request, which the answer's own id ends with.
    pub id: String,
    /// HTTP status.
    pub status: u16,
    /// Arrival on the wall clock, since the Unix epoch: when the request's head had been read.
    pub arrival_epoch_ns: u64,
    /// Arrival on the monotonic clock, since the server's start.
    pub arrival_ns: u64,
    /// Prompt tokens by the server's own rule.
    pub prompt_tokens: u32,
    /// Prompt tokens that a prefix cache saved.
    pub cached_tokens: u32,
    /// Offset at which the first byte of the answer's head was handed to the system.
    pub first_byte_ns: Option<u64>,
    /// Offset at which each token was handed to the system (the moment just before that call), in order.
    pub token_ns: Vec<u64>,
    /// Largest lateness of a token against the engine's own schedule.
    pub late_max_ns: u64,
    /// How it ended.
    pub ending: Ending,
}

/// The way into the log.
#[derive(Debug, Clone)]
pub(super) struct TruthSink {
    records: SyncSender<TruthRecord>,
    lost: Arc<AtomicU64>,
}

impl TruthSink {
    /// Hands over a record, or loses it if the queue is full.
    pub(super) fn put(&self, record: TruthRecord) {
        if self.records.try_send(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The thread that writes the log.
#[derive(Debug)]
pub(super) struct TruthWriter {
    thread: JoinHandle<Result<(), FileError>>,
}

impl TruthWriter {
    /// Opens the file, which is added to if it exists.
    pub(super) fn open(path: &Path) -> Result<(TruthSink, Self), FileError> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|source| FileError::new("open", path, source))?;
        let (sender, receiver) = sync_channel(QUEUE);
        let path = path.to_owned();
        let thread = std::thread::Builder::new().name("truth".to_owned());
        let thread = {
            let path = path.clone();
            thread.spawn(move || write_all(&receiver, BufWriter::with_capacity(1 << 20, file), &path))
        };
        let thread = thread.map_err(|source| FileError::new("start a writer of", &path, source))?;
        Ok((TruthSink { records: sender, lost: Arc::new(AtomicU64::new(0)) }, Self { thread }))
    }

    /// Waits until everything is written. All sinks must be gone. Blocks.
    pub(super) fn finish(self) -> Result<(), FileError> {
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn write_all(
    records: &Receiver<TruthRecord>,
    mut file: BufWriter<std::fs::File>,
    path: &Path,
) -> Result<(), FileError> {
    let about = |source| FileError::new("write", path, source);
    loop {
        match records.recv_timeout(FLUSH_EVERY) {
            Ok(record) => {
                serde_json::to_writer(&mut file, &record).map_err(|error| about(error.into()))?;
                file.write_all(b"\n").map_err(about)?;
            }
            Err(RecvTimeoutError::Timeout) => file.flush().map_err(about)?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    file.flush().map_err(about)
}

/// Reads a log of the truth whole.
///
/// # Errors
/// When it cannot be read, or a line is no record of a format that is known.
pub fn read_truth(path: &Path) -> Result<Vec<TruthRecord>, TruthError> {
    let text = crate::base::read_text(path)?;
    let read = |(line, text)| match serde_json::from_str::<TruthRecord>(text) {
        Ok(record) if record.format == TRUTH_FORMAT => Ok(record),
        Ok(record) => Err(TruthError::Format { path: path.to_owned(), line, format: record.format }),
        Err(source) => Err(TruthError::Line { path: path.to_owned(), line, source }),
    };
    (1..).zip(text.lines()).map(read).collect()
}

/// Why a log of the truth cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line that is no record.
    #[error("{}:{line} is no record of the truth", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
    /// A record of another version.
    #[error("{}:{line} has format {format}, and only {TRUTH_FORMAT} is known", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Its version.
        format: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> TruthRecord {
        TruthRecord {
            format: TRUTH_FORMAT,
            id: id.to_owned(),
            status: 200,
            arrival_epoch_ns: 7,
            arrival_ns: 5,
            prompt_tokens: 3,
            cached_tokens: 0,
            first_byte_ns: Some(1),
            token_ns: vec![2, 3],
            late_max_ns: 0,
            ending: Ending::Finished,
        }
    }

    #[test]
    fn what_is_put_is_read_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("truth.jsonl");
        let (sink, writer) = TruthWriter::open(&path).unwrap();
        sink.put(record("a"));
        sink.put(record("b"));
        drop(sink);
        writer.finish().unwrap();
        assert_eq!(read_truth(&path).unwrap(), [record("a"), record("b")]);
    }

    #[test]
    fn a_newer_record_is_refused_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("truth.jsonl");
        let newer = TruthRecord { format: 99, ..record("a") };
        std::fs::write(&path, serde_json::to_string(&newer).unwrap()).unwrap();
        let error = read_truth(&path).unwrap_err();
        assert!(error.to_string().contains("truth.jsonl:1 has format 99"), "{error}");
    }
}
