//! Statistics in the blocks that GenAI-Perf and AIPerf share: `{unit, avg, p1, ..., min, max, std}`.

use std::path::Path;

use serde_json::Value;

use super::folder::sensible;
use crate::measure::{Distribution, PERCENTILES, PointSummary};
use crate::report::ReportError;

/// Their key and our metric, for a value of each request.
const MANY: [(&str, &str); 8] = [
    ("time_to_first_token", "time-to-first-token"),
    ("time_to_second_token", "time-to-second-token"),
    ("time_to_first_output_token", "time-to-first-output-token"),
    ("inter_token_latency", "inter-token-latency"),
    ("request_latency", "request-latency"),
    ("output_token_throughput_per_user", "output-throughput-per-user"),
    ("output_sequence_length", "output-sequence-length"),
    ("input_sequence_length", "input-sequence-length"),
];
/// The same for a value of the whole point.
const ONE: [(&str, &str); 2] =
    [("request_throughput", "request-throughput"), ("output_token_throughput", "output-throughput")];

/// Takes over every block that has a metric of ours.
///
/// # Errors
/// When one of them says what no measurement gives.
pub(super) fn take_over(path: &Path, all: &Value, summary: &mut PointSummary) -> Result<(), ReportError> {
    let blocks = MANY.iter().chain(&ONE).map(|(key, _)| *key).chain(["request_count", "error_request_count"]);
    for key in blocks {
        for (statistic, value) in all[key].as_object().into_iter().flatten() {
            sensible(path, &format!("{key}.{statistic}"), value)?;
        }
    }
    let count = all.pointer("/request_count/avg").and_then(Value::as_f64).unwrap_or(0.0);
    let errors = all.pointer("/error_request_count/avg").and_then(Value::as_f64).unwrap_or(0.0);
    summary.counts.ok = count as u64;
    summary.counts.failed = errors as u64;
    summary.counts.sent = summary.counts.ok + summary.counts.failed;
    for (key, id) in MANY {
        summary.distributions.extend(all.get(key).and_then(|block| many(block, count)).map(|d| (id.to_owned(), d)));
    }
    for (key, id) in ONE {
        let value = all.get(key).and_then(|block| block.get("avg")).and_then(Value::as_f64);
        summary.values.extend(value.map(|value| (id.to_owned(), value)));
    }
    if count + errors > 0.0 {
        summary.values.insert("error-share".to_owned(), 100.0 * errors / (count + errors));
    }
    Ok(())
}

/// One block; statistics that it lacks are unknown. `None` without a mean.
fn many(block: &Value, requests: f64) -> Option<Distribution> {
    let number = |name: &str| block.get(name).and_then(Value::as_f64);
    let known = |name: &str| number(name).unwrap_or(f64::NAN);
    Some(Distribution {
        n: number("count").unwrap_or(requests) as u64,
        requests: number("count").filter(|count| *count > requests).map(|_| requests as u64),
        mean: number("avg")?,
        std: known("std"),
        min: known("min"),
        max: known("max"),
        percentiles: PERCENTILES.map(|p| known(&format!("p{p}"))),
    })
}
