//! The files of one point: `results.json` (numbers), `results.csv` (the same as a table), `requests.jsonl` (every
//! request), `server_metrics.jsonl` (what the server said of itself).
//!
//! Each JSON file says in its first fields what it is and which version of it. Old files are read by newer programs;
//! a newer file is refused with words, never guessed at.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ReportError;
use super::rows::write_csv;
use crate::base::{FileError, read_text, write_atomic, write_atomic_with};
use crate::measure::{PointData, PointSummary, RequestRecord, ServerScrape};

/// Version of all files written by this floor.
pub const FILE_VERSION: u32 = 3;

/// What each version changed. Unknown fields are refused, so a further field is a new version too; it has a default,
/// so that older files are still read.
pub const VERSIONS: &[(u32, &str)] = &[
    (1, "the first"),
    (2, "points: `steady`, `server`, more of `health`; `server_metrics.jsonl`"),
    (
        3,
        "requests: `chunks` may tell the tokens of each, `turn`; points: `series`, `facts`, `content` and `alike` in \
         `meta`, `chunk_tokens_told`, `conversations`, `requests` of distributions, \
         `loop_lag_mean_ms` of `health`",
    ),
];

/// What a file says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `results.json` of a point.
    Point,
    /// `requests.jsonl` of a point.
    Requests,
    /// `server_metrics.jsonl` of a point.
    ServerMetrics,
    /// `results.json` of a run.
    Run,
}

impl FileKind {
    /// The value of `format`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Point => "dynbench-point",
            Self::Requests => "dynbench-requests",
            Self::ServerMetrics => "dynbench-server-metrics",
            Self::Run => "dynbench-run",
        }
    }
}

/// Name of the numbers' file, in point folders and at the top of a run.
pub(super) const RESULTS_JSON: &str = "results.json";
/// Name of the table's file, in point folders and at the top of a run.
pub(super) const RESULTS_CSV: &str = "results.csv";
/// Name of the records' file.
pub(super) const REQUESTS: &str = "requests.jsonl";
/// Name of the server's own view.
const SERVER_METRICS: &str = "server_metrics.jsonl";

/// The first line of a file with a record a line.
#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
}

impl Head {
    fn of(kind: FileKind) -> Self {
        Self { format: kind.as_str().to_owned(), version: FILE_VERSION }
    }

    fn check(&self, kind: FileKind, path: &Path) -> Result<(), ReportError> {
        if self.format != kind.as_str() {
            return Err(ReportError::OtherFormat { path: path.to_owned(), expected: kind.as_str() });
        }
        if self.version > FILE_VERSION {
            return Err(ReportError::Newer { path: path.to_owned(), found: self.version, known: FILE_VERSION });
        }
        Ok(())
    }
}

/// One JSON text with `format` and `version` before the fields of `content` under `name`.
pub(super) fn to_json(kind: FileKind, contents: Vec<(&str, Value)>) -> Vec<u8> {
    let mut all = serde_json::Map::new();
    all.insert("format".to_owned(), kind.as_str().into());
    all.insert("version".to_owned(), FILE_VERSION.into());
    all.extend(contents.into_iter().map(|(name, value)| (name.to_owned(), value)));
    let mut bytes = serde_json::to_vec_pretty(&all).expect("a JSON value always becomes JSON text");
    bytes.push(b'\n');
    bytes
}

/// Reads the field `name` of a file made by [`to_json`].
pub(super) fn from_json<T: DeserializeOwned>(kind: FileKind, path: &Path, name: &str) -> Result<T, ReportError> {
    let damaged = |source| ReportError::Damaged { path: path.to_owned(), line: None, source };
    let mut all: Value = serde_json::from_str(&read_text(path)?).map_err(damaged)?;
    let other = || ReportError::OtherFormat { path: path.to_owned(), expected: kind.as_str() };
    serde_json::from_value::<Head>(all.clone()).map_err(|_| other())?.check(kind, path)?;
    serde_json::from_value(all.get_mut(name).map(Value::take).unwrap_or_default()).map_err(damaged)
}

/// Writes `results.json`, `results.csv` and `requests.jsonl` of one point into an existing folder.
///
/// # Errors
/// When a file cannot be written; the ones before it stay.
pub fn write_point(dir: &Path, data: &PointData, summary: &PointSummary) -> Result<(), ReportError> {
    write_atomic_with(&dir.join(REQUESTS), |file| {
        write_line(file, &Head::of(FileKind::Requests))?;
        data.records.iter().try_for_each(|record| write_line(file, record))
    })?;
    write_atomic_with(&dir.join(RESULTS_CSV), |file| write_csv(file, [summary]))?;
    let point = serde_json::to_value(summary).expect("numbers, texts and maps with text keys become JSON");
    write_atomic(&dir.join(RESULTS_JSON), &to_json(FileKind::Point, vec![("point", point)]))?;
    Ok(())
}

fn write_line(file: &mut dyn Write, value: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *file, value)?;
    file.write_all(b"\n")
}

/// Reads the numbers of the point in a folder.
///
/// # Errors
/// When `results.json` is missing, damaged, something else, or newer than this program.
pub fn read_point(dir: &Path) -> Result<PointSummary, ReportError> {
    from_json(FileKind::Point, &dir.join(RESULTS_JSON), "point")
}

/// Reads every request of the point in a folder.
///
/// # Errors
/// When `requests.jsonl` is missing, damaged (with the line), something else, or newer than this program.
pub fn read_records(dir: &Path) -> Result<Vec<RequestRecord>, ReportError> {
    read_lines(dir.join(REQUESTS), FileKind::Requests)
}

/// Writes what the server said of itself into a point's folder, one page at one moment a line; nothing when nothing was
/// heard.
///
/// # Errors
/// When the file cannot be written.
pub fn write_server_metrics(dir: &Path, scrapes: &[ServerScrape]) -> Result<(), ReportError> {
    if scrapes.is_empty() {
        return Ok(());
    }
    write_atomic_with(&dir.join(SERVER_METRICS), |file| {
        write_line(file, &Head::of(FileKind::ServerMetrics))?;
        scrapes.iter().try_for_each(|scrape| write_line(file, scrape))
    })?;
    Ok(())
}

/// Reads what [`write_server_metrics`] wrote.
///
/// # Errors
/// When the file is missing, damaged (with the line), something else, or newer than this program.
pub fn read_server_metrics(dir: &Path) -> Result<Vec<ServerScrape>, ReportError> {
    read_lines(dir.join(SERVER_METRICS), FileKind::ServerMetrics)
}

/// Reads a file of a head and a record a line.
fn read_lines<T: DeserializeOwned>(path: PathBuf, kind: FileKind) -> Result<Vec<T>, ReportError> {
    let file = File::open(&path).map_err(|source| FileError::new("open", &path, source))?;
    let mut records = Vec::new();
    let mut head_seen = false;
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|source| FileError::new("read", &path, source))?;
        let damaged = |source| ReportError::Damaged { path: path.clone(), line: Some(at + 1), source };
        if head_seen {
            records.push(serde_json::from_str(&line).map_err(damaged)?);
        } else {
            serde_json::from_str::<Head>(&line).map_err(damaged)?.check(kind, &path)?;
            head_seen = true;
        }
    }
    if head_seen { Ok(records) } else { Err(ReportError::OtherFormat { path, expected: kind.as_str() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::ServerValue;
    use crate::measure::sample::{Shape, point};

    #[test]
    fn a_point_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let data = point(Shape { fail_every: 50, ..Shape::default() });
        let summary = PointSummary::of(&data);
        write_point(dir.path(), &data, &summary).unwrap();
        assert_eq!(read_point(dir.path()).unwrap(), summary);
        let records = read_records(dir.path()).unwrap();
        assert_eq!(records, data.records);
        let again = PointSummary::of(&PointData { records, ..data });
        assert_eq!(again, summary);
    }

    #[test]
    fn a_newer_file_is_refused_with_words() {
        let dir = tempfile::tempdir().unwrap();
        let data = point(Shape { requests: 3, ..Shape::default() });
        write_point(dir.path(), &data, &PointSummary::of(&data)).unwrap();
        for name in [RESULTS_JSON, REQUESTS] {
            let path = dir.path().join(name);
            let text = read_text(&path).unwrap();
            let now = |colon: &str| format!("\"version\":{colon}{FILE_VERSION}");
            let newer = text.replacen(&now(" "), "\"version\": 9", 1).replacen(&now(""), "\"version\":9", 1);
            assert_ne!(newer, text);
            write_atomic(&path, newer.as_bytes()).unwrap();
        }
        for error in [read_point(dir.path()).unwrap_err(), read_records(dir.path()).unwrap_err()] {
            assert!(matches!(error, ReportError::Newer { found: 9, known: FILE_VERSION, .. }), "{error}");
            assert!(error.to_string().contains("newer dynbench (format 9, this one knows 3)"), "{error}");
        }
    }

    #[test]
    fn what_the_server_said_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        write_server_metrics(dir.path(), &[]).unwrap();
        assert!(read_server_metrics(dir.path()).is_err(), "nothing heard, no file");
        let value = |role: &str| ServerValue {
            series: "kv-usage".to_owned(),
            value: 0.25,
            role: Some(role.to_owned()).filter(|role| !role.is_empty()),
            gpu: None,
        };
        let values = vec![value("decode"), value("")];
        let scrapes = [ServerScrape { t_s: 1.5, round: 1, url: "http://h".to_owned(), values }];
        write_server_metrics(dir.path(), &scrapes).unwrap();
        assert_eq!(read_server_metrics(dir.path()).unwrap(), scrapes);
    }

    #[test]
    fn damage_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let data = point(Shape { requests: 3, ..Shape::default() });
        write_point(dir.path(), &data, &PointSummary::of(&data)).unwrap();
        let path = dir.path().join(REQUESTS);
        let text = read_text(&path).unwrap();
        write_atomic(&path, &text.as_bytes()[..text.len() - 40]).unwrap();
        let error = read_records(dir.path()).unwrap_err();
        assert!(error.to_string().ends_with("requests.jsonl is damaged in line 4"), "{error}");
        write_atomic(&path, b"").unwrap();
        assert!(matches!(read_records(dir.path()), Err(ReportError::OtherFormat { .. })));
        write_atomic(&dir.path().join(RESULTS_JSON), b"{\"benchmarks\": []}").unwrap();
        assert!(matches!(read_point(dir.path()), Err(ReportError::OtherFormat { .. })));
    }

    #[test]
    fn the_newest_version_has_a_line_in_the_changelog() {
        assert_eq!(VERSIONS.last().map(|(version, _)| *version), Some(FILE_VERSION));
    }
}
