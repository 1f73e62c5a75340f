//! How many tokens a text has, and texts of exactly so many tokens.
//!
//! Three ways, best first: a local tokenizer (counted, and repaired until exact), a calibration against the server's own
//! count of prompt tokens, and without either the assumption that a common word is a token.
//!
//! A text is the anchor `A` and words of a pool, one space between. Tokenizers split at spaces, so the tokens of such a
//! text are the sum of the tokens of its words: once each word's number is known, any length can be made exactly, as
//! long as one word of the pool is a single token.

use std::path::{Path, PathBuf};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::error::LoadError;
use super::words::WORDS;
use crate::base::read_limited;

/// The first word of every prompt: one letter is one token everywhere, with or without a space before it.
pub(super) const ANCHOR: &str = "A";

/// Largest tokenizer file that is read.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
/// How often a text is repaired before it is taken as it is.
const MAX_REPAIRS: usize = 12;

/// What is known of the server's counting of prompt tokens. Kept with the incarnation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Tokens that the chat template (or a start token) adds to every prompt.
    pub overhead: f64,
    /// Words and the tokens that each takes; may be fractions where the server does not count word by word.
    pub words: Vec<(String, f64)>,
    /// Largest relative difference between the tokens foretold and counted in the verifying probes.
    pub residual: f64,
    /// Requests that it took.
    pub probes: u32,
}

/// A tokenizer of this machine.
pub struct LocalTokenizer {
    tokenizer: Tokenizer,
    words: Vec<(String, f64)>,
    path: PathBuf,
}

impl std::fmt::Debug for LocalTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalTokenizer").field("path", &self.path).finish_non_exhaustive()
    }
}

impl LocalTokenizer {
    /// Reads a `tokenizer.json`, or that of a folder.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let path = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
        let bytes = read_limited(&path, MAX_TOKENIZER_BYTES)?;
        let wrong = |reason: String| LoadError::Tokenizer { path: path.clone(), reason };
        let tokenizer =
            Tokenizer::from_bytes(&bytes).map_err(|error| wrong(super::reading::shorten(&error.to_string())))?;
        let mut local = Self { tokenizer, words: Vec::new(), path: path.clone() };
        let anchor = local.count(ANCHOR);
        if anchor == 0 {
            return Err(wrong("it makes no token of a letter".to_owned()));
        }
        let tokens = |word: &&str| local.count(&format!("{ANCHOR} {word}")).saturating_sub(anchor);
        let words = WORDS.iter().map(|word| ((*word).to_owned(), tokens(word) as f64));
        local.words = words.filter(|(_, tokens)| *tokens >= 1.0).collect();
        if local.words.is_empty() {
            return Err(wrong("it makes no tokens of words".to_owned()));
        }
        Ok(local)
    }

    /// Tokens of a text, without start or end tokens.
    pub fn count(&self, text: &str) -> usize {
        self.tokenizer.encode_fast(text, false).map_or(0, |encoding| encoding.len())
    }
}

/// A way to make texts of so many tokens.
#[derive(Debug)]
pub enum Ruler {
    /// Counted here; `overhead` is what the template adds, if a probe told it.
    Tokenizer {
        /// The tokenizer.
        tokenizer: std::sync::Arc<LocalTokenizer>,
        /// Tokens that the chat template adds.
        overhead: Option<f64>,
    },
    /// Counted by the server beforehand.
    Calibrated(Calibration),
    /// A word is taken for a token.
    Words,
}

/// A text and its tokens, as far as they are counted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The text.
    pub text: String,
    /// Its tokens, counted by a local tokenizer.
    pub counted: Option<u32>,
}

impl Ruler {
    /// `tokenizer`, `calibrated` or `words`, as records of points name it.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Tokenizer { .. } => "tokenizer",
            Self::Calibrated(_) => "calibrated",
            Self::Words => "words",
        }
    }

    /// Tokens that the chat template adds to each prompt, if they are known.
    pub fn overhead(&self) -> Option<f64> {
        match self {
            Self::Tokenizer { overhead, .. } => *overhead,
            Self::Calibrated(calibration) => Some(calibration.overhead),
            Self::Words => None,
        }
    }

    /// Tokens of a text, if a local tokenizer can tell.
    pub fn count(&self, text: &str) -> Option<u32> {
        match self {
            Self::Tokenizer { tokenizer, .. } => u32::try_from(tokenizer.count(text)).ok(),
            Self::Calibrated(_) | Self::Words => None,
        }
    }

    /// A text of `tokens` tokens: its first words from `first`, all others from `rest`.
    pub fn text(&self, tokens: u32, first: &mut ChaCha8Rng, rest: &mut ChaCha8Rng) -> Measured {
        match self {
            Self::Tokenizer { tokenizer, .. } => {
                let mut words = compose(&tokenizer.words, tokens, first, rest);
                let mut count = tokenizer.count(&joined(&words));
                for _ in 0..MAX_REPAIRS {
                    let wanted = tokens as usize;
                    if count == wanted || (count > wanted && words.len() == 1) {
                        break;
                    }
                    if count > wanted {
                        words.truncate(words.len().saturating_sub((count - wanted).div_ceil(2)).max(1));
                    } else {
                        let more = fill(&tokenizer.words, (wanted - count) as f64, rest);
                        words.extend(more);
                    }
                    count = tokenizer.count(&joined(&words));
                }
                Measured { text: joined(&words), counted: u32::try_from(count).ok() }
            }
            Self::Calibrated(calibration) => {
                let words = compose(&calibration.words, tokens, first, rest);
                Measured { text: joined(&words), counted: None }
            }
            Self::Words => {
                let mut words = vec![ANCHOR];
                let more = (1..tokens as usize).map(|place| {
                    let rng = if place <= FIRST_WORDS { &mut *first } else { &mut *rest };
                    WORDS[rng.random_range(0..WORDS.len())]
                });
                words.extend(more);
                Measured { text: joined(&words), counted: None }
            }
        }
    }
}

/// Words of a prompt that come from the generator which also mixes the attempt: no two attempts share their first block.
const FIRST_WORDS: usize = 24;

fn joined(words: &[&str]) -> String {
    words.join(" ")
}

/// Words for `tokens` tokens, the anchor first.
fn compose<'a>(pool: &'a [(String, f64)], tokens: u32, first: &mut ChaCha8Rng, rest: &mut ChaCha8Rng) -> Vec<&'a str> {
    let mut words = vec![ANCHOR];
    let mut left = f64::from(tokens) - 1.0;
    let largest = pool.iter().map(|(_, tokens)| *tokens).fold(0.0, f64::max);
    while left >= largest && words.len() <= FIRST_WORDS {
        let (word, tokens) = &pool[first.random_range(0..pool.len())];
        words.push(word);
        left -= tokens;
    }
    // A short prompt ends within its first words: then they decide its end as well.
    let rng = if words.len() <= FIRST_WORDS { first } else { rest };
    words.extend(fill(pool, left, rng));
    words
}

/// Random words that together have `left` tokens, or as nearly as the pool allows.
fn fill<'a>(pool: &'a [(String, f64)], mut left: f64, rng: &mut ChaCha8Rng) -> Vec<&'a str> {
    let smallest = pool.iter().map(|(_, tokens)| *tokens).fold(f64::INFINITY, f64::min);
    let mut words = Vec::new();
    while left >= smallest / 2.0 {
        // Tried at random, so that every word that fits is as likely; one that is certain to fit ends the search.
        let drawn = (0..64).map(|_| &pool[rng.random_range(0..pool.len())]).find(|(_, tokens)| *tokens <= left);
        let nearest = || pool.iter().min_by(|a, b| (a.1 - left).abs().total_cmp(&(b.1 - left).abs()));
        let Some((word, tokens)) = drawn.or_else(nearest) else { break };
        words.push(word.as_str());
        left -= tokens;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::lengths::rng_of;
    use super::*;

    fn calibration(words: &[(&str, f64)]) -> Ruler {
        let words = words.iter().map(|(word, tokens)| ((*word).to_owned(), *tokens)).collect();
        Ruler::Calibrated(Calibration { overhead: 9.0, words, residual: 0.0, probes: 1 })
    }

    fn text(ruler: &Ruler, tokens: u32, first: &str, rest: &str) -> String {
        ruler.text(tokens, &mut rng_of(&[first.as_bytes()]), &mut rng_of(&[rest.as_bytes()])).text
    }

    #[test]
    fn calibrated_texts_have_exactly_the_tokens_asked() {
        let words = [("one", 1.0), ("two", 2.0), ("five", 5.0), ("seven", 7.0)];
        let ruler = calibration(&words);
        for tokens in 1..400 {
            let text = text(&ruler, tokens, &format!("f{tokens}"), "r");
            let count = |word: &str| words.iter().find(|(known, _)| *known == word).map_or(1.0, |(_, tokens)| *tokens);
            assert_eq!(text.split(' ').map(count).sum::<f64>(), f64::from(tokens), "{text}");
        }
    }

    #[test]
    fn a_pool_without_single_tokens_comes_as_near_as_it_can() {
        let ruler = calibration(&[("two", 2.0)]);
        assert_eq!(text(&ruler, 200, "f", "r").split(' ').count(), 1 + 100);
    }

    #[test]
    fn only_the_first_block_depends_on_the_first_generator() {
        let ruler = calibration(&[("a", 1.0), ("b", 1.0), ("c", 1.0)]);
        let (one, two) = (text(&ruler, 200, "attempt 1", "r"), text(&ruler, 200, "attempt 2", "r"));
        assert_ne!(one, two);
        let tail = |text: &str| text.split(' ').skip(1 + FIRST_WORDS).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(tail(&one), tail(&two));
    }

    #[test]
    fn without_counts_a_word_is_a_token() {
        assert_eq!(text(&Ruler::Words, 50, "f", "r").split(' ').count(), 50);
    }

    #[test]
    fn a_tokenizer_makes_exact_texts_even_where_words_are_not_additive() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tokenizer.json"), TINY_BPE).unwrap();
        let ruler = Ruler::Tokenizer {
            tokenizer: std::sync::Arc::new(LocalTokenizer::open(dir.path()).unwrap()),
            overhead: None,
        };
        for tokens in [1, 2, 17, 200, 1000] {
            let made = ruler.text(tokens, &mut rng_of(&[b"f"]), &mut rng_of(&[b"r"]));
            assert_eq!(made.counted, Some(tokens));
        }
    }

    #[test]
    fn a_file_that_is_no_tokenizer_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        std::fs::write(&path, "{\"a\": 1}").unwrap();
        let error = LocalTokenizer::open(&path).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json is no tokenizer"), "{error}");
        assert!(LocalTokenizer::open(&dir.path().join("none.json")).unwrap_err().to_string().contains("none.json"));
    }

    /// Byte-level BPE with nine merges: most letters are a token, ` the` is one.
    const TINY_BPE: &str = include_str!("../../tests/fixtures/tokenizer/tiny-bpe.json");
}
