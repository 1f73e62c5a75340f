//! Bounds on metrics: whether a point keeps them, which level is the best that does, and goodput.

use serde::{Deserialize, Serialize};

use super::metric::{Better, Formula, Metric, metric};
use super::point::Level;
use super::record::RequestRecord;
use super::stats::smallest_sample;
use super::summary::PointSummary;

/// One bound: an upper one where lower is better, else a lower one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// The metric's id.
    pub metric: String,
    /// `mean`, `p50`, `p99`, ..., or `value` for a metric of the whole point.
    pub statistic: String,
    /// In the metric's unit.
    pub bound: f64,
}

impl Bound {
    fn row(&self) -> Option<&'static Metric> {
        metric(&self.metric)
    }

    fn is_upper(&self) -> bool {
        self.row().is_some_and(|row| row.better == Better::Lower)
    }

    fn is_kept_by(&self, value: f64) -> bool {
        if self.is_upper() { value <= self.bound } else { value >= self.bound }
    }

    /// `time-to-first-token p99 <= 500 ms`
    pub fn describe(&self) -> String {
        let name = self.row().map_or(self.metric.as_str(), |row| row.id);
        let unit = self.row().map_or("", |row| row.unit);
        let sign = if self.is_upper() { "<=" } else { ">=" };
        let statistic = match self.row().map(|row| &row.formula) {
            Some(Formula::PerPoint(_)) => String::new(),
            Some(Formula::PerRequest(_) | Formula::Pooled(_)) | None => format!(" {}", self.statistic),
        };
        format!("{name}{statistic} {sign} {} {unit}", self.bound).trim_end().to_owned()
    }
}

/// What became of a bound at a point.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// It was kept.
    Met {
        /// With this value.
        value: f64,
    },
    /// It was not.
    Missed {
        /// With this value.
        value: f64,
    },
    /// It cannot be told.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// Whether a point keeps a bound.
pub fn judge_bound(summary: &PointSummary, bound: &Bound) -> Judgement {
    let id = bound.row().map_or(bound.metric.as_str(), |row| row.id);
    if let Some(breach) = summary.invalid.first() {
        return Judgement::Unknown { reason: format!("the point is not valid ({})", breach.rule) };
    }
    match summary.number(id, &bound.statistic) {
        Some(value) if bound.is_kept_by(value) => Judgement::Met { value },
        Some(value) => Judgement::Missed { value },
        None => Judgement::Unknown { reason: why_unknown(summary, id, &bound.statistic) },
    }
}

fn why_unknown(summary: &PointSummary, id: &str, statistic: &str) -> String {
    let percentile = statistic.strip_prefix('p').and_then(|p| p.parse().ok());
    match (summary.distributions.get(id), percentile) {
        (Some(sample), Some(p)) if sample.percentile(p).is_some() => {
            format!("{statistic} needs {} requests, there are {}", smallest_sample(p), sample.requests())
        }
        (Some(_), _) => format!("no statistic `{statistic}` is kept"),
        (None, _) => format!("{id} was not measured"),
    }
}

/// The best level of one deployment and workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BestLevel {
    /// The level.
    pub level: Level,
    /// Its output throughput, tok/s; with several repeats their mean.
    pub throughput: f64,
}

/// The level with the highest output throughput among those of which every valid repeat keeps all bounds. Invalid
/// points never count. The points are those of one deployment and workload, in any order.
pub fn best_level<'a>(points: impl IntoIterator<Item = &'a PointSummary>, bounds: &[Bound]) -> Option<BestLevel> {
    let mut by_level = std::collections::BTreeMap::<Level, Vec<&PointSummary>>::new();
    for point in points.into_iter().filter(|point| point.is_valid()) {
        by_level.entry(point.meta.level).or_default().push(point);
    }
    let keeps_all =
        |point: &&PointSummary| bounds.iter().all(|bound| matches!(judge_bound(point, bound), Judgement::Met { .. }));
    let mut best: Option<BestLevel> = None;
    for (level, repeats) in by_level {
        let throughputs: Option<Vec<_>> =
            repeats.iter().map(|point| point.number("output-throughput", "value")).collect();
        let Some(throughputs) = throughputs.filter(|_| repeats.iter().all(keeps_all)) else { continue };
        let throughput = throughputs.iter().sum::<f64>() / throughputs.len() as f64;
        if best.is_none_or(|best| throughput > best.throughput) {
            best = Some(BestLevel { level, throughput });
        }
    }
    best
}

/// Requests that kept every bound that can be judged request by request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goodput {
    /// Those that did.
    pub good: u64,
    /// Their share of all, failures included, and in an open loop arrivals never sent or given up by us, 0 to 1.
    pub share: f64,
}

/// Goodput of a point, or `None` when no bound is on a per-request metric or no request ended.
///
/// Of several bounds on one metric (a median and a tail) the loosest counts: it is the one meant for single requests. A
/// request that lacks a metric, such as the ITL of one token, keeps its bound.
pub fn goodput(records: &[RequestRecord], bounds: &[Bound]) -> Option<Goodput> {
    let limits = request_bounds(bounds);
    // An arrival that was never sent, or not answered when the level ended, was not served: it counts as bad. In a closed loop
    // what was given up says nothing: nobody but ourselves had asked for it.
    let was_asked = |record: &&RequestRecord| !super::summary::is_cancelled(record) || record.due.is_some();
    let judged = records.iter().filter(was_asked).count();
    if limits.is_empty() || judged == 0 {
        return None;
    }
    let is_good = |record: &&RequestRecord| {
        record.is_ok()
            && limits.iter().all(|bound| match bound.row().map(|row| &row.formula) {
                Some(Formula::PerRequest(of_request)) => of_request(record).is_none_or(|value| bound.is_kept_by(value)),
                Some(Formula::Pooled(_) | Formula::PerPoint(_)) | None => true,
            })
    };
    let good = records.iter().filter(is_good).count();
    Some(Goodput { good: good as u64, share: good as f64 / judged as f64 })
}

/// The bounds that single requests are held to: one for each per-request metric, the loosest.
pub(crate) fn request_bounds(bounds: &[Bound]) -> Vec<&Bound> {
    let mut loosest = indexmap::IndexMap::<&str, &Bound>::new();
    for bound in bounds {
        let Some(row) = bound.row().filter(|row| matches!(row.formula, Formula::PerRequest(_))) else { continue };
        let kept = loosest.entry(row.id).or_insert(bound);
        if kept.is_kept_by(bound.bound) != bound.is_kept_by(kept.bound) && bound.is_kept_by(kept.bound) {
            *kept = bound;
        }
    }
    loosest.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::sample::{Shape, point, summary};
    use crate::measure::{FailureClass, Outcome};

    fn bound(metric: &str, statistic: &str, bound: f64) -> Bound {
        Bound { metric: metric.to_owned(), statistic: statistic.to_owned(), bound }
    }

    #[test]
    fn latencies_are_bounded_from_above_and_rates_from_below() {
        let point = summary(Shape::default());
        for (bound, met) in [
            (bound("time-to-first-token", "p99", 120.0), true),
            (bound("time-to-first-token", "p99", 90.0), false),
            (bound("output-throughput", "value", 1.0), true),
            (bound("output-throughput", "value", 1e9), false),
            (bound("ttft", "mean", 120.0), true),
        ] {
            assert_eq!(matches!(judge_bound(&point, &bound), Judgement::Met { .. }), met, "{}", bound.describe());
            assert_eq!(matches!(judge_bound(&point, &bound), Judgement::Missed { .. }), !met, "{}", bound.describe());
        }
    }

    #[test]
    fn what_cannot_be_told_says_why() {
        let small = summary(Shape { requests: 300, gpus: 0, ..Shape::default() });
        let reason = |metric, statistic| match judge_bound(&small, &bound(metric, statistic, 1.0)) {
            Judgement::Unknown { reason } => reason,
            Judgement::Met { .. } | Judgement::Missed { .. } => panic!("told"),
        };
        assert_eq!(reason("time-to-first-token", "p99"), "p99 needs 368 requests, there are 300");
        assert_eq!(reason("output-throughput-per-gpu", "value"), "output-throughput-per-gpu was not measured");
        assert_eq!(reason("time-to-first-token", "p33"), "no statistic `p33` is kept");
    }

    #[test]
    fn the_best_level_keeps_all_bounds_and_is_valid() {
        let level = |users, ttft| summary(Shape { users, ttft, ..Shape::default() });
        let mut points = vec![level(1, 50.0), level(8, 100.0), level(16, 150.0), level(32, 900.0)];
        let best =
            |points: &[PointSummary], bounds: &[Bound]| best_level(points, bounds).map(|best| best.level.value());
        let slo = [bound("time-to-first-token", "p99", 200.0)];
        assert_eq!(best(&points, &slo), Some(16.0));
        assert_eq!(best(&points, &[slo[0].clone(), bound("time-to-first-token", "mean", 60.0)]), Some(1.0));
        assert_eq!(best(&points, &[bound("time-to-first-token", "mean", 1.0)]), None);
        points[2].invalid.push(super::super::Breach { rule: "osl".into(), reason: String::new(), momentary: false });
        assert_eq!(best(&points, &slo), Some(8.0));
    }

    #[test]
    fn a_level_of_which_one_repeat_misses_is_not_the_best() {
        let level = |users, repeat, ttft| summary(Shape { users, repeat, ttft, ..Shape::default() });
        let points = [level(1, 1, 50.0), level(1, 2, 50.0), level(8, 1, 100.0), level(8, 2, 300.0)];
        let best = best_level(&points, &[bound("time-to-first-token", "p99", 200.0)]).unwrap();
        assert_eq!(best.level, Level::Concurrency(1));
    }

    #[test]
    fn goodput_counts_failures_as_bad_and_uses_the_loosest_bound() {
        let data = point(Shape { fail_every: 10, ..Shape::default() });
        let all = [bound("time-to-first-token", "p50", 1.0), bound("time-to-first-token", "p99", 1000.0)];
        assert_eq!(goodput(&data.records, &all), Some(Goodput { good: 360, share: 0.9 }));
        // TTFT lies between 90 and 110 ms in 21 even steps; 11 of them are at most 100 ms.
        let half = goodput(&point(Shape { requests: 210, ..Shape::default() }).records, &[bound("ttft", "p99", 100.0)]);
        assert_eq!(half.map(|half| half.good), Some(110));
        assert_eq!(goodput(&data.records, &[bound("output-throughput", "value", 1.0)]), None);
        // Given up by us: in a closed loop in nothing, in an open loop an arrival that was not served.
        let mut given_up = data.clone();
        for record in given_up.records.iter_mut().filter(|record| !record.is_ok()) {
            let detail = "the level was ended".to_owned();
            record.outcome = Outcome::Failed { class: FailureClass::Cancelled, detail };
        }
        assert_eq!(goodput(&given_up.records, &all), Some(Goodput { good: 360, share: 1.0 }));
        given_up.records.iter_mut().for_each(|record| record.due = Some(record.scheduled));
        assert_eq!(goodput(&given_up.records, &all), Some(Goodput { good: 360, share: 0.9 }));
        assert_eq!(goodput(&[], &all), None);
    }

    #[test]
    fn what_is_given_up_counts_as_bad_in_an_open_loop_and_not_in_a_closed_one() {
        let all = [bound("time-to-first-token", "p99", 1000.0)];
        let mut records = point(Shape { fail_every: 10, ..Shape::default() }).records;
        for class in [FailureClass::Cancelled, FailureClass::Unsent] {
            for record in records.iter_mut().filter(|record| !record.is_ok()) {
                record.outcome = Outcome::Failed { class, detail: String::new() };
            }
            records.iter_mut().for_each(|record| record.due = None);
            assert_eq!(goodput(&records, &all), Some(Goodput { good: 360, share: 1.0 }), "{class}");
            records.iter_mut().for_each(|record| record.due = Some(record.scheduled));
            assert_eq!(goodput(&records, &all), Some(Goodput { good: 360, share: 0.9 }), "{class}");
        }
    }

    #[test]
    fn a_bound_is_described_with_sign_and_unit() {
        assert_eq!(bound("ttft", "p99", 500.0).describe(), "time-to-first-token p99 <= 500 ms");
        assert_eq!(bound("output-throughput", "value", 100.0).describe(), "output-throughput >= 100 tok/s");
    }
}
