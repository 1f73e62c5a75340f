//! AIPerf: its requests (`profile_export.jsonl`) become records, so that everything is computed by our definitions; without
//! that file its statistics are taken over.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value;

use super::blocks::take_over;
use super::folder::{level, read_json};
use super::table::{Asked, Imported, of_numbers};
use crate::base::{FileError, Timestamp};
use crate::measure::{
    Chunks, FailureClass, GeneratorHealth, Outcome, PointData, PointMeta, PointSummary, RequestRecord, TokenSource,
};
use crate::report::ReportError;

pub(super) fn read(path: &Path) -> Result<Option<Imported>, ReportError> {
    let all = read_json(path)?;
    let config = &all["input_config"];
    let phases = config["phases"].as_array();
    let Some(phase) = phases.and_then(|phases| phases.iter().find(|phase| phase["kind"] == "profiling")) else {
        return Ok(None);
    };
    let Some(level) = level(phase["concurrency"].as_f64(), phase["request_rate"].as_f64().or(phase["rate"].as_f64()))
    else {
        return Ok(None);
    };
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let prompts = |pointer: &str| {
        config.pointer(&format!("/datasets/0/prompts/{pointer}")).and_then(Value::as_f64).unwrap_or(0.0)
    };
    let lines = path.with_file_name("profile_export.jsonl");
    let requests = if lines.is_file() { Some(requests(&lines)?) } else { None };
    let origin = requests.as_ref().and_then(|requests| requests.iter().map(|request| request.start).min()).unwrap_or(0);
    let asked = Asked {
        level,
        model: text("/models/items/0/name"),
        url: text("/endpoint/urls/0"),
        api: text("/endpoint/type"),
        isl: (prompts("isl/mean"), prompts("isl/stddev")),
        osl: (prompts("osl/mean"), prompts("osl/stddev")),
        seed: all.pointer("/run_info/random_seed").and_then(Value::as_u64).unwrap_or(0),
        origin: Timestamp(origin),
        simulated: config["simulated"] == true,
    };
    let version = all["aiperf_version"].as_str().unwrap_or("of an unknown version");
    // We write such files too, and say so in them.
    let (by, name) = match all["written_by"].as_str() {
        Some(other) => ("dynbench", format!("{other} in AIPerf's format")),
        None => ("aiperf", format!("AIPerf {version}")),
    };
    Ok(Some(match requests {
        Some(requests) => {
            let tool = format!("{name}, its requests");
            let meta = asked.meta(&tool);
            let numbered = requests.into_iter().enumerate();
            let mut records: Vec<_> = numbered.map(|(number, request)| request.record(number, origin, &meta)).collect();
            give_slots(&mut records);
            let health = GeneratorHealth::default();
            let data =
                PointData { meta, records, health, extra: std::collections::BTreeMap::new(), objectives: Vec::new() };
            Imported { tool, by, summary: PointSummary::of(&data), records: data.records }
        }
        None => {
            let tool = format!("{name}, its own statistics");
            let mut summary = of_numbers(asked.meta(&tool));
            take_over(path, &all, &mut summary)?;
            Imported { tool, by, summary, records: Vec::new() }
        }
    }))
}

/// A file may say anything. No moment is later than this, nor any span longer (18 years, in nanoseconds), so that their sums
/// are numbers still.
const LATEST: u64 = 1 << 59;

/// Which of the users sent each request: AIPerf does not say it, but whoever sends the next one is free. Requests are in
/// the order of their sending.
fn give_slots(records: &mut [RequestRecord]) {
    let mut free_from: Vec<u64> = Vec::new();
    for record in records {
        let free = free_from.iter().position(|free| *free <= record.sent).unwrap_or_else(|| {
            free_from.push(0);
            free_from.len() - 1
        });
        free_from[free] = record.end;
        record.slot = u32::try_from(free).unwrap_or(u32::MAX);
    }
}

/// One line of the file, as far as it is used.
struct Request {
    start: u64,
    line: Value,
}

/// The measured requests of a file; those of the warm-up are left out.
fn requests(path: &Path) -> Result<Vec<Request>, ReportError> {
    let file = File::open(path).map_err(|source| FileError::new("open", path, source))?;
    let mut found = Vec::new();
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|source| FileError::new("read", path, source))?;
        if line.trim().is_empty() {
            continue;
        }
        let damaged = |source| ReportError::Damaged { path: path.to_owned(), line: Some(at + 1), source };
        let line: Value = serde_json::from_str(&line).map_err(damaged)?;
        if line["metadata"]["benchmark_phase"] == "profiling" {
            let start = line["metadata"]["request_start_ns"].as_u64().unwrap_or(0);
            found.push(Request { start, line });
        }
    }
    found.sort_by_key(|request| request.start);
    Ok(found)
}

impl Request {
    fn record(&self, number: usize, origin: u64, meta: &PointMeta) -> RequestRecord {
        let (metadata, metrics) = (&self.line["metadata"], &self.line["metrics"]);
        let value = |key: &str| metrics.get(key).and_then(|metric| metric["value"].as_f64());
        let tokens = |key: &str| value(key).map(|tokens| tokens as u32);
        let at = |key: &str| metadata[key].as_u64().map(|ns| ns.saturating_sub(origin).min(LATEST));
        let sent = self.start.saturating_sub(origin).min(LATEST);
        let after = |ms: f64| ((ms * 1e6).round() as u64).min(LATEST);
        let first = value("time_to_first_token").map(after);
        let mut chunks: Vec<u64> = first.into_iter().collect();
        let gaps = metrics.get("inter_chunk_latency").and_then(|metric| metric["value"].as_array());
        for gap in gaps.into_iter().flatten().filter_map(Value::as_f64) {
            chunks.extend(chunks.last().copied().map(|last| (last + after(gap)).min(LATEST)));
        }
        let later = |ns: u64| sent + ns;
        let last = value("request_latency").map(after).or(chunks.last().copied());
        let usage = tokens("usage_completion_tokens");
        let counted = usage.or(tokens("output_sequence_length"));
        RequestRecord {
            id: metadata["x_request_id"].as_str().unwrap_or_default().to_owned(),
            index: number as u64,
            slot: 0,
            turn: None,
            scheduled: at("credit_issued_ns").unwrap_or(sent).min(sent),
            due: None,
            sent,
            connect: value("http_req_connecting").map(after).filter(|connect| *connect > 0),
            headers: at("request_ack_ns"),
            first_byte: value("http_req_waiting").map(|ms| later(after(ms))),
            first_text: first.map(later),
            second_text: chunks.get(1).copied().map(later),
            first_output: value("time_to_first_output_token").map(|ms| later(after(ms))),
            last_text: last.map(later),
            end: at("request_end_ns").unwrap_or(sent),
            reads: 0,
            events: chunks.len() as u32,
            chunks: Chunks::at(chunks),
            bytes: value("http_req_data_received").map_or(0, |kib| (kib * 1024.0) as u64),
            isl_asked: meta.isl as u32,
            osl_asked: meta.osl as u32,
            isl: tokens("input_sequence_length"),
            prompt_tokens: tokens("usage_prompt_tokens"),
            cached_tokens: tokens("usage_prompt_cache_read_tokens"),
            output_tokens: counted,
            reasoning_tokens: tokens("reasoning_token_count"),
            token_source: match (usage, counted) {
                (Some(_), _) => TokenSource::Usage,
                (None, Some(_)) => TokenSource::Tokenizer,
                (None, None) => TokenSource::None,
            },
            finish_reason: None,
            status: None,
            outcome: self.outcome(metadata),
        }
    }

    fn outcome(&self, metadata: &Value) -> Outcome {
        let error = self.line.get("error").filter(|error| !error.is_null());
        if metadata["was_cancelled"] == true {
            return Outcome::Failed { class: FailureClass::Cancelled, detail: "cancelled by AIPerf".to_owned() };
        }
        match error {
            None => Outcome::Ok,
            Some(error) => {
                let text = |key: &str| error[key].as_str().unwrap_or_default();
                let class = match error["code"].as_u64() {
                    Some(429 | 503 | 529) => FailureClass::Overloaded,
                    Some(400..=499) => FailureClass::Rejected,
                    Some(500..) => FailureClass::ServerError,
                    Some(_) | None => FailureClass::NotAStream,
                };
                Outcome::Failed { class, detail: format!("{} {}", text("type"), text("message")).trim().to_owned() }
            }
        }
    }
}
