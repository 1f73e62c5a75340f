//! What is known of one request: raw time stamps and counts, no arithmetic.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::chunks::Chunks;

/// One request, as it was seen from the client.
///
/// All times are nanoseconds since the origin of its level (see [`super::PointMeta::origin`]), on a clock that never
/// goes back. A field is `None` when the moment never came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestRecord {
    /// Sent as `x-request-id`, so that a server's log can be joined with this record.
    pub id: String,
    /// Place in the level's sequence of requests, from 0; decides prompt and lengths.
    pub index: u64,
    /// Which of the concurrent users sent it, from 0.
    pub slot: u32,
    /// Its place in a conversation, where requests are turns of conversations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// When an open loop wanted it sent; in a closed loop when its slot became free.
    pub scheduled: u64,
    /// The same as `scheduled` in an open loop, absent in a closed one: what latencies count from is then the moment of
    /// arrival, not of sending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<u64>,
    /// Just before the first byte of the request was written.
    pub sent: u64,
    /// Time spent opening its connection, when that happened for this request (outside of every latency).
    pub connect: Option<u64>,
    /// The response's head was read.
    pub headers: Option<u64>,
    /// The first byte of the response's body was read.
    pub first_byte: Option<u64>,
    /// The first chunk with text, content or reasoning.
    pub first_text: Option<u64>,
    /// The second chunk with text.
    pub second_text: Option<u64>,
    /// The first chunk with content that is not reasoning.
    pub first_output: Option<u64>,
    /// The last chunk with text.
    pub last_text: Option<u64>,
    /// The stream ended, or the request was given up.
    pub end: u64,
    /// Every chunk with text, and its tokens where the server tells them of every chunk.
    pub chunks: Chunks,
    /// Reads of the socket that carried body bytes.
    pub reads: u32,
    /// SSE events in the body, of any kind.
    pub events: u32,
    /// Bytes of the body.
    pub bytes: u64,
    /// Prompt tokens that the workload asked for. Of a later turn: its own text, all texts before it, and the answers to
    /// these as they were.
    pub isl_asked: u32,
    /// Output tokens that the workload asked for.
    pub osl_asked: u32,
    /// Tokens of the prompt's text, without the chat template: by the local tokenizer, or the server's count less the
    /// template's overhead.
    pub isl: Option<u32>,
    /// The server's own count of prompt tokens, with the template.
    pub prompt_tokens: Option<u32>,
    /// Prompt tokens that the server took from its cache.
    pub cached_tokens: Option<u32>,
    /// Output tokens (reasoning included).
    pub output_tokens: Option<u32>,
    /// Output tokens that were reasoning, as the server counted them.
    pub reasoning_tokens: Option<u32>,
    /// Where `output_tokens` comes from.
    pub token_source: TokenSource,
    /// As the server gave it.
    pub finish_reason: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
}

impl RequestRecord {
    /// The moment from which latencies count: its arrival in an open loop, its sending in a closed one.
    pub fn begun(&self) -> u64 {
        self.due.unwrap_or(self.sent)
    }

    /// Output tokens that had come with the first chunk with text: those that the server told, else one.
    pub fn first_tokens(&self) -> u32 {
        // Where text came the server may still count none: then its count lags, and nothing was merged.
        self.chunks.first_tokens().unwrap_or(1).max(1)
    }

    /// Whether the request did what was asked.
    pub fn is_ok(&self) -> bool {
        self.outcome == Outcome::Ok
    }
}

/// The place of a request in its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Which conversation of the level, from 0.
    pub conversation: u64,
    /// Which turn of it, from 1.
    pub turn: u32,
    /// Turns that it was to have.
    pub of: u32,
}

/// Where a count of output tokens comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenSource {
    /// The server's `usage`.
    Usage,
    /// The local tokenizer, over the joined text.
    Tokenizer,
    /// The number of chunks with text: a server may put several tokens into one, so this is a lower bound.
    Chunks,
    /// Nothing was counted.
    None,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A whole stream with at least one token.
    Ok,
    /// Anything else.
    Failed {
        /// What kind of failure.
        class: FailureClass,
        /// What was seen, shortened to 300 characters.
        detail: String,
    },
}

/// Kinds of failure. Each is counted apart, and shown with an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// No connection.
    Connect,
    /// The connection broke before the response's head.
    Reset,
    /// The same on a connection that had served a request before: the server closed it while the next one was on its way. Never
    /// sent again, because the server may have begun to work on it.
    Stale,
    /// The whole request took longer than allowed.
    Timeout,
    /// Nothing came for longer than allowed.
    IdleTimeout,
    /// HTTP 4xx other than 429.
    Rejected,
    /// HTTP 429, 503, 529: the server has too much to do.
    Overloaded,
    /// HTTP 5xx other than 503 and 529.
    ServerError,
    /// Another status, or a body that is not an event stream.
    NotAStream,
    /// An error object inside a stream whose status was 200.
    ErrorEvent,
    /// Bytes that are no SSE or no JSON.
    Malformed,
    /// The stream ended before its end was said.
    Cut,
    /// A well-formed stream without a single token.
    NoTokens,
    /// More than the reader is willing to hold (an event without end).
    TooLarge,
    /// Given up by us: the level ended or the run was interrupted.
    Cancelled,
    /// An arrival of an open loop that was never sent: the level ended before its turn came.
    Unsent,
    /// This machine had no file, port or memory left for a connection: never sent.
    NoRoom,
}

impl FailureClass {
    /// Whether it was given up, or never begun, by us: it says nothing about the server's answer.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Cancelled | Self::Unsent | Self::NoRoom)
    }

    /// The name in files and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Stale => "stale-connection",
            Self::Timeout => "timeout",
            Self::IdleTimeout => "idle-timeout",
            Self::Rejected => "rejected",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server-error",
            Self::NotAStream => "not-a-stream",
            Self::ErrorEvent => "error-event",
            Self::Malformed => "malformed",
            Self::Cut => "cut",
            Self::NoTokens => "no-tokens",
            Self::TooLarge => "too-large",
            Self::Cancelled => "cancelled",
            Self::Unsent => "unsent",
            Self::NoRoom => "no-room",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
