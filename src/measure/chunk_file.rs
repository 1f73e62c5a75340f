//! Chunk times of many requests in one file: a level's memory must not grow with its output.
//!
//! The file holds what [`Chunks`] holds of one request after the other, without anything between; each knows its place. It is
//! no file of results: it has no name, and is gone with the last that needs it, also when the process is killed.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use super::chunks::Chunks;

/// What is written at once.
const BUFFER: usize = 256 << 10;

/// The file as those who read it have it.
#[derive(Debug)]
pub(super) struct ChunkFile {
    file: File,
    /// The first failure to read. It stays: numbers that were computed without what could not be read must not be kept.
    lost: OnceLock<String>,
}

impl ChunkFile {
    /// So many bytes from there on.
    pub(super) fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, &str> {
        if let Some(lost) = self.lost.get() {
            return Err(lost);
        }
        let mut bytes = vec![0; length as usize];
        match self.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(error) => Err(self.lost.get_or_init(|| format!("the times of a request's chunks are lost: {error}"))),
        }
    }
}

/// Moves chunks to a file. What was moved can be read once [`ChunkFileWriter::finish`] has returned.
#[derive(Debug)]
pub struct ChunkFileWriter {
    to: BufWriter<File>,
    file: Arc<ChunkFile>,
    end: u64,
}

impl ChunkFileWriter {
    /// Begins an empty file.
    ///
    /// # Errors
    /// When its descriptor cannot be doubled.
    pub fn new(file: File) -> io::Result<Self> {
        let to = BufWriter::with_capacity(BUFFER, file.try_clone()?);
        Ok(Self { to, file: Arc::new(ChunkFile { file, lost: OnceLock::new() }), end: 0 })
    }

    /// Moves the chunks of one request.
    ///
    /// # Errors
    /// When they cannot be written: they stay where they are.
    pub fn put_away(&mut self, chunks: &mut Chunks) -> io::Result<()> {
        let Some(bytes) = chunks.held() else { return Ok(()) };
        let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.to.write_all(bytes)?;
        chunks.are_kept(Arc::clone(&self.file), self.end, length);
        self.end += u64::from(length);
        Ok(())
    }

    /// Writes what is still held back.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> [Chunks; 2] {
        [Chunks::with_tokens([(5, 2), (9, 1), (300_000, 1)]), Chunks::at([7, 8])]
    }

    fn kept(file: File) -> [Chunks; 2] {
        let mut writer = ChunkFileWriter::new(file).unwrap();
        let kept = both().map(|mut chunks| {
            writer.put_away(&mut chunks).unwrap();
            writer.put_away(&mut chunks).unwrap();
            chunks
        });
        writer.finish().unwrap();
        kept
    }

    #[test]
    fn what_was_put_away_is_what_it_was() {
        let kept = kept(tempfile::tempfile().unwrap());
        assert!(kept.iter().all(|chunks| chunks.held().is_none()));
        assert_eq!(kept, both());
        assert_eq!(serde_json::to_string(&kept).unwrap(), serde_json::to_string(&both()).unwrap());
        assert_eq!(kept[0].first_tokens(), Some(2));
    }

    #[test]
    fn what_cannot_be_read_any_more_is_never_written_as_if_it_were_whole() {
        let file = tempfile::tempfile().unwrap();
        let kept = kept(file.try_clone().unwrap());
        file.set_len(6).unwrap();
        assert_eq!(kept[1].iter().count(), 0);
        // Also what could be read still: something was computed without the rest.
        for chunks in &kept {
            let error = serde_json::to_string(chunks).unwrap_err().to_string();
            assert!(error.contains("chunks are lost"), "{error}");
        }
    }
}
