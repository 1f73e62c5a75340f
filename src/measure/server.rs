//! The server's own view of a point: what its `/metrics` said while the load ran.
//!
//! A further number is a row of [`SERVER_SERIES`]: one meaning, and the names by which servers call it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What the values of a series are, and how those of several labels or pages go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesKind {
    /// An amount at the moment: added up.
    Amount,
    /// A share, 0 to 1: the mean.
    Share,
    /// A total since the server's start: added up; what matters is its growth.
    Counter,
    /// A value of one GPU, never put together with those of others.
    OfGpu,
}

/// One row.
pub struct ServerSeries {
    /// Id in files.
    pub id: &'static str,
    /// Name in tables and pictures.
    pub title: &'static str,
    /// Unit of its values.
    pub unit: &'static str,
    /// What they are.
    pub kind: SeriesKind,
    /// Names that servers give it. Of a page that has several only the first counts: an engine's own before what a layer above
    /// says of it.
    pub names: &'static [&'static str],
}

/// All rows, in the order in which they are printed.
pub const SERVER_SERIES: &[ServerSeries] = &[
    ServerSeries {
        id: "requests-waiting",
        title: "Waiting",
        unit: "requests",
        kind: SeriesKind::Amount,
        names: &[
            "vllm:num_requests_waiting",
            "sglang:num_queue_reqs",
            "llamacpp:requests_deferred",
            "simulated_requests_waiting",
            "dynamo_frontend_queued_requests",
        ],
    },
    ServerSeries {
        id: "requests-running",
        title: "Running",
        unit: "requests",
        kind: SeriesKind::Amount,
        names: &[
            "vllm:num_requests_running",
            "sglang:num_running_reqs",
            "llamacpp:requests_processing",
            "simulated_requests_running",
            "dynamo_frontend_inflight_requests",
            "dynamo_component_inflight_requests",
        ],
    },
    ServerSeries {
        id: "kv-usage",
        title: "KV cache in use",
        unit: "share",
        kind: SeriesKind::Share,
        names: &[
            "vllm:kv_cache_usage_perc",
            "vllm:gpu_cache_usage_perc",
            "sglang:token_usage",
            "llamacpp:kv_cache_usage_ratio",
            "simulated_kv_usage_ratio",
            "dynamo_component_kvstats_gpu_cache_usage_percent",
            "dynamo_component_gpu_cache_usage_percent",
        ],
    },
    ServerSeries {
        id: "prefix-cache-hits",
        title: "Prefix cache hits",
        unit: "tokens",
        kind: SeriesKind::Counter,
        names: &[
            "vllm:prefix_cache_hits_total",
            "vllm:gpu_prefix_cache_hits_total",
            "vllm:prompt_tokens_cached_total",
            "sglang:cached_tokens_total",
            "llamacpp:prompt_tokens_cached_total",
            "simulated_cached_tokens_total",
            "dynamo_frontend_cached_tokens_sum",
        ],
    },
    ServerSeries {
        id: "prefix-cache-queries",
        title: "Prefix cache queries",
        unit: "tokens",
        kind: SeriesKind::Counter,
        names: &["vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"],
    },
    ServerSeries {
        id: "preemptions",
        title: "Preemptions",
        unit: "requests",
        kind: SeriesKind::Counter,
        names: &["vllm:num_preemptions_total", "sglang:num_retractions_total"],
    },
    ServerSeries {
        id: "requests-ended",
        title: "Requests ended",
        unit: "requests",
        kind: SeriesKind::Counter,
        names: &[
            "vllm:request_success_total",
            "sglang:num_requests_total",
            "simulated_requests_total",
            "dynamo_frontend_requests_total",
            "dynamo_component_requests_total",
        ],
    },
    ServerSeries {
        id: "prompt-tokens",
        title: "Prompt tokens",
        unit: "tokens",
        kind: SeriesKind::Counter,
        names: &[
            "vllm:prompt_tokens_total",
            "sglang:prompt_tokens_total",
            "llamacpp:prompt_tokens_total",
            "simulated_prompt_tokens_total",
            "dynamo_frontend_input_sequence_tokens_sum",
        ],
    },
    ServerSeries {
        id: "output-tokens",
        title: "Output tokens",
        unit: "tokens",
        kind: SeriesKind::Counter,
        names: &[
            "vllm:generation_tokens_total",
            "sglang:generation_tokens_total",
            "llamacpp:tokens_predicted_total",
            "simulated_output_tokens_total",
            "dynamo_frontend_output_tokens_total",
        ],
    },
    ServerSeries {
        id: "gpu-utilisation",
        title: "GPU utilisation",
        unit: "%",
        kind: SeriesKind::OfGpu,
        names: &["DCGM_FI_DEV_GPU_UTIL"],
    },
    ServerSeries {
        id: "gpu-memory-used",
        title: "GPU memory used",
        unit: "MiB",
        kind: SeriesKind::OfGpu,
        names: &["DCGM_FI_DEV_FB_USED"],
    },
    ServerSeries {
        id: "gpu-power",
        title: "GPU power",
        unit: "W",
        kind: SeriesKind::OfGpu,
        names: &["DCGM_FI_DEV_POWER_USAGE"],
    },
];

/// The row with that id.
pub fn server_series(id: &str) -> Option<&'static ServerSeries> {
    SERVER_SERIES.iter().find(|series| series.id == id)
}

/// Which GPU a value is of, by the labels of the DCGM exporter.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Its number on its node, label `gpu`.
    pub number: String,
    /// Its node, label `Hostname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What it is, label `modelName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The pod that has it, label `pod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The namespace of that pod, label `namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// One number of one page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerValue {
    /// Id of the series.
    pub series: String,
    /// In the series' unit.
    pub value: f64,
    /// The part of the deployment that it is of (`prefill`, `decode`, `frontend`), where the page or its source tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Of series of GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
}

/// What one page said at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerScrape {
    /// Seconds since the origin of the point's records.
    pub t_s: f64,
    /// Pages that were asked together have the same number.
    pub round: u64,
    /// Base URL of the page.
    pub url: String,
    /// Its numbers.
    pub values: Vec<ServerValue>,
}

/// One series over a whole point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerView {
    /// Its id.
    pub series: String,
    /// The part of the deployment; `None` when it is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The GPU, of series of GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Mean over the rounds; of a counter its growth per second.
    pub mean: f64,
    /// Largest value; of a counter its growth. Of a share the largest of a single page.
    pub max: f64,
    /// Rounds that had it.
    pub rounds: u64,
}

/// What is kept apart: the place of the series in the table, role, GPU.
type Key = (usize, Option<String>, Option<Gpu>);

/// A value for each round, by series, role and GPU: pages of one role put together as the series' kind says.
pub fn server_rounds(scrapes: &[ServerScrape]) -> Vec<(ServerView, Vec<(f64, f64)>)> {
    let mut found: BTreeMap<Key, BTreeMap<u64, (f64, Vec<f64>)>> = BTreeMap::new();
    for scrape in scrapes {
        for value in &scrape.values {
            let Some(place) = SERVER_SERIES.iter().position(|series| series.id == value.series) else { continue };
            let of = found.entry((place, value.role.clone(), value.gpu.clone())).or_default();
            of.entry(scrape.round).or_insert_with(|| (scrape.t_s, Vec::new())).1.push(value.value);
        }
    }
    let one = |((place, role, gpu), rounds): (Key, BTreeMap<u64, (f64, Vec<f64>)>)| {
        let series = &SERVER_SERIES[place];
        let together = |values: &[f64]| match series.kind {
            SeriesKind::Amount | SeriesKind::Counter => values.iter().sum::<f64>(),
            SeriesKind::Share | SeriesKind::OfGpu => super::stats::mean_of(values),
        };
        let single_max = rounds.values().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
        let line: Vec<(f64, f64)> = rounds.values().map(|(t_s, values)| (*t_s, together(values))).collect();
        let largest = line.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let mean = line.iter().map(|(_, value)| *value).sum::<f64>() / line.len() as f64;
        let (mean, max) = match series.kind {
            SeriesKind::Amount => (mean, largest),
            SeriesKind::Share | SeriesKind::OfGpu => (mean, single_max),
            SeriesKind::Counter => growth(&line),
        };
        let view = ServerView { series: series.id.to_owned(), role, gpu, mean, max, rounds: line.len() as u64 };
        (view, line)
    };
    found.into_iter().map(one).collect()
}

/// Per second, and in all. A restart of the server, where a counter falls, adds nothing.
fn growth(line: &[(f64, f64)]) -> (f64, f64) {
    let grown: f64 = line.windows(2).map(|pair| (pair[1].1 - pair[0].1).max(0.0)).sum();
    let seconds = line.last().zip(line.first()).map_or(0.0, |(last, first)| last.0 - first.0);
    (if seconds > 0.0 { grown / seconds } else { 0.0 }, grown)
}

/// Every series over the rounds between two moments, seconds on the records' clock.
pub fn server_view(scrapes: &[ServerScrape], from_s: f64, to_s: f64) -> Vec<ServerView> {
    let within: Vec<_> = scrapes.iter().filter(|scrape| (from_s..=to_s).contains(&scrape.t_s)).cloned().collect();
    server_rounds(&within).into_iter().map(|(view, _)| view).collect()
}

/// The roles that count a deployment's own requests: a frontend counts what its workers count again, so that where a
/// series has engines the frontend's is left out.
pub fn engines_of(views: &[ServerView], series: &str) -> BTreeSet<Option<String>> {
    let all: BTreeSet<_> = views.iter().filter(|view| view.series == series).map(|view| view.role.clone()).collect();
    let engines: BTreeSet<_> = all.iter().filter(|role| role.as_deref() != Some("frontend")).cloned().collect();
    if engines.is_empty() { all } else { engines }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(round: u64, url: &str, values: &[(&str, f64, Option<&str>)]) -> ServerScrape {
        let value = |(series, value, role): &(&str, f64, Option<&str>)| ServerValue {
            series: (*series).to_owned(),
            value: *value,
            role: role.map(str::to_owned),
            gpu: None,
        };
        ServerScrape { t_s: round as f64, round, url: url.to_owned(), values: values.iter().map(value).collect() }
    }

    #[test]
    fn amounts_of_workers_are_added_and_shares_averaged() {
        let of = |round, url, waiting, kv| {
            scrape(round, url, &[("requests-waiting", waiting, Some("decode")), ("kv-usage", kv, Some("decode"))])
        };
        let scrapes = [of(0, "a", 1.0, 0.2), of(0, "b", 2.0, 0.4), of(1, "a", 5.0, 0.6), of(1, "b", 0.0, 1.0)];
        let views = server_view(&scrapes, 0.0, 9.0);
        let found: Vec<_> = views.iter().map(|view| (view.series.as_str(), view.mean, view.max, view.rounds)).collect();
        assert_eq!(found[0], ("requests-waiting", 4.0, 5.0, 2));
        assert!((found[1].1 - 0.55).abs() < 1e-12 && found[1].2 == 1.0, "{found:?}");
        assert!(server_view(&scrapes, 2.0, 9.0).is_empty());
    }

    #[test]
    fn counters_are_told_by_their_growth_and_a_restart_adds_nothing() {
        let scrapes = [3.0, 7.0, 1.0, 2.0].map(|value| ("output-tokens", value, None));
        let scrapes: Vec<_> = scrapes.iter().zip(0..).map(|(value, at)| scrape(at, "a", &[*value])).collect();
        let views = server_view(&scrapes, 0.0, 9.0);
        assert_eq!((views[0].max, views[0].mean), (5.0, 5.0 / 3.0));
    }

    #[test]
    fn a_frontend_counts_only_where_no_engine_does() {
        let both = [scrape(0, "a", &[("requests-running", 1.0, Some("frontend")), ("requests-running", 2.0, None)])];
        let views = server_view(&both, 0.0, 9.0);
        assert_eq!(engines_of(&views, "requests-running"), [None].into());
        let alone = server_view(&[scrape(0, "a", &[("kv-usage", 0.1, Some("frontend"))])], 0.0, 9.0);
        assert_eq!(engines_of(&alone, "kv-usage"), [Some("frontend".to_owned())].into());
    }

    #[test]
    fn no_name_of_a_server_stands_in_two_rows() {
        let mut names: Vec<_> = SERVER_SERIES.iter().flat_map(|series| series.names).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
