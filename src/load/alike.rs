//! Events that differ from one already read in nothing but their text and their token counts.
//!
//! A server streams the same JSON again and again, with another word in it. Once one such event was parsed, the bytes around
//! its text (and around its counts, where the server counts along) are kept; an event with the same bytes around values of
//! its own is read without a parser. That is exact, not a guess: the value of a key `content` is exchanged for another text
//! that is not empty, the value of the only key `completion_tokens` for another number, and nothing else that the parser looks at
//! has changed. Whatever is not so (escapes, the last events) is parsed as ever.

use super::chunk::{self, Chunk, Usage};

/// Where the text of an event begins, and its counts: the second one means nothing to us, but changes.
const CONTENT: &[u8] = b"\"content\":\"";
const COUNT: &[u8] = b"\"completion_tokens\":";
const TOTAL: &[u8] = b"\"total_tokens\":";
/// Longest event whose surroundings are kept.
const MOST: usize = 4096;
/// Digits of a count that surely fits.
const DIGITS: usize = 9;

/// What was around the values of an event that was nothing but text.
#[derive(Debug, Default)]
pub(super) struct Alike {
    /// Up to the text; empty: none was learned.
    before: Vec<u8>,
    /// From the text's end to the end of the event, or to the first count and on between counts; one more than counts.
    after: Vec<Vec<u8>>,
    usage: Option<Usage>,
}

impl Alike {
    /// What an event says: as [`chunk::parse`], and mostly without parsing.
    ///
    /// # Errors
    /// As [`chunk::parse`].
    pub(super) fn parse(&mut self, data: &[u8]) -> Result<Chunk, serde_json::Error> {
        if let Some(usage) = self.read(data) {
            return Ok(Chunk { content: true, usage, ..Chunk::default() });
        }
        let chunk = chunk::parse(data)?;
        self.learn(data, &chunk);
        Ok(chunk)
    }

    /// The counts of an event of text alone; `None` where it must be parsed to tell what it is.
    fn read(&self, data: &[u8]) -> Option<Option<Usage>> {
        let (last, between) = self.after.split_last()?;
        let rest = data.strip_prefix(&self.before[..])?;
        let (text, mut rest) = rest.split_at(memchr::memchr2(b'"', b'\\', rest)?);
        if !is_plain(text) {
            return None;
        }
        let mut usage = self.usage;
        for (place, fixed) in between.iter().enumerate() {
            let (count, left) = number(rest.strip_prefix(&fixed[..])?)?;
            rest = left;
            if let Some(usage) = usage.as_mut().filter(|_| place == 0) {
                usage.completion_tokens = Some(count);
            }
        }
        (rest == &last[..]).then_some(usage)
    }

    /// Keeps what is around the values of a parsed event, if the next one can be like it.
    fn learn(&mut self, data: &[u8], chunk: &Chunk) {
        let usage = chunk.usage;
        if data.len() > MOST || *chunk != (Chunk { content: true, usage, ..Chunk::default() }) {
            return;
        }
        // Within a text its quotes would be escaped: this is a key and the start of its value.
        let Some(key) = memchr::memmem::find(data, CONTENT) else { return };
        let (before, rest) = data.split_at(key + CONTENT.len());
        let Some(end) = memchr::memchr2(b'"', b'\\', rest).filter(|end| *end > 0 && rest[*end] == b'"') else { return };
        let mut rest = &rest[end..];
        let mut after = Vec::new();
        if usage.is_some() {
            // With a second such key it could be the other one that counts; before the text it is not looked for.
            let mut found = memchr::memmem::find_iter(data, COUNT);
            if found.next().is_none_or(|first| first < key) || found.next().is_some() {
                return;
            }
            for key in [COUNT, TOTAL] {
                let Some(at) = memchr::memmem::find(rest, key) else { continue };
                let (fixed, value) = rest.split_at(at + key.len());
                let Some((_, left)) = number(value) else { return };
                after.push(fixed.to_vec());
                rest = left;
            }
        }
        after.push(rest.to_vec());
        (self.before, self.after, self.usage) = (before.to_vec(), after, usage);
    }
}

/// A number of JSON without sign, fraction and exponent at the start of these bytes, and what follows it.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let leads_with_zero = digits > 1 && bytes[0] == b'0';
    if digits == 0 || digits > DIGITS || leads_with_zero {
        return None;
    }
    let (number, rest) = bytes.split_at(digits);
    Some((number.iter().fold(0, |sum, digit| 10 * sum + u32::from(digit - b'0')), rest))
}

/// Whether these bytes within quotes are a JSON text that is not empty, without anything that must be decoded.
fn is_plain(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| *byte >= 0x20) && std::str::from_utf8(text).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::chunk::parse;
    use super::*;

    const EVENT: &str =
        r#"{"id":"x","choices":[{"index":0,"delta":{"content":"one"},"finish_reason":null}],"model":"m"}"#;

    fn after(first: &str) -> Alike {
        let mut alike = Alike::default();
        alike.learn(first.as_bytes(), &parse(first.as_bytes()).unwrap());
        alike
    }

    #[test]
    fn an_event_with_another_text_is_alike() {
        for text in [" two", "日本", "}"] {
            assert_eq!(after(EVENT).read(EVENT.replace("one", text).as_bytes()), Some(None), "{text}");
        }
    }

    #[test]
    fn counts_along_the_way_are_read() {
        let event = |text: &str, count: &str| {
            let usage = format!(r#""usage":{{"prompt_tokens":7,"completion_tokens":{count},"total_tokens":1{count}}}"#);
            EVENT.replace("one", text).replace(r#""model":"m""#, &usage)
        };
        let alike = after(&event("one", "1"));
        let usage = Usage { prompt_tokens: Some(7), completion_tokens: Some(250), ..Usage::default() };
        assert_eq!(alike.read(event("two", "250").as_bytes()), Some(Some(usage)));
        for other in ["-1", "1.5", "01", "1e3", "9999999999", "null"] {
            assert_eq!(alike.read(event("two", other).as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn with_two_counts_nothing_is_learned() {
        let event = EVENT.replace(r#""model":"m""#, r#""x":{"completion_tokens":1},"usage":{"completion_tokens":1}"#);
        assert_eq!(after(&event).read(event.as_bytes()), None);
    }

    #[test]
    fn an_event_that_says_more_or_less_is_parsed() {
        let alike = after(EVENT);
        for (from, to) in [
            ("one", ""),
            ("one", r#"a\n"#),
            ("one", "a\u{1}"),
            ("null", r#""stop""#),
            (r#""one"},"#, r#""one"},"usage":{},"#),
            (r#"{"content":"one"}"#, r#"{"content":"one","role":"x"}"#),
            (r#"{"content":"one"}"#, "{}"),
        ] {
            assert_eq!(alike.read(EVENT.replace(from, to).as_bytes()), None, "{to}");
        }
        assert_eq!(alike.read(&EVENT.as_bytes()[..EVENT.len() - 6]), None);
        let mut not_utf8 = EVENT.as_bytes().to_vec();
        not_utf8[EVENT.find("one").unwrap()] = 0xff;
        assert!(alike.read(&not_utf8).is_none() && parse(&not_utf8).is_err());
    }

    #[test]
    fn only_events_of_text_alone_are_learned() {
        for other in [
            EVENT.replace("null", r#""stop""#),
            EVENT.replace("content", "reasoning_content"),
            EVENT.replace("one", ""),
        ] {
            assert_eq!(after(&other).read(other.as_bytes()), None, "{other}");
        }
    }

    /// Events of all kinds, many of them alike.
    fn events() -> impl Strategy<Value = Vec<u8>> {
        let text = prop_oneof![
            3 => Just("a".to_owned()),
            1 => Just(String::new()),
            1 => Just(r#"a\"b"#.to_owned()),
            1 => Just(r#""content":"x"#.to_owned()),
            3 => "[a-z\"\\\\{}:, \u{1}-\u{1f}é]{0,6}",
        ];
        let key = prop_oneof![4 => Just("content"), 1 => Just("text"), 1 => Just("reasoning")];
        let finish = prop_oneof![4 => Just("null"), 1 => Just("\"stop\"")];
        let usage = (0_u32..300, any::<bool>(), any::<bool>()).prop_map(|(count, total, twice)| {
            let total = if total { format!(r#","total_tokens":{}"#, count + 9) } else { String::new() };
            let other = if twice { r#""x":{"completion_tokens":1},"# } else { "" };
            format!(r#",{other}"usage":{{"completion_tokens":{count}{total}}}"#)
        });
        let more = prop_oneof![2 => Just(String::new()), 1 => Just(r#","x":{"content":"y"}"#.to_owned()), 3 => usage];
        (text, key, finish, more).prop_map(|(text, key, finish, more)| {
            format!(r#"{{"choices":[{{"delta":{{"{key}":"{text}"}},"finish_reason":{finish}}}]{more}}}"#).into_bytes()
        })
    }

    proptest! {
        #[test]
        fn what_is_alike_is_what_the_parser_says(events in prop::collection::vec(events(), 1..12)) {
            let mut alike = Alike::default();
            for event in &events {
                prop_assert_eq!(alike.parse(event).ok(), parse(event).ok());
            }
        }
    }
}
