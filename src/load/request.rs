//! The body of a request: what is asked, in the fields that the server takes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::conversation::Later;
use crate::measure::{Message, Turn};

/// The endpoint that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
}

impl Api {
    /// Path below the base URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
        }
    }

    /// `chat` or `completions`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
        }
    }
}

/// What every request of a workload has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestShape {
    /// Which endpoint.
    pub api: Api,
    /// The model's id.
    pub model: String,
    /// Sampling temperature, if it is to be sent.
    pub temperature: Option<f64>,
    /// Further fields, as they are; they replace ours of the same name.
    pub extra: Map<String, Value>,
}

/// Which optional fields the server takes; found out once per incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// The output's limit is called `max_tokens`; else `max_completion_tokens`.
    pub max_tokens: bool,
    /// `min_tokens`: the output's length can be enforced from below.
    pub min_tokens: bool,
    /// `ignore_eos`: generation goes on after the end token.
    pub ignore_eos: bool,
    /// `stream_options.include_usage`: tokens are counted by the server.
    pub include_usage: bool,
    /// `stream_options.continuous_usage_stats`: also with every chunk, so that a server may merge tokens and each is still
    /// known. Only where the canary's answer had it.
    pub continuous_usage: bool,
    /// The server leaves a connection open after an answer. llama.cpp announces it and closes nevertheless: then every
    /// request needs a connection of its own, or it meets a closing one.
    pub keep_alive: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            max_tokens: true,
            min_tokens: true,
            ignore_eos: true,
            include_usage: true,
            continuous_usage: true,
            keep_alive: true,
        }
    }
}

/// A request ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Sent as `x-request-id`.
    pub id: String,
    /// Place in the level's sequence.
    pub index: u64,
    /// The whole body.
    pub body: Bytes,
    /// Prompt tokens asked.
    pub isl_asked: u32,
    /// Output tokens asked.
    pub osl_asked: u32,
    /// Tokens of the prompt's text, when a local tokenizer counted them.
    pub isl: Option<u32>,
    /// Its place in a conversation.
    pub turn: Option<Turn>,
    /// The turns that follow it.
    pub(super) later: Option<Box<Later>>,
}

impl Prepared {
    /// Bytes that it holds, about.
    pub(super) fn size(&self) -> usize {
        self.body.len() + self.later.as_ref().map_or(0, |later| later.size())
    }
}

/// What a request says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said<'a> {
    /// One text.
    Prompt(&'a str),
    /// A conversation.
    Messages(&'a [Message]),
}

/// A conversation as one text: its messages, an empty line apart.
pub(super) fn plain(messages: &[Message]) -> String {
    messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n")
}

impl RequestShape {
    /// The body of a streaming request for exactly `osl` tokens, as far as the server can be made to give them.
    pub fn body(&self, capabilities: &Capabilities, prompt: &str, osl: u32) -> Map<String, Value> {
        self.body_of(capabilities, Said::Prompt(prompt), osl)
    }

    /// The same for what is said in any form.
    pub(super) fn body_of(&self, capabilities: &Capabilities, said: Said<'_>, osl: u32) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(self.model));
        match (self.api, said) {
            (Api::Chat, Said::Prompt(prompt)) => {
                body.insert("messages".to_owned(), json!([{"role": "user", "content": prompt}]))
            }
            (Api::Chat, Said::Messages(messages)) => body.insert("messages".to_owned(), json!(messages)),
            (Api::Completions, Said::Prompt(prompt)) => body.insert("prompt".to_owned(), json!(prompt)),
            (Api::Completions, Said::Messages(messages)) => body.insert("prompt".to_owned(), json!(plain(messages))),
        };
        body.insert("stream".to_owned(), json!(true));
        let limit = if capabilities.max_tokens { "max_tokens" } else { "max_completion_tokens" };
        body.insert(limit.to_owned(), json!(osl));
        if capabilities.min_tokens {
            body.insert("min_tokens".to_owned(), json!(osl));
        }
        if capabilities.ignore_eos {
            body.insert("ignore_eos".to_owned(), json!(true));
        }
        if capabilities.include_usage {
            let options = if capabilities.continuous_usage {
                json!({"include_usage": true, "continuous_usage_stats": true})
            } else {
                json!({"include_usage": true})
            };
            body.insert("stream_options".to_owned(), options);
        }
        if let Some(temperature) = self.temperature {
            body.insert("temperature".to_owned(), json!(temperature));
        }
        body.extend(self.extra.iter().map(|(name, value)| (name.clone(), value.clone())));
        body
    }
}

/// A body as bytes.
pub(super) fn bytes_of(body: &Map<String, Value>) -> Bytes {
    let mut bytes = serde_json::to_vec(body).expect("a JSON value with text keys can always be written");
    // Thousands of them wait for their turn, and a vector that has grown has up to twice the room it needs.
    bytes.shrink_to_fit();
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(api: Api) -> RequestShape {
        RequestShape { api, model: "m".to_owned(), temperature: None, extra: Map::new() }
    }

    #[test]
    fn a_body_has_only_fields_that_the_server_takes() {
        let none = Capabilities {
            max_tokens: false,
            min_tokens: false,
            ignore_eos: false,
            include_usage: false,
            continuous_usage: false,
            keep_alive: true,
        };
        assert_eq!(
            Value::Object(shape(Api::Completions).body(&none, "a b", 7)),
            json!({"model": "m", "prompt": "a b", "stream": true, "max_completion_tokens": 7})
        );
        assert_eq!(
            Value::Object(shape(Api::Chat).body(&Capabilities::default(), "a b", 7)),
            json!({"model": "m", "messages": [{"role": "user", "content": "a b"}], "stream": true, "max_tokens": 7,
                   "min_tokens": 7, "ignore_eos": true,
                   "stream_options": {"include_usage": true, "continuous_usage_stats": true}})
        );
        let at_the_end_only = Capabilities { continuous_usage: false, ..Capabilities::default() };
        let options = &shape(Api::Chat).body(&at_the_end_only, "a", 1)["stream_options"];
        assert_eq!(*options, json!({"include_usage": true}));
    }

    #[test]
    fn fields_of_the_user_replace_ours() {
        let mut shape = shape(Api::Chat);
        shape.extra.insert("ignore_eos".to_owned(), json!(false));
        assert_eq!(shape.body(&Capabilities::default(), "a", 1)["ignore_eos"], json!(false));
    }
}
