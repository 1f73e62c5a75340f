//! Whatever stands in a journal's file, reading it gives lines or says where it is damaged.

use proptest::prelude::*;

use super::line::encode;
use super::{Event, read};
use crate::base::Timestamp;
use crate::run::error::RunError;

/// A journal of some notes.
fn journal(notes: usize) -> Vec<u8> {
    let line = |seq: usize| {
        let event = Event::Note { address: None, text: format!("note {seq} \u{e4}") };
        encode(seq as u64, Timestamp(seq as u64), 1, &event)
    };
    (1..=notes).map(line).collect::<String>().into_bytes()
}

#[derive(Debug, Clone)]
enum Damage {
    Byte(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Drop(prop::sample::Index, usize),
    Twice(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<prop::sample::Index>;
    let text = prop_oneof![
        Just(b"\n".to_vec()),
        Just(b"{}\n".to_vec()),
        Just(b"null".to_vec()),
        Just(b"{\"v\":99}\n".to_vec()),
        prop::collection::vec(any::<u8>(), 1..20),
    ];
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        place().prop_map(Damage::Cut),
        (place(), 1_usize..200).prop_map(|(at, length)| Damage::Drop(at, length)),
        (place(), 1_usize..200).prop_map(|(at, length)| Damage::Twice(at, length)),
        (place(), text).prop_map(|(at, text)| Damage::Insert(at, text)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: Damage) {
    if bytes.is_empty() {
        return;
    }
    let range = |at: prop::sample::Index, length: usize, all: usize| {
        let at = at.index(all);
        at..(at + length).min(all)
    };
    let all = bytes.len();
    match damage {
        Damage::Byte(at, byte) => bytes[at.index(all)] = byte,
        Damage::Cut(at) => bytes.truncate(at.index(all)),
        Damage::Drop(at, length) => drop(bytes.drain(range(at, length, all))),
        Damage::Twice(at, length) => {
            let range = range(at, length, all);
            let piece = bytes[range.clone()].to_vec();
            drop(bytes.splice(range.end..range.end, piece));
        }
        Damage::Insert(at, text) => {
            let at = at.index(all);
            drop(bytes.splice(at..at, text));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_journal_gives_its_first_whole_lines_or_says_which_line_is_wrong(
        notes in 1_usize..6,
        damages in prop::collection::vec(damage(), 0..4),
    ) {
        let whole = journal(notes);
        let mut bytes = whole.clone();
        for damage in damages {
            apply(&mut bytes, damage);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        match read(file.path()) {
            Ok(replay) => {
                prop_assert!(bytes == whole || replay.lines.len() <= bytes.split(|byte| *byte == b'\n').count());
                for (at, line) in replay.lines.iter().enumerate() {
                    prop_assert_eq!(line.seq, at as u64 + 1);
                }
                // Nothing is lost without a word: what is no line is told as torn, from the right place on.
                let read: usize = bytes.len() - replay.torn.as_ref().map_or(0, |torn| torn.bytes.len());
                prop_assert_eq!(bytes[..read].iter().filter(|byte| **byte == b'\n').count(), replay.lines.len());
            }
            Err(RunError::Damaged { line, .. }) => {
                prop_assert!(bytes != whole && line >= 1 && line <= 1 + bytes.iter().filter(|byte| **byte == b'\n').count());
            }
            Err(RunError::Newer { .. }) => prop_assert!(bytes != whole),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
