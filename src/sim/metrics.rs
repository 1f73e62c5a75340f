//! What `/metrics` says, in Prometheus' text format.
//!
//! Requests and tokens are counted when the last byte of an answer is handed out, before the client can have read it: who
//! asks after the last answer finds them all. Names begin with `simulated_`, so that nothing is taken for a real server's.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use super::config::SimConfig;
use super::engine::WorkerView;
use super::truth::Ending;

/// Completion requests that ended, by `status` (HTTP) and `ending`.
pub const REQUESTS_TOTAL: &str = "simulated_requests_total";
/// Prompt tokens of the requests that ended, template included.
pub const PROMPT_TOKENS_TOTAL: &str = "simulated_prompt_tokens_total";
/// Output tokens that were sent.
pub const OUTPUT_TOKENS_TOTAL: &str = "simulated_output_tokens_total";
/// Prompt tokens that a prefix cache saved, by `role` and `worker`.
pub const CACHED_TOKENS_TOTAL: &str = "simulated_cached_tokens_total";
/// Prompt tokens that a worker computed, by `role` and `worker`: above zero proves that a prefill worker worked.
pub const PREFILL_TOKENS_TOTAL: &str = "simulated_prefill_tokens_total";
/// Output tokens that a worker produced, by `role` and `worker`: above zero proves that a decode worker worked.
pub const DECODE_TOKENS_TOTAL: &str = "simulated_decode_tokens_total";
/// Engine steps, by `role` and `worker`.
pub const STEPS_TOTAL: &str = "simulated_steps_total";
/// Sequences in a worker's batch, by `role` and `worker`.
pub const RUNNING: &str = "simulated_requests_running";
/// Requests in a worker's queue, by `role` and `worker`.
pub const WAITING: &str = "simulated_requests_waiting";
/// Share of a worker's KV cache that is reserved, 0 to 1, by `role` and `worker`.
pub const KV_USAGE: &str = "simulated_kv_usage_ratio";
/// The configuration's `time-scale`, labelled with `engine`.
pub const TIME_SCALE: &str = "simulated_time_scale";
/// Records that the log of the truth lost because its file was too slow.
pub const TRUTH_LOST_TOTAL: &str = "simulated_truth_lost_total";

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<(u16, Ending), u64>,
    prompt_tokens: u64,
    output_tokens: u64,
}

/// The server's own counters. Touched once a request, never once a token.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Mutex<Counts>,
}

impl Tally {
    /// A completion request has ended.
    pub(super) fn add(&self, status: u16, ending: Ending, prompt_tokens: u32, output_tokens: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.requests.entry((status, ending)).or_default() += 1;
        counts.prompt_tokens += u64::from(prompt_tokens);
        counts.output_tokens += output_tokens;
    }

    /// The whole page.
    pub(super) fn render(&self, config: &SimConfig, workers: &[WorkerView], truth_lost: u64) -> String {
        let mut page = Page::default();
        {
            let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            page.family(REQUESTS_TOTAL, "counter", "completion requests that ended");
            for ((status, ending), count) in &counts.requests {
                page.value(REQUESTS_TOTAL, &format!(r#"status="{status}",ending="{}""#, ending.as_str()), count);
            }
            page.single(PROMPT_TOKENS_TOTAL, "counter", "prompt tokens of ended requests", counts.prompt_tokens);
            page.single(OUTPUT_TOKENS_TOTAL, "counter", "output tokens that were sent", counts.output_tokens);
        }
        let whole = |value: fn(&WorkerView) -> u64| move |view: &WorkerView| value(view).to_string();
        page.by_worker(CACHED_TOKENS_TOTAL, "counter", workers, whole(|view| view.done.cached_tokens));
        page.by_worker(PREFILL_TOKENS_TOTAL, "counter", workers, whole(|view| view.done.prefill_tokens));
        page.by_worker(DECODE_TOKENS_TOTAL, "counter", workers, whole(|view| view.done.output_tokens));
        page.by_worker(STEPS_TOTAL, "counter", workers, whole(|view| view.done.steps));
        page.by_worker(RUNNING, "gauge", workers, whole(|view| view.running as u64));
        page.by_worker(WAITING, "gauge", workers, whole(|view| view.waiting as u64));
        page.by_worker(KV_USAGE, "gauge", workers, |view| {
            (f64::from(view.kv_blocks.0) / f64::from(view.kv_blocks.1)).to_string()
        });
        page.family(TIME_SCALE, "gauge", "factor on every simulated duration");
        page.value(TIME_SCALE, &format!(r#"engine="{}""#, config.engine.as_str()), config.time_scale);
        page.single(TRUTH_LOST_TOTAL, "counter", "records that the log of the truth lost", truth_lost);
        page.text
    }
}

#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a string never fails");
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn value(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        self.line(format_args!("{name}{{{labels}}} {value}"));
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.line(format_args!("{name} {value}"));
    }

    fn by_worker(&mut self, name: &str, kind: &str, workers: &[WorkerView], value: impl Fn(&WorkerView) -> String) {
        self.family(name, kind, "by worker, see the documentation of dynbench simulate");
        for (number, view) in workers.iter().enumerate() {
            self.value(name, &format!(r#"role="{}",worker="{number}""#, view.role.as_str()), value(view));
        }
    }
}
