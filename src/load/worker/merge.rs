//! The parts of a level, measured by several workers, as one level.
//!
//! Records are merged, never percentiles. Each worker's times are relative to its own origin; they are moved to the
//! earliest origin, on the clock of whoever measured the offsets. Durations within a record are of one clock and stay
//! exact; only the distance between records of different workers has the uncertainty of the offsets.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::super::error::LoadError;
use super::super::level::{EndedBy, LevelRun, Totals};
use super::offset::ClockOffset;
use super::share::Share;
use crate::base::{FileError, Timestamp};
use crate::measure::{GeneratorHealth, RequestRecord, ServerScrape, SpillReader, SpillWriter};

/// What one worker measured.
pub(super) struct Part {
    pub(super) run: LevelRun,
    pub(super) offset: ClockOffset,
    pub(super) spill: Option<PathBuf>,
    pub(super) scrapes: Vec<ServerScrape>,
}

/// One run out of its parts, never none, and what the server said meanwhile; their spill files are joined in `spill`.
///
/// # Errors
/// When the spill files cannot be read or written.
pub(super) fn merge(parts: Vec<Part>, spill: Option<&Path>) -> Result<(LevelRun, Vec<ServerScrape>), LoadError> {
    let origin_of = |part: &Part| part.offset.to_ours(part.run.origin);
    let origin = parts.iter().map(origin_of).min().unwrap_or(Timestamp(0));
    let of = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    // Of two workers each is wrong by at most its own uncertainty.
    let mut doubts: Vec<u64> = parts.iter().map(|part| part.offset.uncertainty_ns).collect();
    doubts.sort_unstable_by(|one, other| other.cmp(one));
    let doubt_ns: u64 = doubts.iter().take(2).sum();
    let mut heard = Vec::new();
    let mut joined = spill.map(Joined::create).transpose()?;
    let mut whole = LevelRun {
        records: Vec::new(),
        health: GeneratorHealth::default(),
        origin,
        fill_requests: 0,
        totals: Totals::default(),
        ended_by: EndedBy::Precision,
        failed: None,
    };
    let (mut events, mut reads) = (0.0, 0_u64);
    for (place, part) in (0_u32..).zip(parts) {
        let later = origin_of(&part).0 - origin.0;
        if let (Some(joined), Some(from)) = (&mut joined, &part.spill) {
            joined.add(from, later)?;
        }
        let later_s = later as f64 / 1e9;
        heard.extend(part.scrapes.into_iter().map(|scrape| ServerScrape { t_s: scrape.t_s + later_s, ..scrape }));
        let share = Share { part: place, of };
        for mut record in part.run.records {
            shift(&mut record, later);
            // Slots of all workers stand side by side, as those of one generator would.
            record.slot = u32::try_from(share.place(u64::from(record.slot))).unwrap_or(u32::MAX);
            events += f64::from(record.events);
            reads += u64::from(record.reads);
            whole.records.push(record);
        }
        whole.health = if place == 0 { part.run.health } else { worst(&whole.health, &part.run.health) };
        whole.fill_requests += part.run.fill_requests;
        whole.totals = whole.totals.plus(part.run.totals);
        whole.ended_by = gravest(whole.ended_by, part.run.ended_by);
        whole.failed = whole.failed.or(part.run.failed);
    }
    whole.health.clock_uncertainty_ms = doubt_ns as f64 / 1e6;
    whole.health.events_per_read = if reads > 0 { events / reads as f64 } else { 0.0 };
    whole.records.sort_by_key(|record| (record.sent, record.index));
    if let Some(joined) = joined {
        joined.finish()?;
    }
    Ok((whole, heard))
}

/// Moves all moments of a record; `chunks` are relative to `sent` and stay.
fn shift(record: &mut RequestRecord, later: u64) {
    record.scheduled += later;
    record.due = record.due.map(|due| due + later);
    record.sent += later;
    record.end += later;
    let moments = [
        &mut record.headers,
        &mut record.first_byte,
        &mut record.first_text,
        &mut record.second_text,
        &mut record.first_output,
        &mut record.last_text,
    ];
    for moment in moments.into_iter().flatten() {
        *moment += later;
    }
}

/// The worse of both in every respect; processor time is what all took.
fn worst(one: &GeneratorHealth, other: &GeneratorHealth) -> GeneratorHealth {
    GeneratorHealth {
        send_lag_p99_ms: one.send_lag_p99_ms.max(other.send_lag_p99_ms),
        send_lag_max_ms: one.send_lag_max_ms.max(other.send_lag_max_ms),
        loop_lag_mean_ms: one.loop_lag_mean_ms.max(other.loop_lag_mean_ms),
        loop_lag_p99_ms: one.loop_lag_p99_ms.max(other.loop_lag_p99_ms),
        cpu_seconds: one.cpu_seconds + other.cpu_seconds,
        cpu_share: one.cpu_share.max(other.cpu_share),
        cpu_wait_share: one.cpu_wait_share.max(other.cpu_wait_share),
        threads: one.threads + other.threads,
        events_per_s: one.events_per_s + other.events_per_s,
        // What both could have done; where one was not asked, because it idled, the other's alone says nothing of both.
        ceiling_events_per_s: one.ceiling_events_per_s.zip(other.ceiling_events_per_s).map(|(one, other)| one + other),
        events_per_read: 0.0,
        workers: one.workers + other.workers,
        clock_uncertainty_ms: 0.0,
    }
}

fn gravest(one: EndedBy, other: EndedBy) -> EndedBy {
    let weight = |ended: EndedBy| match ended {
        EndedBy::Precision => 0,
        EndedBy::Count => 1,
        EndedBy::Time => 2,
        EndedBy::Cancelled => 3,
        EndedBy::Failures => 4,
        EndedBy::Storage => 5,
    };
    if weight(other) > weight(one) { other } else { one }
}

/// Spill files of the parts, joined as they are read.
struct Joined<'a> {
    path: &'a Path,
    writer: SpillWriter<BufWriter<File>>,
}

impl<'a> Joined<'a> {
    fn create(path: &'a Path) -> Result<Self, LoadError> {
        let failed = |error| LoadError::Storage(FileError::new("create", path, error));
        let file = File::create(path).map_err(failed)?;
        let writer = SpillWriter::new(BufWriter::with_capacity(1 << 20, file)).map_err(failed)?;
        Ok(Self { path, writer })
    }

    fn add(&mut self, from: &Path, later: u64) -> Result<(), LoadError> {
        let unread = |error| LoadError::Storage(FileError::new("read", from, error));
        let unwritten = |error| LoadError::Storage(FileError::new("write", self.path, error));
        let file = File::open(from).map_err(unread)?;
        for entry in SpillReader::new(BufReader::with_capacity(1 << 20, file)).map_err(unread)? {
            let entry = entry.map_err(unread)?;
            let bytes: Vec<u8> = entry.chunks.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
            let mut end = 0;
            let pieces: Vec<_> = entry
                .chunks
                .iter()
                .map(|(time, bytes)| {
                    end += bytes.len();
                    (time + later, end)
                })
                .collect();
            let head = (entry.index, entry.sent + later, entry.id.as_str(), &entry.request_body[..]);
            self.writer.write(head, &bytes, &pieces).map_err(unwritten)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), LoadError> {
        let failed = |error| LoadError::Storage(FileError::new("write", self.path, error));
        let mut file = self.writer.finish().map_err(failed)?;
        file.flush().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of no requests, of a worker whose clock is ahead of ours by so much.
    fn part(origin_s: u64, ahead_s: i64, uncertainty_ns: u64) -> Part {
        let health = GeneratorHealth { ceiling_events_per_s: Some(1000.0), workers: 1, ..GeneratorHealth::default() };
        Part {
            run: LevelRun {
                records: Vec::new(),
                health,
                origin: Timestamp(origin_s * 1_000_000_000),
                fill_requests: 2,
                totals: Totals::default(),
                ended_by: EndedBy::Count,
                failed: None,
            },
            offset: ClockOffset { offset_ns: ahead_s * 1_000_000_000, uncertainty_ns },
            spill: None,
            scrapes: vec![ServerScrape { t_s: 3.0, round: 0, url: "http://h".to_owned(), values: Vec::new() }],
        }
    }

    #[test]
    fn parts_are_put_on_our_clock_and_on_the_earliest_origin() {
        // By our clock the first began at 90 s and the second at 92 s, whatever their own clocks say.
        let (whole, heard) = merge(vec![part(100, 10, 2_000_000), part(87, -5, 1_000_000)], None).unwrap();
        assert_eq!(whole.origin, Timestamp(90 * 1_000_000_000));
        assert_eq!(heard.iter().map(|scrape| scrape.t_s).collect::<Vec<_>>(), [3.0, 5.0]);
        assert_eq!((whole.fill_requests, whole.health.workers), (4, 2));
        assert_eq!(whole.health.ceiling_events_per_s, Some(2000.0));
        assert_eq!(whole.health.clock_uncertainty_ms, 3.0);
    }
    #[test]
    fn the_ceiling_of_one_part_alone_says_nothing_of_the_whole() {
        for place in [0, 1] {
            let mut parts = vec![part(100, 0, 0), part(100, 0, 0)];
            parts[place].run.health.ceiling_events_per_s = None;
            assert_eq!(merge(parts, None).unwrap().0.health.ceiling_events_per_s, None);
        }
    }
}
