//! What an answer said: its text, out of a stream that has ended.
//!
//! Read from the kept bytes and never while they come; on the measuring path nothing is built of an event (see `chunk`).

use std::borrow::Cow;
use std::ops::ControlFlow;

use serde::Deserialize;

use super::reading::MAX_EVENT_BYTES;
use super::sse::SseReader;

/// The text of one answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Spoken {
    /// Its content, reasoning not among it.
    pub(super) text: String,
    /// Bytes of reasoning.
    pub(super) reasoning: usize,
}

impl Spoken {
    /// Out of the body of a chat's stream. Events that are no chunks say nothing.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut spoken = Self::default();
        let mut reader = SseReader::new(MAX_EVENT_BYTES);
        // A stream that was read once within the limit is so again.
        let _ = reader.feed(body, |event| {
            let chunk: Result<Event<'_>, _> = serde_json::from_slice(event.data.trim_ascii());
            for choice in chunk.into_iter().flat_map(|chunk| chunk.choices) {
                spoken.text.extend(choice.delta.content);
                let reasoning = choice.delta.reasoning_content.or(choice.delta.reasoning);
                spoken.reasoning += reasoning.map_or(0, |text| text.len());
            }
            ControlFlow::Continue(())
        });
        spoken
    }

    /// Tokens of the text, of an answer of so many tokens of which so many were reasoning. Where nobody counted the
    /// reasoning, it is taken for the share of tokens that it is of the bytes.
    pub(super) fn tokens(&self, output: u32, reasoning: Option<u32>) -> u32 {
        match reasoning {
            Some(reasoning) => output.saturating_sub(reasoning),
            None if self.reasoning == 0 => output,
            None => {
                let share = self.text.len() as f64 / (self.text.len() + self.reasoning) as f64;
                (f64::from(output) * share).round() as u32
            }
        }
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default, borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default, borrow)]
    delta: Delta<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_stream_is_joined_from_all_its_chunks() {
        let body = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n: ping\n\n\
                    data: {\"choices\":[{\"delta\":{\"content\":\"a \\\"b\\\"\"}}]}\r\n\r\n\
                    data: {\"choices\":[{\"delta\":{\"content\":\" \\u65e5本\\n\"}}]}\n\n\
                    data: {\"choices\":[{\"delta\":{}}],\"x\":1}\n\ndata: {\"choices\":[],\"usage\":{}}\n\n\
                    event: note\ndata: [1]\n\ndata: [DONE]\n\n";
        assert_eq!(Spoken::of(body.as_bytes()), Spoken { text: "a \"b\" 日本\n".to_owned(), reasoning: 0 });
    }

    #[test]
    fn reasoning_is_no_part_of_what_was_said() {
        let body = "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hmm hmm\"}}]}\n\n\
                    data: {\"choices\":[{\"delta\":{\"reasoning\":\"so\"}}]}\n\n\
                    data: {\"choices\":[{\"delta\":{\"content\":\"yes\"}}]}\n\n";
        let spoken = Spoken::of(body.as_bytes());
        assert_eq!((spoken.text.as_str(), spoken.reasoning), ("yes", 9));
        assert_eq!((spoken.tokens(12, Some(8)), spoken.tokens(12, None)), (4, 3));
        assert_eq!(Spoken { reasoning: 0, ..spoken }.tokens(12, None), 12);
    }
}
