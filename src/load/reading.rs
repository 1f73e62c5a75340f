//! What a response means: from its head and its bytes with their stamps to moments, counts and an outcome.
//!
//! Pure: it is fed by the exchange over a socket and, in tests, by transcripts of real servers.

use std::ops::ControlFlow;

use super::alike::Alike;
use super::chunk::{self, Usage};
use super::sse::{Event, SseReader};
use crate::measure::{ChunkLog, FailureClass, Outcome, TokenSource};

/// Longest event that is read.
pub const MAX_EVENT_BYTES: usize = 8 << 20;
/// Chunks of one response that are kept, if the output asked for is not longer: a server that streams for ever must not
/// fill the memory.
const MAX_CHUNKS: usize = 100_000;
/// Bytes of one response that are read, and for each chunk foreseen, if these are more: of a stream that says nothing for ever,
/// or of one that is kept raw.
const MAX_BYTES: u64 = 64 << 20;
const MAX_BYTES_PER_CHUNK: u64 = 16 << 10;
/// Bytes kept of a body that is no event stream.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// Lines that are no field of an event stream after which a body is read no further, and for each event among them.
const MAX_STRAY: u64 = 1000;
const MAX_STRAY_PER_EVENT: u64 = 4;
/// Characters of a failure's detail.
const MAX_DETAIL: usize = 300;

/// How a response's body ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyEnd {
    /// As HTTP says that it ends.
    Whole,
    /// The connection broke; what was seen.
    Broken(String),
    /// It was not waited for any longer, for this reason.
    GivenUp(FailureClass, String),
}

/// One response being read. Times are nanoseconds since any one origin.
#[derive(Debug)]
pub struct Reading {
    status: u16,
    sent: u64,
    max_chunks: usize,
    max_bytes: u64,
    /// The reader, or the body of something that is no event stream.
    body: Body,
    /// First byte of the body.
    pub first_byte: Option<u64>,
    /// First chunk with text.
    pub first_text: Option<u64>,
    /// Second chunk with text.
    pub second_text: Option<u64>,
    /// First chunk with content that is not reasoning.
    pub first_output: Option<u64>,
    /// Last chunk with text.
    pub last_text: Option<u64>,
    /// All chunks with text, after `sent`.
    pub chunks: ChunkLog,
    /// Output tokens as the server counted them at the last chunk with text.
    counted: u32,
    /// Events of any kind.
    pub events: u32,
    /// Reads of the socket that brought bytes of the body.
    pub reads: u32,
    /// Bytes of the body.
    pub bytes: u64,
    /// The last usage.
    pub usage: Option<Usage>,
    /// Why generation ended.
    pub finish_reason: Option<String>,
    /// `[DONE]` was seen.
    pub done: bool,
    last_read: Option<u64>,
    alike: Alike,
    failure: Option<(FailureClass, String)>,
}

#[derive(Debug)]
enum Body {
    Stream(SseReader),
    Other(Vec<u8>),
}

impl Reading {
    /// After the head: `content_type` as the header says; a missing one is taken for a stream. `expected_chunks` is
    /// what room is made for beforehand.
    pub fn new(status: u16, content_type: Option<&str>, sent: u64, expected_chunks: usize) -> Self {
        let kind = content_type.map(|kind| kind.trim().to_ascii_lowercase());
        let is_stream = (200..300).contains(&status)
            && kind.is_none_or(|kind| kind.starts_with("text/event-stream") || kind.starts_with("text/plain"));
        let room = if is_stream { expected_chunks.min(MAX_CHUNKS) + 8 } else { 0 };
        Self {
            status,
            sent,
            max_chunks: MAX_CHUNKS.max(expected_chunks.saturating_mul(2)),
            max_bytes: MAX_BYTES.max(MAX_BYTES_PER_CHUNK.saturating_mul(expected_chunks as u64)),
            body: if is_stream { Body::Stream(SseReader::new(MAX_EVENT_BYTES)) } else { Body::Other(Vec::new()) },
            first_byte: None,
            first_text: None,
            second_text: None,
            first_output: None,
            last_text: None,
            chunks: ChunkLog::with_room(room),
            counted: 0,
            events: 0,
            reads: 0,
            bytes: 0,
            usage: None,
            finish_reason: None,
            done: false,
            last_read: None,
            alike: Alike::default(),
            failure: None,
        }
    }

    /// Bytes of the body that read number `read` brought at `stamp`. Breaks when nothing more is worth reading.
    pub fn bytes(&mut self, stamp: u64, read: u64, bytes: &[u8]) -> ControlFlow<()> {
        self.bytes += bytes.len() as u64;
        self.first_byte.get_or_insert(stamp);
        if self.last_read != Some(read) {
            self.last_read = Some(read);
            self.reads += 1;
        }
        if self.bytes > self.max_bytes {
            self.fail(FailureClass::TooLarge, format!("more than {} bytes", self.max_bytes));
            return ControlFlow::Break(());
        }
        // Taken out, so that the reader may borrow the bytes while the rest of `self` takes the events.
        match std::mem::replace(&mut self.body, Body::Other(Vec::new())) {
            Body::Stream(mut reader) => {
                let fed = reader.feed(bytes, |event| self.event(stamp, event));
                let stray = reader.stray_lines();
                self.body = Body::Stream(reader);
                if let Err(error) = fed {
                    self.fail(FailureClass::TooLarge, error.to_string());
                } else if stray > MAX_STRAY + MAX_STRAY_PER_EVENT * u64::from(self.events) {
                    let text = format!("{stray} lines that are none of an event stream, and {} events", self.events);
                    self.fail(FailureClass::Malformed, text);
                }
                match self.failure {
                    Some((FailureClass::Malformed | FailureClass::TooLarge, _)) => ControlFlow::Break(()),
                    Some(_) | None => ControlFlow::Continue(()),
                }
            }
            Body::Other(mut body) => {
                let room = MAX_ERROR_BYTES.saturating_sub(body.len());
                body.extend_from_slice(&bytes[..bytes.len().min(room)]);
                self.body = Body::Other(body);
                if room < bytes.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
        }
    }

    fn event(&mut self, stamp: u64, event: Event<'_>) -> ControlFlow<()> {
        self.events += 1;
        let data = event.data.trim_ascii();
        if data.is_empty() || self.failure.is_some() {
            return ControlFlow::Continue(());
        }
        if data == b"[DONE]" {
            self.done = true;
            return ControlFlow::Continue(());
        }
        if event.name == b"error" {
            self.fail(FailureClass::ErrorEvent, chunk::describe_error(data));
            return ControlFlow::Continue(());
        }
        let chunk = match self.alike.parse(data) {
            Ok(chunk) => chunk,
            // An event with a name of its own (an annotation) may carry what it likes.
            Err(_) if !event.name.is_empty() => return ControlFlow::Continue(()),
            Err(error) => {
                self.fail(FailureClass::Malformed, format!("{error} in `{}`", String::from_utf8_lossy(data)));
                return ControlFlow::Break(());
            }
        };
        if chunk.error {
            self.fail(FailureClass::ErrorEvent, chunk::describe_error(data));
            return ControlFlow::Continue(());
        }
        if chunk.has_text() {
            if self.chunks.len() == self.max_chunks {
                self.fail(FailureClass::TooLarge, format!("more than {} chunks", self.max_chunks));
                return ControlFlow::Break(());
            }
            let counted = chunk.usage.and_then(|usage| usage.completion_tokens);
            let tokens = counted.map(|counted| counted.saturating_sub(std::mem::replace(&mut self.counted, counted)));
            self.chunks.push(stamp.saturating_sub(self.sent), tokens);
            if self.first_text.is_none() {
                self.first_text = Some(stamp);
            } else if self.second_text.is_none() {
                self.second_text = Some(stamp);
            }
            if chunk.content && self.first_output.is_none() {
                self.first_output = Some(stamp);
            }
            self.last_text = Some(stamp);
        }
        self.finish_reason = chunk.finish_reason.or(self.finish_reason.take());
        self.usage = chunk.usage.or(self.usage);
        ControlFlow::Continue(())
    }

    fn fail(&mut self, class: FailureClass, detail: String) {
        self.failure.get_or_insert((class, detail));
    }

    /// Output tokens and where their number comes from.
    pub fn output_tokens(&self) -> (Option<u32>, TokenSource) {
        match self.usage.and_then(|usage| usage.completion_tokens).filter(|tokens| *tokens > 0) {
            Some(tokens) => (Some(tokens), TokenSource::Usage),
            None if self.chunks.is_empty() => (None, TokenSource::None),
            None => (Some(self.chunks.len() as u32), TokenSource::Chunks),
        }
    }

    /// How the request ended, if the body ended so.
    pub fn outcome(&mut self, end: BodyEnd) -> Outcome {
        if let Body::Stream(reader) = &mut self.body
            && reader.finish().is_some_and(|left| left.trim_ascii() == b"[DONE]")
        {
            self.done = true;
        }
        match self.failure_of(end) {
            Some((class, detail)) => Outcome::Failed { class, detail: shorten(&detail) },
            None => Outcome::Ok,
        }
    }

    fn failure_of(&mut self, end: BodyEnd) -> Option<(FailureClass, String)> {
        let body = match &self.body {
            Body::Other(body) if body.trim_ascii().is_empty() => Some("an empty body".to_owned()),
            Body::Other(body) => Some(chunk::describe_error(body)),
            Body::Stream(_) => None,
        };
        match (end, body) {
            (BodyEnd::GivenUp(class, detail), _) if !self.done || class == FailureClass::Cancelled => {
                return Some((class, detail));
            }
            (_, Some(body)) => return Some((class_of(self.status), format!("status {}: {body}", self.status))),
            (_, None) if self.failure.is_some() => return self.failure.take(),
            (BodyEnd::Broken(what), None) if !self.done => {
                return Some((FailureClass::Cut, format!("broken after {} events: {what}", self.events)));
            }
            (BodyEnd::Whole | BodyEnd::Broken(_) | BodyEnd::GivenUp(..), None) => {}
        }
        if !self.done && self.finish_reason.is_none() {
            let what = format!("ended after {} events without finish reason and [DONE]", self.events);
            let stray = matches!(&self.body, Body::Stream(reader) if reader.stray_lines() > 0);
            let class = if stray && self.events == 0 { FailureClass::Malformed } else { FailureClass::Cut };
            return Some((class, what));
        }
        if self.output_tokens().0.is_none() {
            return Some((FailureClass::NoTokens, format!("{} events and no token in any", self.events)));
        }
        None
    }
}

/// The class of a response that is no event stream.
fn class_of(status: u16) -> FailureClass {
    match status {
        429 | 503 | 529 => FailureClass::Overloaded,
        400..=499 => FailureClass::Rejected,
        500..=599 => FailureClass::ServerError,
        _ => FailureClass::NotAStream,
    }
}

/// At most [`MAX_DETAIL`] characters.
pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_DETAIL) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
