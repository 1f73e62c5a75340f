//! The arguments of `dynbench load`. A number that is none of its kind is refused here; what belongs together is not.

use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedI64ValueParser;

/// Tokens of one request, as a plan takes them.
fn tokens() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=10_000_000)
}

fn at_least_one() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

#[derive(Debug, Args)]
pub(in super::super) struct Load {
    /// Base URL, such as http://127.0.0.1:8000
    pub(in super::super) url: String,
    /// Concurrent requests
    #[arg(long, short, default_value_t = 1, value_parser = at_least_one(), allow_negative_numbers = true)]
    pub(in super::super) concurrency: u32,
    /// Arrivals per second, sent whatever the server does, instead of a concurrency
    #[arg(long, value_name = "PER-SECOND", conflicts_with = "concurrency", allow_negative_numbers = true)]
    pub(in super::super) request_rate: Option<f64>,
    /// How arrivals are spread
    #[arg(long, value_parser = ["constant", "poisson", "gamma"], default_value = "poisson", requires = "request_rate")]
    pub(in super::super) arrivals: String,
    /// Shape of gamma arrivals: less than 1 is burstier than Poisson's
    #[arg(long, requires = "request_rate", allow_negative_numbers = true)]
    pub(in super::super) burstiness: Option<f64>,
    /// The most requests under way with --request-rate; later arrivals wait, and their latency counts from arrival
    #[arg(long, value_name = "N", requires = "request_rate", value_parser = at_least_one(), allow_negative_numbers = true)]
    pub(in super::super) max_concurrency: Option<u32>,
    /// Requests to measure; if not given the larger of 400 and 10 x concurrency, or a minute's arrivals
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u64).range(1..), allow_negative_numbers = true)]
    pub(in super::super) requests: Option<u64>,
    /// Prompt tokens
    #[arg(long, default_value_t = 200, value_parser = tokens(), allow_negative_numbers = true)]
    pub(in super::super) isl: u32,
    /// Standard deviation of the prompt tokens
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub(in super::super) isl_std: f64,
    /// Output tokens
    #[arg(long, default_value_t = 200, value_parser = tokens(), allow_negative_numbers = true)]
    pub(in super::super) osl: u32,
    /// Hold conversations of so many turns, with the answers that were really given: --isl is then each turn's own text,
    /// --concurrency counts conversations, --request-rate begins them
    #[arg(long, value_name = "N", conflicts_with = "completions", allow_negative_numbers = true)]
    pub(in super::super) turns: Option<u32>,
    /// Time between the end of an answer and the next turn, such as 2s
    #[arg(long, value_name = "TIME", requires = "turns")]
    pub(in super::super) turn_delay: Option<String>,
    /// Stop after this time even if requests are left, such as 30s
    #[arg(long, default_value = "180s")]
    pub(in super::super) duration: String,
    /// Limit for one whole request, such as 30s
    #[arg(long, value_name = "TIME", default_value = "600s")]
    pub(in super::super) timeout: String,
    /// The model; the only one that the server lists, if not given
    #[arg(long)]
    pub(in super::super) model: Option<String>,
    /// A local tokenizer.json, for an exact ISL
    #[arg(long, value_name = "FILE")]
    pub(in super::super) tokenizer: Option<PathBuf>,
    /// Use /v1/completions instead of /v1/chat/completions
    #[arg(long)]
    pub(in super::super) completions: bool,
    /// The environment variable that holds the API key
    #[arg(long, value_name = "NAME")]
    pub(in super::super) api_key_env: Option<String>,
    /// Seed of prompts and lengths
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(in super::super) seed: u64,
    /// Requests sent before, not measured; 2 x concurrency if not given
    #[arg(long, allow_negative_numbers = true)]
    pub(in super::super) warm_up: Option<u64>,
    /// Write every request's record to this file as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(in super::super) records: Option<PathBuf>,
    /// Print the result as JSON on stdout
    #[arg(long)]
    pub(in super::super) json: bool,
}
