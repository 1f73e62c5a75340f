//! The table of metrics: one row each, with the formula that is printed wherever the number is.
//!
//! A further metric is one more row here. Names in plans, suggestions, objectives, plots, exports and the README's
//! table are read from the rows.

use super::objective::goodput;
use super::point::PointData;
use super::record::RequestRecord;
use super::window::busy_window;

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
    /// Several values per successful request, each with how many times it counts; the point has the distribution of all of
    /// them together.
    Pooled(fn(&RequestRecord, &mut dyn FnMut(f64, u64))),
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

/// Time between first and last text over the tokens that came after the first `first` of them.
fn per_token(record: &RequestRecord, first: u32) -> Option<f64> {
    let after = record.output_tokens?.checked_sub(first).filter(|after| *after > 0)?;
    Some(ms(record.first_text?, record.last_text?) / f64::from(after))
}

fn itl(record: &RequestRecord) -> Option<f64> {
    per_token(record, record.first_tokens())
}

/// Seconds from the first send to the last end, over all requests that were not given up by us.
pub(super) fn duration_seconds(point: &PointData) -> Option<f64> {
    let counted = || point.records.iter().filter(|record| !super::summary::is_cancelled(record));
    let start = counted().map(|record| record.sent).min()?;
    let end = counted().map(|record| record.end).max()?;
    Some(end.saturating_sub(start) as f64 / 1e9).filter(|seconds| *seconds > 0.0)
}

fn per_second(point: &PointData, amount: impl Fn(&RequestRecord) -> f64) -> Option<f64> {
    // Not `sum`: that of nothing is -0.
    let total = point.records.iter().filter(|record| record.is_ok()).map(amount).fold(0.0, |sum, more| sum + more);
    Some(total / duration_seconds(point)?)
}

fn output_throughput(point: &PointData) -> Option<f64> {
    per_second(point, |record| f64::from(record.output_tokens.unwrap_or(0)))
}

/// `None` when the prompt tokens of a successful request are unknown.
fn total_throughput(point: &PointData) -> Option<f64> {
    let prompt = |record: &RequestRecord| record.prompt_tokens.or(record.isl);
    if point.records.iter().any(|record| record.is_ok() && prompt(record).is_none()) {
        return None;
    }
    per_second(point, |record| f64::from(prompt(record).unwrap_or(0)) + f64::from(record.output_tokens.unwrap_or(0)))
}

/// Output tokens per second while every user was busy with a recorded request. `None` when that window is under a tenth
/// of the whole.
fn steady_throughput(point: &PointData) -> Option<f64> {
    let window = busy_window(&point.records)?;
    let seconds = window.seconds();
    (seconds >= 0.1 * duration_seconds(point)?).then(|| window.tokens(&point.records) / seconds)
}

/// Gaps between successive chunks with text, however many tokens they carry.
fn chunk_gaps(record: &RequestRecord, see: &mut dyn FnMut(f64, u64)) {
    let mut before = None;
    for chunk in record.chunks.iter() {
        if let Some(before) = before.replace(chunk.at) {
            see(ms(before, chunk.at), 1);
        }
    }
}

/// The same shared among the tokens that ended each gap, where they are known.
fn token_gaps(record: &RequestRecord, see: &mut dyn FnMut(f64, u64)) {
    if record.chunks.first_tokens().is_none() {
        return;
    }
    let mut before = None;
    for chunk in record.chunks.iter() {
        // A chunk that ends no token, such as the second half of a character: the gap goes on.
        if before.is_some() && chunk.tokens == 0 {
            continue;
        }
        if let Some(before) = before.replace(chunk.at) {
            see(ms(before, chunk.at) / f64::from(chunk.tokens), u64::from(chunk.tokens));
        }
    }
}

/// Requests under way on average: each request's time under way over the time of all of them.
fn effective_concurrency(point: &PointData) -> Option<f64> {
    let counted = point.records.iter().filter(|record| !super::summary::is_cancelled(record));
    let under_way: f64 = counted.map(|record| record.end.saturating_sub(record.sent) as f64 / 1e9).sum();
    Some(under_way / duration_seconds(point)?)
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
        definition: "(last chunk with text - first) / (N - n): n of N tokens came in the first, 1 if the server does not tell",
        formula: Formula::PerRequest(itl),
    },
    Metric {
        id: "time-per-output-token",
        short: "tpot",
        title: "Time per output token",
        unit: "ms",
        better: Better::Lower,
        definition: "(last chunk with text - first) / (N - 1), as in vLLM's bench, AIPerf and MLPerf: takes the first chunk for a token",
        formula: Formula::PerRequest(|record| per_token(record, 1)),
    },
    Metric {
        id: "chunk-gap",
        short: "chunk_gap",
        title: "Chunk gap",
        unit: "ms",
        better: Better::Lower,
        definition: "time between successive chunks with text, all gaps of all requests together; vLLM's bench calls it ITL",
        formula: Formula::Pooled(chunk_gaps),
    },
    Metric {
        id: "token-gap",
        short: "token_gap",
        title: "Token gap",
        unit: "ms",
        better: Better::Lower,
        definition: "chunk gap / tokens of the chunk that ends it, once for each of these tokens; where the server counts along",
        formula: Formula::Pooled(token_gaps),
    },
    Metric {
        id: "tokens-per-chunk",
        short: "tok_chunk",
        title: "Tokens per chunk",
        unit: "tokens",
        better: Better::Neutral,
        definition: "N / chunks with text: more than 1 where the server merges tokens",
        formula: Formula::PerRequest(|record| {
            let chunks = Some(record.chunks.len()).filter(|chunks| *chunks > 0)?;
            Some(f64::from(record.output_tokens?) / chunks as f64)
        }),
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
        definition: "first chunk with text (content or reasoning) - send, where latencies count from arrival (open loop)",
        formula: Formula::PerRequest(|record| record.due.and(Some(ms(record.sent, record.first_text?)))),
    },
    Metric {
        id: "request-latency-from-send",
        short: "latency_sent",
        title: "Request latency, from sending",
        unit: "ms",
        better: Better::Lower,
        definition: "last chunk with text - send, where latencies count from arrival (open loop)",
        formula: Formula::PerRequest(|record| record.due.and(Some(ms(record.sent, record.last_text?)))),
    },
    Metric {
        id: "send-delay",
        short: "send_delay",
        title: "Delay of sending",
        unit: "ms",
        better: Better::Lower,
        definition: "send - scheduled arrival, in an open loop",
        formula: Formula::PerRequest(|record| Some(ms(record.due?, record.sent))),
    },
    Metric {
        id: "normalised-latency",
        short: "latency_per_token",
        title: "Normalised latency",
        unit: "ms/token",
        better: Better::Lower,
        definition: "(last chunk with text - send) / N: time per output token with the TTFT in it",
        formula: Formula::PerRequest(|record| {
            let tokens = record.output_tokens.filter(|tokens| *tokens > 0)?;
            Some(ms(record.begun(), record.last_text?) / f64::from(tokens))
        }),
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
        id: "total-throughput",
        short: "total_tok_s",
        title: "Total throughput, input and output",
        unit: "tok/s",
        better: Better::Higher,
        definition: "sum of (prompt tokens as the server counts them + N) / (last end - first send)",
        formula: Formula::PerPoint(total_throughput),
    },
    Metric {
        id: "effective-concurrency",
        short: "concurrency_eff",
        title: "Effective concurrency",
        unit: "requests",
        better: Better::Neutral,
        definition: "sum of (end - send) / (last end - first send): requests under way on average, failed ones included",
        formula: Formula::PerPoint(effective_concurrency),
    },
    Metric {
        id: "goodput",
        short: "goodput",
        title: "Goodput",
        unit: "req/s",
        better: Better::Higher,
        definition: "requests that keep the objectives on metrics of single requests (the loosest on each) / (last end - first send)",
        formula: Formula::PerPoint(|point| {
            Some(goodput(&point.records, &point.objectives)?.good as f64 / duration_seconds(point)?)
        }),
    },
    Metric {
        id: "goodput-share",
        short: "goodput_share",
        title: "Share of good requests",
        unit: "%",
        better: Better::Higher,
        definition: "100 x requests that keep the objectives / all: failed ones, and arrivals (open loop) never answered, too",
        formula: Formula::PerPoint(|point| Some(100.0 * goodput(&point.records, &point.objectives)?.share)),
    },
    Metric {
        id: "cached-prompt-share",
        short: "cached",
        title: "Prompt tokens from the server's cache",
        unit: "%",
        better: Better::Neutral,
        definition: "100 x cached tokens / prompt tokens, of requests whose usage tells both",
        formula: Formula::PerPoint(|point| Some(100.0 * super::summary::cached_share(&point.records)?)),
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

/// Other names that the field gives to rows of the table.
const ALSO_CALLED: &[(&str, &str)] =
    &[("inter-chunk-latency", "chunk-gap"), ("e2e", "request-latency"), ("end-to-end-latency", "request-latency")];

/// The row with that id, short name, or other name that the field gives it.
pub fn metric(id: &str) -> Option<&'static Metric> {
    let id = ALSO_CALLED.iter().find(|(name, _)| *name == id).map_or(id, |(_, id)| id);
    METRICS.iter().find(|metric| metric.id == id || metric.short == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Chunks;
    use crate::measure::sample::{Shape, point, summary};

    #[test]
    fn no_name_means_two_metrics() {
        let mut names: Vec<&str> = METRICS.iter().flat_map(|row| [row.id, row.short]).collect();
        names.extend(ALSO_CALLED.iter().map(|(name, _)| *name));
        names.sort_unstable();
        names.dedup();
        let same = METRICS.iter().filter(|row| row.id == row.short).count();
        assert_eq!(names.len(), 2 * METRICS.len() - same + ALSO_CALLED.len());
        assert!(ALSO_CALLED.iter().all(|(name, id)| metric(name).is_some_and(|row| row.id == *id)));
    }

    #[test]
    fn the_gaps_of_all_requests_are_one_sample() {
        let found = summary(Shape { requests: 10, osl: 5, ..Shape::default() });
        let gaps = &found.distributions["chunk-gap"];
        assert_eq!((gaps.n, gaps.mean.round()), (40, 10.0));
        // Forty gaps, and of ten requests only: no p90.
        assert_eq!((gaps.statistic("p90"), gaps.statistic("p50").is_some()), (None, true));
        // A server that merges two tokens into each chunk doubles the gap and not the ITL.
        let mut merged = point(Shape { requests: 10, osl: 5, ..Shape::default() });
        for record in &mut merged.records {
            record.chunks = Chunks::at(record.chunks.iter().map(|chunk| chunk.at).step_by(2));
        }
        let merged = crate::measure::PointSummary::of(&merged);
        let mean = |id: &str| merged.distributions[id].mean;
        assert!((mean("chunk-gap") - 20.0).abs() < 1e-3 && (mean("inter-token-latency") - 10.0).abs() < 1e-3);
    }

    #[test]
    fn where_the_server_counts_along_each_token_has_its_gap_and_the_first_chunks_have_none() {
        let mut merged = point(Shape { requests: 10, osl: 5, ..Shape::default() });
        for record in &mut merged.records {
            let at: Vec<u64> = record.chunks.iter().map(|chunk| chunk.at).collect();
            record.first_text = Some(record.sent + at[1]);
            record.chunks = Chunks::with_tokens([(at[1], 2), (at[3], 2), (at[4], 1)]);
        }
        let found = crate::measure::PointSummary::of(&merged);
        let mean = |id: &str| found.distributions[id].mean;
        assert!((mean("inter-token-latency") - 10.0).abs() < 1e-3, "{}", mean("inter-token-latency"));
        assert!((mean("time-per-output-token") - 30.0 / 4.0).abs() < 1e-3);
        assert!((mean("tokens-per-chunk") - 5.0 / 3.0).abs() < 1e-9);
        let gaps = &found.distributions["token-gap"];
        assert!(gaps.n == 30 && (gaps.mean - 10.0).abs() < 1e-3 && gaps.std < 1e-3, "{gaps:?}");
        assert_eq!((found.distributions["chunk-gap"].n, found.chunk_tokens_told), (20, 10));
    }

    #[test]
    fn an_answer_in_one_chunk_has_no_inter_token_latency() {
        let mut whole = point(Shape { requests: 1, osl: 5, ..Shape::default() });
        let record = &mut whole.records[0];
        record.chunks = Chunks::with_tokens([(7, 5)]);
        assert_eq!((itl(record), per_token(record, 1).is_some()), (None, true));
    }

    #[test]
    fn rates_and_shares_of_a_whole_point_are_those_worked_out_by_hand() {
        // One user, ten requests of 100 ms + 4 x 10 ms on average, one of them failed.
        let shape = Shape { users: 1, requests: 21, osl: 5, ttft: 100.0, fail_every: 21, ..Shape::default() };
        let data = point(shape);
        let seconds = duration_seconds(&data).unwrap();
        let found = crate::measure::PointSummary::of(&data);
        let close = |id: &str, expected: f64| {
            assert!((found.values[id] / expected - 1.0).abs() < 1e-9, "{id}: {} and not {expected}", found.values[id]);
        };
        close("effective-concurrency", 1.0);
        let prompts: u32 = data.records.iter().filter_map(|record| record.prompt_tokens).sum();
        close("total-throughput", (f64::from(prompts) + 100.0) / seconds);
        // All 20 that succeeded keep the sample's objective; the failed one is in the denominator.
        close("goodput", 20.0 / seconds);
        close("goodput-share", 100.0 * 20.0 / 21.0);
        let latency = &found.distributions["normalised-latency"];
        assert!((latency.mean - found.distributions["request-latency"].mean / 5.0).abs() < 1e-9);
    }

    #[test]
    fn prompts_of_unknown_length_are_not_taken_for_none() {
        let mut data = point(Shape { requests: 4, ..Shape::default() });
        (data.records[2].prompt_tokens, data.records[2].isl) = (None, None);
        let found = crate::measure::PointSummary::of(&data);
        assert!(!found.values.contains_key("total-throughput") && found.values.contains_key("output-throughput"));
        data.records[2].isl = Some(7);
        assert!(crate::measure::PointSummary::of(&data).values.contains_key("total-throughput"));
    }

    #[test]
    fn without_a_success_throughput_is_zero_and_not_less() {
        let found = summary(Shape { requests: 4, fail_every: 1, ..Shape::default() });
        for id in ["request-throughput", "output-throughput", "total-throughput"] {
            assert_eq!(found.values[id].to_bits(), 0.0_f64.to_bits(), "{id}");
        }
    }
}
