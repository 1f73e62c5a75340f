//! The words of an answer: server-sent events and whole responses, made once per request.
//!
//! Shapes follow what Dynamo and vLLM send: the first chunk of a chat carries role and content, the finish reason comes in
//! a chunk of its own, usage (if asked) in one with empty `choices`, then `[DONE]`.

use bytes::Bytes;
use serde_json::json;

use super::request::Api;

/// Tokens of a request so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) prompt: u32,
    pub(super) cached: u32,
    pub(super) output: u64,
}

impl Usage {
    fn json(self) -> String {
        let Self { prompt, cached, output } = self;
        format!(
            r#"{{"prompt_tokens":{prompt},"completion_tokens":{output},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{cached}}}}}"#,
            u64::from(prompt) + output
        )
    }
}

/// What "the model" says: one of these per request, over and over. Each is one word, and one token by the server's rule.
const WORDS: &[&str] = &["alpha", "bravo", "delta", "echo", "golf", "hotel", "india", "kilo", "lima", "mike", "oscar"];

/// Everything that is equal in all events of one answer.
#[derive(Debug)]
pub(super) struct Chunks {
    api: Api,
    head: String,
    whole_head: String,
    word: &'static str,
    first: Bytes,
    next: Bytes,
}

impl Chunks {
    /// For request `number`, created at `created` seconds since the epoch.
    pub(super) fn new(api: Api, model: &str, number: u64, created: u64) -> Self {
        let (id, stream_object, object) = match api {
            Api::Chat => (format!("chatcmpl-sim-{number}"), "chat.completion.chunk", "chat.completion"),
            Api::Completions => (format!("cmpl-sim-{number}"), "text_completion", "text_completion"),
        };
        let model = json!(model);
        let head = |object| format!(r#""id":"{id}","object":"{object}","created":{created},"model":{model}"#);
        let word = Self::word_of(number);
        let mut chunks = Self {
            api,
            head: head(stream_object),
            whole_head: head(object),
            word,
            first: Bytes::new(),
            next: Bytes::new(),
        };
        chunks.first = chunks.event(&chunks.choice(true, 1), None).into();
        chunks.next = chunks.event(&chunks.choice(false, 1), None).into();
        chunks
    }

    /// The word of which the answer to request `number` is made.
    pub(super) fn word_of(number: u64) -> &'static str {
        WORDS[(number % WORDS.len() as u64) as usize]
    }

    fn choice(&self, first: bool, tokens: u32) -> String {
        let text = format!(" {}", self.word).repeat(tokens as usize);
        match (self.api, first) {
            (Api::Chat, true) => format!(
                r#"{{"index":0,"delta":{{"role":"assistant","content":"{text}"}},"logprobs":null,"finish_reason":null}}"#
            ),
            (Api::Chat, false) => {
                format!(r#"{{"index":0,"delta":{{"content":"{text}"}},"logprobs":null,"finish_reason":null}}"#)
            }
            (Api::Completions, _) => {
                format!(r#"{{"index":0,"text":"{text}","logprobs":null,"finish_reason":null}}"#)
            }
        }
    }

    fn event(&self, choice: &str, usage: Option<Usage>) -> String {
        let usage = match (usage, self.api) {
            (Some(usage), _) => format!(r#","usage":{}"#, usage.json()),
            (None, Api::Completions) => r#","usage":null"#.to_owned(),
            (None, Api::Chat) => String::new(),
        };
        format!("data: {{{},\"choices\":[{choice}]{usage}}}\n\n", self.head)
    }

    /// The event of so many tokens; only that of a single one without usage need not be made anew.
    pub(super) fn tokens(&self, first: bool, tokens: u32, usage: Option<Usage>) -> Bytes {
        let ready = if first { &self.first } else { &self.next };
        match usage {
            None if tokens == 1 => ready.clone(),
            Some(usage) if tokens == 1 => with_usage(ready, usage),
            Some(_) | None => self.event(&self.choice(first, tokens), usage).into(),
        }
    }

    /// All that comes after the last token.
    pub(super) fn tail(&self, finish_reason: &str, last_usage: Option<Usage>, usage: Option<Usage>) -> Bytes {
        let nothing = match self.api {
            Api::Chat => r#""delta":{}"#,
            Api::Completions => r#""text":"""#,
        };
        let choice = format!(r#"{{"index":0,{nothing},"logprobs":null,"finish_reason":"{finish_reason}"}}"#);
        let mut tail = self.event(&choice, last_usage);
        if usage.is_some() {
            tail.push_str(&self.event("", usage));
        }
        tail.push_str("data: [DONE]\n\n");
        tail.into()
    }

    /// A whole response with `output` tokens.
    pub(super) fn whole(&self, finish_reason: &str, usage: Usage) -> Bytes {
        let text = json!(format!(" {}", self.word).repeat(usize::try_from(usage.output).unwrap_or(usize::MAX)));
        let said = match self.api {
            Api::Chat => format!(r#""message":{{"role":"assistant","content":{text},"refusal":null}}"#),
            Api::Completions => format!(r#""text":{text}"#),
        };
        format!(
            r#"{{{},"choices":[{{"index":0,{said},"logprobs":null,"finish_reason":"{finish_reason}"}}],"usage":{}}}"#,
            self.whole_head,
            usage.json()
        )
        .into()
    }
}

/// A ready event with usage in the place of what it says of it: once a token, so that nothing else is written anew.
fn with_usage(event: &Bytes, usage: Usage) -> Bytes {
    use std::fmt::Write as _;
    let text = std::str::from_utf8(event).expect("events are made of text");
    let end = text.rfind(']').expect("an event ends with its choices") + 1;
    let Usage { prompt, cached, output } = usage;
    let mut made = String::with_capacity(text.len() + 160);
    made.push_str(&text[..end]);
    let all = u64::from(prompt) + output;
    // A String takes whatever is written.
    let _ = write!(
        made,
        r#","usage":{{"prompt_tokens":{prompt},"completion_tokens":{output},"total_tokens":{all},"prompt_tokens_details":{{"cached_tokens":{cached}}}}}}}"#
    );
    made.push_str("\n\n");
    made.into()
}

/// The event that says in mid-stream that the request failed, and the end that some servers send after it.
pub(super) fn error_event() -> Bytes {
    Bytes::from_static(
        b"data: {\"error\":{\"message\":\"the simulated worker failed\",\"type\":\"service_unavailable\",\"code\":503}}\n\ndata: [DONE]\n\n",
    )
}

/// An event that no JSON reader accepts.
pub(super) fn broken_event() -> Bytes {
    Bytes::from_static(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\n\n")
}
