//! From a folder (of one result or of a whole sweep) to points.

use std::path::Path;

use serde_json::Value;

use super::table::{IMPORTS, Imported};
use crate::base::{list_dir, read_text};
use crate::measure::{Level, Rate};
use crate::report::ReportError;

/// Folders within folders that are looked at: `artifacts/agg/c1/...`
const DEEPEST: usize = 4;
/// A file larger than this is no statistics file.
const LARGEST: u64 = 64 << 20;

/// Whether there is something to read at that path: a file, or a folder that holds one somewhere.
pub fn is_foreign(path: &Path) -> bool {
    if path.is_file() {
        return candidates(path).is_some();
    }
    let mut found = Vec::new();
    gather(path, 0, &mut found).is_ok() && !found.is_empty()
}

/// Every result at or below a path, by level, with the number of the repeat for equal levels (from 1) set.
///
/// # Errors
/// When a file cannot be read or is damaged.
pub fn read_foreign(path: &Path) -> Result<Vec<Imported>, ReportError> {
    let mut found = Vec::new();
    if path.is_file() {
        found.extend(read_one(path)?);
    } else {
        gather(path, 0, &mut found)?;
    }
    found.sort_by_key(|imported| (imported.summary.meta.level, imported.summary.meta.origin));
    let mut before: Option<(Level, u32)> = None;
    for imported in &mut found {
        let meta = &mut imported.summary.meta;
        meta.repeat = before.filter(|(level, _)| *level == meta.level).map_or(1, |(_, repeat)| repeat + 1);
        before = Some((meta.level, meta.repeat));
    }
    Ok(found)
}

fn gather(dir: &Path, depth: usize, into: &mut Vec<Imported>) -> Result<(), ReportError> {
    let mut names = list_dir(dir)?;
    names.sort();
    // One folder is one result, even where two tools' files stand in it.
    let files = names.iter().map(|name| dir.join(name)).filter(|path| path.is_file());
    let mut by_format: Vec<_> = files.filter_map(|path| Some((candidates(&path)?, path))).collect();
    by_format.sort();
    let mut taken = None;
    for (format, path) in by_format {
        // A folder may hold many files of vLLM's, one for each level.
        if taken.is_some_and(|taken| taken != format) {
            continue;
        }
        if let Some(imported) = read_one(&path)? {
            taken = Some(format);
            into.push(imported);
        }
    }
    if taken.is_some() || depth == DEEPEST {
        return Ok(());
    }
    for name in names.iter().filter(|name| !name.starts_with('.')) {
        let inner = dir.join(name);
        if std::fs::symlink_metadata(&inner).is_ok_and(|found| found.is_dir()) {
            gather(&inner, depth + 1, into)?;
        }
    }
    Ok(())
}

/// The place in the table of the first format that may start from this file.
fn candidates(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?;
    let small = std::fs::metadata(path).is_ok_and(|found| found.len() <= LARGEST);
    IMPORTS.iter().position(|import| small && (import.starts_from)(name))
}

fn read_one(path: &Path) -> Result<Option<Imported>, ReportError> {
    candidates(path).map_or(Ok(None), |place| (IMPORTS[place].read)(path))
}

/// Reads a whole JSON file.
pub(super) fn read_json(path: &Path) -> Result<Value, ReportError> {
    let damaged = |source| ReportError::Damaged { path: path.to_owned(), line: None, source };
    serde_json::from_str(&read_text(path)?).map_err(damaged)
}

/// The level that a tool asked for. A rate goes before a limit on concurrency: it is what was varied.
pub(super) fn level(concurrency: Option<f64>, rate: Option<f64>) -> Option<Level> {
    match (concurrency, rate) {
        (Some(users), None) => Some(Level::Concurrency(users as u32)),
        (_, Some(rate)) => Rate::new(rate).map(Level::Rate),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn fixture(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats").join(path)
    }

    fn numbers(imported: &Imported, metric: &str) -> Vec<f64> {
        ["mean", "p50"].iter().filter_map(|statistic| imported.summary.number(metric, statistic)).collect()
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found} is not {expected}");
        }
    }

    #[test]
    fn requests_of_aiperf_give_the_numbers_that_it_computed() {
        let found = read_foreign(&fixture("aiperf-0.13.0")).unwrap();
        let [only] = &found[..] else { panic!("{} points", found.len()) };
        assert_eq!(only.tool, "AIPerf 0.13.0, its requests");
        assert_eq!((only.records.len(), only.summary.meta.level), (40, Level::Concurrency(4)));
        let real = read_json(&fixture("aiperf-0.13.0/profile_export_aiperf.json")).unwrap();
        let theirs = |key: &str| ["avg", "p50"].map(|name| real[key][name].as_f64().unwrap());
        close(&numbers(only, "time-to-first-token"), &theirs("time_to_first_token"));
        close(&numbers(only, "inter-token-latency"), &theirs("inter_token_latency"));
        close(&numbers(only, "request-latency"), &theirs("request_latency"));
        close(&numbers(only, "input-sequence-length"), &theirs("input_sequence_length"));
        let throughput = only.summary.number("output-throughput", "value").unwrap();
        assert!((throughput / real["output_token_throughput"]["avg"].as_f64().unwrap() - 1.0).abs() < 1e-3);
    }

    #[test]
    fn statistics_of_genai_perf_and_vllm_are_taken_over_as_they_are() {
        let genai = read_foreign(&fixture("genai-perf-0.0.16")).unwrap();
        let real = read_json(&fixture("genai-perf-0.0.16/profile_export_genai_perf.json")).unwrap();
        close(
            &numbers(&genai[0], "time-to-first-token"),
            &["avg", "p50"].map(|name| real["time_to_first_token"][name].as_f64().unwrap()),
        );
        assert_eq!(genai[0].summary.meta.level, Level::Concurrency(4));

        let vllm = read_foreign(&fixture("vllm-bench")).unwrap();
        let real = read_json(&fixture("vllm-bench/r.json")).unwrap();
        let named = |suffix: &str| ["mean", "median"].map(|name| real[format!("{name}_{suffix}")].as_f64().unwrap());
        close(&numbers(&vllm[0], "time-to-first-token"), &named("ttft_ms"));
        close(&numbers(&vllm[0], "inter-token-latency"), &named("tpot_ms"));
        assert_eq!(vllm[0].summary.meta.level, Level::Concurrency(16));
        // What a file does not say is unknown, not zero.
        assert_eq!(vllm[0].summary.number("time-to-first-token", "min"), None);
        assert_eq!(vllm[0].summary.number("time-to-first-token", "p25"), None);
    }

    #[test]
    fn a_folder_of_a_sweep_gives_a_point_a_level_and_repeats_are_numbered() {
        let dir = tempfile::tempdir().unwrap();
        let copy = |to: &str, users: u32| {
            let to = dir.path().join(to);
            crate::base::create_dir(to.parent().unwrap()).unwrap();
            let text = read_text(&fixture("vllm-bench/r.json")).unwrap();
            let text = text.replace("\"max_concurrency\": 16", &format!("\"max_concurrency\": {users}"));
            crate::base::write_atomic(&to, text.as_bytes()).unwrap();
        };
        copy("old/b.json", 16);
        copy("old/a.json", 2);
        copy("old/again.json", 16);
        crate::base::write_atomic(&dir.path().join("old/notes.json"), b"{\"a\": 1}").unwrap();
        let found = read_foreign(dir.path()).unwrap();
        let places: Vec<_> = found.iter().map(|one| (one.summary.meta.level, one.summary.meta.repeat)).collect();
        let (two, sixteen) = (Level::Concurrency(2), Level::Concurrency(16));
        assert_eq!(places, [(two, 1), (sixteen, 1), (sixteen, 2)]);
        assert!(is_foreign(dir.path()));
        assert!(!is_foreign(&dir.path().join("old/notes.json/nothing")));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        crate::base::write_atomic(&dir.path().join("profile_export_aiperf.json"), b"{").unwrap();
        let error = read_foreign(dir.path()).unwrap_err();
        assert!(error.to_string().ends_with("profile_export_aiperf.json is damaged"), "{error}");
    }
}
