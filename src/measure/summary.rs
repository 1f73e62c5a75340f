//! A point in numbers: every metric of the table, counts, failures by class.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::metric::{Formula, METRICS, duration_seconds};
use super::point::{Counts, FailureCount, GeneratorHealth, PointData, PointMeta};
use super::record::{FailureClass, Outcome, RequestRecord};
use super::stats::Distribution;

/// A point in numbers; the content of `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointSummary {
    /// What the point is.
    pub meta: PointMeta,
    /// Requests by how they ended.
    pub counts: Counts,
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
    /// Why the point must not be used; empty: it is valid. Filled by [`super::validity`].
    pub invalid: Vec<super::validity::Breach>,
}

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
                Formula::PerPoint(of_point) => {
                    values.extend(of_point(point).map(|value| (metric.id.to_owned(), value)));
                }
            }
        }
        values.extend(point.extra.iter().map(|(name, value)| (format!("hook.{name}"), *value)));
        Self {
            meta: point.meta.clone(),
            counts: count(&point.records),
            failures: failures(&point.records),
            duration_s: duration_seconds(point).unwrap_or(0.0),
            distributions,
            values,
            health: point.health.clone(),
            invalid: Vec::new(),
        }
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

pub(super) fn is_cancelled(record: &RequestRecord) -> bool {
    matches!(record.outcome, Outcome::Failed { class: FailureClass::Cancelled, .. })
}

pub(super) fn count(records: &[RequestRecord]) -> Counts {
    let mut counts = Counts { sent: records.len() as u64, ..Counts::default() };
    for record in records {
        if record.is_ok() {
            counts.ok += 1;
        } else if is_cancelled(record) {
            counts.cancelled += 1;
        } else {
            counts.failed += 1;
        }
    }
    counts
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
