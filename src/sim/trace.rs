//! When bytes really left: a connection's stream that stamps its writes, and the record that the stamps go into.
//!
//! A response's body says which tokens it hands out ([`Trace::token`]); the stream says when the next write succeeds. The
//! stamp is taken just before the system call: on loopback the reader may be awake before the call returns, and the
//! server must never claim a later time than the client can see. Both stand in the connection's own task, so that the lock
//! between them is never waited for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};

use super::truth::{Ending, TruthRecord, TruthSink};
use crate::base::{Clock, SystemClock};

#[derive(Debug)]
struct Open {
    record: TruthRecord,
    /// When each token that was handed out, but not written yet, should have been.
    pending: Vec<Duration>,
    ended: bool,
}

impl Open {
    fn stamp(&mut self, now: Duration) {
        let since = |moment: Duration| nanos(moment).saturating_sub(self.record.arrival_ns);
        let offset = since(now);
        self.record.first_byte_ns.get_or_insert(offset);
        for due in self.pending.drain(..) {
            self.record.token_ns.push(offset);
            self.record.late_max_ns = self.record.late_max_ns.max(nanos(now.saturating_sub(due)));
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// What is being recorded on one connection. Without a sink every call does nothing.
#[derive(Debug)]
pub(super) struct Trace {
    sink: Option<TruthSink>,
    clock: SystemClock,
    open: Mutex<Option<Open>>,
}

impl Trace {
    pub(super) fn new(sink: Option<TruthSink>, clock: SystemClock) -> Self {
        Self { sink, clock, open: Mutex::new(None) }
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, open: Option<Open>) {
        if let (Some(open), Some(sink)) = (open, &self.sink) {
            sink.put(open.record);
        }
    }

    /// A request begins. `record` is asked for only if it is wanted.
    pub(super) fn begin(&self, record: impl FnOnce() -> TruthRecord) {
        if self.sink.is_some() {
            let before = self.open().replace(Open { record: record(), pending: Vec::new(), ended: false });
            self.put(before);
        }
    }

    /// Fills in what became known of the request later.
    pub(super) fn update(&self, change: impl FnOnce(&mut TruthRecord)) {
        if let Some(open) = &mut *self.open() {
            change(&mut open.record);
        }
    }

    /// A token that was due at `due` goes out with the next write.
    pub(super) fn token(&self, due: Duration) {
        if self.sink.is_some()
            && let Some(open) = &mut *self.open()
        {
            open.pending.push(due);
        }
    }

    /// Nothing more comes after the next write.
    pub(super) fn end(&self, ending: Ending) {
        if let Some(open) = &mut *self.open() {
            open.record.ending = ending;
            open.ended = true;
        }
    }

    /// A write that began at `now` has succeeded.
    fn wrote(&self, now: Duration) {
        let mut guard = self.open();
        if let Some(open) = &mut *guard {
            open.stamp(now);
            if open.ended {
                let done = guard.take();
                drop(guard);
                self.put(done);
            }
        }
    }

    /// The connection is gone: what is still open will never be written.
    fn close(&self) {
        let rest = self.open().take();
        self.put(rest);
    }
}

/// A stream whose writes are stamped.
#[derive(Debug)]
pub(super) struct Stamped<S> {
    stream: S,
    trace: Arc<Trace>,
}

impl<S> Stamped<S> {
    pub(super) fn new(stream: S, trace: Arc<Trace>) -> Self {
        Self { stream, trace }
    }

    fn stamp(&self) -> Option<Duration> {
        self.trace.sink.is_some().then(|| self.trace.clock.elapsed())
    }

    fn stamped(&self, began: Option<Duration>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Some(began), Poll::Ready(Ok(1..))) = (began, &written) {
            self.trace.wrote(began);
        }
        written
    }
}

impl<S> Drop for Stamped<S> {
    fn drop(&mut self) {
        self.trace.close();
    }
}

impl<S: Read + Unpin> Read for Stamped<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: Write + Unpin> Write for Stamped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let began = self.stamp();
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.stamped(began, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let began = self.stamp();
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.stamped(began, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::truth::TruthWriter;
    use super::*;

    #[test]
    fn a_record_is_closed_by_the_write_after_its_end_and_never_before() {
        let dir = tempfile::tempdir().unwrap();
        let (sink, _writer) = TruthWriter::open(&dir.path().join("truth.jsonl")).unwrap();
        let trace = Trace::new(Some(sink), SystemClock::default());
        trace.begin(|| TruthRecord {
            format: 1,
            id: String::new(),
            status: 200,
            arrival_epoch_ns: 0,
            arrival_ns: 100,
            prompt_tokens: 0,
            cached_tokens: 0,
            first_byte_ns: None,
            token_ns: Vec::new(),
            late_max_ns: 0,
            ending: Ending::Disconnected,
        });
        trace.wrote(Duration::from_nanos(110));
        trace.token(Duration::from_nanos(115));
        trace.end(Ending::Finished);
        let record = trace.open().as_ref().map(|open| open.record.clone()).unwrap();
        assert_eq!((record.first_byte_ns, record.token_ns.len()), (Some(10), 0));
        trace.wrote(Duration::from_nanos(120));
        assert!(trace.open().is_none());
    }
}
