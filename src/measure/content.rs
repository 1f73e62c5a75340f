//! What the requests of a workload hold: lengths drawn from a mix, texts with a shared start, a recorded trace or a dataset,
//! each alone or as turns of conversations.
//!
//! Plain data, read out of the plan and its files and handed over whole: whoever sends the load needs no file of the plan's,
//! and its digest says whether two workloads ask the same.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::format_duration;

/// Tokens of one block of a trace's hash ids (Mooncake's).
pub const TRACE_BLOCK: u32 = 512;

/// Beside mean lengths, what decides about prompts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Content {
    /// Several kinds of lengths; empty: the workload's own.
    pub mix: Vec<MixPart>,
    /// The start that prompts have in common.
    pub prefix: Option<SharedPrefix>,
    /// Where texts come from.
    pub source: Source,
    /// Requests are turns of conversations. Not written where they are not, so that keys of other workloads stay what they
    /// are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversations: Option<Conversations>,
}

/// How long conversations are, and how long their users think.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Conversations {
    /// Turns of each, mean; `None`: as many as the dataset's have.
    pub turns: Option<u32>,
    /// Turns, standard deviation.
    pub turns_std: f64,
    /// Seconds from the end of an answer to the sending of the next turn, mean.
    pub delay_s: f64,
    /// See `delay_s`: standard deviation.
    pub delay_std_s: f64,
}

/// One kind of requests in a mix.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MixPart {
    /// Prompt tokens, mean.
    pub isl: u32,
    /// Prompt tokens, standard deviation.
    pub isl_std: f64,
    /// Output tokens, mean.
    pub osl: u32,
    /// Output tokens, standard deviation.
    pub osl_std: f64,
    /// How often, beside the other parts.
    pub weight: f64,
}

/// A start that prompts of one group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SharedPrefix {
    /// Its tokens; part of the prompt's length.
    pub tokens: u32,
    /// How many different ones there are; each request draws its own.
    pub groups: u32,
    /// How long they stay the same.
    pub per: PrefixScope,
}

/// How long a shared prefix stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrefixScope {
    /// One level of one attempt: its own wave warms the cache, nothing else does.
    Level,
    /// The whole run: a level finds what earlier ones have left.
    Run,
}

/// Where texts come from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Random words.
    #[default]
    Synthetic,
    /// Random words with the lengths and the common parts of recorded requests; never empty.
    Trace(Vec<TraceRequest>),
    /// Texts of a file; never empty.
    Dataset(Dataset),
}

/// One request of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TraceRequest {
    /// Prompt tokens.
    pub input_length: u32,
    /// Output tokens.
    pub output_length: u32,
    /// One for each [`TRACE_BLOCK`] of the prompt: equal ids stand for equal tokens.
    pub hash_ids: Vec<u64>,
}

/// Texts of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dataset {
    /// Whether each prompt begins with a few words of its own, so that no cache meets it again.
    pub unique: bool,
    /// Requests in the order of the file.
    pub requests: Vec<DatasetRequest>,
}

/// One request of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DatasetRequest {
    /// What is said, the last by the user; never empty. Of a conversation only what the user and the system say: each
    /// message of the user ends a turn.
    pub messages: Vec<Message>,
    /// Output tokens, of each turn of a conversation.
    pub osl: u32,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
}

/// Mean and standard deviation of prompt and output lengths over all requests of some content.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContentLengths {
    /// Prompt tokens, mean.
    pub isl: f64,
    /// See `isl`.
    pub isl_std: f64,
    /// Output tokens, mean.
    pub osl: f64,
    /// See `osl`.
    pub osl_std: f64,
}

impl Content {
    /// What the content says of lengths; `None` when it leaves them to the workload. Words of a dataset are taken for
    /// tokens.
    pub fn lengths(&self) -> Option<ContentLengths> {
        let over = |items: Vec<(f64, f64, f64, f64, f64)>| {
            let isl: Vec<_> = items.iter().map(|item| (item.0, item.1, item.4)).collect();
            let outputs: Vec<_> = items.iter().map(|item| (item.2, item.3, item.4)).collect();
            let ((isl, isl_std), (osl, osl_std)) = (mixed(&isl), mixed(&outputs));
            ContentLengths { isl, isl_std, osl, osl_std }
        };
        match &self.source {
            Source::Synthetic if self.mix.is_empty() => None,
            Source::Synthetic => {
                let part = |part: &MixPart| {
                    (f64::from(part.isl), part.isl_std, f64::from(part.osl), part.osl_std, part.weight)
                };
                Some(over(self.mix.iter().map(part).collect()))
            }
            Source::Trace(requests) => {
                let one = |request: &TraceRequest| {
                    (f64::from(request.input_length), 0.0, f64::from(request.output_length), 0.0, 1.0)
                };
                Some(over(requests.iter().map(one).collect()))
            }
            Source::Dataset(dataset) => {
                let one = |(words, osl): (u32, u32)| (f64::from(words), 0.0, f64::from(osl), 0.0, 1.0);
                let whole = |request: &DatasetRequest| vec![(request.words(), request.osl)];
                let turns =
                    |request: &DatasetRequest| request.turns().map(|turn| (words_of(turn), request.osl)).collect();
                let each = dataset.requests.iter().flat_map(|request| match self.conversations {
                    None => whole(request),
                    Some(_) => turns(request),
                });
                Some(over(each.map(one).collect()))
            }
        }
    }
}

impl Content {
    /// `mix of 2, 4 shared starts of 400`; `None` for plain requests.
    pub fn describe(&self) -> Option<String> {
        let source = match &self.source {
            Source::Synthetic if self.mix.is_empty() => None,
            Source::Synthetic => Some(format!("mix of {}", self.mix.len())),
            Source::Trace(requests) => Some(format!("trace of {}", requests.len())),
            Source::Dataset(dataset) => Some(format!("dataset of {}, ISL in words", dataset.requests.len())),
        };
        let prefix = self.prefix.map(|prefix| match prefix.groups {
            1 => format!("a shared start of {}", prefix.tokens),
            groups => format!("{groups} shared starts of {}", prefix.tokens),
        });
        let parts: Vec<String> = source.into_iter().chain(prefix).chain(self.describe_conversations()).collect();
        if parts.is_empty() { None } else { Some(parts.join(", ")) }
    }

    /// `conversations of 5±2 turns, 2s±500ms apart, ISL of each turn's own text`
    fn describe_conversations(&self) -> Option<String> {
        let found = self.conversations?;
        let spread = |std: f64, text: String| if std > 0.0 { format!("±{text}") } else { String::new() };
        let seconds = |seconds: f64| format_duration(Duration::from_secs_f64(seconds));
        let turns = match found.turns {
            Some(1) => "1 turn".to_owned(),
            Some(turns) => format!("{turns}{} turns", spread(found.turns_std, found.turns_std.to_string())),
            None => format!("{:.1} turns on average", self.mean_turns()),
        };
        let apart = match found.delay_s {
            0.0 => "at once".to_owned(),
            delay => format!("{}{} apart", seconds(delay), spread(found.delay_std_s, seconds(found.delay_std_s))),
        };
        Some(format!("conversations of {turns}, {apart}, ISL of each turn's own text"))
    }

    /// Whether prompts begin alike because that was asked: a cache may then help, and how much is the server's merit.
    pub fn is_alike(&self) -> bool {
        let by_source = match &self.source {
            Source::Synthetic => false,
            Source::Trace(requests) => requests.iter().any(|request| !request.hash_ids.is_empty()),
            Source::Dataset(dataset) => !dataset.unique,
        };
        self.conversations.is_some() || self.prefix.is_some() || by_source
    }

    /// Turns of a conversation on average; 1 where requests stand alone.
    pub fn mean_turns(&self) -> f64 {
        match (&self.conversations, &self.source) {
            (None, _) => 1.0,
            (Some(Conversations { turns: None, .. }), Source::Dataset(dataset)) => {
                let turns: usize = dataset.requests.iter().map(|request| request.turns().count()).sum();
                turns as f64 / dataset.requests.len().max(1) as f64
            }
            (Some(found), _) => f64::from(found.turns.unwrap_or(1)),
        }
    }
}

impl DatasetRequest {
    /// Words between white space, at least 1: what is known of its length without a tokenizer.
    pub fn words(&self) -> u32 {
        words_of(&self.messages)
    }

    /// The messages of each turn of a conversation: what the user says, and what the system says before it.
    pub fn turns(&self) -> impl Iterator<Item = &[Message]> {
        self.messages.split_inclusive(|message| message.role == USER)
    }
}

/// The role whose message ends a turn.
pub const USER: &str = "user";

/// Words between white space, at least 1.
pub fn words_of(messages: &[Message]) -> u32 {
    let words = messages.iter().map(|message| message.content.split_whitespace().count()).sum::<usize>();
    u32::try_from(words.max(1)).unwrap_or(u32::MAX)
}

/// Mean and standard deviation of a mixture of (mean, standard deviation, weight).
fn mixed(parts: &[(f64, f64, f64)]) -> (f64, f64) {
    let weight: f64 = parts.iter().map(|part| part.2).sum();
    let mean = parts.iter().map(|part| part.0 * part.2).sum::<f64>() / weight;
    // To a tenth of a token: it is printed.
    let tenth = |number: f64| (number * 10.0).round() / 10.0;
    let variance = parts.iter().map(|part| (part.1.powi(2) + (part.0 - mean).powi(2)) * part.2).sum::<f64>() / weight;
    (mean, tenth(variance.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_has_the_mean_and_spread_of_all_its_parts() {
        let part = |isl, isl_std, weight| MixPart { isl, isl_std, osl: 10, osl_std: 0.0, weight };
        let content = Content { mix: vec![part(100, 0.0, 3.0), part(500, 0.0, 1.0)], ..Content::default() };
        let found = content.lengths().unwrap();
        assert_eq!((found.isl, found.osl, found.osl_std), (200.0, 10.0, 0.0));
        assert_eq!(found.isl_std, 173.2);
        assert_eq!(content.describe().as_deref(), Some("mix of 2"));
        assert_eq!(Content::default().lengths(), None);
    }

    #[test]
    fn prompts_are_alike_where_that_is_asked() {
        let trace = |hash_ids| Source::Trace(vec![TraceRequest { input_length: 9, output_length: 9, hash_ids }]);
        let dataset = |unique| Source::Dataset(Dataset { unique, requests: Vec::new() });
        for (source, alike) in [
            (Source::Synthetic, false),
            (trace(vec![1]), true),
            (trace(Vec::new()), false),
            (dataset(true), false),
            (dataset(false), true),
        ] {
            assert_eq!(Content { source, ..Content::default() }.is_alike(), alike);
        }
        let prefix = Some(SharedPrefix { tokens: 9, groups: 1, per: PrefixScope::Run });
        assert!(Content { prefix, ..Content::default() }.is_alike());
        let turns = Conversations { turns: None, turns_std: 0.0, delay_s: 0.0, delay_std_s: 0.0 };
        assert!(Content { conversations: Some(turns), ..Content::default() }.is_alike());
    }
}
