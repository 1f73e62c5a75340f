//! Finds out how the server counts prompt tokens, by asking it.
//!
//! The anchor alone tells what the chat template adds. Then each probe tells the tokens of three words at once: it holds
//! them 1, 8 and 64 times, and a word of at most six letters has at most seven tokens, so that the server's count,
//! less the overhead, is a number in base 8 whose digits are the answer. Random texts verify it. A server that does
//! not count word by word (an estimate from the number of characters) fails the verification and gets a straight line
//! through probes of different lengths instead.

use std::time::Duration;

use rand::RngExt;
use serde_json::json;
use tokio::task::JoinSet;

use super::endpoint::Endpoint;
use super::error::LoadError;
use super::lengths::rng_of;
use super::probe::read_whole;
use super::request::{Capabilities, RequestShape, Said, bytes_of};
use super::ruler::{ANCHOR, Calibration, LocalTokenizer};
use super::words::WORDS;
use crate::measure::{Message, Outcome, USER};

/// Words that are weighed; three a probe.
const POOL: usize = 96;
const WORDS_PER_PROBE: usize = 3;
const BASE: usize = 8;
/// Probes under way at the same time.
const AT_ONCE: usize = 8;
/// Texts that verify, and their words.
const VERIFY: [usize; 3] = [40, 120, 200];
/// Largest relative residual with which words count as weighed.
const MAX_RESIDUAL: f64 = 0.005;
/// Texts of the straight line, and their words.
const LINE: [usize; 6] = [8, 32, 64, 96, 160, 240];

/// Words of the text by which a tokenizer is verified.
const LONG_TEXT: usize = 300;

/// What one needs to ask.
#[derive(Clone)]
struct Asking {
    endpoint: Endpoint,
    shape: RequestShape,
    capabilities: Capabilities,
    limit: Duration,
}

/// Calibrates against the server. `Ok(None)` when it does not count prompt tokens, or not so that they can be foretold
/// within 2 %. `nonce` makes the probes' texts fresh.
///
/// # Errors
/// When a probe is not answered.
pub async fn calibrate(
    endpoint: &Endpoint,
    shape: &RequestShape,
    capabilities: &Capabilities,
    nonce: &str,
    limit: Duration,
) -> Result<Option<Calibration>, LoadError> {
    let asking = Asking { endpoint: endpoint.clone(), shape: shape.clone(), capabilities: *capabilities, limit };
    let Some(alone) = asking.count(ANCHOR.to_owned()).await? else { return Ok(None) };
    let pool: Vec<&str> = (0..POOL).map(|place| WORDS[place * WORDS.len() / POOL]).collect();
    let probes: Vec<String> = pool.chunks(WORDS_PER_PROBE).map(weighing).collect();
    let Some(counts) = asking.counts(probes).await? else { return Ok(None) };
    let mut probed = 1 + counts.len();
    let mut words = Vec::with_capacity(POOL);
    for (chunk, count) in pool.chunks(WORDS_PER_PROBE).zip(counts) {
        let mut rest = (count.saturating_sub(alone)) as usize;
        for word in chunk {
            words.push(((*word).to_owned(), (rest % BASE) as f64));
            rest /= BASE;
        }
    }
    words.retain(|(_, tokens)| *tokens >= 1.0);
    let mut rng = rng_of(&[b"calibration", nonce.as_bytes()]);
    let mut random_text = |from: &[&str], length: usize| -> Vec<String> {
        (0..length).map(|_| from[rng.random_range(0..from.len())].to_owned()).collect()
    };
    let overhead = f64::from(alone) - 1.0;
    if !words.is_empty() {
        let known: Vec<&str> = words.iter().map(|(word, _)| word.as_str()).collect();
        let texts: Vec<_> = VERIFY.iter().map(|length| random_text(&known, *length)).collect();
        let Some(counts) = asking.counts(texts.iter().map(|text| with_anchor(text)).collect()).await? else {
            return Ok(None);
        };
        probed += counts.len();
        let tokens = |word: &String| words.iter().find(|(known, _)| known == word).map_or(0.0, |(_, tokens)| *tokens);
        let residual = texts.iter().zip(counts).map(|(text, count)| {
            let foretold = f64::from(alone) + text.iter().map(tokens).sum::<f64>();
            ((f64::from(count) - foretold) / foretold).abs()
        });
        let residual = residual.fold(0.0, f64::max);
        if residual <= MAX_RESIDUAL {
            return Ok(Some(Calibration { overhead, words, residual, probes: probed as u32 }));
        }
    }
    let texts: Vec<_> = LINE.iter().map(|length| random_text(&pool, *length)).collect();
    let Some(counts) = asking.counts(texts.iter().map(|text| with_anchor(text)).collect()).await? else {
        return Ok(None);
    };
    probed += counts.len();
    let points: Vec<_> = LINE.iter().zip(counts).map(|(words, count)| (*words as f64, f64::from(count))).collect();
    Ok(line(&points, &pool, probed))
}

/// Tokens that the chat template adds, by a text whose tokens are known; `None` when the server does not count.
///
/// # Errors
/// When the probe is not answered.
pub async fn template_overhead(
    endpoint: &Endpoint,
    shape: &RequestShape,
    capabilities: &Capabilities,
    text: &str,
    tokens: u32,
    limit: Duration,
) -> Result<Option<f64>, LoadError> {
    let asking = Asking { endpoint: endpoint.clone(), shape: shape.clone(), capabilities: *capabilities, limit };
    let count = asking.count(text.to_owned()).await?;
    Ok(count.map(|count| f64::from(count) - f64::from(tokens)))
}

/// By which share a server counts more or fewer tokens than a local tokenizer, over a text long enough that what the chat
/// template adds is of no matter; `None` when it does not count, or does not take such a text.
///
/// # Errors
/// When the probe is not answered.
pub async fn tokenizer_error(
    endpoint: &Endpoint,
    shape: &RequestShape,
    capabilities: &Capabilities,
    tokenizer: &LocalTokenizer,
    (nonce, overhead): (&str, f64),
    limit: Duration,
) -> Result<Option<f64>, LoadError> {
    let asking = Asking { endpoint: endpoint.clone(), shape: shape.clone(), capabilities: *capabilities, limit };
    let mut rng = rng_of(&[b"tokenizer", nonce.as_bytes()]);
    let words = (0..LONG_TEXT).map(|_| WORDS[rng.random_range(0..WORDS.len())].to_owned());
    let text = with_anchor(&words.collect::<Vec<_>>());
    let ours = tokenizer.count(&text) as f64;
    match asking.count(text).await {
        Ok(count) => Ok(count.map(|count| (f64::from(count) - overhead) / ours - 1.0)),
        // A server of short prompts: nothing is known.
        Err(LoadError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tokens that the chat template adds for each earlier turn of a conversation (an answer and the next message of the user),
/// beside their texts; `None` when the server does not count.
///
/// # Errors
/// When a probe is not answered.
pub async fn turn_overhead(
    endpoint: &Endpoint,
    shape: &RequestShape,
    capabilities: &Capabilities,
    limit: Duration,
) -> Result<Option<f64>, LoadError> {
    let asking = Asking { endpoint: endpoint.clone(), shape: shape.clone(), capabilities: *capabilities, limit };
    let said = |role: &str| Message { role: role.to_owned(), content: ANCHOR.to_owned() };
    let (one, two) = ([said(USER)], [said(USER), said("assistant"), said(USER)]);
    let one = asking.count_of(Said::Messages(&one)).await?;
    let two = asking.count_of(Said::Messages(&two)).await?;
    // Each anchor is one token of text.
    Ok(one.zip(two).map(|(one, two)| f64::from(two) - f64::from(one) - 2.0))
}

/// A least-squares line through (words, tokens), if it foretells the long texts within 2 %.
fn line(points: &[(f64, f64)], pool: &[&str], probed: usize) -> Option<Calibration> {
    let n = points.len() as f64;
    let (mean_x, mean_y) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = covariance / variance;
    let intercept = mean_y - slope * mean_x;
    let long = points.iter().filter(|(words, _)| *words >= 64.0);
    let residual = long.map(|(x, y)| ((intercept + slope * x - y) / y).abs()).fold(0.0, f64::max);
    if !(slope > 0.0 && residual <= 0.02) {
        return None;
    }
    let words = pool.iter().map(|word| ((*word).to_owned(), slope)).collect();
    // The anchor is one token of the text and part of the intercept.
    Some(Calibration { overhead: intercept - 1.0, words, residual, probes: probed as u32 })
}

/// The anchor and each word as often as its digit's place is worth.
fn weighing(words: &[&str]) -> String {
    let mut text = vec![ANCHOR];
    for (place, word) in words.iter().enumerate() {
        text.extend(std::iter::repeat_n(*word, BASE.pow(place as u32)));
    }
    text.join(" ")
}

fn with_anchor(words: &[String]) -> String {
    format!("{ANCHOR} {}", words.join(" "))
}

impl Asking {
    /// The server's counts of several texts, in their order.
    async fn counts(&self, texts: Vec<String>) -> Result<Option<Vec<u32>>, LoadError> {
        let mut counts = vec![None; texts.len()];
        let mut waiting = texts.into_iter().enumerate();
        let mut tasks = JoinSet::new();
        loop {
            while tasks.len() < AT_ONCE
                && let Some((place, text)) = waiting.next()
            {
                let asking = self.clone();
                tasks.spawn(async move { (place, asking.count(text).await) });
            }
            let Some(joined) = tasks.join_next().await else { break };
            let (place, count) = joined.map_err(|_| LoadError::Panicked)?;
            counts[place] = count?;
        }
        Ok(counts.into_iter().collect())
    }

    /// The server's count of one text, its template included.
    async fn count(&self, text: String) -> Result<Option<u32>, LoadError> {
        self.count_of(Said::Prompt(&text)).await
    }

    async fn count_of(&self, said: Said<'_>) -> Result<Option<u32>, LoadError> {
        let mut body = self.shape.body_of(&self.capabilities, said, 1);
        // A calibration needs no token enforced, and its own stream is as short as can be.
        body.shift_remove("min_tokens");
        if self.capabilities.include_usage {
            body.insert("stream_options".to_owned(), json!({"include_usage": true}));
        }
        let path = self.shape.api.path();
        let answer = self.endpoint.post(path, bytes_of(&body), self.limit).await?;
        let (reading, outcome) = read_whole(&answer);
        let counted = reading.usage.and_then(|usage| usage.prompt_tokens);
        match outcome {
            Outcome::Failed { detail, .. } if counted.is_none() => {
                Err(LoadError::Refused { url: self.endpoint.whole(path), status: answer.status, message: detail })
            }
            Outcome::Ok | Outcome::Failed { .. } => Ok(counted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weighing_holds_its_words_in_base_eight() {
        let text = weighing(&["one", "two", "six"]);
        let count = |word: &str| text.split(' ').filter(|found| *found == word).count();
        assert_eq!((count("A"), count("one"), count("two"), count("six")), (1, 1, 8, 64));
    }

    #[test]
    fn a_line_is_found_where_there_is_one_and_refused_where_there_is_none() {
        let straight: Vec<_> = LINE.iter().map(|words| (*words as f64, 9.0 + 1.3 * *words as f64)).collect();
        let found = line(&straight, &["a"], 6).unwrap();
        assert!((found.overhead - 8.0).abs() < 1e-6 && (found.words[0].1 - 1.3).abs() < 1e-6, "{found:?}");
        let flat: Vec<_> = LINE.iter().map(|words| (*words as f64, 14.0)).collect();
        assert_eq!(line(&flat, &["a"], 6), None);
        let curved: Vec<_> = LINE.iter().map(|words| (*words as f64, (*words as f64).powi(2))).collect();
        assert_eq!(line(&curved, &["a"], 6), None);
    }
}
