//! Raw responses for exports, read again from the spill file one at a time.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use crate::base::Timestamp;
use crate::measure::{RawResponse, SpillReader};
use crate::report::{RawExchange, RawSource};

/// The spill file of one level.
pub(super) struct SpilledResponses<'a> {
    pub(super) spill: &'a Path,
    /// Wall-clock time of the file's time zero.
    pub(super) origin: Timestamp,
    /// Whether responses are wanted as well, or only what was sent.
    pub(super) keep_responses: bool,
}

impl RawSource for SpilledResponses<'_> {
    fn has_responses(&self) -> bool {
        self.keep_responses
    }

    fn exchanges(&self) -> io::Result<Box<dyn Iterator<Item = io::Result<RawExchange>> + '_>> {
        let reader = SpillReader::new(BufReader::with_capacity(1 << 18, File::open(self.spill)?))?;
        Ok(Box::new(reader.map(|found| found.map(|raw| exchange(raw, self.origin)))))
    }
}

/// One request with its response cut into events; each has the time of the read that completed it.
fn exchange(raw: RawResponse, origin: Timestamp) -> RawExchange {
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    };
    let mut pending = Vec::new();
    let mut responses = Vec::new();
    let mut last = raw.sent;
    // Of what is pending, how much is known to hold no end: a read may bring hundreds of events, or one byte of one.
    let mut searched = 0;
    for (at, piece) in raw.chunks {
        last = at;
        pending.extend_from_slice(&piece);
        let mut start = 0;
        while let Some(end) = event_end(&pending[start..], searched) {
            responses.push((origin.0 + at, text(pending[start..start + end].to_vec())));
            start += end;
            searched = 0;
        }
        pending.drain(..start);
        searched = pending.len();
    }
    if !pending.is_empty() {
        responses.push((origin.0 + last, text(pending)));
    }
    RawExchange { timestamp_ns: origin.0 + raw.sent, payload: text(raw.request_body), responses }
}

/// Where the first whole event ends, its blank line included; it does not end within the first `searched` bytes.
fn event_end(bytes: &[u8], searched: usize) -> Option<usize> {
    let mut ends = memchr::memchr_iter(b'\n', &bytes[searched..]).map(|place| searched + place + 1);
    ends.find(|end| bytes[..*end].ends_with(b"\n\n") || bytes[..*end].ends_with(b"\r\n\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_split_and_merged_over_reads_come_out_one_by_one() {
        let raw = RawResponse {
            sent: 5,
            request_body: b"{}".to_vec(),
            chunks: vec![
                (10, b"data: a\n\ndata: b".to_vec()),
                (20, b"\n".to_vec()),
                (30, b"\ndata: c\r\n\r\ndata: [DO".to_vec()),
                (40, b"NE]".to_vec()),
            ],
            ..RawResponse::default()
        };
        let found = exchange(raw, Timestamp(100));
        let expected = [(110, "data: a\n\n"), (130, "data: b\n\n"), (130, "data: c\r\n\r\n"), (140, "data: [DONE]")];
        assert_eq!(found.responses, expected.map(|(at, text)| (at, text.to_owned())));
        assert_eq!((found.timestamp_ns, found.payload.as_str()), (105, "{}"));
    }

    #[test]
    fn events_are_the_same_byte_by_byte() {
        let body = b"data: a\n\ndata: b\r\n\r\n: c\n\n\ndata: d";
        let whole = RawResponse { chunks: vec![(7, body.to_vec())], ..RawResponse::default() };
        let single =
            RawResponse { chunks: body.iter().map(|byte| (7, vec![*byte])).collect(), ..RawResponse::default() };
        assert_eq!(exchange(single, Timestamp(0)).responses, exchange(whole, Timestamp(0)).responses);
    }
}
