//! The table of AIPerf's metrics that can be told from our records. A further one is one more row.

use crate::measure::{Distribution, Formula, Goodput, RequestRecord, goodput, metric};
use crate::report::exports::table::ExportInput;

/// One metric of the format.
pub(super) struct Block {
    /// Its key in JSON.
    pub(super) key: &'static str,
    /// Its name in the CSV file, without the unit.
    pub(super) title: &'static str,
    /// Its unit in JSON.
    pub(super) unit: &'static str,
    /// Where its numbers come from.
    pub(super) source: Source,
}

/// Where the numbers of a block come from.
pub(super) enum Source {
    /// Our metric of this id.
    Metric(&'static str),
    /// Our metric of this id in a closed loop; in an open one AIPerf counts it from the send, and ours from the arrival.
    Sent(&'static str, fn(&RequestRecord) -> Option<f64>),
    /// A value for each request that is no metric of ours.
    Each(fn(&RequestRecord) -> Option<f64>),
    /// One value of the whole point.
    Whole(fn(&ExportInput<'_>) -> Option<f64>),
}

/// The numbers of one block.
pub(super) enum Numbers {
    /// A distribution.
    Many(Distribution),
    /// One value.
    One(f64),
}

const fn block(key: &'static str, title: &'static str, unit: &'static str, source: Source) -> Block {
    Block { key, title, unit, source }
}

const MS: &str = "ms";
const TOKENS: &str = "tokens";
const REQUESTS: &str = "requests";
const PER_SECOND: &str = "tokens/sec";
const PER_USER: &str = "tokens/sec/user";

/// The blocks before `input_config`, in the order in which AIPerf writes them.
pub(super) const HEAD: &[Block] = &[
    block("request_throughput", "Request Throughput", "requests/sec", Source::Metric("request-throughput")),
    block("request_latency", "Request Latency", MS, Source::Sent("request-latency", latency)),
    block("request_count", "Request Count", REQUESTS, Source::Whole(|input| Some(input.summary.counts.ok as f64))),
    block("time_to_first_token", "Time to First Token", MS, Source::Sent("time-to-first-token", ttft)),
    block("time_to_second_token", "Time to Second Token", MS, Source::Metric("time-to-second-token")),
    block("inter_token_latency", "Inter Token Latency", MS, Source::Metric("inter-token-latency")),
    block("output_token_throughput", "Output Token Throughput", PER_SECOND, Source::Metric("output-throughput")),
    block(
        "output_token_throughput_per_user",
        "Output Token Throughput Per User",
        PER_USER,
        Source::Metric("output-throughput-per-user"),
    ),
    block("output_sequence_length", "Output Sequence Length", TOKENS, Source::Metric("output-sequence-length")),
    block("input_sequence_length", "Input Sequence Length", TOKENS, Source::Metric("input-sequence-length")),
    block("goodput", "Goodput", "requests/sec", Source::Whole(|input| Some(good(input)? / seconds(input)?))),
    block("good_request_count", "Good Request Count", REQUESTS, Source::Whole(good)),
    block("output_token_count", "Output Token Count", TOKENS, Source::Each(answer_tokens)),
    block("inter_chunk_latency", "Inter Chunk Latency", MS, Source::Metric("chunk-gap")),
    block("total_output_tokens", "Total Output Tokens", TOKENS, Source::Whole(|input| sum(input, answer_tokens))),
    block("benchmark_duration", "Benchmark Duration", "sec", Source::Whole(seconds)),
    block("total_isl", "Total Input Sequence Length", TOKENS, Source::Whole(|input| sum(input, isl))),
    block("total_osl", "Total Output Sequence Length", TOKENS, Source::Whole(|input| sum(input, output_tokens))),
];

/// The blocks after the run's description.
pub(super) const TAIL: &[Block] = &[
    block(
        "time_to_first_output_token",
        "Time to First Output Token",
        MS,
        Source::Sent("time-to-first-output-token", |record| since_sent(record, record.first_output)),
    ),
    block("usage_prompt_tokens", "Usage Prompt Tokens", TOKENS, Source::Each(prompt_tokens)),
    block("usage_completion_tokens", "Usage Completion Tokens", TOKENS, Source::Each(output_tokens)),
    block(
        "usage_total_tokens",
        "Usage Total Tokens",
        TOKENS,
        Source::Each(|record| Some(prompt_tokens(record)? + output_tokens(record)?)),
    ),
    block("usage_prompt_cache_read_tokens", "Usage Prompt Cache Read Tokens", TOKENS, Source::Each(cached_tokens)),
    block("http_req_connecting", "HTTP Connecting", MS, Source::Each(|record| Some(record.connect? as f64 / 1e6))),
    block("http_req_waiting", "HTTP Waiting (TTFB)", MS, Source::Each(|record| since_sent(record, record.first_byte))),
    block("decode_duration", "Decode Duration", MS, Source::Each(decode)),
    block(
        "e2e_output_token_throughput",
        "E2E Output Token Throughput",
        PER_USER,
        Source::Each(|record| over_seconds(output_tokens(record)?, since_sent(record, record.last_text)?)),
    ),
    block(
        "prefill_throughput_per_user",
        "Prefill Throughput Per User",
        PER_USER,
        Source::Each(|record| over_seconds(isl(record)?, since_sent(record, record.first_text)?)),
    ),
    block(
        "good_request_fraction",
        "Good Request Fraction",
        "ratio",
        Source::Whole(|input| Some(goodput(input.records, input.objectives)?.share)),
    ),
    block(
        "error_request_count",
        "Error Request Count",
        REQUESTS,
        Source::Whole(|input| Some(input.summary.counts.failed as f64).filter(|failed| *failed > 0.0)),
    ),
    block(
        "completed_request_count",
        "Completed Requests (Success + Error)",
        REQUESTS,
        Source::Whole(|input| Some((input.summary.counts.ok + input.summary.counts.failed) as f64)),
    ),
    block("request_error_rate", "Request Error Rate", "%", Source::Metric("error-share")),
    block(
        "total_usage_prompt_tokens",
        "Total Usage Prompt Tokens",
        TOKENS,
        Source::Whole(|input| sum(input, prompt_tokens)),
    ),
    block(
        "total_usage_completion_tokens",
        "Total Usage Completion Tokens",
        TOKENS,
        Source::Whole(|input| sum(input, output_tokens)),
    ),
    block(
        "total_usage_total_tokens",
        "Total Usage Total Tokens",
        TOKENS,
        Source::Whole(|input| Some(sum(input, prompt_tokens)? + sum(input, output_tokens)?)),
    ),
    block(
        "input_token_throughput",
        "Input Token Throughput",
        PER_SECOND,
        Source::Whole(|input| Some(sum(input, isl)? / seconds(input)?)),
    ),
    block("total_token_throughput", "Total Token Throughput", PER_SECOND, Source::Metric("total-throughput")),
    block(
        "credit_to_start_latency",
        "Credit-to-Start Latency",
        MS,
        Source::Each(|record| Some(record.sent.saturating_sub(record.scheduled) as f64 / 1e6)),
    ),
    block(
        "effective_latency",
        "Effective Latency (CO-aware)",
        MS,
        Source::Each(|record| Some(record.end.saturating_sub(record.scheduled) as f64 / 1e6)),
    ),
];

impl Block {
    /// The numbers of a point; `None` when there are none, and the block is left out.
    pub(super) fn numbers(&self, input: &ExportInput<'_>) -> Option<Numbers> {
        let good = || input.records.iter().filter(|record| record.is_ok());
        match self.source {
            Source::Metric(id) => {
                let summary = input.summary;
                let many = summary.distributions.get(id).cloned().map(Numbers::Many);
                many.or_else(|| summary.values.get(id).copied().map(Numbers::One))
            }
            Source::Each(of) | Source::Sent(_, of) => {
                Distribution::of(good().filter_map(of).collect()).map(Numbers::Many)
            }
            Source::Whole(of) => of(input).map(Numbers::One),
        }
    }

    /// The value of one request, for blocks that have one.
    pub(super) fn of_request(&self, record: &RequestRecord) -> Option<f64> {
        match self.source {
            Source::Metric(id) => match metric(id)?.formula {
                Formula::PerRequest(of) => of(record),
                Formula::Pooled(_) | Formula::PerPoint(_) => None,
            },
            Source::Each(of) | Source::Sent(_, of) => of(record),
            Source::Whole(_) => None,
        }
    }
}

/// Milliseconds between the chunks of a request.
pub(super) fn gaps(record: &RequestRecord) -> Vec<f64> {
    let times: Vec<u64> = record.chunks.iter().map(|chunk| chunk.at).collect();
    times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 / 1e6).collect()
}

fn since_sent(record: &RequestRecord, moment: Option<u64>) -> Option<f64> {
    Some(moment?.saturating_sub(record.sent) as f64 / 1e6)
}

fn ttft(record: &RequestRecord) -> Option<f64> {
    since_sent(record, record.first_text)
}

fn latency(record: &RequestRecord) -> Option<f64> {
    since_sent(record, record.last_text)
}

fn decode(record: &RequestRecord) -> Option<f64> {
    Some(since_sent(record, record.last_text)? - since_sent(record, record.first_text)?)
}

fn over_seconds(amount: f64, ms: f64) -> Option<f64> {
    (ms > 0.0).then(|| amount / (ms / 1e3))
}

fn isl(record: &RequestRecord) -> Option<f64> {
    record.isl.or(record.prompt_tokens).map(f64::from)
}

fn prompt_tokens(record: &RequestRecord) -> Option<f64> {
    record.prompt_tokens.map(f64::from)
}

fn cached_tokens(record: &RequestRecord) -> Option<f64> {
    record.cached_tokens.map(f64::from)
}

fn output_tokens(record: &RequestRecord) -> Option<f64> {
    record.output_tokens.map(f64::from)
}

/// Output tokens that are no reasoning.
fn answer_tokens(record: &RequestRecord) -> Option<f64> {
    let reasoning = record.reasoning_tokens.unwrap_or(0);
    record.output_tokens.map(|tokens| f64::from(tokens.saturating_sub(reasoning)))
}

fn seconds(input: &ExportInput<'_>) -> Option<f64> {
    Some(input.summary.duration_s).filter(|seconds| *seconds > 0.0)
}

fn good(input: &ExportInput<'_>) -> Option<f64> {
    let Goodput { good, .. } = goodput(input.records, input.objectives)?;
    Some(good as f64)
}

/// The sum over the successful requests; `None` when none of them has the number.
fn sum(input: &ExportInput<'_>, of: fn(&RequestRecord) -> Option<f64>) -> Option<f64> {
    let found: Vec<f64> = input.records.iter().filter(|record| record.is_ok()).filter_map(of).collect();
    (!found.is_empty()).then(|| found.iter().sum())
}
