//! What a completion request asks, read out of its JSON body.
//!
//! Prompt tokens are counted by a simple rule that anybody can repeat: words between white space, plus
//! `chat-template-tokens` for a chat, or the numbers of a prompt that comes as token ids; at least 1. Fields that are not
//! known are ignored, as vLLM does.

use std::hash::{DefaultHasher, Hash, Hasher};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};

use super::config::SimConfig;

/// Which of the two ways of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Chat,
    Completions,
}

/// A request that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) prompt_tokens: u32,
    /// Hash of each whole block of the prompt, over all tokens up to its end.
    pub(super) prefix: Vec<u64>,
    /// Where the hashing of an answer goes on.
    prompt: PromptCounter,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) continuous_usage: bool,
    pub(super) max_tokens: u32,
    pub(super) min_tokens: u32,
    pub(super) ignore_eos: bool,
    /// The first field that OpenAI's own API does not have, if there is one.
    pub(super) extra: Option<String>,
}

/// Why a body is no request: the field that is to blame, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadAsk {
    pub(super) field: Option<&'static str>,
    pub(super) message: String,
}

fn bad(field: &'static str, message: impl Into<String>) -> BadAsk {
    BadAsk { field: Some(field), message: message.into() }
}

/// Fields of vLLM and others that a strict server refuses.
const EXTRAS: &[&str] = &["min_tokens", "ignore_eos", "top_k", "repetition_penalty", "nvext", "chat_template_kwargs"];

impl Ask {
    /// Reads a body.
    pub(super) fn read(api: Api, body: &[u8], config: &SimConfig) -> Result<Self, BadAsk> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| BadAsk { field: None, message: format!("the body is not JSON: {error}") })?;
        let Value::Object(fields) = value else {
            return Err(BadAsk { field: None, message: "the body is not a JSON object".to_owned() });
        };
        let model = match fields.get("model") {
            Some(Value::String(model)) => model.clone(),
            Some(_) => return Err(bad("model", "`model` must be a string")),
            None => return Err(bad("model", "`model` is missing")),
        };
        let mut prompt = PromptCounter::new(config.kv_block);
        match api {
            Api::Chat => {
                for _ in 0..config.chat_template_tokens {
                    prompt.token(&"");
                }
                read_messages(&fields, &mut prompt)?;
            }
            Api::Completions => read_prompt(&fields, &mut prompt)?,
        }
        if count(&fields, "n")?.is_some_and(|n| n != 1) {
            return Err(bad("n", "only `n` = 1 is simulated"));
        }
        if fields.get("temperature").and_then(Value::as_f64).is_some_and(|temperature| temperature < 0.0) {
            return Err(bad("temperature", "`temperature` must not be negative"));
        }
        let max_tokens = count(&fields, "max_completion_tokens")?.or(count(&fields, "max_tokens")?);
        if max_tokens == Some(0) {
            return Err(bad("max_tokens", "`max_tokens` must be at least 1"));
        }
        let max_tokens = max_tokens.unwrap_or(config.default_output_tokens);
        let min_tokens = count(&fields, "min_tokens")?.unwrap_or(0);
        if min_tokens > max_tokens {
            return Err(bad("min_tokens", "`min_tokens` must not be larger than `max_tokens`"));
        }
        let options = fields.get("stream_options").and_then(Value::as_object);
        let option = |name| options.map_or(Ok(false), |options| flag(options, name));
        Ok(Self {
            model,
            prompt_tokens: prompt.tokens.max(1),
            prefix: prompt.blocks.clone(),
            prompt,
            stream: flag(&fields, "stream")?,
            include_usage: option("include_usage")?,
            continuous_usage: option("continuous_usage_stats")?,
            max_tokens,
            min_tokens,
            ignore_eos: flag(&fields, "ignore_eos")?,
            extra: fields.keys().find(|name| EXTRAS.contains(&name.as_str())).cloned(),
        })
    }

    /// Hash of each whole block of the prompt and an answer of so many times a word, which must be no longer than `limit`
    /// tokens: a longer one is never kept.
    pub(super) fn blocks_with_answer(&self, word: &str, tokens: u32, limit: u32) -> Vec<u64> {
        let mut whole = self.prompt.clone();
        if tokens <= limit {
            (0..tokens).for_each(|_| whole.token(&word));
        }
        whole.blocks
    }

    /// How many tokens the model "wants" to say: with `ignore_eos` as many as may be, else anything from half of that
    /// on, drawn by the seed for request `number`, and never below `min_tokens`.
    pub(super) fn output_tokens(&self, seed: u64, number: u64) -> u32 {
        if self.ignore_eos {
            return self.max_tokens;
        }
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(number);
        random.random_range(self.max_tokens.div_ceil(2)..=self.max_tokens).max(self.min_tokens)
    }
}

fn count(fields: &Map<String, Value>, name: &'static str) -> Result<Option<u32>, BadAsk> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(bad(name, format!("`{name}` must be a whole number that is not negative"))),
        },
    }
}

fn flag(fields: &Map<String, Value>, name: &'static str) -> Result<bool, BadAsk> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(_) => Err(bad(name, format!("`{name}` must be true or false"))),
    }
}

fn read_messages(fields: &Map<String, Value>, prompt: &mut PromptCounter) -> Result<(), BadAsk> {
    let messages = match fields.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        Some(Value::Array(_)) => return Err(bad("messages", "`messages` is empty")),
        Some(_) => return Err(bad("messages", "`messages` must be a list")),
        None => return Err(bad("messages", "`messages` is missing")),
    };
    for message in messages {
        if !message.get("role").is_some_and(Value::is_string) {
            return Err(bad("messages", "a message has no `role`"));
        }
        match message.get("content") {
            Some(Value::String(text)) => prompt.words(text),
            Some(Value::Array(parts)) => {
                parts.iter().filter_map(|part| part.get("text")?.as_str()).for_each(|text| prompt.words(text));
            }
            Some(Value::Null) | None => {}
            Some(_) => return Err(bad("messages", "a message's `content` must be a string or a list of parts")),
        }
    }
    Ok(())
}

fn read_prompt(fields: &Map<String, Value>, prompt: &mut PromptCounter) -> Result<(), BadAsk> {
    let value = match fields.get("prompt") {
        // A batch of one is what many clients send for a single prompt.
        Some(Value::Array(list)) if list.len() == 1 && !list[0].is_number() => &list[0],
        Some(value) => value,
        None => return Err(bad("prompt", "`prompt` is missing")),
    };
    match value {
        Value::String(text) => prompt.words(text),
        Value::Array(ids) if ids.iter().all(Value::is_u64) => {
            ids.iter().filter_map(Value::as_u64).for_each(|id| prompt.token(&id));
        }
        _ => return Err(bad("prompt", "`prompt` must be a string or a list of token ids; only one is simulated")),
    }
    Ok(())
}

/// Counts tokens and hashes them, block by block, each hash over all before it.
#[derive(Debug, Clone)]
struct PromptCounter {
    block: u32,
    tokens: u32,
    hasher: DefaultHasher,
    blocks: Vec<u64>,
}

/// By what was counted; the hasher follows from it.
impl PartialEq for PromptCounter {
    fn eq(&self, other: &Self) -> bool {
        (self.block, self.tokens, &self.blocks) == (other.block, other.tokens, &other.blocks)
    }
}

impl Eq for PromptCounter {}

impl PromptCounter {
    fn new(block: u32) -> Self {
        Self { block, tokens: 0, hasher: DefaultHasher::new(), blocks: Vec::new() }
    }

    fn token(&mut self, token: &impl Hash) {
        token.hash(&mut self.hasher);
        self.tokens += 1;
        if self.tokens.is_multiple_of(self.block) {
            self.blocks.push(self.hasher.finish());
        }
    }

    fn words(&mut self, text: &str) {
        text.split_whitespace().for_each(|word| self.token(&word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: &str) -> Result<Ask, BadAsk> {
        Ask::read(Api::Chat, body.as_bytes(), &SimConfig::default())
    }

    fn text(body: &str) -> Result<Ask, BadAsk> {
        Ask::read(Api::Completions, body.as_bytes(), &SimConfig::default())
    }

    #[test]
    fn prompt_tokens_are_words_and_the_template() {
        let ask = chat(
            r#"{"model":"m","messages":[{"role":"system","content":"be  kind\n"},{"role":"user",
            "content":[{"type":"text","text":"a b c"},{"type":"image_url","image_url":{}}]}]}"#,
        );
        assert_eq!(ask.unwrap().prompt_tokens, 8 + 2 + 3);
        assert_eq!(text(r#"{"model":"m","prompt":"a b c"}"#).unwrap().prompt_tokens, 3);
        assert_eq!(text(r#"{"model":"m","prompt":[5,6,7,8]}"#).unwrap().prompt_tokens, 4);
        assert_eq!(text(r#"{"model":"m","prompt":[[5,6]]}"#).unwrap().prompt_tokens, 2);
        assert_eq!(text(r#"{"model":"m","prompt":""}"#).unwrap().prompt_tokens, 1);
    }

    #[test]
    fn equal_beginnings_have_equal_blocks() {
        let words = |last: &str| format!(r#"{{"model":"m","prompt":"{}{last}"}}"#, "w ".repeat(40));
        let (one, two) = (text(&words("x")).unwrap().prefix, text(&words("y")).unwrap().prefix);
        assert_eq!((one.len(), &one), (2, &two));
        let other = format!(r#"{{"model":"m","prompt":"v {}"}}"#, "w ".repeat(40));
        assert!(text(&other).unwrap().prefix.iter().all(|block| !one.contains(block)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let ok = r#""model":"m","messages":[{"role":"user","content":"hi"}]"#;
        for (body, field) in [
            ("{nope".to_owned(), None),
            ("[]".to_owned(), None),
            (r#"{"messages":[]}"#.to_owned(), Some("model")),
            (r#"{"model":"m"}"#.to_owned(), Some("messages")),
            (r#"{"model":"m","messages":[]}"#.to_owned(), Some("messages")),
            (format!(r#"{{{ok},"max_tokens":0}}"#), Some("max_tokens")),
            (format!(r#"{{{ok},"max_tokens":-5}}"#), Some("max_tokens")),
            (format!(r#"{{{ok},"max_tokens":"many"}}"#), Some("max_tokens")),
            (format!(r#"{{{ok},"max_tokens":4,"min_tokens":5}}"#), Some("min_tokens")),
            (format!(r#"{{{ok},"stream":"yes"}}"#), Some("stream")),
            (format!(r#"{{{ok},"temperature":-3}}"#), Some("temperature")),
            (format!(r#"{{{ok},"n":2}}"#), Some("n")),
        ] {
            assert_eq!(chat(&body).unwrap_err().field, field, "{body}");
        }
    }

    #[test]
    fn output_is_exact_with_ignore_eos_and_otherwise_within_bounds() {
        let ask = |more: &str| {
            let body = format!(r#"{{"model":"m","prompt":"a","max_completion_tokens":100,{more}}}"#);
            Ask::read(Api::Completions, body.as_bytes(), &SimConfig::default()).unwrap()
        };
        let exact = ask(r#""ignore_eos":true"#);
        assert!((0..50).all(|number| exact.output_tokens(7, number) == 100));
        let free = ask(r#""min_tokens":60"#);
        let lengths: Vec<_> = (0..50).map(|number| free.output_tokens(7, number)).collect();
        assert!(lengths.iter().all(|length| (60..=100).contains(length)), "{lengths:?}");
        assert!(lengths.iter().any(|length| *length < 100));
        assert_eq!(lengths, (0..50).map(|number| free.output_tokens(7, number)).collect::<Vec<_>>());
    }
}
