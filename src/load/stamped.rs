//! A TCP stream that notes when bytes arrive and leave.
//!
//! The stamp is taken right after the system handed the bytes over, before TLS or HTTP look at them: it is the moment
//! that counts for every chunk that this read delivered.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Stamps of one connection, in nanoseconds since an origin. All of it happens on one thread at a time; the atomics
/// are only there because futures that may change threads must be `Send`.
#[derive(Debug)]
pub(super) struct Stamps {
    origin: Instant,
    last_read: AtomicU64,
    reads: AtomicU64,
    first_write: AtomicU64,
}

/// Waiting for the first write.
const ARMED: u64 = u64::MAX;

impl Stamps {
    pub(super) fn new(origin: Instant) -> Self {
        Self { origin, last_read: AtomicU64::new(0), reads: AtomicU64::new(0), first_write: AtomicU64::new(0) }
    }

    /// Nanoseconds since the origin.
    pub(super) fn now(&self) -> u64 {
        nanos_since(self.origin)
    }

    /// When the last read brought bytes, and how many reads have.
    pub(super) fn last_read(&self) -> (u64, u64) {
        (self.last_read.load(Ordering::Relaxed), self.reads.load(Ordering::Relaxed))
    }

    /// The next write will be stamped.
    pub(super) fn arm(&self) {
        self.first_write.store(ARMED, Ordering::Relaxed);
    }

    /// Just before the first byte was written since [`Self::arm`], if any was.
    pub(super) fn first_write(&self) -> Option<u64> {
        Some(self.first_write.load(Ordering::Relaxed)).filter(|stamp| *stamp != ARMED)
    }

    fn note_read(&self) {
        self.last_read.store(self.now(), Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    fn note_write(&self) {
        if self.first_write.load(Ordering::Relaxed) == ARMED {
            self.first_write.store(self.now(), Ordering::Relaxed);
        }
    }
}

/// Nanoseconds since `origin`; a level that lasts 584 years is not foreseen.
pub(super) fn nanos_since(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// See the module.
pub(super) struct Stamped {
    inner: TcpStream,
    stamps: Arc<Stamps>,
}

impl Stamped {
    pub(super) fn new(inner: TcpStream, stamps: Arc<Stamps>) -> Self {
        Self { inner, stamps }
    }
}

impl AsyncRead for Stamped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.stamps.note_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stamped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stamps.note_write();
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stamps.note_write();
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
