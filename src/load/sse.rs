//! Server-sent events out of bytes as they come from the socket.
//!
//! Promises: events are the same however the bytes are cut into reads; a line may end with `\n`, `\r\n` or `\r`; no
//! event and no line is held beyond [`SseReader::new`]'s limit; on the usual path (an event whole within one read, one
//! `data:` line) nothing is copied and nothing is allocated. What an event's data means is left to [`super::chunk`].

use std::ops::ControlFlow;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The value of its `event:` line; empty without one.
    pub name: &'a [u8],
    /// Its `data:` lines, joined by `\n`.
    pub data: &'a [u8],
}

/// Why no further event can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A line or an event is longer than the limit.
    #[error("an event is longer than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
}

/// Where the data of the event under way are.
#[derive(Debug, Default)]
enum Data {
    /// No `data:` line yet.
    #[default]
    None,
    /// In the slice that is being read: start and end.
    Here(usize, usize),
    /// Copied, because a read ended within the event or the event has several lines.
    Kept,
}

/// An incremental reader. See the module's promises.
#[derive(Debug)]
pub struct SseReader {
    limit: usize,
    /// Start of a line whose end has not come yet.
    line: Vec<u8>,
    /// Data of an event whose end has not come yet, if [`Data::Kept`].
    kept: Vec<u8>,
    name: Vec<u8>,
    data: Data,
    /// The last read ended with `\r`: a `\n` that comes first now belongs to it.
    after_cr: bool,
    first_line: bool,
    stray: u64,
}

impl SseReader {
    /// A reader that holds at most `limit` bytes of one event.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            kept: Vec::new(),
            name: Vec::new(),
            data: Data::None,
            after_cr: false,
            first_line: true,
            stray: 0,
        }
    }

    /// Reads on; `on_event` sees every event that is complete now, and may break off, after which the rest of `bytes`
    /// is not looked at.
    ///
    /// # Errors
    /// When something is longer than the limit; the reader must not be fed again.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut on_event: impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), SseError> {
        let mut at = 0;
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            at = usize::from(bytes[0] == b'\n');
        }
        while let Some(length) = memchr::memchr2(b'\n', b'\r', &bytes[at..]) {
            let (start, end) = (at, at + length);
            at = end + 1;
            if bytes[end] == b'\r' {
                match bytes.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            let dispatch = if self.line.is_empty() {
                self.line_here(bytes, start, end)?
            } else {
                self.hold(&bytes[start..end])?;
                let line = std::mem::take(&mut self.line);
                let dispatch = self.line_kept(&line, bytes)?;
                self.line = line;
                self.line.clear();
                dispatch
            };
            if dispatch && self.dispatch(bytes, &mut on_event).is_break() {
                return Ok(());
            }
        }
        self.hold(&bytes[at..])?;
        self.keep_data(bytes);
        Ok(())
    }

    /// Ends the stream. Returns the data of an event that was begun and not ended, if there are any: some servers
    /// leave out the last blank line.
    pub fn finish(&mut self) -> Option<&[u8]> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() && self.line_kept(&line, &[]).is_err() {
            return None;
        }
        match self.data {
            Data::None => None,
            Data::Here(..) => unreachable!("data of a slice are copied before the slice is given back"),
            Data::Kept => Some(&self.kept),
        }
    }

    /// Lines seen that are no field of the format: a body of something else.
    pub fn stray_lines(&self) -> u64 {
        self.stray
    }

    /// Keeps the start of a line until its end comes.
    fn hold(&mut self, part: &[u8]) -> Result<(), SseError> {
        if self.line.len() + part.len() > self.limit {
            return Err(SseError::TooLarge { limit: self.limit });
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    /// Copies the data of the event under way out of a slice that is about to go.
    fn keep_data(&mut self, bytes: &[u8]) {
        if let Data::Here(start, end) = self.data {
            self.kept.clear();
            self.kept.extend_from_slice(&bytes[start..end]);
            self.data = Data::Kept;
        }
    }

    /// A line that lies whole in `bytes`. Returns whether it ends an event.
    fn line_here(&mut self, bytes: &[u8], mut start: usize, end: usize) -> Result<bool, SseError> {
        if end - start > self.limit {
            return Err(SseError::TooLarge { limit: self.limit });
        }
        if std::mem::take(&mut self.first_line) && bytes[start..end].starts_with(b"\xef\xbb\xbf") {
            start += 3;
        }
        let line = &bytes[start..end];
        if line.is_empty() {
            return Ok(true);
        }
        match data_offset(line) {
            Some(offset) if matches!(self.data, Data::None) => {
                self.data = Data::Here(start + offset, end);
                Ok(false)
            }
            Some(offset) => {
                self.keep_data(bytes);
                self.more_data(&line[offset..])
            }
            None => {
                self.other_field(line);
                Ok(false)
            }
        }
    }

    /// A line that had to be put together from several reads.
    fn line_kept(&mut self, line: &[u8], bytes: &[u8]) -> Result<bool, SseError> {
        let bom = std::mem::take(&mut self.first_line) && line.starts_with(b"\xef\xbb\xbf");
        let line = if bom { &line[3..] } else { line };
        if line.is_empty() {
            return Ok(true);
        }
        match data_offset(line) {
            Some(offset) if matches!(self.data, Data::None) => {
                self.kept.clear();
                self.kept.extend_from_slice(&line[offset..]);
                self.data = Data::Kept;
                Ok(false)
            }
            Some(offset) => {
                self.keep_data(bytes);
                self.more_data(&line[offset..])
            }
            None => {
                self.other_field(line);
                Ok(false)
            }
        }
    }

    /// A second or later `data:` line of one event.
    fn more_data(&mut self, value: &[u8]) -> Result<bool, SseError> {
        if self.kept.len() + 1 + value.len() > self.limit {
            return Err(SseError::TooLarge { limit: self.limit });
        }
        self.kept.push(b'\n');
        self.kept.extend_from_slice(value);
        Ok(false)
    }

    fn other_field(&mut self, line: &[u8]) {
        if let Some(value) = line.strip_prefix(b"event:") {
            self.name.clear();
            self.name.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        } else if !(line[0] == b':' || is_field(line, b"event") || is_field(line, b"id") || is_field(line, b"retry")) {
            self.stray += 1;
        }
    }

    fn dispatch(&mut self, bytes: &[u8], on_event: &mut impl FnMut(Event<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let data = match std::mem::take(&mut self.data) {
            // Without data the format knows no event: a lone name or comment is forgotten.
            Data::None => {
                self.name.clear();
                return ControlFlow::Continue(());
            }
            Data::Here(start, end) => &bytes[start..end],
            Data::Kept => &self.kept,
        };
        let flow = on_event(Event { name: &self.name, data });
        self.name.clear();
        flow
    }
}

/// Where the value starts if the line is a `data` field.
fn data_offset(line: &[u8]) -> Option<usize> {
    if let Some(value) = line.strip_prefix(b"data:") {
        return Some(5 + usize::from(value.first() == Some(&b' ')));
    }
    (line == b"data").then_some(4)
}

fn is_field(line: &[u8], name: &[u8]) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest[0] == b':')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = (Vec<(Vec<u8>, Vec<u8>)>, Option<Vec<u8>>, u64);

    /// Events, what was left at the end, stray lines; or that something was too large, after these events.
    fn read(parts: &[&[u8]], limit: usize) -> (Read, bool) {
        let mut reader = SseReader::new(limit);
        let mut events = Vec::new();
        for part in parts {
            let fed = reader.feed(part, |event| {
                events.push((event.name.to_vec(), event.data.to_vec()));
                ControlFlow::Continue(())
            });
            if fed.is_err() {
                return ((events, None, 0), true);
            }
        }
        let left = reader.finish().map(<[u8]>::to_vec);
        ((events, left, reader.stray_lines()), false)
    }

    fn data(text: &[u8]) -> Vec<String> {
        read(&[text], 1000).0.0.into_iter().map(|(_, data)| String::from_utf8(data).unwrap()).collect()
    }

    #[test]
    fn every_line_ending_ends_a_line() {
        assert_eq!(data(b"data: a\n\ndata:b\r\n\r\ndata: c\r\rdata:  d\n\n"), ["a", "b", "c", " d"]);
    }

    #[test]
    fn several_data_lines_are_one_event_and_names_belong_to_theirs() {
        let ((events, left, stray), _) =
            read(&[b": hi\nevent: error\ndata: a\ndata: b\n\nevent: lone\n\nid: 3\ndata\n\n"], 1000);
        assert_eq!(events, [(b"error".to_vec(), b"a\nb".to_vec()), (Vec::new(), Vec::new())]);
        assert_eq!((left, stray), (None, 0));
    }

    #[test]
    fn an_event_without_its_blank_line_is_what_is_left() {
        assert_eq!(read(&[b"data: a\n\ndata: [DONE]"], 1000).0.1, Some(b"[DONE]".to_vec()));
        assert_eq!(read(&[b"data: a\n\ndata: [DONE]\n"], 1000).0.1, Some(b"[DONE]".to_vec()));
    }

    #[test]
    fn lines_of_something_else_are_counted() {
        assert_eq!(read(&[b"<html>\n<p>no</p>\n"], 1000).0.2, 2);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(data(b"\xef\xbb\xbfdata: a\n\n"), ["a"]);
    }

    #[test]
    fn an_event_without_end_is_refused_and_not_held() {
        let mut reader = SseReader::new(100);
        reader.feed(b"data: ", |_| ControlFlow::Continue(())).unwrap();
        let mut fed = Ok(());
        for _ in 0..200 {
            fed = fed.and_then(|()| reader.feed(b"x", |_| ControlFlow::Continue(())));
        }
        assert_eq!(fed, Err(SseError::TooLarge { limit: 100 }));
        assert!(reader.line.capacity() < 400);
        let many = b"data: 0123456789\n".repeat(20);
        assert!(read(&[&many], 100).1);
    }

    #[test]
    fn breaking_off_leaves_the_rest_unread() {
        let mut seen = 0;
        let mut reader = SseReader::new(100);
        reader
            .feed(b"data: a\n\ndata: b\n\n", |_| {
                seen += 1;
                ControlFlow::Break(())
            })
            .unwrap();
        assert_eq!(seen, 1);
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"data: ".to_vec()),
            Just(b"data".to_vec()),
            Just(b"event: error".to_vec()),
            Just(b": c".to_vec()),
            Just("日本".as_bytes().to_vec()),
            Just(b"\xef\xbb\xbf".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..12),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn reads_may_be_cut_anywhere(bytes in pieces(), mut cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12), limit in 5_usize..80) {
            let whole = read(&[&bytes], limit);
            let mut cuts: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut parts = Vec::new();
            let mut at = 0;
            for cut in cuts {
                parts.push(&bytes[at..cut]);
                at = cut;
            }
            parts.push(&bytes[at..]);
            prop_assert_eq!(&read(&parts, limit), &whole);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&read(&single, limit), &whole);
        }
    }
}
