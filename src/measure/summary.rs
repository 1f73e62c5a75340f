//! A point in numbers: every metric of the table, counts, failures by class.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::conversation::ConversationCounts;
use super::metric::{Formula, METRICS, duration_seconds};
use super::objective::{Bound, goodput};
use super::point::{Counts, FailureCount, GeneratorHealth, PointData, PointMeta};
use super::pooled;
use super::record::{FailureClass, Outcome, RequestRecord, TokenSource};
use super::server::ServerView;
use super::stats::Distribution;
use super::steady::SteadyWindow;

/// A point in numbers; the content of `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointSummary {
    /// What the point is.
    pub meta: PointMeta,
    /// Requests by how they ended.
    pub counts: Counts,
    /// Conversations by how they ended, where requests are turns of some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversations: Option<ConversationCounts>,
    /// Failures by class, most frequent first.
    pub failures: Vec<FailureCount>,
    /// From the first send to the last end, seconds.
    pub duration_s: f64,
    /// Per-request metrics by id; those without a single value are absent.
    pub distributions: IndexMap<String, Distribution>,
    /// Metrics of the whole point by id, and the numbers of hooks by `hook.NAME`; those that cannot be told are absent.
    pub values: IndexMap<String, f64>,
    /// How the generator did.
    pub health: GeneratorHealth,
    /// What was asked of the successful requests.
    #[serde(default)]
    pub asked: Asked,
    /// Successful requests by the finish reason that the server gave; `unknown` where it gave none.
    #[serde(default)]
    pub finish_reasons: BTreeMap<String, u64>,
    /// Successful requests by where their token counts come from.
    #[serde(default)]
    pub token_sources: BTreeMap<TokenSource, u64>,
    /// Successful requests of which the server told the tokens of every chunk (continuous usage): their inter-token latency
    /// counts the tokens of the first chunk. Of all others one token is taken for it.
    #[serde(default)]
    pub chunk_tokens_told: u64,
    /// Share of prompt tokens that the server took from its cache, 0 to 1; `None` when it reports no such count.
    #[serde(default)]
    pub cached_share: Option<f64>,
    /// What the server counted beside what we did; empty when it has no counters. Filled by the caller.
    #[serde(default)]
    pub server_counters: Vec<CounterCheck>,
    /// What ended the level, in words (`requests`, `duration`, ...). Filled by the caller.
    #[serde(default)]
    pub ended_by: Option<String>,
    /// Requests of an open loop that waited for a connection to be opened: it is in their latency.
    #[serde(default)]
    pub waited_for_connection: u64,
    /// The bounds that goodput is of.
    #[serde(default)]
    pub objectives: Vec<Bound>,
    /// What the server said of itself while the requests were under way. Filled by the caller.
    #[serde(default)]
    pub server: Vec<ServerView>,
    /// The same numbers over the steady part alone, and whether there is one; `None` when every user was never busy.
    #[serde(default)]
    pub steady: Option<SteadyWindow>,
    /// Why the point must not be used; empty: it is valid. Filled by [`super::judge`] and the caller.
    pub invalid: Vec<super::validity::Breach>,
}

/// Means over the successful requests whose lengths are known of what was asked of each, tokens.
///
/// Beside the plan's mean, because the lengths drawn for so few requests have a mean of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Prompt tokens.
    pub isl: Option<f64>,
    /// Output tokens.
    pub osl: Option<f64>,
}

/// One of the server's counters beside our own count of the same thing over the same time (the fill wave included).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CounterCheck {
    /// What is counted: `requests`, `prompt tokens`, `output tokens`.
    pub what: String,
    /// By how much the server's counter grew.
    pub server: u64,
    /// What we counted, of requests that succeeded.
    pub ours: u64,
    /// Requests of ours that failed or were given up: the server may have counted them, and their tokens, or not.
    #[serde(default)]
    pub failed: u64,
}

impl CounterCheck {
    /// What a counter of requests counts.
    pub const REQUESTS: &'static str = "requests";

    /// Whether the server may be right and we too.
    pub fn agrees(&self) -> bool {
        let least = self.server >= self.ours;
        let most = if self.what == Self::REQUESTS || self.failed == 0 {
            self.server <= self.ours + self.failed
        } else {
            // How many tokens a failed request had is not known here.
            true
        };
        least && most
    }
}

/// Tokens beyond one a chunk from which a server is said to merge them: below it tokens without text, or ones that hold half
/// a character, look the same.
const MERGED: f64 = 0.02;

impl PointSummary {
    /// Computes every row of the table.
    pub fn of(point: &PointData) -> Self {
        let mut distributions = IndexMap::new();
        let mut values = IndexMap::new();
        for metric in METRICS {
            match metric.formula {
                Formula::PerRequest(of_request) => {
                    let sample = point.records.iter().filter(|record| record.is_ok()).filter_map(of_request).collect();
                    distributions.extend(Distribution::of(sample).map(|found| (metric.id.to_owned(), found)));
                }
                Formula::Pooled(of_request) => {
                    let good = || point.records.iter().filter(|record| record.is_ok());
                    let found = pooled::distribution(&|see| good().for_each(|record| of_request(record, see)));
                    let has_some = |record: &&RequestRecord| {
                        let mut some = false;
                        of_request(record, &mut |_, _| some = true);
                        some
                    };
                    let requests = Some(good().filter(has_some).count() as u64);
                    distributions.extend(found.map(|found| (metric.id.to_owned(), Distribution { requests, ..found })));
                }
                Formula::PerPoint(of_point) => {
                    values.extend(of_point(point).map(|value| (metric.id.to_owned(), value)));
                }
            }
        }
        values.extend(point.extra.iter().map(|(name, value)| (format!("hook.{name}"), *value)));
        Self {
            meta: point.meta.clone(),
            counts: count(&point.records),
            conversations: ConversationCounts::of(&point.records),
            failures: failures(&point.records),
            duration_s: duration_seconds(point).unwrap_or(0.0),
            distributions,
            values,
            health: point.health.clone(),
            asked: Asked {
                isl: asked(&point.records, |record| record.isl.or(record.prompt_tokens).map(|_| record.isl_asked)),
                osl: asked(&point.records, |record| record.output_tokens.map(|_| record.osl_asked)),
            },
            finish_reasons: tally(&point.records, |record| {
                record.finish_reason.clone().unwrap_or_else(|| "unknown".to_owned())
            }),
            token_sources: tally(&point.records, |record| record.token_source),
            chunk_tokens_told: point
                .records
                .iter()
                .filter(|record| record.is_ok() && record.chunks.first_tokens().is_some())
                .count() as u64,
            cached_share: cached_share(&point.records),
            server_counters: Vec::new(),
            ended_by: None,
            waited_for_connection: point
                .records
                .iter()
                .filter(|record| record.due.is_some() && record.connect.is_some())
                .count() as u64,
            objectives: point.objectives.clone(),
            server: Vec::new(),
            steady: SteadyWindow::of(&point.records),
            invalid: Vec::new(),
        }
    }

    /// Gives the deployment another number of GPUs than was known when the point was measured.
    pub fn set_gpus(&mut self, gpus: Option<f64>) {
        const PER_GPU: &str = "output-throughput-per-gpu";
        self.meta.gpus = gpus;
        let throughput = self.values.get("output-throughput").copied();
        match throughput.zip(gpus.filter(|gpus| *gpus > 0.0)) {
            Some((throughput, gpus)) => self.values.insert(PER_GPU.to_owned(), throughput / gpus),
            None => self.values.shift_remove(PER_GPU),
        };
    }

    /// Judges goodput by other bounds than those of the time of measuring.
    pub fn set_objectives(&mut self, objectives: &[Bound], records: &[RequestRecord]) {
        objectives.clone_into(&mut self.objectives);
        for id in ["goodput", "goodput-share"] {
            self.values.shift_remove(id);
        }
        if let Some(found) = goodput(records, objectives) {
            self.values.insert("goodput-share".to_owned(), 100.0 * found.share);
            if self.duration_s > 0.0 {
                self.values.insert("goodput".to_owned(), found.good as f64 / self.duration_s);
            }
        }
    }

    /// By which share the inter-token latency is too low, if the server merges tokens and does not tell how many the first
    /// chunk holds, and that holds as many as the others: it is then (last - first) / (N - 1) instead of / (N - n).
    pub fn itl_shortfall(&self) -> Option<f64> {
        let (n, all) = (self.number("tokens-per-chunk", "mean")?, self.number("output-sequence-length", "mean")?);
        (self.chunk_tokens_told < self.counts.ok && n > 1.0 + MERGED && all > 1.0).then(|| (n - 1.0) / (all - 1.0))
    }

    /// Whether the point may be drawn and compared.
    pub fn is_valid(&self) -> bool {
        self.invalid.is_empty()
    }

    /// One number of a metric: `statistic` of a per-request metric, or the value of a metric of the whole point (any
    /// `statistic`). Also `concurrency`, the level. `None` when it cannot be told or its sample is too small.
    pub fn number(&self, metric: &str, statistic: &str) -> Option<f64> {
        if metric == "concurrency" {
            return Some(self.meta.level.value());
        }
        match self.distributions.get(metric) {
            Some(distribution) => distribution.statistic(statistic),
            None => self.values.get(metric).copied(),
        }
    }
}

/// Whether it is an arrival that was never sent.
pub(super) fn is_unsent(record: &RequestRecord) -> bool {
    matches!(record.outcome, Outcome::Failed { class: FailureClass::Unsent, .. })
}

/// Whether it was given up, or never begun, by us.
pub(super) fn is_cancelled(record: &RequestRecord) -> bool {
    matches!(record.outcome, Outcome::Failed { class, .. } if class.is_ours())
}

pub(super) fn count(records: &[RequestRecord]) -> Counts {
    let mut counts = Counts { sent: records.len() as u64, ..Counts::default() };
    for record in records {
        if record.is_ok() {
            counts.ok += 1;
        } else if is_unsent(record) {
            counts.unsent += 1;
        } else if is_cancelled(record) {
            counts.cancelled += 1;
        } else {
            counts.failed += 1;
        }
    }
    counts
}

/// Successful requests by something they have.
fn tally<K: Ord>(records: &[RequestRecord], by: impl Fn(&RequestRecord) -> K) -> BTreeMap<K, u64> {
    let mut tally = BTreeMap::new();
    for record in records.iter().filter(|record| record.is_ok()) {
        *tally.entry(by(record)).or_insert(0) += 1;
    }
    tally
}

/// Mean over the successful requests that have a value.
fn asked(records: &[RequestRecord], value: impl Fn(&RequestRecord) -> Option<u32>) -> Option<f64> {
    let values = records.iter().filter(|record| record.is_ok()).filter_map(value);
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), value| (sum + f64::from(value), n + 1.0));
    Some(sum / n).filter(|mean| mean.is_finite())
}

pub(super) fn cached_share(records: &[RequestRecord]) -> Option<f64> {
    let counts = records
        .iter()
        .filter(|record| record.is_ok())
        .filter_map(|record| Some((f64::from(record.cached_tokens?), f64::from(record.prompt_tokens?))));
    let (cached, all) = counts.fold((0.0, 0.0), |sum, (cached, all)| (sum.0 + cached, sum.1 + all));
    Some(cached / all).filter(|share| share.is_finite())
}

fn failures(records: &[RequestRecord]) -> Vec<FailureCount> {
    let mut by_class = BTreeMap::new();
    for record in records {
        if let Outcome::Failed { class, detail } = &record.outcome {
            by_class
                .entry(*class)
                .or_insert_with(|| FailureCount { class: *class, count: 0, example: detail.clone() })
                .count += 1;
        }
    }
    let mut list: Vec<_> = by_class.into_values().collect();
    list.sort_by(|a, b| b.count.cmp(&a.count).then(a.class.cmp(&b.class)));
    list
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measure::metric;
    use crate::measure::sample::{Shape, point, summary};

    #[test]
    fn every_metric_of_a_whole_point_is_there() {
        let mut data = point(Shape { fail_every: 100, ..Shape::default() });
        data.records.iter_mut().for_each(|record| record.due = Some(record.scheduled));
        let found = PointSummary::of(&data);
        for row in METRICS {
            assert!(found.number(row.id, "mean").is_some(), "{}", row.id);
            assert_eq!(metric(row.short).map(|row| row.id), Some(row.id));
        }
        assert_eq!(found.counts, Counts { sent: 400, ok: 396, failed: 4, cancelled: 0, unsent: 0 });
        assert_eq!(found.asked.osl, Some(20.0));
        assert_eq!(found.cached_share, Some(0.0));
    }

    #[test]
    fn a_steady_stream_has_the_steady_throughput_of_its_users() {
        // 4 users, one token each 10 ms, 100 ms of silence before the first of 20: 20 tokens per 290 ms and user.
        let found = summary(Shape::default());
        let steady = found.number("output-throughput-steady", "value").unwrap();
        assert!((steady / (4.0 * 20.0 / 0.29) - 1.0).abs() < 0.01, "{steady}");
        // The drain of a run of few requests does not lower it.
        let ragged = summary(Shape { users: 100, requests: 450, ..Shape::default() });
        let whole = ragged.number("output-throughput", "value").unwrap();
        let steady = ragged.number("output-throughput-steady", "value").unwrap();
        assert!(whole < 0.95 * steady, "{whole} {steady}");
        assert_eq!(
            summary(Shape { users: 100, requests: 100, ..Shape::default() }).values.get("output-throughput-steady"),
            None
        );
    }

    #[test]
    fn goodput_follows_the_objectives_of_the_plan() {
        let data = point(Shape::default());
        let mut found = PointSummary::of(&data);
        let whole = found.values["goodput"];
        let tight = [Bound { metric: "ttft".to_owned(), statistic: "p99".to_owned(), bound: 100.0 }];
        found.set_objectives(&tight, &data.records);
        // 11 of each 21 requests have a TTFT of at most 100 ms.
        assert!((found.values["goodput-share"] - 100.0 * 11.0 / 21.0).abs() < 0.5, "{}", found.values["goodput-share"]);
        let again = PointSummary::of(&PointData { objectives: tight.to_vec(), ..data.clone() });
        assert!((found.values["goodput"] / again.values["goodput"] - 1.0).abs() < 1e-12);
        found.set_objectives(&data.objectives, &data.records);
        assert!((found.values["goodput"] / whole - 1.0).abs() < 1e-12);
        found.set_objectives(&[], &data.records);
        assert_eq!(found.values.get("goodput"), None);
    }

    #[test]
    fn an_older_file_without_the_newer_fields_is_read() {
        let mut json = serde_json::to_value(summary(Shape::default())).unwrap();
        for newer in [
            "asked",
            "finish_reasons",
            "token_sources",
            "chunk_tokens_told",
            "cached_share",
            "server_counters",
            "ended_by",
            "steady",
            "server",
            "objectives",
        ] {
            json.as_object_mut().unwrap().remove(newer).unwrap();
        }
        assert_eq!(serde_json::from_value::<PointSummary>(json).unwrap().asked, Asked::default());
    }

    proptest! {
        #[test]
        fn the_order_of_records_does_not_matter(seed in 0..1000_usize) {
            let mut data = point(Shape { requests: 50, fail_every: 7, ..Shape::default() });
            let before = PointSummary::of(&data);
            let n = data.records.len();
            for at in 0..n {
                data.records.swap(at, (at * 31 + seed) % n);
            }
            let after = PointSummary::of(&data);
            prop_assert_eq!(&after.distributions, &before.distributions);
            prop_assert_eq!(after.counts, before.counts);
            for (id, value) in &before.values {
                prop_assert!((after.values[id] - value).abs() < 1e-9 * value.abs().max(1.0), "{}", id);
            }
        }
    }
}
