//! vLLM's `bench serve` and the scripts that grew from it: one flat JSON object of `mean_ttft_ms`, `p99_ttft_ms` and so on.
//!
//! Its TPOT is our ITL: (latency - TTFT) / (tokens - 1) per request. Its ITL is the gap between chunks, and is not taken.

use std::path::Path;

use serde_json::Value;

use super::folder::{level, read_json, sensible};
use super::table::{Asked, Imported, of_numbers};
use crate::base::Timestamp;
use crate::measure::{Distribution, PERCENTILES};
use crate::report::ReportError;

/// Their suffix and our metric.
const MANY: [(&str, &str); 3] =
    [("ttft_ms", "time-to-first-token"), ("tpot_ms", "inter-token-latency"), ("e2el_ms", "request-latency")];
/// Their key and our metric.
const ONE: [(&str, &str); 2] =
    [("request_throughput", "request-throughput"), ("output_throughput", "output-throughput")];
/// Lists with a value for each request, their sums, and our metric.
const LENGTHS: [(&str, &str, &str); 2] = [
    ("input_lens", "total_input_tokens", "input-sequence-length"),
    ("output_lens", "total_output_tokens", "output-sequence-length"),
];

pub(super) fn read(path: &Path) -> Result<Option<Imported>, ReportError> {
    let all = read_json(path)?;
    let number = |key: &str| all.get(key).and_then(Value::as_f64);
    let (Some(completed), Some(_)) = (number("completed"), number("mean_ttft_ms")) else { return Ok(None) };
    for (field, value) in all.as_object().into_iter().flatten() {
        sensible(path, field, value)?;
    }
    // Without a limit on concurrency and at an infinite rate all requests are sent at once.
    let all_at_once = number("request_rate").is_none().then(|| number("num_prompts")).flatten();
    let Some(level) = level(number("max_concurrency").or(all_at_once), number("request_rate")) else {
        return Ok(None);
    };
    let text = |key: &str| all.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let lengths = |key: &str| -> Option<Distribution> {
        Distribution::of(all.get(key)?.as_array()?.iter().filter_map(Value::as_f64).collect())
    };
    // Without `--save-detailed` there are only the sums.
    let mean = |total: &str| number(total).filter(|_| completed > 0.0).map(|total| total / completed);
    let asked = |key: &str, total: &str| match lengths(key) {
        Some(found) => (found.mean, found.std),
        None => (mean(total).unwrap_or(0.0), 0.0),
    };
    let duration = number("duration").unwrap_or(0.0);
    // The date is that of the end, by the clock of the machine that sent; it is taken for UTC.
    let begun = number("benchmark_start_time_unix").map(|seconds| Timestamp((seconds * 1e9) as u64)).or_else(|| {
        let end = Timestamp::parse_compact(&text("date"))?;
        Some(Timestamp(end.0.saturating_sub((duration * 1e9) as u64)))
    });
    let tool = "vLLM bench, its own statistics".to_owned();
    let mut summary = of_numbers(
        Asked {
            level,
            model: text("model_id"),
            url: String::new(),
            api: if text("backend").contains("chat") { "chat".to_owned() } else { "completions".to_owned() },
            isl: asked("input_lens", "total_input_tokens"),
            osl: asked("output_lens", "total_output_tokens"),
            seed: 0,
            origin: begun.unwrap_or(Timestamp(0)),
            simulated: false,
        }
        .meta(&tool),
    );
    let sent = number("num_prompts").unwrap_or(completed);
    summary.counts.ok = completed as u64;
    summary.counts.failed = number("failed").unwrap_or((sent - completed).max(0.0)) as u64;
    summary.counts.sent = summary.counts.ok + summary.counts.failed;
    summary.duration_s = duration;
    for (suffix, id) in MANY {
        let named = |name: &str| number(&format!("{name}_{suffix}")).unwrap_or(f64::NAN);
        let percentile = |p: u8| match p {
            50 => named("median"),
            p => named(&format!("p{p}")),
        };
        let found = Distribution {
            requests: None,
            n: completed as u64,
            mean: named("mean"),
            std: named("std"),
            min: f64::NAN,
            max: f64::NAN,
            percentiles: PERCENTILES.map(percentile),
        };
        if found.mean.is_finite() {
            summary.distributions.insert(id.to_owned(), found);
        }
    }
    for (key, total, id) in LENGTHS {
        let found = lengths(key).or_else(|| mean(total).map(|mean| of_mean(completed as u64, mean)));
        summary.distributions.extend(found.map(|found| (id.to_owned(), found)));
    }
    for (key, id) in ONE {
        summary.values.extend(number(key).map(|value| (id.to_owned(), value)));
    }
    if sent > 0.0 {
        summary.values.insert("error-share".to_owned(), 100.0 * summary.counts.failed as f64 / sent);
    }
    Ok(Some(Imported { tool, by: "vllm", summary, records: Vec::new() }))
}

/// A distribution of which only the mean is known.
fn of_mean(n: u64, mean: f64) -> Distribution {
    let unknown = f64::NAN;
    let percentiles = PERCENTILES.map(|_| unknown);
    Distribution { n, requests: None, mean, std: unknown, min: unknown, max: unknown, percentiles }
}
