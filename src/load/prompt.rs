//! The requests of one level: each a pure function of who asks and of its place in the sequence.
//!
//! Lengths follow from seed, level, repeat and place: the same in every attempt and on every deployment. Texts follow from
//! these and the nonce of the run, and their first words also from the attempt, so that no prefix cache ever meets a
//! prompt again: not across levels, repeats, attempts, phases or runs. Deployments of one run get the same prompts;
//! where two of them are one server the caller gives them different nonces.

use std::fmt;

use serde::{Deserialize, Serialize};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::lengths::{Lengths, rng_of};
use super::request::{Capabilities, Prepared, RequestShape, Said, bytes_of, plain};
use super::ruler::{Measured, Ruler};
use crate::measure::{Content, Dataset, PrefixScope, SharedPrefix, Source, TRACE_BLOCK, TraceRequest};

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

    fn prepare(&self, phase: Phase, index: u64) -> Prepared {
        let place = Place::new(&self.asker, phase, index);
        let said = match &self.content.source {
            Source::Synthetic => self.synthetic(&place),
            Source::Trace(requests) => self.recorded(requests, &place),
            Source::Dataset(dataset) => self.told(dataset, &place),
        };
        Prepared {
            id: format!("{}-{}{index}", self.asker, phase.letter()),
            index,
            body: said.body,
            isl_asked: said.isl,
            osl_asked: said.osl,
            isl: said.counted,
        }
    }

    fn made(&self, text: Measured, isl: u32, osl: u32) -> Made {
        let body = bytes_of(&self.shape.body(&self.capabilities, &text.text, osl));
        Made { body, isl, osl, counted: text.counted }
    }

    /// Random words: lengths drawn, the shared start before them if there is one.
    fn synthetic(&self, place: &Place<'_>) -> Made {
        let part = pick(&self.content.mix, |part| part.weight, &mut place.rng(&[b"mix"]));
        let lengths = part.map_or(self.lengths, |part| Lengths {
            isl: part.isl,
            isl_std: part.isl_std,
            osl: part.osl,
            osl_std: part.osl_std,
        });
        let (isl, osl) = lengths.draw(place.rng(&[b"lengths"]));
        let (mut first, mut rest) = place.words();
        let Some(prefix) = self.content.prefix else {
            return self.made(self.ruler.text(isl, &mut first, &mut rest), isl, osl);
        };
        let group = place.rng(&[b"group"]).random_range(0..prefix.groups);
        let shared = self.prefix(prefix, group);
        // A request that was drawn shorter than the shared start still says something of its own.
        let own = self.ruler.text(isl.saturating_sub(prefix.tokens).max(1), &mut first, &mut rest);
        let text = format!("{} {}", shared.text, own.text);
        let counted = self.ruler.count(&text);
        self.made(Measured { text, counted }, isl, osl)
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
        let mut texts = Vec::with_capacity(request.hash_ids.len() + 1);
        let mut left = isl;
        for id in &request.hash_ids {
            let tokens = left.min(TRACE_BLOCK);
            if tokens == 0 {
                break;
            }
            left -= tokens;
            // The last block is shorter, and the start of the whole one.
            let (mut first, mut rest) = place.block(lap, *id);
            texts.push(self.ruler.text(tokens, &mut first, &mut rest).text);
        }
        if left > 0 {
            let (mut first, mut rest) = place.words();
            texts.push(self.ruler.text(left, &mut first, &mut rest).text);
        }
        let text = texts.join(" ");
        let counted = self.ruler.count(&text);
        self.made(Measured { text, counted }, isl, osl)
    }

    /// A request of a file, with words of its own before its first message where prompts are to be unique.
    fn told(&self, dataset: &Dataset, place: &Place<'_>) -> Made {
        let (request, _) = at(&dataset.requests, place.index);
        let mut messages = request.messages.clone();
        if dataset.unique {
            let (mut first, mut rest) = place.words();
            let own = self.ruler.text(UNIQUE_TOKENS, &mut first, &mut rest).text;
            messages[0].content = format!("{own}\n{}", messages[0].content);
        }
        let counted = self.ruler.count(&plain(&messages));
        Made {
            body: bytes_of(&self.shape.body_of(&self.capabilities, Said::Messages(&messages), request.osl)),
            isl: counted.unwrap_or_else(|| request.words()),
            osl: request.osl,
            counted,
        }
    }
}

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
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::super::request::Api;
    use super::*;
    use crate::measure::{DatasetRequest, Message, MixPart};

    fn prompts(change: impl FnOnce(&mut Asker)) -> Prompts {
        let mut asker = Asker { seed: 7, nonce: "n".to_owned(), level: "c8".to_owned(), repeat: 1, attempt: 1 };
        change(&mut asker);
        Prompts {
            asker,
            lengths: Lengths { isl: 60, isl_std: 10.0, osl: 20, osl_std: 5.0 },
            content: Content::default(),
            ruler: Arc::new(Ruler::Words),
            shape: RequestShape {
                api: Api::Completions,
                model: "m".to_owned(),
                temperature: None,
                extra: serde_json::Map::new(),
            },
            capabilities: Capabilities::default(),
        }
    }

    fn text(prepared: &Prepared) -> String {
        let body: serde_json::Value = serde_json::from_slice(&prepared.body).unwrap();
        body["prompt"].as_str().unwrap().to_owned()
    }

    fn start(prepared: &Prepared) -> String {
        text(prepared).split(' ').take(16).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn no_first_block_is_ever_sent_twice() {
        let mut seen = HashSet::new();
        let all = [
            prompts(|_| {}),
            prompts(|who| who.nonce = "other".to_owned()),
            prompts(|who| who.level = "c16".to_owned()),
            prompts(|who| who.repeat = 2),
            prompts(|who| who.attempt = 2),
            prompts(|who| who.seed = 8),
        ];
        for level in &all {
            for index in 0..50 {
                assert!(seen.insert(start(&level.measured(index))));
                assert!(seen.insert(start(&level.fill(index))));
            }
        }
    }

    #[test]
    fn every_attempt_has_the_same_lengths() {
        let (one, two) = (prompts(|_| {}), prompts(|who| (who.attempt, who.nonce) = (2, "other".to_owned())));
        for index in 0..50 {
            let lengths = |level: &Prompts| {
                let prepared = level.measured(index);
                (prepared.isl_asked, prepared.osl_asked)
            };
            assert_eq!(lengths(&one), lengths(&two));
        }
    }

    #[test]
    fn the_same_asker_asks_the_same() {
        assert_eq!(prompts(|_| {}).measured(3), prompts(|_| {}).measured(3));
    }

    fn with(content: Content, change: impl FnOnce(&mut Asker)) -> Prompts {
        Prompts { content, ..prompts(change) }
    }

    fn shared(per: PrefixScope) -> Content {
        Content { prefix: Some(SharedPrefix { tokens: 40, groups: 3, per }), ..Content::default() }
    }

    fn starts(level: &Prompts) -> HashSet<String> {
        let start = |prepared: Prepared| text(&prepared).split(' ').take(40).collect::<Vec<_>>().join(" ");
        (0..60).flat_map(|index| [start(level.measured(index)), start(level.fill(index))]).collect()
    }

    #[test]
    fn prompts_of_a_group_share_their_start_within_a_level_and_no_further() {
        let content = shared(PrefixScope::Level);
        let one = with(content.clone(), |_| {});
        let found = starts(&one);
        assert_eq!(found.len(), 3);
        for other in [
            with(content.clone(), |who| who.level = "c16".to_owned()),
            with(content.clone(), |who| who.attempt = 2),
            with(content.clone(), |who| who.nonce = "other".to_owned()),
        ] {
            assert!(found.is_disjoint(&starts(&other)));
        }
        let whole: HashSet<String> = (0..60).map(|index| text(&one.measured(index))).collect();
        assert_eq!(whole.len(), 60, "only the start is shared");
    }

    #[test]
    fn a_prefix_of_the_run_is_the_same_in_every_level_and_the_length_stays_what_was_drawn() {
        let content = shared(PrefixScope::Run);
        let one = with(content.clone(), |_| {});
        assert_eq!(starts(&one), starts(&with(content, |who| who.level = "c16".to_owned())));
        for index in 0..30 {
            let prepared = one.measured(index);
            if prepared.isl_asked > 40 {
                assert_eq!(text(&prepared).split(' ').count() as u32, prepared.isl_asked);
            }
        }
    }

    #[test]
    fn a_mix_has_its_parts_by_weight() {
        let part = |isl, weight| MixPart { isl, isl_std: 0.0, osl: isl / 10, osl_std: 0.0, weight };
        let level = with(Content { mix: vec![part(100, 3.0), part(500, 1.0)], ..Content::default() }, |_| {});
        let long = (0..2000).filter(|index| level.measured(*index).isl_asked == 500).count();
        assert!((400..600).contains(&long), "{long}");
        assert!((0..100).map(|index| level.measured(index)).all(|one| one.osl_asked == one.isl_asked / 10));
    }

    #[test]
    fn blocks_with_equal_ids_are_equal_texts_and_others_are_not() {
        let request = |hash_ids: &[u64], input_length| TraceRequest {
            input_length,
            output_length: 5,
            hash_ids: hash_ids.to_vec(),
        };
        let requests =
            vec![request(&[1, 2], 1000), request(&[1, 3], 1000), request(&[1, 2, 4], 1300), request(&[], 60)];
        let content = Content { source: Source::Trace(requests), ..Content::default() };
        let level = with(content.clone(), |_| {});
        let words = |index| text(&level.measured(index)).split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (one, two, three) = (words(0), words(1), words(2));
        assert_eq!([one.len(), two.len(), three.len(), words(3).len()], [1000, 1000, 1300, 60]);
        assert_eq!(one[..512], two[..512]);
        assert_ne!(one[512..], two[512..]);
        assert_eq!(one[..], three[..1000]);
        // The second lap and another level meet nothing of the first.
        assert_ne!(words(4)[..64], one[..64]);
        let other = with(content, |who| who.level = "c16".to_owned());
        assert_ne!(text(&other.measured(0)), text(&level.measured(0)));
    }

    #[test]
    fn texts_of_a_dataset_are_sent_as_they_are_or_behind_words_of_their_own() {
        let message = Message { role: "user".to_owned(), content: "what is this".to_owned() };
        let of = |unique| {
            let requests = vec![DatasetRequest { messages: vec![message.clone()], osl: 7 }];
            with(Content { source: Source::Dataset(Dataset { unique, requests }), ..Content::default() }, |_| {})
        };
        assert_eq!(text(&of(false).measured(5)), "what is this");
        let level = of(true);
        assert!(text(&level.measured(5)).ends_with("\nwhat is this"));
        assert_ne!(start(&level.measured(5)), start(&level.measured(6)));
        assert_eq!(level.measured(5).osl_asked, 7);
    }
}
