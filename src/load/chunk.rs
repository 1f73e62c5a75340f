//! What one event of a completion stream carries, without building anything of it.
//!
//! Both forms are read, `/v1/chat/completions` (deltas) and `/v1/completions` (texts). Texts are only looked at for
//! being there: nothing is copied out of an event but its finish reason. Unknown fields are passed over.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// What one event carries.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Text that is content.
    pub content: bool,
    /// Text that is reasoning.
    pub reasoning: bool,
    /// Parts of a tool call.
    pub tool_call: bool,
    /// Why generation ended, if this event says so.
    pub finish_reason: Option<String>,
    /// Token counts, if this event has them.
    pub usage: Option<Usage>,
    /// Whether the event is an error object, nested (`error`) or flat (`message` without `choices`).
    pub error: bool,
}

impl Chunk {
    /// Whether the event carries text of either kind.
    pub fn has_text(&self) -> bool {
        self.content || self.reasoning
    }
}

/// Token counts as the server gave them. A count that is no number or negative is taken as not given.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens, with the chat template.
    pub prompt_tokens: Option<u32>,
    /// Output tokens, reasoning included.
    pub completion_tokens: Option<u32>,
    /// Prompt tokens taken from the server's cache.
    pub cached_tokens: Option<u32>,
    /// Output tokens that were reasoning.
    pub reasoning_tokens: Option<u32>,
}

/// Reads one event's data.
///
/// # Errors
/// When it is no JSON object of the expected form.
pub fn parse(data: &[u8]) -> Result<Chunk, serde_json::Error> {
    // serde_json takes a list for a struct, too; an event is an object.
    if data.trim_ascii_start().first() != Some(&b'{') {
        return Err(serde::de::Error::custom("not a JSON object"));
    }
    let root: Root = serde_json::from_slice(data)?;
    let error = root.error.filled || (root.message.filled && root.choices.is_none());
    let choices = root.choices.unwrap_or_default();
    Ok(Chunk {
        content: choices.content,
        reasoning: choices.reasoning,
        tool_call: choices.tool_call,
        finish_reason: choices.finish_reason,
        usage: root.usage.map(Usage::from),
        error,
    })
}

/// What an error body or an error event says, in one line: message and code of `{"error": ...}`, of a flat
/// `{"message", "type", "code"}` or of `{"detail": ...}`; else the text itself.
pub fn describe_error(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(value) => error_text(&value),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn error_text(value: &Value) -> String {
    let inner = match value.get("error") {
        Some(Value::Object(_)) => &value["error"],
        Some(Value::String(text)) => return text.clone(),
        _ => value,
    };
    let message = inner.get("message").or_else(|| inner.get("detail")).map(|found| match found {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    let Some(message) = message else { return value.to_string() };
    match inner.get("code").or_else(|| inner.get("type")) {
        Some(Value::String(code)) => format!("{message} ({code})"),
        Some(code @ Value::Number(_)) => format!("{message} ({code})"),
        _ => message,
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Root {
    choices: Option<Choices>,
    usage: Option<RawUsage>,
    error: Glance,
    message: Glance,
}

/// All choices of an event, folded into one: with `n` above 1 a chunk has text if any of them has.
#[derive(Default)]
struct Choices {
    content: bool,
    reasoning: bool,
    tool_call: bool,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    delta: Option<Delta>,
    text: Glance,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Glance,
    reasoning_content: Glance,
    reasoning: Glance,
    tool_calls: Glance,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawUsage {
    prompt_tokens: Glance,
    completion_tokens: Glance,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Glance,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Glance,
}

impl From<RawUsage> for Usage {
    fn from(raw: RawUsage) -> Self {
        Self {
            prompt_tokens: raw.prompt_tokens.count,
            completion_tokens: raw.completion_tokens.count,
            cached_tokens: raw.prompt_tokens_details.and_then(|details| details.cached_tokens.count),
            reasoning_tokens: raw.completion_tokens_details.and_then(|details| details.reasoning_tokens.count),
        }
    }
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FoldChoices)
    }
}

struct FoldChoices;

impl<'de> Visitor<'de> for FoldChoices {
    type Value = Choices;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of choices")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Choices, A::Error> {
        let mut all = Choices::default();
        while let Some(choice) = list.next_element::<Choice>()? {
            let delta = choice.delta.unwrap_or_default();
            all.content |= delta.content.filled || choice.text.filled;
            all.reasoning |= delta.reasoning_content.filled || delta.reasoning.filled;
            all.tool_call |= delta.tool_calls.filled;
            all.finish_reason = choice.finish_reason.or(all.finish_reason);
        }
        Ok(all)
    }
}

/// What is to be known of a field of any kind: whether it says something, and its count if it is one.
#[derive(Default)]
struct Glance {
    /// A text or list that is not empty, an object, a number or a truth value: anything but nothing.
    filled: bool,
    count: Option<u32>,
}

impl<'de> Deserialize<'de> for Glance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LookOnly)
    }
}

struct LookOnly;

impl<'de> Visitor<'de> for LookOnly {
    type Value = Glance;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Glance, E> {
        Ok(Glance::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Glance, E> {
        Ok(Glance { filled: true, count: None })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Glance, E> {
        Ok(Glance { filled: true, count: u32::try_from(value).ok() })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Glance, E> {
        Ok(Glance { filled: true, count: None })
    }

    fn visit_f64<E>(self, value: f64) -> Result<Glance, E> {
        let whole = value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value);
        Ok(Glance { filled: true, count: whole.then_some(value as u32) })
    }

    fn visit_str<E>(self, value: &str) -> Result<Glance, E> {
        Ok(Glance { filled: !value.is_empty(), count: None })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Glance, A::Error> {
        let mut filled = false;
        while list.next_element::<IgnoredAny>()?.is_some() {
            filled = true;
        }
        Ok(Glance { filled, count: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Glance, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Glance { filled: true, count: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Chunk {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn role_only_and_empty_chunks_carry_no_text() {
        for delta in [r#"{"role":"assistant"}"#, r#"{"role":"assistant","content":""}"#, r#"{"content":null}"#, "{}"] {
            let chunk = parsed(&format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#));
            assert_eq!(chunk, Chunk::default(), "{delta}");
        }
        assert_eq!(parsed(r#"{"choices":[],"usage":null}"#), Chunk::default());
        assert_eq!(parsed(r#"{"choices":null}"#), Chunk::default());
    }

    #[test]
    fn both_names_of_reasoning_are_known() {
        for name in ["reasoning", "reasoning_content"] {
            let chunk = parsed(&format!(r#"{{"choices":[{{"delta":{{"{name}":"hm \n"}}}}]}}"#));
            assert!(chunk.reasoning && chunk.has_text() && !chunk.content, "{name}");
        }
    }

    #[test]
    fn a_tool_call_is_no_text() {
        let chunk = parsed(r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#);
        assert!(chunk.tool_call && !chunk.has_text());
    }

    #[test]
    fn any_of_several_choices_counts() {
        let chunk = parsed(r#"{"choices":[{"text":""},{"text":"a","finish_reason":"length"},{"finish_reason":null}]}"#);
        assert!(chunk.content);
        assert_eq!(chunk.finish_reason.as_deref(), Some("length"));
    }

    #[test]
    fn usage_is_read_with_its_details_and_odd_counts_are_not_given() {
        let usage = parsed(
            r#"{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3.0,"total_tokens":15,
                "prompt_tokens_details":{"cached_tokens":8,"audio_tokens":null},
                "completion_tokens_details":{"reasoning_tokens":-2}}}"#,
        )
        .usage;
        let expected = Usage {
            prompt_tokens: Some(12),
            completion_tokens: Some(3),
            cached_tokens: Some(8),
            reasoning_tokens: None,
        };
        assert_eq!(usage, Some(expected));
    }

    #[test]
    fn errors_are_known_nested_flat_and_as_text() {
        for (text, described) in [
            (r#"{"error":{"message":"no","type":"t","code":503}}"#, "no (503)"),
            (r#"{"error":"no"}"#, "no"),
            (r#"{"message":"no","type":"Bad Request","code":400}"#, "no (400)"),
        ] {
            assert!(parsed(text).error, "{text}");
            assert_eq!(describe_error(text.as_bytes()), described);
        }
        assert!(!parsed(r#"{"choices":[],"error":null,"message":"x"}"#).error);
        assert_eq!(describe_error(br#"{"detail":"Not Found"}"#), "Not Found");
        assert_eq!(describe_error(b"<html>\n  gone </html>"), "<html> gone </html>");
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for bad in ["", "[1]", "nonsense", "{\"choices\":", "{\"choices\":{}}", "\0"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
