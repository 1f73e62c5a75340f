//! A response's body: whole at once, or a stream of events as the tokens come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::chunks::{Chunks, Usage, broken_event, error_event};
use super::driver::TokenStream;
use super::fault::Mishap;
use super::metrics::Tally;
use super::trace::Trace;
use super::truth::Ending;

/// The books of one completion request: counted and recorded exactly once, also when it is dropped half-way.
#[derive(Debug)]
pub(super) struct Account {
    tally: Arc<Tally>,
    trace: Arc<Trace>,
    pub(super) prompt_tokens: u32,
    pub(super) output_tokens: u64,
    settled: bool,
}

impl Account {
    pub(super) fn new(tally: Arc<Tally>, trace: Arc<Trace>) -> Self {
        Self { tally, trace, prompt_tokens: 0, output_tokens: 0, settled: false }
    }

    /// A token goes out with the next write.
    pub(super) fn token(&mut self, due: Duration) {
        self.output_tokens += 1;
        self.trace.token(due);
    }

    /// The prompt is known.
    pub(super) fn prompt(&mut self, tokens: u32) {
        self.prompt_tokens = tokens;
        self.trace.update(|record| record.prompt_tokens = tokens);
    }

    /// Part of the prompt came from a cache.
    pub(super) fn cached(&mut self, tokens: u32) {
        self.trace.update(|record| record.cached_tokens = tokens);
    }

    /// The request is over as soon as what was handed out is written.
    pub(super) fn settle(&mut self, status: u16, ending: Ending) {
        if !self.settled {
            self.settled = true;
            self.tally.add(status, ending, self.prompt_tokens, self.output_tokens);
            self.trace.update(|record| record.status = status);
            self.trace.end(ending);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.settle(200, Ending::Disconnected);
    }
}

/// How a stream is to be told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Telling {
    pub(super) finish_reason: &'static str,
    pub(super) include_usage: bool,
    pub(super) continuous_usage: bool,
    /// Tokens of one event.
    pub(super) tokens_per_chunk: u32,
    /// What goes wrong with it, and after how many tokens.
    pub(super) mishap: Option<(Mishap, u64)>,
}

/// The stream was cut on purpose; hyper then closes the connection without the end of the body.
#[derive(Debug, thiserror::Error)]
#[error("the stream was cut")]
pub(super) struct Cut;

/// A response's body.
#[derive(Debug)]
pub(super) enum Answer {
    /// All there is, until it is taken.
    Whole(Option<Bytes>),
    /// Events.
    Events(Box<Events>),
}

/// The events of one streamed answer.
#[derive(Debug)]
pub(super) struct Events {
    /// `None` once nothing more will come of it.
    tokens: Option<TokenStream>,
    chunks: Chunks,
    telling: Telling,
    account: Account,
    cached: u32,
    /// Tokens that wait for the rest of their event.
    gathered: u32,
    /// Whether an event with tokens has gone out.
    begun: bool,
    done: bool,
    /// Whether the mishap has happened.
    struck: bool,
}

impl Events {
    /// A stream of `tokens`; without any, a stream of only its end.
    pub(super) fn new(tokens: Option<TokenStream>, chunks: Chunks, telling: Telling, account: Account) -> Self {
        Self { tokens, chunks, telling, account, cached: 0, gathered: 0, begun: false, done: false, struck: false }
    }

    fn usage(&self) -> Usage {
        Usage { prompt: self.account.prompt_tokens, cached: self.cached, output: self.account.output_tokens }
    }

    fn tail(&mut self) -> Bytes {
        let usage = self.usage();
        self.account.settle(200, if self.struck { Ending::Faulted } else { Ending::Finished });
        let Telling { finish_reason, include_usage, continuous_usage, tokens_per_chunk: _, mishap: _ } = self.telling;
        self.chunks.tail(finish_reason, continuous_usage.then_some(usage), include_usage.then_some(usage))
    }

    fn fail(&mut self) {
        self.done = true;
        self.tokens = None;
        self.account.settle(200, Ending::Faulted);
    }

    /// What goes wrong now, if this is the moment.
    fn strike(&mut self, cx: &mut Context<'_>) -> Option<Poll<Option<Result<Bytes, Cut>>>> {
        let (mishap, _) = self.telling.mishap.filter(|(_, after)| self.account.output_tokens == *after)?;
        let before = std::mem::replace(&mut self.struck, true);
        match mishap {
            Mishap::Cut if before => {
                self.fail();
                Some(Poll::Ready(Some(Err(Cut))))
            }
            // An error would throw away what is not flushed yet: let that happen first.
            Mishap::Cut => {
                cx.waker().wake_by_ref();
                Some(Poll::Pending)
            }
            Mishap::ErrorEvent => {
                self.fail();
                Some(Poll::Ready(Some(Ok(error_event()))))
            }
            // Nobody will wake this body again; the connection still notices when the client leaves.
            Mishap::Stall => {
                self.tokens = None;
                Some(Poll::Pending)
            }
            Mishap::Malformed => (!before).then(|| Poll::Ready(Some(Ok(broken_event())))),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if self.done {
            return Poll::Ready(None);
        }
        if let Some(polled) = self.strike(cx) {
            return polled;
        }
        let Some(tokens) = &mut self.tokens else {
            self.done = true;
            return Poll::Ready(Some(Ok(self.tail())));
        };
        loop {
            match tokens.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                // The engine ended first: the answer must not look whole.
                Poll::Ready(None) => return Poll::Ready(Some(Err(Cut))),
                Poll::Ready(Some(token)) => {
                    if self.account.output_tokens == 0 && token.cached_tokens > 0 {
                        self.cached = token.cached_tokens;
                        self.account.cached(token.cached_tokens);
                    }
                    self.account.token(token.due);
                    self.gathered += 1;
                    // A mishap strikes between two events.
                    let strikes = self.telling.mishap.is_some_and(|(_, after)| self.account.output_tokens == after);
                    if token.last || strikes || self.gathered >= self.telling.tokens_per_chunk {
                        if token.last {
                            self.tokens = None;
                        }
                        break;
                    }
                }
            }
        }
        let (first, count) = (!std::mem::replace(&mut self.begun, true), std::mem::take(&mut self.gathered));
        let usage = self.telling.continuous_usage.then(|| self.usage());
        Poll::Ready(Some(Ok(self.chunks.tokens(first, count, usage))))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events(events) => events.poll(cx).map(|frame| frame.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Events(_) => SizeHint::default(),
        }
    }
}
