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

/// What was found at a path.
#[derive(Debug, Default)]
pub struct Foreign {
    /// Every result, by [`Imported::curve`] and level, with the number of the repeat for equal levels (from 1) set.
    pub results: Vec<Imported>,
    /// Files that looked like results and were left out, with the reason.
    pub skipped: Vec<String>,
}

/// Whether there is something to read at or below that path. What has the name of a result is one, also when it is damaged:
/// that is told by whoever reads it.
pub fn is_foreign(path: &Path) -> bool {
    if path.is_file() { format_of(path).is_some() } else { has_candidate(path, 0) }
}

fn has_candidate(dir: &Path, depth: usize) -> bool {
    let names = list_dir(dir).unwrap_or_default();
    names.iter().any(|name| {
        let path = dir.join(name);
        if path.is_file() {
            let is_one = |format: usize| IMPORTS[format].sure || matches!((IMPORTS[format].read)(&path), Ok(Some(_)));
            return !is_too_large(&path) && format_of(&path).is_some_and(is_one);
        }
        depth < DEEPEST && !name.starts_with('.') && is_own_folder(&path) && has_candidate(&path, depth + 1)
    })
}

/// Every result at or below a path.
///
/// # Errors
/// When a file that can be nothing else cannot be read or is damaged.
pub fn read_foreign(path: &Path) -> Result<Foreign, ReportError> {
    let mut found = Foreign::default();
    if path.is_file() {
        if let Some(format) = format_of(path) {
            found.results.extend((IMPORTS[format].read)(path)?);
        }
    } else {
        gather(path, 0, &mut found)?;
    }
    found.results.sort_by(|one, other| {
        let place = |imported: &Imported| (imported.summary.meta.level, imported.summary.meta.origin);
        one.curve().cmp(&other.curve()).then_with(|| place(one).cmp(&place(other)))
    });
    for curve in found.results.chunk_by_mut(|one, other| one.curve() == other.curve()) {
        let mut before: Option<(Level, u32)> = None;
        for imported in curve {
            let meta = &mut imported.summary.meta;
            meta.repeat = before.filter(|(level, _)| *level == meta.level).map_or(1, |(_, repeat)| repeat + 1);
            before = Some((meta.level, meta.repeat));
        }
    }
    Ok(found)
}

fn gather(dir: &Path, depth: usize, into: &mut Foreign) -> Result<(), ReportError> {
    let mut names = list_dir(dir)?;
    names.sort();
    // One folder is one result, even where two tools' files stand in it.
    let files = names.iter().map(|name| dir.join(name)).filter(|path| path.is_file());
    let mut by_format: Vec<_> = files.filter_map(|path| Some((format_of(&path)?, path))).collect();
    by_format.sort();
    let mut taken = None;
    for (format, path) in by_format {
        // A folder may hold many files of vLLM's, one for each level.
        if taken.is_some_and(|taken| taken != format) {
            continue;
        }
        if is_too_large(&path) {
            into.skipped.push(format!("{} is larger than {} MB", path.display(), LARGEST >> 20));
            continue;
        }
        match (IMPORTS[format].read)(&path) {
            Ok(Some(imported)) => {
                taken = Some(format);
                into.results.push(imported);
            }
            Ok(None) => {}
            Err(ReportError::Damaged { path, source, .. }) if !IMPORTS[format].sure => {
                into.skipped.push(format!("{} is no JSON: {source}", path.display()));
            }
            Err(error) => return Err(error),
        }
    }
    if taken.is_some() || depth == DEEPEST {
        return Ok(());
    }
    for name in names.iter().filter(|name| !name.starts_with('.')) {
        let inner = dir.join(name);
        if is_own_folder(&inner) {
            gather(&inner, depth + 1, into)?;
        }
    }
    Ok(())
}

/// A folder, and no link to one: links may lead in circles.
fn is_own_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn is_too_large(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.len() > LARGEST)
}

/// The place in the table of the first format that may start from this file.
fn format_of(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?;
    IMPORTS.iter().position(|import| (import.starts_from)(name))
}

/// Reads a whole JSON file.
pub(super) fn read_json(path: &Path) -> Result<Value, ReportError> {
    let damaged = |source| ReportError::Damaged { path: path.to_owned(), line: None, source };
    serde_json::from_str(&read_text(path)?).map_err(damaged)
}

/// Refuses a count, time or rate below zero.
pub(super) fn sensible(path: &Path, field: &str, value: &Value) -> Result<(), ReportError> {
    match value.as_f64() {
        Some(value) if value < 0.0 => {
            Err(ReportError::BelowZero { path: path.to_owned(), field: field.to_owned(), value })
        }
        Some(_) | None => Ok(()),
    }
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
        let found = read_foreign(&fixture("aiperf-0.13.0")).unwrap().results;
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
        let genai = read_foreign(&fixture("genai-perf-0.0.16")).unwrap().results;
        let real = read_json(&fixture("genai-perf-0.0.16/profile_export_genai_perf.json")).unwrap();
        close(
            &numbers(&genai[0], "time-to-first-token"),
            &["avg", "p50"].map(|name| real["time_to_first_token"][name].as_f64().unwrap()),
        );
        assert_eq!(genai[0].summary.meta.level, Level::Concurrency(4));

        let vllm = read_foreign(&fixture("vllm-bench")).unwrap().results;
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
        let found = read_foreign(dir.path()).unwrap().results;
        let places: Vec<_> = found.iter().map(|one| (one.summary.meta.level, one.summary.meta.repeat)).collect();
        let (two, sixteen) = (Level::Concurrency(2), Level::Concurrency(16));
        assert_eq!(places, [(two, 1), (sixteen, 1), (sixteen, 2)]);
        assert!(is_foreign(dir.path()));
        assert!(!is_foreign(&dir.path().join("old/notes.json/nothing")));
    }

    #[test]
    fn a_damaged_file_is_named_and_not_taken_for_something_else() {
        let dir = tempfile::tempdir().unwrap();
        crate::base::write_atomic(&dir.path().join("profile_export_aiperf.json"), b"{").unwrap();
        assert!(is_foreign(dir.path()));
        let error = read_foreign(dir.path()).unwrap_err();
        assert!(error.to_string().ends_with("profile_export_aiperf.json is damaged"), "{error}");
    }

    #[test]
    fn a_file_among_results_that_is_no_json_is_left_out_with_a_word() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(fixture("vllm-bench/r.json"), dir.path().join("r.json")).unwrap();
        crate::base::write_atomic(&dir.path().join("notes.json"), b"to do").unwrap();
        let found = read_foreign(dir.path()).unwrap();
        assert_eq!((found.results.len(), found.skipped.len()), (1, 1));
        assert!(found.skipped[0].contains("notes.json is no JSON: expected"), "{}", found.skipped[0]);
        // Asked for by name, it is an error.
        assert!(read_foreign(&dir.path().join("notes.json")).is_err());
    }

    #[test]
    fn files_with_a_prefix_of_ones_own_are_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("night_genai_perf.json");
        std::fs::copy(fixture("genai-perf-0.0.16/profile_export_genai_perf.json"), &named).unwrap();
        assert_eq!(read_foreign(dir.path()).unwrap().results[0].tool, "GenAI-Perf, its own statistics");
    }

    #[test]
    fn absurd_times_of_a_file_are_no_panic_and_users_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["profile_export_aiperf.json", "profile_export.jsonl"] {
            std::fs::copy(fixture("aiperf-0.13.0").join(name), dir.path().join(name)).unwrap();
        }
        let users: std::collections::BTreeSet<u32> =
            read_foreign(dir.path()).unwrap().results[0].records.iter().map(|record| record.slot).collect();
        assert_eq!(users.len(), 4, "its concurrency");
        let lines = dir.path().join("profile_export.jsonl");
        let text = read_text(&lines).unwrap();
        let absurd =
            text.replace("\"time_to_first_token\":{\"value\":1", "\"time_to_first_token\":{\"value\":1e300, \"x\":1");
        assert_ne!(absurd, text);
        crate::base::write_atomic(&lines, absurd.as_bytes()).unwrap();
        assert_eq!(read_foreign(dir.path()).unwrap().results.len(), 1);
    }

    #[test]
    fn a_point_of_our_own_is_not_called_aiperfs() {
        let dir = tempfile::tempdir().unwrap();
        let text = read_text(&fixture("aiperf-0.13.0/profile_export_aiperf.json")).unwrap();
        let ours = text.replacen('{', "{\"written_by\": \"dynbench 9\",", 1);
        crate::base::write_atomic(&dir.path().join("profile_export_aiperf.json"), ours.as_bytes()).unwrap();
        let found = read_foreign(dir.path()).unwrap().results;
        assert_eq!(found[0].tool, "dynbench 9 in AIPerf's format, its own statistics");
    }

    /// A copy of a real file of other tools, with one piece of its text replaced.
    fn changed(name: &str, to: &Path, from: &str, by: &str) {
        let text = read_text(&fixture(name)).unwrap();
        let other = text.replacen(from, by, 1);
        assert_ne!(text, other);
        crate::base::create_dir(to.parent().unwrap()).unwrap();
        crate::base::write_atomic(to, other.as_bytes()).unwrap();
    }

    #[test]
    fn the_mark_of_a_simulated_result_is_taken_over() {
        let marked = "\"input_config\": {\"simulated\": true,";
        for name in ["aiperf-0.13.0/profile_export_aiperf.json", "genai-perf-0.0.16/profile_export_genai_perf.json"] {
            let dir = tempfile::tempdir().unwrap();
            let to = dir.path().join(Path::new(name).file_name().unwrap());
            std::fs::copy(fixture(name), &to).unwrap();
            assert!(!read_foreign(dir.path()).unwrap().results[0].summary.meta.simulated);
            changed(name, &to, "\"input_config\": {", marked);
            assert!(read_foreign(dir.path()).unwrap().results[0].summary.meta.simulated, "{name}");
        }
    }

    #[test]
    fn results_below_zero_are_refused_by_file_and_field() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |name: &str, from: &str, by: &str, field: &str| {
            let to = dir.path().join(Path::new(name).file_name().unwrap());
            changed(name, &to, from, by);
            let error = read_foreign(&to).unwrap_err().to_string();
            assert!(error.contains(&format!("`{field}` is -")) && error.contains(to.to_str().unwrap()), "{error}");
        };
        refused("vllm-bench/r.json", "\"completed\": 80", "\"completed\": -5", "completed");
        refused("vllm-bench/r.json", "\"mean_ttft_ms\": ", "\"mean_ttft_ms\": -", "mean_ttft_ms");
        let genai = "genai-perf-0.0.16/profile_export_genai_perf.json";
        refused(genai, "\"avg\": ", "\"avg\": -", "request_throughput.avg");
    }

    #[test]
    fn sums_and_the_date_of_a_file_without_its_requests_give_lengths_and_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = read_json(&fixture("vllm-bench/r.json")).unwrap();
        for key in ["input_lens", "output_lens", "benchmark_start_time_unix", "benchmark_end_time_unix"] {
            all.as_object_mut().unwrap().remove(key);
        }
        let path = dir.path().join("r.json");
        crate::base::write_atomic(&path, all.to_string().as_bytes()).unwrap();
        let found = &read_foreign(&path).unwrap().results[0].summary;
        assert_eq!((found.meta.isl, found.meta.osl), (16004.0 / 80.0, 128.0));
        assert_eq!(found.number("input-sequence-length", "mean"), Some(16004.0 / 80.0));
        assert_eq!(found.number("input-sequence-length", "p50"), None);
        // The date is 02:35:33, and it took 7.4 s.
        assert_eq!(found.meta.origin.compact(), "20261124-023525");
    }
}
