//! Writing the journal: one writer, every line on the disk before anybody acts on it.
//!
//! After the first line that could not be written nothing more is: a half-written line must stay the last one. What
//! happens after that is gathered for printing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::event::Event;
use super::line::encode;
use super::read::{Replay, Torn, read};
use crate::base::{FileError, Timestamp, list_dir, sync_dir, write_atomic};
use crate::run::error::RunError;
use crate::run::layout::RunLayout;

/// Where lines go. A trait so that tests can make the disk fail.
pub trait JournalFile: Send {
    /// Writes at the end.
    ///
    /// # Errors
    /// When not all of it was written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when what was written is on the disk.
    ///
    /// # Errors
    /// When it is not.
    fn sync(&mut self) -> io::Result<()>;
}

impl JournalFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The open journal of a run.
pub struct Journal {
    file: Box<dyn JournalFile>,
    seq: u64,
    session: u32,
    broken: Option<String>,
    unrecorded: Vec<String>,
}

impl Journal {
    /// Begins a journal. Its first line is on the disk, whole, when this returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path, now: Timestamp, first: &Event) -> Result<(), RunError> {
        Ok(write_atomic(path, encode(1, now, 0, first).as_bytes())?)
    }

    /// Reads a journal and opens it for more. A torn last line is kept beside it and cut off.
    ///
    /// # Errors
    /// When it cannot be read, is damaged or newer, or cannot be opened for writing.
    pub fn open(layout: &RunLayout) -> Result<(Self, Replay), RunError> {
        let path = layout.journal();
        let replay = read(&path)?;
        if let Some(torn) = &replay.torn {
            cut(layout, torn)?;
        }
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(|source| FileError::new("open for writing", &path, source))?;
        let seq = replay.lines.last().map_or(0, |line| line.seq);
        let session = replay.lines.last().map_or(0, |line| line.session);
        Ok((Self { file: Box::new(file), seq, session, broken: None, unrecorded: Vec::new() }, replay))
    }

    /// Puts something between the journal and its file.
    pub fn wrap(&mut self, wrap: impl FnOnce(Box<dyn JournalFile>) -> Box<dyn JournalFile>) {
        struct Nowhere;
        impl JournalFile for Nowhere {
            fn append(&mut self, _: &[u8]) -> io::Result<()> {
                Err(io::Error::from(io::ErrorKind::NotConnected))
            }
            fn sync(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let file = std::mem::replace(&mut self.file, Box::new(Nowhere));
        self.file = wrap(file);
    }

    /// Writes an event; it is on the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written, or an earlier one could not.
    pub fn append(&mut self, now: Timestamp, event: &Event) -> Result<(), RunError> {
        let session = if let Event::SessionStarted { number, .. } = event { *number } else { self.session };
        let line = encode(self.seq + 1, now, session, event);
        if self.broken.is_none() {
            match self.file.append(line.as_bytes()).and_then(|()| self.file.sync()) {
                Ok(()) => {
                    self.seq += 1;
                    self.session = session;
                    return Ok(());
                }
                Err(error) => self.broken = Some(error.to_string()),
            }
        }
        self.unrecorded.push(line.trim_end().to_owned());
        Err(RunError::JournalBroken { reason: self.broken.clone().unwrap_or_default() })
    }

    /// Why nothing can be written any more.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// What could not be written.
    pub fn into_unrecorded(self) -> Vec<String> {
        self.unrecorded
    }
}

/// Cuts a torn end off. Its bytes are kept: they may say what was about to happen.
pub(in crate::run) fn cut(layout: &RunLayout, torn: &Torn) -> Result<(), RunError> {
    let path = layout.journal();
    let taken = list_dir(&layout.inner())?.iter().filter(|name| name.starts_with("journal.torn-")).count();
    write_atomic(&layout.inner().join(format!("journal.torn-{}", taken + 1)), &torn.bytes)?;
    let file = OpenOptions::new()
        .write(true)
        .open(&path)
        .map_err(|source| FileError::new("open for writing", &path, source))?;
    file.set_len(torn.offset)
        .and_then(|()| file.sync_all())
        .map_err(|source| FileError::new("cut the torn end off", &path, source))?;
    Ok(sync_dir(&layout.inner())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Event {
        Event::Note { address: None, text: text.to_owned() }
    }

    fn texts(replay: &Replay) -> Vec<&str> {
        replay
            .lines
            .iter()
            .map(|line| if let Event::Note { text, .. } = &line.event { text.as_str() } else { "?" })
            .collect()
    }

    fn journal_of(notes: &[&str]) -> (tempfile::TempDir, RunLayout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = RunLayout::new(dir.path());
        crate::base::create_dir(&layout.inner()).unwrap();
        Journal::create(&layout.journal(), Timestamp(0), &note(notes[0])).unwrap();
        let (mut journal, _) = Journal::open(&layout).unwrap();
        for text in &notes[1..] {
            journal.append(Timestamp(1), &note(text)).unwrap();
        }
        (dir, layout)
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_kept() {
        let (_dir, layout) = journal_of(&["one", "two", "three"]);
        let whole = std::fs::read(layout.journal()).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for (round, end) in (last + 1..whole.len()).enumerate() {
            std::fs::write(layout.journal(), &whole[..end]).unwrap();
            let (mut journal, replay) = Journal::open(&layout).unwrap();
            assert_eq!(texts(&replay), ["one", "two"]);
            let kept = layout.inner().join(format!("journal.torn-{}", round + 1));
            assert_eq!(std::fs::read(kept).unwrap(), &whole[last..end]);
            journal.append(Timestamp(2), &note("after")).unwrap();
            assert_eq!(texts(&read(&layout.journal()).unwrap()), ["one", "two", "after"]);
        }
    }

    #[test]
    fn damage_before_the_last_line_is_refused_with_its_place() {
        let (_dir, layout) = journal_of(&["one", "two", "three"]);
        let mut bytes = std::fs::read(layout.journal()).unwrap();
        let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 30;
        bytes[second] ^= 1;
        std::fs::write(layout.journal(), bytes).unwrap();
        let error = Journal::open(&layout).err().unwrap();
        assert!(matches!(error, RunError::Damaged { line: 2, .. }), "{error}");
        assert!(error.help().unwrap().contains("dynbench runs fsck"));
    }

    #[test]
    fn a_line_that_is_missing_is_damage() {
        let (_dir, layout) = journal_of(&["one", "two", "three"]);
        let text = std::fs::read_to_string(layout.journal()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        std::fs::write(layout.journal(), format!("{}\n{}\n", lines[0], lines[2])).unwrap();
        assert!(matches!(read(&layout.journal()), Err(RunError::Damaged { line: 2, .. })));
    }

    #[test]
    fn a_journal_of_a_newer_format_is_refused_by_its_number() {
        let (_dir, layout) = journal_of(&["one"]);
        std::fs::write(layout.journal(), "{\"v\":9,\"new\":\"things\"}\n").unwrap();
        assert!(matches!(read(&layout.journal()), Err(RunError::Newer { found: 9, known: 1, .. })));
    }

    #[test]
    fn after_one_failed_write_nothing_more_is_written_and_all_of_it_is_kept_for_printing() {
        struct Full(Box<dyn JournalFile>, usize);
        impl JournalFile for Full {
            fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
                self.1 += 1;
                if self.1 == 2 {
                    self.0.append(&bytes[..10])?;
                    return Err(io::Error::from(io::ErrorKind::StorageFull));
                }
                self.0.append(bytes)
            }
            fn sync(&mut self) -> io::Result<()> {
                self.0.sync()
            }
        }
        let (_dir, layout) = journal_of(&["one"]);
        let (mut journal, _) = Journal::open(&layout).unwrap();
        journal.wrap(|file| Box::new(Full(file, 0)));
        journal.append(Timestamp(1), &note("two")).unwrap();
        assert!(journal.append(Timestamp(1), &note("three")).is_err());
        assert!(journal.append(Timestamp(1), &note("four")).is_err());
        let unrecorded = journal.into_unrecorded();
        assert!(unrecorded[0].contains("three") && unrecorded[1].contains("four"));
        let (_, replay) = Journal::open(&layout).unwrap();
        assert_eq!(texts(&replay), ["one", "two"]);
    }
}
