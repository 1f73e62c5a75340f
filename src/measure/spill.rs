//! The spill file: responses as they came, written beside the measurement and read again for exports.
//!
//! A file begins with `dynbench-spill 1`, then has one entry a request, in the order in which requests ended. All numbers
//! are little-endian:
//! `u64` index, `u64` origin-relative time of sending, then id and request body (each `u32` length, bytes), `u32` number of
//! pieces, and each piece as `u64` time, `u32` length, bytes. Times are nanoseconds since the level's origin, as in
//! records. A file that ends within an entry lost its writer; what is whole before that is still read.

use std::io::{self, Read, Write};

/// First bytes of a spill file. Version 1: as described above.
const MAGIC: &[u8; 16] = b"dynbench-spill 1";

/// Longest text or piece that is read back: a damaged length must not ask for all memory.
const LONGEST: u32 = 1 << 30;

/// One response as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawResponse {
    /// The request's place in its level, as in its record.
    pub index: u64,
    /// When it was sent.
    pub sent: u64,
    /// Its `x-request-id`.
    pub id: String,
    /// The body that was sent.
    pub request_body: Vec<u8>,
    /// Bytes of the response's body, as HTTP handed them over, each with the time of the read that brought them.
    pub chunks: Vec<(u64, Vec<u8>)>,
}

/// Writes a spill file.
#[derive(Debug)]
pub struct SpillWriter<W: Write> {
    to: W,
}

impl<W: Write> SpillWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(mut to: W) -> io::Result<Self> {
        to.write_all(MAGIC)?;
        Ok(Self { to })
    }

    /// Writes one entry whose pieces are ranges of one buffer: `pieces` holds the time and the end of each.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(
        &mut self,
        (index, sent, id, request_body): (u64, u64, &str, &[u8]),
        bytes: &[u8],
        pieces: &[(u64, usize)],
    ) -> io::Result<()> {
        self.to.write_all(&index.to_le_bytes())?;
        self.to.write_all(&sent.to_le_bytes())?;
        self.text(id.as_bytes())?;
        self.text(request_body)?;
        self.length(pieces.len())?;
        let mut start = 0;
        for (time, end) in pieces {
            self.to.write_all(&time.to_le_bytes())?;
            self.text(&bytes[start..*end])?;
            start = *end;
        }
        Ok(())
    }

    /// Ends the file and gives back what it was written to.
    ///
    /// # Errors
    /// When what was held back cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.to.flush()?;
        Ok(self.to)
    }

    fn text(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length(bytes.len())?;
        self.to.write_all(bytes)
    }

    fn length(&mut self, length: usize) -> io::Result<()> {
        let length = u32::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.to.write_all(&length.to_le_bytes())
    }
}

/// Reads a spill file, entry by entry, holding one at a time.
#[derive(Debug)]
pub struct SpillReader<R: Read> {
    from: R,
    ended: bool,
}

impl<R: Read> SpillReader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// When it cannot be read, or is no spill file of this version.
    pub fn new(mut from: R) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a spill file of version 1"));
        }
        Ok(Self { from, ended: false })
    }

    /// The next entry; `None` at the end of the file, also within an entry.
    fn entry(&mut self) -> io::Result<RawResponse> {
        let index = self.u64()?;
        let sent = self.u64()?;
        let id = String::from_utf8(self.text()?).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let request_body = self.text()?;
        let mut chunks = Vec::new();
        for _ in 0..self.u32()? {
            chunks.push((self.u64()?, self.text()?));
        }
        Ok(RawResponse { index, sent, id, request_body, chunks })
    }

    fn u64(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.from.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.from.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn text(&mut self) -> io::Result<Vec<u8>> {
        let length = self.u32()?;
        if length > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a length in the spill file is absurd"));
        }
        // Grown while reading: the length may be a lie.
        let mut bytes = Vec::new();
        self.from.by_ref().take(u64::from(length)).read_to_end(&mut bytes)?;
        if bytes.len() < length as usize {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(bytes)
    }
}

impl<R: Read> Iterator for SpillReader<R> {
    type Item = io::Result<RawResponse>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.entry() {
            Ok(entry) => Some(Ok(entry)),
            Err(error) => {
                self.ended = true;
                (error.kind() != io::ErrorKind::UnexpectedEof).then_some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entries: &[RawResponse]) -> Vec<u8> {
        let mut writer = SpillWriter::new(Vec::new()).unwrap();
        for entry in entries {
            let mut bytes = Vec::new();
            let mut pieces = Vec::new();
            for (time, piece) in &entry.chunks {
                bytes.extend_from_slice(piece);
                pieces.push((*time, bytes.len()));
            }
            writer.write((entry.index, entry.sent, &entry.id, &entry.request_body), &bytes, &pieces).unwrap();
        }
        writer.finish().unwrap()
    }

    fn entries() -> Vec<RawResponse> {
        let one = RawResponse {
            index: 3,
            sent: 9,
            id: "run-c8-m3".to_owned(),
            request_body: b"{}".to_vec(),
            chunks: vec![(10, b"data: a\n".to_vec()), (12, Vec::new()), (u64::MAX, b"\n".to_vec())],
        };
        vec![one, RawResponse::default()]
    }

    #[test]
    fn what_was_written_is_read() {
        let read: Vec<_> = SpillReader::new(&file(&entries())[..]).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, entries());
    }

    #[test]
    fn a_file_cut_anywhere_gives_its_whole_entries() {
        let whole = file(&entries());
        for cut in MAGIC.len()..whole.len() {
            let read: Vec<_> = SpillReader::new(&whole[..cut]).unwrap().map(Result::unwrap).collect();
            assert!(read.len() < 2 && read[..] == entries()[..read.len()], "{cut}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_and_asks_for_no_memory() {
        assert!(SpillReader::new(&b"something else entirely"[..]).is_err());
        let mut damaged = file(&entries());
        damaged[MAGIC.len() + 16..MAGIC.len() + 20].fill(0xff);
        assert!(SpillReader::new(&damaged[..]).unwrap().next().unwrap().is_err());
    }
}
