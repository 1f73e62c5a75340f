//! One request over one connection: sent, read to its end, written down.
//!
//! The way of a token: read by the system, stamped, cut out by hyper, parsed in place, its offset pushed into a vector
//! with room for it. No lock, no log, and no allocation but those of hyper's own buffers.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, Response, Uri};
use tokio::time::{Instant, Sleep};

use super::connection::Connection;
use super::endpoint::Endpoint;
use super::flag::Flag;
use super::reading::{BodyEnd, Reading, shorten};
use super::request::Prepared;
use crate::measure::{Chunks, FailureClass, Outcome, RequestRecord, TokenSource};

/// How long the end of a body is waited for once `[DONE]` was said.
const AFTER_DONE: Duration = Duration::from_secs(2);
/// Longest wait that a server may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// What all requests of a level share.
pub(super) struct Route<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) uri: &'a Uri,
    pub(super) timeout: Duration,
    pub(super) idle_timeout: Duration,
    /// Gives up at once when raised.
    pub(super) abort: &'a Flag,
    /// Tokens of the template, when the server's count of prompt tokens is to be freed of them.
    pub(super) overhead: Option<f64>,
    /// What each earlier turn of a conversation adds to these.
    pub(super) turn_overhead: Option<f64>,
    pub(super) keep_raw: bool,
}

impl Route<'_> {
    fn overhead_of(&self, prepared: &Prepared) -> Option<f64> {
        match prepared.turn.map_or(0, |turn| turn.turn.saturating_sub(1)) {
            0 => self.overhead,
            earlier => Some(self.overhead? + f64::from(earlier) * self.turn_overhead?),
        }
    }
}

/// What came of one request.
pub(super) struct Exchanged {
    pub(super) record: RequestRecord,
    /// Whether the connection may be used again.
    pub(super) reusable: bool,
    pub(super) retry_after: Option<Duration>,
    pub(super) raw: RawBody,
}

/// A response's body as it came.
#[derive(Default)]
pub(super) struct RawBody {
    pub(super) bytes: Bytes,
    /// Stamp and end (in `bytes`) of every piece.
    pub(super) pieces: Vec<(u64, usize)>,
}

/// Why waiting ended without a result.
struct GivenUp(FailureClass, String);

/// Waits on a connection under the limits of a request.
struct Waiting<'a, 'b> {
    connection: &'a mut Connection,
    route: &'a Route<'b>,
    timer: Pin<&'a mut Sleep>,
    deadline: Instant,
    idle: Duration,
    /// Reads at the last look of the timer: silence is when they do not grow.
    reads_seen: u64,
}

impl Waiting<'_, '_> {
    async fn wait<T>(&mut self, mut what: impl FnMut(&mut std::task::Context<'_>) -> Poll<T>) -> Result<T, GivenUp> {
        poll_fn(|cx| {
            if self.route.abort.is_raised() {
                return Poll::Ready(Err(GivenUp(FailureClass::Cancelled, "the level was ended".to_owned())));
            }
            if let Poll::Ready(value) = self.connection.poll_driving(cx, &mut what) {
                return Poll::Ready(Ok(value));
            }
            // The timer is set anew only when it rings, never per token.
            while self.timer.as_mut().poll(cx).is_ready() {
                if let Some(given_up) = self.ring() {
                    return Poll::Ready(Err(given_up));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn ring(&mut self) -> Option<GivenUp> {
        let now = Instant::now();
        if now >= self.deadline {
            return Some(self.too_late());
        }
        let (last_read, reads) = self.connection.stamps.last_read();
        let silence = Duration::from_nanos(self.connection.stamps.now().saturating_sub(last_read));
        if reads == self.reads_seen && silence >= self.idle {
            let text = format!("nothing came for {} s", self.idle.as_secs_f64());
            return Some(GivenUp(FailureClass::IdleTimeout, text));
        }
        let left = if reads == self.reads_seen { self.idle } else { self.idle.saturating_sub(silence) };
        self.reads_seen = reads;
        self.timer.as_mut().reset(self.deadline.min(now + left));
        None
    }

    fn too_late(&self) -> GivenUp {
        let text = format!("not finished within {} s", self.route.timeout.as_secs_f64());
        GivenUp(FailureClass::Timeout, text)
    }

    /// From now on silence is borne for `idle` only.
    fn shorten_idle(&mut self, idle: Duration) {
        self.idle = self.idle.min(idle);
        self.timer.as_mut().reset(self.deadline.min(Instant::now() + self.idle));
    }
}

/// Sends `prepared` and reads the response to its end. `scheduled` is when it ought to have been sent.
pub(super) async fn exchange(
    connection: &mut Connection,
    route: &Route<'_>,
    prepared: &Prepared,
    slot: u32,
    scheduled: u64,
) -> Exchanged {
    // Kept for the files, or for the turn that follows.
    let keep_raw = route.keep_raw || prepared.later.is_some();
    let (mut kept, mut pieces) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    let request = request_of(route, prepared);
    let called = connection.stamps.now();
    let (_, reads_seen) = connection.stamps.last_read();
    connection.stamps.arm();
    let timer = pin!(tokio::time::sleep(route.timeout.min(route.idle_timeout)));
    let mut aborted = pin!(route.abort.notified());
    aborted.as_mut().enable();
    // Polled once, so that raising the flag wakes this task; whether it is raised is looked at in every poll.
    poll_fn(|cx| {
        let _ = aborted.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
    let mut waiting =
        Waiting { connection, route, timer, deadline: begun + route.timeout, idle: route.idle_timeout, reads_seen };

    let head = send(&mut waiting, request).await;
    let sent = waiting.connection.stamps.first_write().unwrap_or(called);
    let mut record = blank(prepared, slot, scheduled, sent);
    let response = match head {
        Ok(response) => response,
        Err((class, detail)) => {
            record.end = waiting.connection.stamps.now();
            record.outcome = Outcome::Failed { class, detail: shorten(&detail) };
            return Exchanged { record, reusable: false, retry_after: None, raw: RawBody::default() };
        }
    };
    waiting.connection.served = true;
    record.headers = Some(waiting.connection.stamps.last_read().0);
    record.status = Some(response.status().as_u16());
    let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let retry_after = header(RETRY_AFTER).and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
    let leads_to = header(LOCATION).filter(|_| response.status().is_redirection()).map(str::to_owned);
    let expected = prepared.osl_asked as usize;
    let mut reading = Reading::new(response.status().as_u16(), header(CONTENT_TYPE), sent, expected);
    let mut body = pin!(response.into_body());
    let mut slack = false;
    let limit = u64::try_from(route.timeout.as_nanos()).unwrap_or(u64::MAX);
    let (end, mut reusable) = loop {
        match waiting.wait(|cx| body.as_mut().poll_frame(cx)).await {
            Ok(Some(Ok(frame))) => {
                let (stamp, read) = waiting.connection.stamps.last_read();
                let Some(bytes) = frame.data_ref() else { continue };
                let flow = reading.bytes(stamp, read, bytes);
                if keep_raw {
                    kept.extend_from_slice(bytes);
                    pieces.push((stamp, kept.len()));
                }
                if flow.is_break() {
                    break (BodyEnd::Whole, false);
                }
                // A stream that never pauses never lets the timer be looked at.
                if stamp.saturating_sub(sent) > limit {
                    let GivenUp(class, detail) = waiting.too_late();
                    break (BodyEnd::GivenUp(class, detail), false);
                }
                if reading.done && !slack {
                    slack = true;
                    waiting.shorten_idle(AFTER_DONE);
                }
            }
            Ok(Some(Err(error))) => break (BodyEnd::Broken(chain(&error)), false),
            Ok(None) => break (BodyEnd::Whole, true),
            Err(GivenUp(class, detail)) => break (BodyEnd::GivenUp(class, detail), false),
        }
    };
    // What was given up ended now; what the server ended, with the last byte it sent.
    record.end = match end {
        BodyEnd::Whole | BodyEnd::Broken(_) => waiting.connection.stamps.last_read().0,
        BodyEnd::GivenUp(..) => waiting.connection.stamps.now(),
    };
    record.outcome = reading.outcome(end);
    if let (Outcome::Failed { detail, .. }, Some(to)) = (&mut record.outcome, leads_to) {
        *detail = shorten(&format!("a redirect to {to}, {detail}"));
    }
    reusable &= waiting.connection.is_open().await;
    fill_in(&mut record, reading, prepared, route.overhead_of(prepared));
    let raw = RawBody { bytes: Bytes::from(kept), pieces };
    Exchanged { record, reusable, retry_after: retry_after.map(|wait| wait.min(LONGEST_RETRY_AFTER)), raw }
}

/// Sends a request and waits for the response's head.
async fn send(
    waiting: &mut Waiting<'_, '_>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, (FailureClass, String)> {
    let given_up = |GivenUp(class, detail)| (class, detail);
    poll_fn(|cx| {
        // hyper takes a request only after its connection was polled and found idle.
        let connection = &mut *waiting.connection;
        if connection.sender.is_ready() {
            return Poll::Ready(());
        }
        let _ = connection.poll_driving(cx, |_| Poll::<()>::Pending);
        Poll::Ready(())
    })
    .await;
    let mut response = pin!(waiting.connection.sender.send_request(request));
    let answered = waiting.wait(|cx| response.as_mut().poll(cx)).await.map_err(given_up)?;
    let broken = if waiting.connection.served { FailureClass::Stale } else { FailureClass::Reset };
    answered.map_err(|error| (broken, chain(&error)))
}

fn request_of(route: &Route<'_>, prepared: &Prepared) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(prepared.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = route.uri.clone();
    *request.headers_mut() = route.endpoint.headers.clone();
    if let Ok(id) = HeaderValue::from_str(&prepared.id) {
        request.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    }
    request
}

/// A record of a request of which nothing but its sending is known.
pub(super) fn blank(prepared: &Prepared, slot: u32, scheduled: u64, sent: u64) -> RequestRecord {
    RequestRecord {
        id: prepared.id.clone(),
        index: prepared.index,
        slot,
        turn: prepared.turn,
        scheduled,
        due: None,
        sent,
        connect: None,
        headers: None,
        first_byte: None,
        first_text: None,
        second_text: None,
        first_output: None,
        last_text: None,
        end: sent,
        chunks: Chunks::default(),
        reads: 0,
        events: 0,
        bytes: 0,
        isl_asked: prepared.isl_asked,
        osl_asked: prepared.osl_asked,
        isl: prepared.isl,
        prompt_tokens: None,
        cached_tokens: None,
        output_tokens: None,
        reasoning_tokens: None,
        token_source: TokenSource::None,
        finish_reason: None,
        status: None,
        outcome: Outcome::Ok,
    }
}

fn fill_in(record: &mut RequestRecord, reading: Reading, prepared: &Prepared, overhead: Option<f64>) {
    (record.output_tokens, record.token_source) = reading.output_tokens();
    let usage = reading.usage.unwrap_or_default();
    record.prompt_tokens = usage.prompt_tokens;
    record.cached_tokens = usage.cached_tokens;
    record.reasoning_tokens = usage.reasoning_tokens;
    let text_tokens = |prompt: u32| overhead.map(|added| (f64::from(prompt) - added).round().max(0.0) as u32);
    record.isl = prepared.isl.or_else(|| usage.prompt_tokens.and_then(text_tokens));
    record.first_byte = reading.first_byte;
    record.first_text = reading.first_text;
    record.second_text = reading.second_text;
    record.first_output = reading.first_output;
    record.last_text = reading.last_text;
    record.chunks = reading.chunks.finish();
    record.reads = reading.reads;
    record.events = reading.events;
    record.bytes = reading.bytes;
    record.finish_reason = reading.finish_reason;
}

/// An error and its causes in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
