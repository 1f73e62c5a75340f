//! One line of the journal: an envelope with a checksum around an event.
//!
//! `{"v":1,"seq":7,"t":"...","session":1,"event":"...",...,"crc":"0a1b2c3d"}`: the checksum is the CRC-32 of the line
//! without its last member, so that it can be checked before anything is decoded.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::event::Event;
use crate::base::Timestamp;

/// Format of the lines.
///
/// Changelog:
/// - 1: the first.
pub const FORMAT: u64 = 1;

/// One event and when it happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// From 1, without gaps.
    pub seq: u64,
    /// RFC 3339, UTC.
    pub time: String,
    /// The session that wrote it; 0: none yet.
    pub session: u32,
    /// What happened.
    pub event: Event,
}

/// Why a line is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// In words.
    Damaged(String),
    /// Of a format that is not known here.
    Newer(u64),
}

#[derive(Serialize)]
struct Envelope<'a> {
    v: u64,
    seq: u64,
    t: String,
    session: u32,
    #[serde(flatten)]
    event: &'a Event,
}

#[derive(Deserialize)]
struct Head {
    v: u64,
    seq: u64,
    t: String,
    session: u32,
}

/// `,"crc":"0a1b2c3d"}`
const TAIL: usize = 18;

/// The text of a line, with the newline.
pub(super) fn encode(seq: u64, now: Timestamp, session: u32, event: &Event) -> String {
    let envelope = Envelope { v: FORMAT, seq, t: now.rfc3339(), session, event };
    let text = serde_json::to_string(&envelope).expect("events hold nothing that JSON cannot say");
    let crc = crc32fast::hash(text.as_bytes());
    format!("{},\"crc\":\"{crc:08x}\"}}\n", &text[..text.len() - 1])
}

/// The line in a text without the newline.
pub(super) fn decode(text: &[u8]) -> Result<Line, Fault> {
    let damaged = |what: &str| Fault::Damaged(what.to_owned());
    let text = std::str::from_utf8(text).map_err(|_| damaged("it is not UTF-8"))?;
    let value: Map<String, Value> = serde_json::from_str(text).map_err(|_| damaged("it is not a JSON object"))?;
    match value.get("v").and_then(Value::as_u64) {
        Some(FORMAT) => {}
        Some(found) if found > FORMAT => return Err(Fault::Newer(found)),
        Some(_) | None => return Err(damaged("it names no known format")),
    }
    let cut = text.len().checked_sub(TAIL).filter(|cut| text.is_char_boundary(*cut));
    let (body, tail) = text.split_at(cut.ok_or_else(|| damaged("it is too short"))?);
    let crc = crc32fast::hash(format!("{body}}}").as_bytes());
    if tail != format!(",\"crc\":\"{crc:08x}\"}}") {
        return Err(damaged("its checksum is wrong"));
    }
    let head: Head = serde_json::from_value(Value::Object(value.clone()))
        .map_err(|error| Fault::Damaged(format!("its envelope is wrong: {error}")))?;
    let event: Event = serde_json::from_value(Value::Object(value))
        .map_err(|error| Fault::Damaged(format!("its event is not known: {error}")))?;
    debug_assert_eq!(head.v, FORMAT);
    Ok(Line { seq: head.seq, time: head.t, session: head.session, event })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Event {
        Event::Note { address: None, text: text.to_owned() }
    }

    #[test]
    fn a_line_comes_back_as_it_went() {
        let event = note("quotes \" newlines \n and ä");
        let text = encode(7, Timestamp(0), 2, &event);
        assert_eq!(text.matches('\n').count(), 1);
        let line = decode(text.trim_end().as_bytes()).unwrap();
        assert_eq!((line.seq, line.session, line.event), (7, 2, event));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let text = encode(7, Timestamp(0), 2, &note("hello"));
        let bytes = text.trim_end().as_bytes();
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert!(decode(&changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        assert_eq!(decode(br#"{"v":2,"whatever":true}"#), Err(Fault::Newer(2)));
    }

    #[test]
    fn the_format_is_pinned() {
        insta::assert_snapshot!(
            encode(7, Timestamp(1_795_558_203_250_000_000), 2, &note("hello")),
            @r#"{"v":1,"seq":7,"t":"2026-11-24T22:10:03.250Z","session":2,"event":"note","address":null,"text":"hello","crc":"efca603b"}"#
        );
    }
}
