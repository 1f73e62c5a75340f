//! The server's own counters, out of its `/metrics`: did it see as many requests and tokens as we did?
//!
//! Prometheus' text format, read line by line; everything that is no counter of a known family is passed over.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::error::LoadError;
use super::exposition::lines;

/// Totals since the server's start, or the difference of two such. A counter that the server does not have is `None`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CounterSnapshot {
    /// Requests that succeeded.
    pub requests: Option<f64>,
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: Option<f64>,
    /// Output tokens.
    pub output_tokens: Option<f64>,
}

/// Which counter of ours a server's counter adds to.
#[derive(Clone, Copy)]
enum Adds {
    Requests,
    PromptTokens,
    OutputTokens,
}

/// A server's counter: its name, label values of which one must be there (none: any), and what it adds to.
struct Source {
    name: &'static str,
    labels: &'static [&'static str],
    adds: Adds,
}

const fn source(name: &'static str, labels: &'static [&'static str], adds: Adds) -> Source {
    Source { name, labels, adds }
}

/// One family per kind of server. Of a page that has several only the first is taken: a Dynamo frontend counts what
/// its workers count again.
const FAMILIES: &[(&str, &[Source])] = &[
    (
        "dynamo_frontend_",
        &[
            source("dynamo_frontend_requests_total", &["status=\"success\""], Adds::Requests),
            source("dynamo_frontend_input_sequence_tokens_sum", &[], Adds::PromptTokens),
            source("dynamo_frontend_output_tokens_total", &[], Adds::OutputTokens),
        ],
    ),
    (
        "vllm:",
        &[
            source(
                "vllm:request_success_total",
                &["finished_reason=\"stop\"", "finished_reason=\"length\"", "finished_reason=\"repetition\""],
                Adds::Requests,
            ),
            source("vllm:prompt_tokens_total", &[], Adds::PromptTokens),
            source("vllm:generation_tokens_total", &[], Adds::OutputTokens),
        ],
    ),
    (
        "llamacpp:",
        &[
            source("llamacpp:prompt_tokens_total", &[], Adds::PromptTokens),
            source("llamacpp:prompt_tokens_cached_total", &[], Adds::PromptTokens),
            source("llamacpp:tokens_predicted_total", &[], Adds::OutputTokens),
        ],
    ),
    (
        "simulated_",
        &[
            source("simulated_requests_total", &["ending=\"finished\""], Adds::Requests),
            source("simulated_prompt_tokens_total", &[], Adds::PromptTokens),
            source("simulated_output_tokens_total", &[], Adds::OutputTokens),
        ],
    ),
];

impl CounterSnapshot {
    /// Reads a `/metrics` page.
    pub fn parse(text: &str) -> Self {
        let family = FAMILIES.iter().find(|(prefix, _)| lines(text).any(|line| line.name.starts_with(prefix)));
        let mut found = Self::default();
        let Some((_, sources)) = family else { return found };
        for line in lines(text) {
            let Some(source) = sources.iter().find(|source| source.name == line.name) else { continue };
            if !source.labels.is_empty() && !source.labels.iter().any(|label| line.has(label)) {
                continue;
            }
            let value = line.value;
            let field = match source.adds {
                Adds::Requests => &mut found.requests,
                Adds::PromptTokens => &mut found.prompt_tokens,
                Adds::OutputTokens => &mut found.output_tokens,
            };
            *field = Some(field.unwrap_or(0.0) + value);
        }
        found
    }

    /// What was counted since `before`. `None` where a counter is missing or went back: the server was restarted. A
    /// counter that appeared in between counts from zero, as labelled counters do.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let grown = |now: Option<f64>, before: Option<f64>| {
            now.map(|now| now - before.unwrap_or(0.0)).filter(|grown| *grown >= 0.0)
        };
        Self {
            requests: grown(self.requests, before.requests),
            prompt_tokens: grown(self.prompt_tokens, before.prompt_tokens),
            output_tokens: grown(self.output_tokens, before.output_tokens),
        }
    }

    /// The sum over several servers; a counter that one of them lacks is that of the others.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let sum = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a + b),
            (one, None) | (None, one) => one,
        };
        Self {
            requests: sum(self.requests, other.requests),
            prompt_tokens: sum(self.prompt_tokens, other.prompt_tokens),
            output_tokens: sum(self.output_tokens, other.output_tokens),
        }
    }
}

/// The counters of one server now; all `None` when it has no such page.
///
/// # Errors
/// When nothing answers.
pub async fn scrape(endpoint: &Endpoint, limit: Duration) -> Result<CounterSnapshot, LoadError> {
    let answer = endpoint.get("/metrics", limit).await?;
    if answer.status != 200 {
        return Ok(CounterSnapshot::default());
    }
    Ok(CounterSnapshot::parse(&String::from_utf8_lossy(&answer.body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> [Option<f64>; 3] {
        let found = CounterSnapshot::parse(text);
        [found.requests, found.prompt_tokens, found.output_tokens]
    }

    #[test]
    fn counters_of_real_servers_are_found() {
        let dynamo = include_str!("../../tests/fixtures/metrics/dynamo-agg-kv.prom.txt");
        assert_eq!(of(dynamo), [Some(15.0), Some(480_426.0), Some(110.0)]);
        let vllm = include_str!("../../tests/fixtures/metrics/vllm-cpu-tiny.prom.txt");
        assert_eq!(of(vllm), [Some(18.0), Some(543.0), Some(126.0)]);
        let llamacpp = include_str!("../../tests/fixtures/metrics/llama-server-tiny.prom.txt");
        assert_eq!(of(llamacpp), [None, Some(3672.0 + 14952.0), Some(10935.0)]);
        let sim = "simulated_requests_total{status=\"200\",ending=\"finished\"} 4\nsimulated_output_tokens_total 80\n";
        assert_eq!(of(sim), [Some(4.0), None, Some(80.0)]);
    }

    #[test]
    fn what_is_no_metrics_page_has_no_counters() {
        for text in ["", "<html>", "vllm:prompt_tokens_total", "vllm:prompt_tokens_total{} x", "# vllm:x 3", "} {"] {
            assert_eq!(CounterSnapshot::parse(text), CounterSnapshot::default(), "{text}");
        }
    }

    #[test]
    fn a_restarted_server_has_no_difference() {
        let at = |requests| CounterSnapshot { requests: Some(requests), ..CounterSnapshot::default() };
        assert_eq!(at(9.0).since(&at(4.0)).requests, Some(5.0));
        assert_eq!(at(3.0).since(&at(4.0)).requests, None);
        assert_eq!(at(3.0).since(&CounterSnapshot::default()).requests, Some(3.0));
    }
}
