//! Keeps raw responses: a thread of its own appends them to a file, one whole response at a time.
//!
//! What waits for it is bounded, in number and in bytes. When the disk is too slow a slot waits between two requests, never
//! within one, and the wait shows as send lag. When the disk refuses, the first error ends the level.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::error::LoadError;
use super::exchange::RawBody;
use crate::base::FileError;
use crate::measure::SpillWriter;

/// Responses that may wait for the disk.
const WAITING: usize = 256;
/// And their bytes, in KiB: answers of thousands of tokens have megabytes.
const WAITING_KIB: u32 = 32 << 10;

/// One response on its way to the file.
pub(super) struct Kept {
    pub(super) index: u64,
    pub(super) sent: u64,
    pub(super) id: String,
    pub(super) request: Bytes,
    pub(super) raw: RawBody,
}

impl Kept {
    fn kib(&self) -> u32 {
        let bytes = self.request.len() + self.raw.bytes.len() + self.raw.pieces.len() * size_of::<(u64, usize)>();
        u32::try_from(bytes >> 10).unwrap_or(u32::MAX).clamp(1, WAITING_KIB)
    }
}

/// The way to the thread.
#[derive(Clone)]
pub(super) struct ToDisk {
    sender: mpsc::Sender<(Kept, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

impl ToDisk {
    /// Hands one over, once there is room for it; `false`: nothing is taken any more.
    pub(super) async fn send(&self, kept: Kept) -> bool {
        // The semaphore is never closed, and whoever waits for room is let in when the thread ends and drops what waits.
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(kept.kib()).await else { return false };
        self.sender.send((kept, room)).await.is_ok()
    }
}

/// The thread and the way to it.
pub(super) struct Spill {
    pub(super) to: ToDisk,
    thread: JoinHandle<Result<(), FileError>>,
}

impl Spill {
    /// Creates the file and starts the thread.
    pub(super) fn start(path: &Path) -> Result<Self, LoadError> {
        let file = File::create(path).map_err(|error| LoadError::Storage(FileError::new("create", path, error)))?;
        let (sender, mut receiver) = mpsc::channel::<(Kept, OwnedSemaphorePermit)>(WAITING);
        let path = path.to_owned();
        let write = move || {
            let failed = |error| FileError::new("write", &path, error);
            let mut writer = SpillWriter::new(BufWriter::with_capacity(1 << 20, file)).map_err(failed)?;
            while let Some((kept, _room)) = receiver.blocking_recv() {
                let head = (kept.index, kept.sent, kept.id.as_str(), &kept.request[..]);
                writer.write(head, &kept.raw.bytes, &kept.raw.pieces).map_err(failed)?;
            }
            let mut file = writer.finish().map_err(failed)?;
            file.flush().map_err(failed)?;
            file.get_ref().sync_all().map_err(failed)
        };
        let thread = std::thread::Builder::new().name("spill".to_owned()).spawn(write).map_err(LoadError::Thread)?;
        let to = ToDisk { sender, room: Arc::new(Semaphore::new(WAITING_KIB as usize)) };
        Ok(Self { to, thread })
    }

    /// Waits until all is on the disk. All other senders must be gone.
    pub(super) fn finish(self) -> Result<(), LoadError> {
        drop(self.to);
        self.thread.join().map_err(|_| LoadError::Panicked)?.map_err(LoadError::Storage)
    }
}
