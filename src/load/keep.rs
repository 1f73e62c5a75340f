//! Keeps a level's records: what grows with their output goes to a file, so that memory grows with the number of requests
//! only.
//!
//! Whoever sends holds a few records; when their chunk times take [`PACK`] bytes it hands them to a thread, which writes
//! the times down and holds the rest. A level whose senders never come to a pack needs no file. When the disk is too slow a
//! slot waits between two requests, never within one, and the wait shows as send lag. When the disk refuses, the level ends.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::error::LoadError;
use crate::base::FileError;
use crate::measure::{ChunkFileWriter, RequestRecord};

/// Bytes of chunk times that are handed over at once: some eight thousand tokens.
const PACK: usize = 32 << 10;
/// Packs that may wait for the disk.
const WAITING: usize = 64;

/// Records on the side of those who send.
#[derive(Default)]
pub(super) struct Held {
    records: Vec<RequestRecord>,
    bytes: usize,
}

impl Held {
    /// One more. What is to be handed over, when it is time.
    #[must_use]
    pub(super) fn push(&mut self, record: RequestRecord) -> Option<Vec<RequestRecord>> {
        self.bytes += record.chunks.held_bytes();
        self.records.push(record);
        (self.bytes >= PACK).then(|| std::mem::take(self).records)
    }

    /// Those that were never handed over.
    pub(super) fn rest(&mut self) -> Vec<RequestRecord> {
        std::mem::take(self).records
    }
}

/// The way to the thread.
#[derive(Clone)]
pub(super) struct ToKeeper(mpsc::Sender<Vec<RequestRecord>>);

impl ToKeeper {
    /// Hands records over; `false`: none are taken any more.
    pub(super) async fn send(&self, pack: Vec<RequestRecord>) -> bool {
        self.0.send(pack).await.is_ok()
    }
}

/// The thread and the way to it.
pub(super) struct Keeper {
    pub(super) to: ToKeeper,
    thread: JoinHandle<Result<Vec<RequestRecord>, FileError>>,
}

impl Keeper {
    /// Starts the thread; the file is made in `scratch` once it is needed.
    pub(super) fn start(scratch: Option<&Path>) -> Result<Self, LoadError> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let scratch = scratch.map_or_else(std::env::temp_dir, Path::to_owned);
        let keep = move || keep(receiver, &scratch);
        let thread = std::thread::Builder::new().name("records".to_owned()).spawn(keep).map_err(LoadError::Thread)?;
        Ok(Self { to: ToKeeper(sender), thread })
    }

    /// Waits until all is written. All other senders must be gone.
    pub(super) fn finish(self) -> Result<Vec<RequestRecord>, LoadError> {
        drop(self.to);
        self.thread.join().map_err(|_| LoadError::Panicked)?.map_err(LoadError::Storage)
    }
}

fn keep(mut packs: mpsc::Receiver<Vec<RequestRecord>>, scratch: &PathBuf) -> Result<Vec<RequestRecord>, FileError> {
    let failed = |does| move |error| FileError::new(does, scratch, error);
    let mut writer = None;
    let mut kept = Vec::new();
    while let Some(mut pack) = packs.blocking_recv() {
        let writer = match &mut writer {
            Some(writer) => writer,
            none => {
                let file = tempfile::tempfile_in(scratch).and_then(ChunkFileWriter::new);
                none.insert(file.map_err(failed("create a file in"))?)
            }
        };
        for record in &mut pack {
            writer.put_away(&mut record.chunks).map_err(failed("write to a file in"))?;
        }
        kept.append(&mut pack);
    }
    writer.map_or(Ok(()), ChunkFileWriter::finish).map_err(failed("write to a file in"))?;
    Ok(kept)
}
