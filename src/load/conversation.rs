//! Conversations: what users say turn by turn, made beforehand, and requests that carry what was really answered.
//!
//! # The rules
//!
//! 1. What users say is made before the level, and the same whatever the server answers: texts, lengths asked, delays and
//!    the number of turns follow from the request's place alone (see `prompt`).
//! 2. A turn's request holds everything said so far: all texts of the user, and the server's own answers to them. It is made
//!    after the answer has ended, off the threads that measure (see `turns`), and whole before its clock starts.
//! 3. The ISL asked of a turn is the tokens of its own text and of all texts before it, as asked, and of the answers: by the
//!    local tokenizer, else by the server's usage. So a server that drops history, or counts it otherwise, is seen.
//! 4. A turn that failed, or was given up, ends its conversation: nobody can go on from an answer that never came.

use std::collections::VecDeque;
use std::time::Duration;

use super::prompt::Prompts;
use super::request::{Prepared, Said, bytes_of};
use super::spoken::Spoken;
use crate::measure::{Message, RequestRecord, Turn};

/// What a user says in one turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserTurn {
    /// Place of its request in the level's sequence.
    pub(super) index: u64,
    /// Messages; the last is the user's.
    pub(super) messages: Vec<Message>,
    /// Their tokens, as asked.
    pub(super) isl: u32,
    /// Their tokens, counted by a local tokenizer.
    pub(super) counted: Option<u32>,
    /// Output tokens asked.
    pub(super) osl: u32,
    /// From the end of the answer before it to its sending.
    pub(super) delay: Duration,
}

/// The turns that follow a request, and what they need to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Later {
    /// All messages of the request.
    history: Vec<Message>,
    isl: u32,
    counted: Option<u32>,
    turn: Turn,
    coming: VecDeque<UserTurn>,
}

impl Later {
    /// How long the user waits before the next turn.
    pub(super) fn delay(&self) -> Duration {
        self.coming.front().map_or(Duration::ZERO, |turn| turn.delay)
    }

    /// Bytes that it holds, about.
    pub(super) fn size(&self) -> usize {
        let coming = self.coming.iter().flat_map(|turn| &turn.messages);
        self.history.iter().chain(coming).map(|message| message.content.len()).sum()
    }
}

/// An answer that has ended well.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    /// The body as it came.
    pub(super) body: bytes::Bytes,
    /// Output tokens, reasoning included.
    pub(super) tokens: u32,
    /// Of these the reasoning, if the server counted it.
    pub(super) reasoning: Option<u32>,
}

impl Answered {
    /// What a record and its body say.
    pub(super) fn of(record: &RequestRecord, body: bytes::Bytes) -> Self {
        Self { body, tokens: record.output_tokens.unwrap_or(0), reasoning: record.reasoning_tokens }
    }
}

impl Prompts {
    /// The first request of a conversation, with all that follows it; `turns` is never empty.
    pub(super) fn opening(&self, id: impl Fn(u64) -> String, number: u64, turns: Vec<UserTurn>) -> Prepared {
        let of = u32::try_from(turns.len()).unwrap_or(u32::MAX);
        let before = Later {
            history: Vec::new(),
            isl: 0,
            counted: Some(0),
            turn: Turn { conversation: number, turn: 0, of },
            coming: turns.into(),
        };
        self.turn(id, before).expect("a conversation has a turn")
    }

    /// The request that follows an answer; `None` after the last turn.
    pub(super) fn following(
        &self,
        id: impl Fn(u64) -> String,
        mut later: Later,
        answered: &Answered,
    ) -> Option<Prepared> {
        let spoken = Spoken::of(&answered.body);
        let counted = self.ruler.count(&spoken.text);
        let tokens = counted.unwrap_or_else(|| spoken.tokens(answered.tokens, answered.reasoning));
        later.isl = later.isl.saturating_add(tokens);
        later.counted = later.counted.zip(counted).map(|(before, more)| before.saturating_add(more));
        later.history.push(Message { role: "assistant".to_owned(), content: spoken.text });
        self.turn(id, later)
    }

    /// The next turn as a request.
    fn turn(&self, id: impl Fn(u64) -> String, mut later: Later) -> Option<Prepared> {
        let UserTurn { index, messages, isl, counted, osl, delay: _ } = later.coming.pop_front()?;
        later.history.extend(messages);
        later.isl = later.isl.saturating_add(isl);
        later.counted = later.counted.zip(counted).map(|(before, more)| before.saturating_add(more));
        later.turn.turn += 1;
        let body = self.shape.body_of(&self.capabilities, Said::Messages(&later.history), osl);
        Some(Prepared {
            id: id(index),
            index,
            body: bytes_of(&body),
            isl_asked: later.isl,
            osl_asked: osl,
            isl: later.counted,
            turn: Some(later.turn),
            later: (!later.coming.is_empty()).then(|| Box::new(later)),
        })
    }
}
