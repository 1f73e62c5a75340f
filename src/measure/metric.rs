//! The table of metrics: one row each, with the formula that is printed wherever the number is.
//!
//! A further metric is one more row here. Names in plans, suggestions, objectives, plots, exports and the README's
//! table are read from the rows.

use std::collections::BTreeMap;

use super::point::PointData;
use super::record::RequestRecord;

/// Which direction is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Less is better: latencies.
    Lower,
    /// More is better: rates.
    Higher,
    /// Neither: lengths.
    Neutral,
}

/// How a metric is computed.
#[derive(Clone, Copy)]
pub enum Formula {
    /// One value per successful request; the point has its distribution.
    PerRequest(fn(&RequestRecord) -> Option<f64>),
    /// One value of the whole point.
    PerPoint(fn(&PointData) -> Option<f64>),
}

/// One row.
pub struct Metric {
    /// Id in plans and files: kebab-case.
    pub id: &'static str,
    /// Short name: the field's usual abbreviation, key of `dynbench load --json`.
    pub short: &'static str,
    /// Name on axes and in tables.
    pub title: &'static str,
    /// Unit of every value.
    pub unit: &'static str,
    /// Which direction is good.
    pub better: Better,
    /// The definition, as it is printed.
    pub definition: &'static str,
    /// The code of the definition.
    pub formula: Formula,
}

/// Milliseconds between two time stamps of a record.
fn ms(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}

fn itl(record: &RequestRecord) -> Option<f64> {
    let tokens = record.output_tokens.filter(|tokens| *tokens >= 2)?;
    Some(ms(record.first_text?, record.last_text?) / f64::from(tokens - 1))
}

/// Seconds from the first send to the last end, over all requests that were not given up by us.
pub(super) fn duration_seconds(point: &PointData) -> Option<f64> {
    let counted = || point.records.iter().filter(|record| !super::summary::is_cancelled(record));
    let start = counted().map(|record| record.sent).min()?;
    let end = counted().map(|record| record.end).max()?;
    Some(end.saturating_sub(start) as f64 / 1e9).filter(|seconds| *seconds > 0.0)
}

fn per_second(point: &PointData, amount: impl Fn(&RequestRecord) -> f64) -> Option<f64> {
    let total: f64 = point.records.iter().filter(|record| record.is_ok()).map(amount).sum();
    Some(total / duration_seconds(point)?)
}

fn output_throughput(point: &PointData) -> Option<f64> {
    per_second(point, |record| f64::from(record.output_tokens.unwrap_or(0)))
}

/// Output tokens per second while every user was busy with a recorded request: from the last user's first send to the
/// last send of all (or the first send of a request that was given up). Neither the fill wave nor the drain is in it.
/// A request's tokens are spread evenly over its chunks. `None` when that window is under a tenth of the whole.
fn steady_throughput(point: &PointData) -> Option<f64> {
    let counted = || point.records.iter().filter(|record| !super::summary::is_cancelled(record));
    let mut first_sends = BTreeMap::new();
    for record in counted() {
        let first = first_sends.entry(record.slot).or_insert(record.sent);
        *first = record.sent.min(*first);
    }
    // Arrivals of an open loop need nobody to be free: its window begins with the first.
    let open = counted().any(|record| record.due.is_some());
    let start = if open { first_sends.into_values().min()? } else { first_sends.into_values().max()? };
    let given_up = point.records.iter().filter(|record| super::summary::is_cancelled(record));
    let end = counted().map(|record| record.sent).max()?;
    let end = given_up.map(|record| record.sent).min().map_or(end, |given_up| end.min(given_up));
    let seconds = end.saturating_sub(start) as f64 / 1e9;
    if seconds <= 0.0 || seconds < 0.1 * duration_seconds(point)? {
        return None;
    }
    let tokens = |record: &RequestRecord| {
        let inside = record.chunks.iter().filter(|after| (start..end).contains(&(record.sent + **after))).count();
        let share = inside as f64 / record.chunks.len().max(1) as f64;
        share * f64::from(record.output_tokens.unwrap_or(0))
    };
    Some(point.records.iter().filter(|record| record.is_ok()).map(tokens).sum::<f64>() / seconds)
}

fn tokens_per_second_per_user(record: &RequestRecord) -> Option<f64> {
    itl(record).filter(|itl| *itl > 0.0).map(|itl| 1000.0 / itl)
}

/// All metrics, in the order in which they are printed.
pub const METRICS: &[Metric] = &[
    Metric {
        id: "time-to-first-token",
        short: "ttft",
        title: "Time to first token",
        unit: "ms",
        better: Better::Lower,
        definition: "first chunk with text (content or reasoning) - send; in an open loop - scheduled arrival",
        formula: Formula::PerRequest(|record| Some(ms(record.begun(), record.first_text?))),
    },
    Metric {
        id: "time-to-second-token",
        short: "ttst",
        title: "Time to second token",
        unit: "ms",
        better: Better::Lower,
        definition: "second chunk with text - first chunk with text",
        formula: Formula::PerRequest(|record| Some(ms(record.first_text?, record.second_text?))),
    },
    Metric {
        id: "time-to-first-output-token",
        short: "ttfo",
        title: "Time to first output token",
        unit: "ms",
        better: Better::Lower,
        definition: "first chunk with content that is not reasoning - send; in an open loop - scheduled arrival",
        formula: Formula::PerRequest(|record| Some(ms(record.begun(), record.first_output?))),
    },
    Metric {
        id: "inter-token-latency",
        short: "itl",
        title: "Inter-token latency",
        unit: "ms",
        better: Better::Lower,
        definition: "(last chunk with text - first chunk with text) / (N - 1), N >= 2 output tokens",
        formula: Formula::PerRequest(itl),
    },
    Metric {
        id: "request-latency",
        short: "latency",
        title: "Request latency",
        unit: "ms",
        better: Better::Lower,
        definition: "last chunk with text - send; in an open loop - scheduled arrival",
        formula: Formula::PerRequest(|record| Some(ms(record.begun(), record.last_text?))),
    },
    Metric {
        id: "time-to-first-token-from-send",
        short: "ttft_sent",
        title: "Time to first token, from sending",
        unit: "ms",
        better: Better::Lower,
        definition: "first chunk with text (content or reasoning) - send, in every shape of load",
        formula: Formula::PerRequest(|record| Some(ms(record.sent, record.first_text?))),
    },
    Metric {
        id: "request-latency-from-send",
        short: "latency_sent",
        title: "Request latency, from sending",
        unit: "ms",
        better: Better::Lower,
        definition: "last chunk with text - send, in every shape of load",
        formula: Formula::PerRequest(|record| Some(ms(record.sent, record.last_text?))),
    },
    Metric {
        id: "send-delay",
        short: "send_delay",
        title: "Delay of sending",
        unit: "ms",
        better: Better::Lower,
        definition: "send - scheduled arrival in an open loop, 0 in a closed one",
        formula: Formula::PerRequest(|record| Some(ms(record.begun(), record.sent))),
    },
    Metric {
        id: "output-throughput-per-user",
        short: "tok_s_user",
        title: "Output tokens per second per user",
        unit: "tok/s/user",
        better: Better::Higher,
        definition: "1 / ITL, per request",
        formula: Formula::PerRequest(tokens_per_second_per_user),
    },
    Metric {
        id: "output-sequence-length",
        short: "osl",
        title: "Output sequence length",
        unit: "tokens",
        better: Better::Neutral,
        definition: "output tokens N of the server's usage, reasoning included",
        formula: Formula::PerRequest(|record| record.output_tokens.map(f64::from)),
    },
    Metric {
        id: "input-sequence-length",
        short: "isl",
        title: "Input sequence length",
        unit: "tokens",
        better: Better::Neutral,
        definition: "tokens of the prompt's text, without what the chat template adds",
        formula: Formula::PerRequest(|record| record.isl.or(record.prompt_tokens).map(f64::from)),
    },
    Metric {
        id: "request-throughput",
        short: "req_s",
        title: "Request throughput",
        unit: "req/s",
        better: Better::Higher,
        definition: "successful requests / (last end - first send)",
        formula: Formula::PerPoint(|point| per_second(point, |_| 1.0)),
    },
    Metric {
        id: "output-throughput",
        short: "tok_s",
        title: "Output throughput",
        unit: "tok/s",
        better: Better::Higher,
        definition: "sum of N / (last end - first send)",
        formula: Formula::PerPoint(output_throughput),
    },
    Metric {
        id: "output-throughput-per-gpu",
        short: "tok_s_gpu",
        title: "Output tokens per second per GPU",
        unit: "tok/s/GPU",
        better: Better::Higher,
        definition: "output throughput / GPUs, prefill and decode GPUs both",
        formula: Formula::PerPoint(|point| {
            Some(output_throughput(point)? / point.meta.gpus.filter(|gpus| *gpus > 0.0)?)
        }),
    },
    Metric {
        id: "output-throughput-steady",
        short: "tok_s_steady",
        title: "Output throughput, steady window",
        unit: "tok/s",
        better: Better::Higher,
        definition: "tokens / time from the last user's first send to the last send: every user busy, no drain in it",
        formula: Formula::PerPoint(steady_throughput),
    },
    Metric {
        id: "error-share",
        short: "errors",
        title: "Share of failed requests",
        unit: "%",
        better: Better::Lower,
        definition: "100 x failed / (successful + failed)",
        formula: Formula::PerPoint(|point| {
            let counts = super::summary::count(&point.records);
            Some(100.0 * counts.failed as f64 / Some(counts.ok + counts.failed).filter(|all| *all > 0)? as f64)
        }),
    },
];

/// The row with that id (or short name).
pub fn metric(id: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.id == id || metric.short == id)
}
