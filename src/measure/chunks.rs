//! When a request's chunks with text came, and how many tokens each carried: the only part of a record that grows with
//! its output.
//!
//! Kept in a few bytes a chunk instead of the sixteen of two numbers: ten million tokens are some forty megabytes, which
//! [`super::ChunkFileWriter`] moves to a file. A chunk is the time since the one before it and its tokens, as
//! variable-length numbers of seven bits a byte. The lowest bit of the time says whether a number of tokens follows; without
//! one it is one token.
//!
//! Tokens are *known* when the server told its running count with every chunk (continuous usage). A chunk's tokens are
//! then what the count grew by since the chunk before it; those that came without any text go to the next chunk with some.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::chunk_file::ChunkFile;

/// Bytes of most chunks: gaps up to 17 s and one token.
const USUAL_BYTES: usize = 5;

/// One chunk with text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextChunk {
    /// Nanoseconds after the request was sent.
    pub at: u64,
    /// Output tokens that it carried; 1 where they are not known.
    pub tokens: u32,
}

/// All of them, in the order of their coming.
#[derive(Clone, Default)]
pub struct Chunks {
    bytes: Place,
    len: u32,
    /// Tokens of the first chunk, where they are known of every chunk.
    first_tokens: Option<u32>,
}

/// Where the coded numbers are.
#[derive(Clone)]
enum Place {
    Here(Box<[u8]>),
    Kept { file: Arc<ChunkFile>, offset: u64, length: u32 },
}

impl Default for Place {
    fn default() -> Self {
        Self::Here(Box::default())
    }
}

impl Chunks {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Output tokens up to and with the first chunk; `None` when the server did not tell the tokens of each chunk.
    pub fn first_tokens(&self) -> Option<u32> {
        self.first_tokens
    }

    /// All chunks. None when they are in a file that cannot be read any more: then no record of that file is written either.
    pub fn iter(&self) -> impl Iterator<Item = TextChunk> + '_ {
        decoded(self.bytes().unwrap_or_default())
    }

    /// Bytes of memory that they take beside their record.
    pub fn held_bytes(&self) -> usize {
        self.held().map_or(0, <[u8]>::len)
    }

    /// The coded numbers, if they are in memory.
    pub(super) fn held(&self) -> Option<&[u8]> {
        match &self.bytes {
            Place::Here(bytes) => Some(bytes),
            Place::Kept { .. } => None,
        }
    }

    /// The coded numbers are in that file now.
    pub(super) fn are_kept(&mut self, file: Arc<ChunkFile>, offset: u64, length: u32) {
        self.bytes = Place::Kept { file, offset, length };
    }

    fn bytes(&self) -> Result<Cow<'_, [u8]>, &str> {
        match &self.bytes {
            Place::Here(bytes) => Ok(Cow::Borrowed(bytes)),
            Place::Kept { file, offset, length } => file.read(*offset, *length).map(Cow::Owned),
        }
    }

    /// Chunks at these times, of whose tokens nothing is known.
    pub fn at(times: impl IntoIterator<Item = u64>) -> Self {
        let mut log = ChunkLog::default();
        times.into_iter().for_each(|at| log.push(at, None));
        log.finish()
    }

    /// Chunks at these times with so many tokens each.
    pub fn with_tokens(chunks: impl IntoIterator<Item = (u64, u32)>) -> Self {
        let mut log = ChunkLog::default();
        chunks.into_iter().for_each(|(at, tokens)| log.push(at, Some(tokens)));
        log.finish()
    }
}

/// Chunks of a response under way. Nothing is allocated as long as its output is no longer than was foreseen.
#[derive(Debug, Default)]
pub struct ChunkLog {
    bytes: Vec<u8>,
    len: u32,
    last: u64,
    first_tokens: u32,
    /// Some chunk came without a number of tokens.
    untold: bool,
}

impl ChunkLog {
    /// With room for so many chunks.
    pub fn with_room(chunks: usize) -> Self {
        Self { bytes: Vec::with_capacity(chunks.saturating_mul(USUAL_BYTES)), ..Self::default() }
    }

    /// One more, so long after the request was sent, with so many tokens if they are known.
    pub fn push(&mut self, at: u64, tokens: Option<u32>) {
        let gap = at.saturating_sub(self.last).min(u64::MAX >> 1);
        self.last = self.last.max(at);
        self.untold |= tokens.is_none();
        let tokens = tokens.unwrap_or(1);
        if self.len == 0 {
            self.first_tokens = tokens;
        }
        put(&mut self.bytes, gap << 1 | u64::from(tokens != 1));
        if tokens != 1 {
            put(&mut self.bytes, u64::from(tokens));
        }
        self.len = self.len.saturating_add(1);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the tokens of every chunk are known.
    pub fn knows_tokens(&self) -> bool {
        self.len > 0 && !self.untold
    }

    /// Nothing more comes.
    pub fn finish(self) -> Chunks {
        let first_tokens = self.knows_tokens().then_some(self.first_tokens);
        let whole = Chunks { bytes: Place::Here(self.bytes.into_boxed_slice()), len: self.len, first_tokens };
        // A count that was told for some of them only is none.
        if self.untold && whole.iter().any(|chunk| chunk.tokens != 1) {
            return Chunks::at(whole.iter().map(|chunk| chunk.at));
        }
        whole
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (place, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            *bytes = &bytes[place + 1..];
            return Some(number);
        }
    }
    None
}

fn decoded(bytes: Cow<'_, [u8]>) -> impl Iterator<Item = TextChunk> + '_ {
    let (mut place, mut at) = (0, 0_u64);
    std::iter::from_fn(move || {
        let mut rest = &bytes[place..];
        let coded = take(&mut rest)?;
        at = at.saturating_add(coded >> 1);
        let tokens = if coded & 1 == 0 { 1 } else { u32::try_from(take(&mut rest)?).unwrap_or(u32::MAX) };
        place = bytes.len() - rest.len();
        Some(TextChunk { at, tokens })
    })
}

impl PartialEq for Chunks {
    fn eq(&self, other: &Self) -> bool {
        (self.len, self.first_tokens, self.bytes()) == (other.len, other.first_tokens, other.bytes())
    }
}

impl Eq for Chunks {}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first_tokens {
            Some(_) => f.debug_map().entries(self.iter().map(|chunk| (chunk.at, chunk.tokens))).finish(),
            None => f.debug_list().entries(self.iter().map(|chunk| chunk.at)).finish(),
        }
    }
}

/// In files: a list of times where tokens are not known; else `{"at": [...], "tokens": [...]}`, the tokens left out where
/// each chunk carries one.
impl Serialize for Chunks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct List<F>(F);
        impl<T: Serialize, I: Iterator<Item = T>, F: Fn() -> I> Serialize for List<F> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq((self.0)())
            }
        }
        let bytes = self.bytes().map_err(ser::Error::custom)?;
        let chunks = || decoded(Cow::Borrowed(&bytes));
        let at = List(|| chunks().map(|chunk| chunk.at));
        if self.first_tokens.is_none() {
            return at.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("at", &at)?;
        if chunks().any(|chunk| chunk.tokens != 1) {
            map.serialize_entry("tokens", &List(|| chunks().map(|chunk| chunk.tokens)))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Chunks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Chunks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of times, or times `at` with `tokens`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Chunks, A::Error> {
        let mut log = ChunkLog::default();
        while let Some(at) = list.next_element()? {
            log.push(at, None);
        }
        Ok(log.finish())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Chunks, A::Error> {
        let (mut times, mut tokens): (Vec<u64>, Option<Vec<u32>>) = (Vec::new(), None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "at" => times = map.next_value()?,
                "tokens" => tokens = Some(map.next_value()?),
                other => return Err(de::Error::unknown_field(other, &["at", "tokens"])),
            }
        }
        let tokens = tokens.unwrap_or_else(|| vec![1; times.len()]);
        if tokens.len() != times.len() {
            return Err(de::Error::custom(format!(
                "{} times of chunks and {} numbers of tokens",
                times.len(),
                tokens.len()
            )));
        }
        Ok(Chunks::with_tokens(times.into_iter().zip(tokens)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(chunks: &Chunks) -> Vec<u64> {
        chunks.iter().map(|chunk| chunk.at).collect()
    }

    #[test]
    fn a_chunk_each_ten_milliseconds_takes_four_bytes() {
        let chunks = Chunks::with_tokens((1..=1000).map(|number| (number * 10_000_000, 1)));
        assert_eq!((chunks.len(), chunks.held_bytes()), (1000, 4000));
    }

    #[test]
    fn nothing_is_allocated_up_to_what_was_foreseen() {
        let mut log = ChunkLog::with_room(100);
        let room = log.bytes.capacity();
        (1..=100).for_each(|number| log.push(number * 4_000_000_000, Some(1)));
        assert_eq!(log.bytes.capacity(), room);
    }

    #[test]
    fn tokens_told_for_some_chunks_only_are_not_known() {
        let mut log = ChunkLog::default();
        for (at, tokens) in [(5, Some(3)), (9, None), (12, Some(2))] {
            log.push(at, tokens);
        }
        assert!(!log.knows_tokens());
        let chunks = log.finish();
        assert_eq!((chunks.first_tokens(), times(&chunks)), (None, vec![5, 9, 12]));
        assert_eq!(chunks, Chunks::at([5, 9, 12]));
        assert_eq!(Chunks::default().first_tokens(), None);
    }

    #[test]
    fn older_files_with_a_list_of_times_are_read() {
        let chunks: Chunks = serde_json::from_str("[3,4,9]").unwrap();
        assert_eq!(chunks, Chunks::at([3, 4, 9]));
        assert_eq!(serde_json::to_string(&chunks).unwrap(), "[3,4,9]");
        let merged = Chunks::with_tokens([(3, 2), (4, 1)]);
        assert_eq!(serde_json::to_string(&merged).unwrap(), r#"{"at":[3,4],"tokens":[2,1]}"#);
        assert_eq!(serde_json::to_string(&Chunks::with_tokens([(3, 1)])).unwrap(), r#"{"at":[3]}"#);
        for bad in [r#"{"at":[1],"tokens":[1,2]}"#, r#"{"at":[1],"x":1}"#, "3", r#"["a"]"#] {
            assert!(serde_json::from_str::<Chunks>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            gaps in prop::collection::vec((prop_oneof![0..300_u64, 0..u64::from(u32::MAX), 0..1_u64 << 40], 0..300_u32), 0..40),
            known in any::<bool>(),
        ) {
            let mut at = 0;
            let given: Vec<(u64, u32)> = gaps.into_iter().map(|(gap, tokens)| { at += gap; (at, tokens) }).collect();
            let chunks = if known {
                Chunks::with_tokens(given.clone())
            } else {
                Chunks::at(given.iter().map(|(at, _)| *at))
            };
            let expected: Vec<_> = given
                .iter()
                .map(|(at, tokens)| TextChunk { at: *at, tokens: if known { *tokens } else { 1 } })
                .collect();
            prop_assert_eq!(chunks.iter().collect::<Vec<_>>(), expected);
            prop_assert_eq!(chunks.len(), given.len());
            let first = given.first().map(|(_, tokens)| *tokens).filter(|_| known);
            prop_assert_eq!(chunks.first_tokens(), first);
            let text = serde_json::to_string(&chunks).unwrap();
            prop_assert_eq!(serde_json::from_str::<Chunks>(&text).unwrap(), chunks);
        }
    }
}
