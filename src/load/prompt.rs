//! The requests of one level: each a pure function of who asks and of its place in the sequence.
//!
//! Lengths follow from seed, level, repeat and place: the same in every attempt and on every deployment. Texts follow from
//! these and the nonce of the run, and their first words also from the attempt, so that no prefix cache ever meets a
//! prompt again: not across levels, repeats, attempts, phases or runs. Deployments of one run get the same prompts;
//! where two of them are one server the caller gives them different nonces.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::lengths::{Lengths, rng_of};
use super::request::{Capabilities, Prepared, RequestShape, bytes_of};
use super::ruler::Ruler;

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
        let who = &self.asker;
        let seed = who.seed.to_le_bytes();
        let repeat = who.repeat.to_le_bytes();
        let place = index.to_le_bytes();
        let common: [&[u8]; 5] = [&seed, who.level.as_bytes(), &repeat, phase.letter().as_bytes(), &place];
        let with = |more: &[&[u8]]| rng_of(&[&common, more].concat());
        let (isl, osl) = self.lengths.draw(with(&[b"lengths"]));
        let attempt = who.attempt.to_le_bytes();
        let mut first = with(&[b"first", who.nonce.as_bytes(), &attempt]);
        let mut rest = with(&[b"rest", who.nonce.as_bytes()]);
        let measured = self.ruler.text(isl, &mut first, &mut rest);
        Prepared {
            id: format!("{who}-{}{index}", phase.letter()),
            index,
            body: bytes_of(&self.shape.body(&self.capabilities, &measured.text, osl)),
            isl_asked: isl,
            osl_asked: osl,
            isl: measured.counted,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::super::request::Api;
    use super::*;

    fn prompts(change: impl FnOnce(&mut Asker)) -> Prompts {
        let mut asker = Asker { seed: 7, nonce: "n".to_owned(), level: "c8".to_owned(), repeat: 1, attempt: 1 };
        change(&mut asker);
        Prompts {
            asker,
            lengths: Lengths { isl: 60, isl_std: 10.0, osl: 20, osl_std: 5.0 },
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
}
