//! The requests of one level: each a pure function of who asks and of its place in the sequence.
//!
//! Lengths follow from seed, level, repeat and place: the same in every attempt and on every deployment. Texts follow from
//! these and the nonce of the run, and their first words also from the attempt, so that no prefix cache ever meets a
//! prompt again: not across levels, repeats, attempts, phases or runs. Deployments of one run get the same prompts;
//! where two of them are one server the caller gives them different nonces. Of a conversation this holds for what the user
//! says; what was answered is in the history as it was.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::conversation::{Answered, Later, UserTurn};
use super::lengths::{Lengths, drawn, drawn_time, rng_of};
use super::request::{Capabilities, Prepared, RequestShape, Said, bytes_of, plain};
use super::ruler::{Measured, Ruler};
use super::worker::Share;
use crate::measure::{
    Content, Conversations, Dataset, Message, PrefixScope, SharedPrefix, Source, TRACE_BLOCK, TraceRequest, USER,
    words_of,
};

/// Who asks: what makes one level's prompts different from all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asker {
    /// The workload's seed.
    pub seed: u64,
    /// Different in every run.
    pub nonce: String,
    /// The level's name, such as `c64`; `warm-up` for a warm-up.
    pub level: String,
    /// Which repeat, from 1.
    pub repeat: u32,
    /// Which attempt, from 1.
    pub attempt: u32,
}

/// `NONCE-c64-r1-a1`: the start of every request's id.
impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-r{}-a{}", self.nonce, self.level, self.repeat, self.attempt)
    }
}

/// The requests of one level.
#[derive(Debug)]
pub struct Prompts {
    /// Who asks.
    pub asker: Asker,
    /// How long prompts and outputs are.
    pub lengths: Lengths,
    /// What they hold beside that.
    pub content: Content,
    /// How prompt lengths are reached.
    pub ruler: std::sync::Arc<Ruler>,
    /// What every request has.
    pub shape: RequestShape,
    /// Which fields the server takes.
    pub capabilities: Capabilities,
    /// Tokens that the chat template adds for each earlier turn of a conversation, if they are known.
    pub turn_overhead: Option<f64>,
}

/// Which sequence of the level a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Fill,
    Measured,
}

impl Phase {
    fn letter(self) -> &'static str {
        match self {
            Self::Fill => "f",
            Self::Measured => "m",
        }
    }
}

impl Prompts {
    /// The measured request at `index`.
    pub fn measured(&self, index: u64) -> Prepared {
        self.prepare(Phase::Measured, index)
    }

    /// The request at `index` of the fill wave.
    pub fn fill(&self, index: u64) -> Prepared {
        self.prepare(Phase::Fill, index)
    }

    /// One generator's requests of a level in their order: those that are measured, or those of the time before; `count`
    /// of its own. Of conversations the first turns, with all that follow: as many as the whole level needs to have
    /// `count` turns in all, the last one whole, and of these its own.
    pub(super) fn sequence(
        self: &Arc<Self>,
        measured: bool,
        share: Share,
        count: u64,
    ) -> Box<dyn Iterator<Item = Prepared> + Send> {
        let prompts = Arc::clone(self);
        let phase = if measured { Phase::Measured } else { Phase::Fill };
        let Some(conversations) = self.content.conversations else {
            return Box::new((0..count).map(move |index| prompts.prepare(phase, share.place(index))));
        };
        let mut begun = 0;
        let places = (0..).map_while({
            let prompts = Arc::clone(self);
            move |number| {
                let first = Some(begun).filter(|begun| *begun < count)?;
                let turns = prompts.turns_of(&conversations, phase, number);
                begun += u64::from(turns);
                Some((number, first, turns))
            }
        });
        let own = places.filter(move |(number, _, _)| number % u64::from(share.of.max(1)) == u64::from(share.part));
        Box::new(own.map(move |(number, first, turns)| prompts.conversation(phase, number, (first, turns))))
    }

    /// The turn after an answer; `None` after the last one.
    pub(super) fn next_turn(&self, measured: bool, later: Later, answered: &Answered) -> Option<Prepared> {
        let phase = if measured { Phase::Measured } else { Phase::Fill };
        self.following(|index| self.id(phase, index), later, answered)
    }

    fn id(&self, phase: Phase, index: u64) -> String {
        format!("{}-{}{index}", self.asker, phase.letter())
    }

    /// How many turns a conversation has.
    fn turns_of(&self, conversations: &Conversations, phase: Phase, number: u64) -> u32 {
        match (&self.content.source, conversations.turns) {
            (Source::Dataset(dataset), _) => {
                u32::try_from(at(&dataset.requests, number).0.turns().count()).unwrap_or(u32::MAX)
            }
            (Source::Synthetic | Source::Trace(_), turns) => {
                let mut rng = Place::new(&self.asker, phase, number).rng(&[b"turns"]);
                drawn(turns.unwrap_or(1), conversations.turns_std, &mut rng)
            }
        }
    }

    /// A conversation whose turns stand at `first` and after it in the level's sequence of requests.
    fn conversation(&self, phase: Phase, number: u64, (first, turns): (u64, u32)) -> Prepared {
        let turn = |turn: u32| {
            let place = Place::new(&self.asker, phase, first + u64::from(turn));
            let said = match &self.content.source {
                Source::Synthetic | Source::Trace(_) => self.said(&place, turn == 0),
                Source::Dataset(dataset) => self.quoted(dataset, &place, (number, turn)),
            };
            let delay = self.content.conversations.map_or(Duration::ZERO, |found| place.delay(&found));
            UserTurn { delay, ..said }
        };
        self.opening(|index| self.id(phase, index), number, (0..turns.max(1)).map(turn).collect())
    }

    /// A turn of random words, the shared start before the first one.
    fn said(&self, place: &Place<'_>, is_first: bool) -> UserTurn {
        let (isl, osl) = self.lengths_at(place);
        let (mut first, mut rest) = place.words();
        let (own, asked) = match self.content.prefix.filter(|_| is_first) {
            Some(prefix) => {
                let asked = isl.saturating_add(prefix.tokens);
                (self.ending(&self.prefix_at(prefix, place).text, isl, asked, || place.words()), asked)
            }
            None => (self.ruler.text(isl, &mut first, &mut rest), isl),
        };
        let messages = vec![Message { role: USER.to_owned(), content: own.text }];
        UserTurn { index: place.index, messages, isl: asked, counted: own.counted, osl, delay: Duration::ZERO }
    }

    /// A turn of a dataset's conversation.
    fn quoted(&self, dataset: &Dataset, place: &Place<'_>, (number, turn): (u64, u32)) -> UserTurn {
        let (request, _) = at(&dataset.requests, number);
        let mut messages = request.turns().nth(turn as usize).unwrap_or_default().to_vec();
        if turn == 0 {
            self.make_unique(dataset, &mut messages, place);
        }
        let counted = messages.iter().map(|message| self.ruler.count(&message.content)).sum::<Option<u32>>();
        let isl = counted.unwrap_or_else(|| words_of(&messages));
        UserTurn { index: place.index, messages, isl, counted, osl: request.osl, delay: Duration::ZERO }
    }

    fn prepare(&self, phase: Phase, index: u64) -> Prepared {
        if self.content.conversations.is_some() {
            // Alone it is a conversation of one turn.
            return self.conversation(phase, index, (index, 1));
        }
        let place = Place::new(&self.asker, phase, index);
        let said = match &self.content.source {
            Source::Synthetic => self.synthetic(&place),
            Source::Trace(requests) => self.recorded(requests, &place),
            Source::Dataset(dataset) => self.told(dataset, &place),
        };
        Prepared {
            id: self.id(phase, index),
            index,
            body: said.body,
            isl_asked: said.isl,
            osl_asked: said.osl,
            isl: said.counted,
            turn: None,
            later: None,
        }
    }

    fn made(&self, text: Measured, isl: u32, osl: u32) -> Made {
        let body = bytes_of(&self.shape.body(&self.capabilities, &text.text, osl));
        Made { body, isl, osl, counted: text.counted }
    }

    /// Random words: lengths drawn, the shared start before them if there is one.
    fn synthetic(&self, place: &Place<'_>) -> Made {
        let (isl, osl) = self.lengths_at(place);
        let (mut first, mut rest) = place.words();
        let Some(prefix) = self.content.prefix else {
            return self.made(self.ruler.text(isl, &mut first, &mut rest), isl, osl);
        };
        let shared = self.prefix_at(prefix, place);
        // A request that was drawn shorter than the shared start still says something of its own.
        let own = isl.saturating_sub(prefix.tokens).max(1);
        self.made(self.ending(&shared.text, own, isl, || place.words()), isl, osl)
    }

    /// `start` and an end of about `own` tokens, so that both together have `tokens`: where they meet a tokenizer may find
    /// other tokens than in each alone.
    fn ending(&self, start: &str, own: u32, tokens: u32, words: impl Fn() -> (ChaCha8Rng, ChaCha8Rng)) -> Measured {
        let made = |own: u32| {
            let (mut first, mut rest) = words();
            let end = self.ruler.text(own, &mut first, &mut rest).text;
            let text = if start.is_empty() { end } else { format!("{start} {end}") };
            Measured { counted: self.ruler.count(&text), text }
        };
        let (mut own, mut whole) = (own, made(own));
        for _ in 1..MOST_JOINTS {
            let off = whole.counted.map_or(0, |counted| i64::from(tokens) - i64::from(counted));
            let next = u32::try_from((i64::from(own) + off).max(1)).unwrap_or(own);
            if next == own {
                break;
            }
            (own, whole) = (next, made(next));
        }
        whole
    }

    /// Prompt and output length of a request.
    fn lengths_at(&self, place: &Place<'_>) -> (u32, u32) {
        let part = pick(&self.content.mix, |part| part.weight, &mut place.rng(&[b"mix"]));
        let lengths = part.map_or(self.lengths, |part| Lengths {
            isl: part.isl,
            isl_std: part.isl_std,
            osl: part.osl,
            osl_std: part.osl_std,
        });
        lengths.draw(place.rng(&[b"lengths"]))
    }

    /// The shared start of a request: that of the group it draws.
    fn prefix_at(&self, prefix: SharedPrefix, place: &Place<'_>) -> Measured {
        self.prefix(prefix, place.rng(&[b"group"]).random_range(0..prefix.groups))
    }

    /// The start that a group's prompts have in common.
    fn prefix(&self, prefix: SharedPrefix, group: u32) -> Measured {
        let who = &self.asker;
        let (seed, group) = (who.seed.to_le_bytes(), group.to_le_bytes());
        let (repeat, attempt) = (who.repeat.to_le_bytes(), who.attempt.to_le_bytes());
        let mut parts: Vec<&[u8]> = vec![b"prefix", &seed, who.nonce.as_bytes(), &group];
        match prefix.per {
            PrefixScope::Level => parts.extend([who.level.as_bytes(), &repeat, &attempt]),
            PrefixScope::Run => {}
        }
        let with = |purpose: &'static [u8]| rng_of(&[&parts[..], &[purpose]].concat());
        self.ruler.text(prefix.tokens, &mut with(b"first"), &mut with(b"rest"))
    }

    /// A recorded request: blocks with equal ids have equal texts within a level, and meet no cache of another one. What a
    /// trace has no ids for is unlike all else.
    fn recorded(&self, requests: &[TraceRequest], place: &Place<'_>) -> Made {
        let (request, lap) = at(requests, place.index);
        let (isl, osl) = (request.input_length, request.output_length);
        let blocks = request.hash_ids.iter().zip((0..isl).step_by(TRACE_BLOCK as usize));
        // The last block is shorter, and the start of the whole one.
        let mut parts: Vec<(u32, Option<u64>)> =
            blocks.map(|(id, before)| ((isl - before).min(TRACE_BLOCK), Some(*id))).collect();
        let with_ids: u32 = parts.iter().map(|(tokens, _)| tokens).sum();
        parts.extend(Some((isl - with_ids, None)).filter(|(tokens, _)| *tokens > 0));
        let words = |id: Option<u64>| id.map_or_else(|| place.words(), |id| place.block(lap, id));
        let (last, whole) = parts.split_last().expect("a recorded prompt has a token at least");
        let texts = whole.iter().map(|(tokens, id)| {
            let (mut first, mut rest) = words(*id);
            self.ruler.text(*tokens, &mut first, &mut rest).text
        });
        let start = texts.collect::<Vec<_>>().join(" ");
        self.made(self.ending(&start, last.0, isl, || words(last.1)), isl, osl)
    }

    /// A request of a file, with words of its own before its first message where prompts are to be unique.
    fn told(&self, dataset: &Dataset, place: &Place<'_>) -> Made {
        let (request, _) = at(&dataset.requests, place.index);
        let mut messages = request.messages.clone();
        self.make_unique(dataset, &mut messages, place);
        let counted = self.ruler.count(&plain(&messages));
        Made {
            body: bytes_of(&self.shape.body_of(&self.capabilities, Said::Messages(&messages), request.osl)),
            isl: counted.unwrap_or_else(|| request.words()),
            osl: request.osl,
            counted,
        }
    }

    /// Puts words of its own before a dataset's text, where prompts are to be unique.
    fn make_unique(&self, dataset: &Dataset, messages: &mut [Message], place: &Place<'_>) {
        if let (true, Some(message)) = (dataset.unique, messages.first_mut()) {
            let (mut first, mut rest) = place.words();
            let own = self.ruler.text(UNIQUE_TOKENS, &mut first, &mut rest).text;
            message.content = format!("{own}\n{}", message.content);
        }
    }
}

/// How often the end of a text is made anew to have its length.
const MOST_JOINTS: u32 = 4;
/// Tokens before a dataset's text that make it unlike all others: with 24 words no two are alike.
const UNIQUE_TOKENS: u32 = 24;

/// What a request says, and how much that is.
struct Made {
    body: bytes::Bytes,
    isl: u32,
    osl: u32,
    counted: Option<u32>,
}

/// The item whose turn it is, and how often all have had theirs.
fn at<T>(items: &[T], index: u64) -> (&T, u64) {
    let count = items.len() as u64;
    (&items[(index % count) as usize], index / count)
}

/// One of several, by weight; `None` of none.
fn pick<'a, T>(items: &'a [T], weight: impl Fn(&T) -> f64, rng: &mut ChaCha8Rng) -> Option<&'a T> {
    let mut left = rng.random_range(0.0..1.0) * items.iter().map(&weight).sum::<f64>();
    items
        .iter()
        .find(|item| {
            left -= weight(item);
            left < 0.0
        })
        .or(items.last())
}

/// The place of a request, from which all that is random in it follows.
struct Place<'a> {
    who: &'a Asker,
    phase: Phase,
    index: u64,
}

impl<'a> Place<'a> {
    fn new(who: &'a Asker, phase: Phase, index: u64) -> Self {
        Self { who, phase, index }
    }

    fn rng(&self, more: &[&[u8]]) -> ChaCha8Rng {
        let who = self.who;
        let (seed, repeat, place) = (who.seed.to_le_bytes(), who.repeat.to_le_bytes(), self.index.to_le_bytes());
        let common: [&[u8]; 5] = [&seed, who.level.as_bytes(), &repeat, self.phase.letter().as_bytes(), &place];
        rng_of(&[&common, more].concat())
    }

    /// How long the user waits before this turn.
    fn delay(&self, conversations: &Conversations) -> Duration {
        let (mean, std) = (conversations.delay_s, conversations.delay_std_s);
        Duration::from_secs_f64(drawn_time(mean, std, &mut self.rng(&[b"delay"])))
    }

    /// For the first words, which also mix the attempt, and for all others.
    fn words(&self) -> (ChaCha8Rng, ChaCha8Rng) {
        let (nonce, attempt) = (self.who.nonce.as_bytes(), self.who.attempt.to_le_bytes());
        (self.rng(&[b"first", nonce, &attempt]), self.rng(&[b"rest", nonce]))
    }

    /// The same for a block of a trace: by its id instead of the request's place.
    fn block(&self, lap: u64, id: u64) -> (ChaCha8Rng, ChaCha8Rng) {
        let block = Place { who: self.who, phase: self.phase, index: lap };
        let (nonce, attempt, id) = (self.who.nonce.as_bytes(), self.who.attempt.to_le_bytes(), id.to_le_bytes());
        (block.rng(&[b"block", nonce, &attempt, &id]), block.rng(&[b"block-rest", nonce, &id]))
    }
}

#[cfg(test)]
mod tests;
