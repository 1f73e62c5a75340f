//! What can go wrong on purpose, so that everything that stands on a server can be tested without luck.

use serde::{Deserialize, Serialize};

/// A kind of misbehaviour. All but the last five concern single requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The connection is closed in mid-stream, after `after` tokens.
    CutStream,
    /// An error object is sent inside the 200 stream after `after` tokens, then `[DONE]`.
    ErrorEvent,
    /// Nothing more comes after `after` tokens; the connection stays open.
    Stall,
    /// After `after` tokens one event is broken JSON; the stream goes on.
    MalformedSse,
    /// A stream without any token, but with a proper end.
    ZeroTokens,
    /// Tokens for ever, whatever the request asked.
    Endless,
    /// Usage is never sent.
    NoUsage,
    /// 429 with `Retry-After`.
    TooManyRequests,
    /// 503 with `Retry-After`.
    Unavailable,
    /// 500.
    ServerError,
    /// 400 for fields that OpenAI's own API does not have (`min_tokens`, `ignore_eos`, ...).
    RejectExtras,
    /// 400 for `stream_options.continuous_usage_stats`.
    RejectContinuousUsage,
    /// Usage comes at the end of a stream only, whatever was asked, as llama.cpp does.
    NoContinuousUsage,
    /// HTML instead of every answer.
    Html,
    /// The server never has its model: nothing is listed, `/health` and requests are 503.
    NeverReady,
    /// `/v1/models` lists a model of another name, and only that one is served.
    WrongModel,
    /// Nothing is listed, though `/health` says all is well.
    NoModel,
    /// The server ends itself when its request number `after` + 1 arrives.
    ExitAfter,
}

impl FaultKind {
    /// Where it strikes.
    pub(super) fn place(self) -> Place {
        match self {
            Self::CutStream => Place::Stream(Mishap::Cut),
            Self::ErrorEvent => Place::Stream(Mishap::ErrorEvent),
            Self::Stall => Place::Stream(Mishap::Stall),
            Self::MalformedSse => Place::Stream(Mishap::Malformed),
            Self::TooManyRequests => Place::Refusal(429),
            Self::Unavailable => Place::Refusal(503),
            Self::ServerError => Place::Refusal(500),
            Self::ZeroTokens
            | Self::Endless
            | Self::NoUsage
            | Self::RejectExtras
            | Self::RejectContinuousUsage
            | Self::NoContinuousUsage => Place::Answer,
            Self::Html | Self::NeverReady | Self::WrongModel | Self::NoModel | Self::ExitAfter => Place::Server,
        }
    }
}

/// Where a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The server as a whole; `every` says nothing.
    Server,
    /// A request is refused with this status.
    Refusal(u16),
    /// What is asked or answered is not as it should be.
    Answer,
    /// In the midst of a stream.
    Stream(Mishap),
}

/// What happens in the midst of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mishap {
    Cut,
    ErrorEvent,
    Stall,
    Malformed,
}

/// One misbehaviour and how often it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Every how-manieth completion request it befalls, counted from the server's start; 1 is each of them.
    #[serde(default = "one")]
    pub every: u64,
    /// Tokens that still come before it, or requests (`exit-after`).
    #[serde(default)]
    pub after: u64,
}

fn one() -> u64 {
    1
}

impl Fault {
    /// A fault that befalls every request at once.
    pub fn always(kind: FaultKind) -> Self {
        Self { kind, every: 1, after: 0 }
    }

    /// Whether it befalls completion request `number`, counted from 1.
    pub(super) fn befalls(self, number: u64) -> bool {
        self.kind.place() != Place::Server && number.is_multiple_of(self.every.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_befalls_its_share_of_requests() {
        let fault = Fault { kind: FaultKind::CutStream, every: 3, after: 5 };
        assert_eq!((1..=7).filter(|number| fault.befalls(*number)).collect::<Vec<_>>(), [3, 6]);
        assert!(!Fault::always(FaultKind::NeverReady).befalls(1));
    }

    #[test]
    fn a_fault_is_written_as_a_table() {
        let fault: Fault = serde_json::from_str(r#"{"kind":"cut-stream","after":4}"#).unwrap();
        assert_eq!(fault, Fault { kind: FaultKind::CutStream, every: 1, after: 4 });
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"cut-stream","evry":4}"#).is_err());
    }
}
