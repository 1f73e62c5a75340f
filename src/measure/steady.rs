//! The steady part of a point, beside the whole of it.
//!
//! # The rule
//!
//! 1. The window is one of issue times: from the last user's first request to the last request sent. Ramp and drain are in
//!    no rate of it.
//! 2. Its start moves to the end of the transient by MSER-5 of TTFT and ITL in the order of sending, the later of the two.
//!    The choice is one of precision, never of the value; at most half of the window goes.
//! 3. The rest is steady when for TTFT and ITL alike
//!    - the medians of [`WINDOWS`] equal parts have a coefficient of variation (s / mean) of at most [`COV_LIMIT`], and
//!    - the Mann-Kendall test, corrected for autocorrelation (Hamed and Rao), over means of successive requests sees no
//!      trend at [`TREND_ALPHA`] shared among the tests (Bonferroni), or none larger than [`DRIFT_LIMIT`] of the median over the
//!      whole window: with many requests it sees drifts that matter to nobody.
//!
//! Latencies are of the requests sent within the window, rates of the tokens and requests that were served within it. Request
//! latency is never tested: it follows the lengths of the outputs.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::metric::{Formula, METRICS, Metric, metric};
use super::record::RequestRecord;
use super::stats::{Distribution, mean_of, percentile};
use super::trend::trend;
use super::truncation::mser5;
use super::window::{Window, busy_window};

/// Largest coefficient of variation of the medians of a steady window's parts.
pub const COV_LIMIT: f64 = 0.15;
/// Level of the trend test, both metrics together.
pub const TREND_ALPHA: f64 = 0.05;
/// Drift over the whole window, relative to the median, below which a trend does not matter.
pub const DRIFT_LIMIT: f64 = 0.02;

/// Metrics that must be steady.
const TESTED: [&str; 2] = ["time-to-first-token", "inter-token-latency"];
/// Successful requests below which nothing can be told.
const FEWEST: usize = 100;
/// Parts of the window whose medians are compared.
const WINDOWS: usize = 10;
/// Most values that the trend test is given: it takes the square of them.
const MOST_BATCHES: usize = 200;
/// Fewest values that it is given.
const FEWEST_BATCHES: usize = 20;

/// A point without ramp, transient and drain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SteadyWindow {
    /// Begin of the window, seconds after the first request was sent.
    pub from_s: f64,
    /// Its end.
    pub to_s: f64,
    /// Successful requests that were sent within it.
    pub requests: u64,
    /// Whether it is steady.
    pub state: SteadyState,
    /// What was tested, by metric.
    pub checks: Vec<SteadyCheck>,
    /// Per-request metrics by id, of the requests sent within it.
    pub distributions: IndexMap<String, Distribution>,
    /// `request-throughput`, `output-throughput` and `effective-concurrency` within it.
    pub values: IndexMap<String, f64>,
}

/// Whether a point became steady.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SteadyState {
    /// It did.
    Reached,
    /// It did not.
    Missed {
        /// Which test said so, with its figures.
        why: String,
    },
    /// There is too little to tell.
    Untold {
        /// What is missing.
        why: String,
    },
}

/// The tests of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SteadyCheck {
    /// Its id.
    pub metric: String,
    /// Coefficient of variation of the medians of the window's parts.
    pub cov: f64,
    /// p-value of "there is no trend", corrected for autocorrelation.
    pub p: f64,
    /// What the trend comes to over the whole window, relative to the median: 0.1 is ten percent more at the end.
    pub drift: f64,
}

impl SteadyWindow {
    /// Of all records of a point, in any order.
    pub(super) fn of(records: &[RequestRecord]) -> Option<Self> {
        let busy = busy_window(records)?;
        let start = records.iter().map(|record| record.sent).min()?;
        let mut within: Vec<&RequestRecord> =
            records.iter().filter(|record| record.is_ok() && busy.has_sent(record)).collect();
        within.sort_by_key(|record| (record.sent, record.index));
        let judged = judge(&within);
        let window = Window { from: within.get(judged.skip).map_or(busy.from, |first| first.sent), to: busy.to };
        let kept = &within[judged.skip..];
        let distribution = |row: &Metric| Some((row.id.to_owned(), Distribution::of(values(kept, row.id))?));
        let seconds = window.seconds();
        let mut rates = IndexMap::new();
        if seconds > 0.0 {
            rates.insert("request-throughput".to_owned(), window.requests(records) / seconds);
            rates.insert("output-throughput".to_owned(), window.tokens(records) / seconds);
            rates.insert("effective-concurrency".to_owned(), window.under_way(records) / seconds);
        }
        let after = |moment: u64| moment.saturating_sub(start) as f64 / 1e9;
        Some(Self {
            from_s: after(window.from),
            to_s: after(window.to),
            requests: kept.len() as u64,
            state: judged.state,
            checks: judged.checks,
            distributions: METRICS.iter().filter_map(distribution).collect(),
            values: rates,
        })
    }

    /// Whether the window is steady.
    pub fn is_reached(&self) -> bool {
        self.state == SteadyState::Reached
    }

    /// One number of the window, as [`super::PointSummary::number`] gives that of the whole point.
    pub fn number(&self, metric: &str, statistic: &str) -> Option<f64> {
        match self.distributions.get(metric) {
            Some(distribution) => distribution.statistic(statistic),
            None => self.values.get(metric).copied(),
        }
    }
}

/// What the tests came to.
struct Judged {
    /// Leading requests that are the transient's.
    skip: usize,
    state: SteadyState,
    checks: Vec<SteadyCheck>,
}

/// Values of a per-request metric; requests without one are passed over.
fn values(records: &[&RequestRecord], id: &str) -> Vec<f64> {
    match metric(id).map(|row| row.formula) {
        Some(Formula::PerRequest(of_request)) => records.iter().filter_map(|record| of_request(record)).collect(),
        Some(Formula::Pooled(_) | Formula::PerPoint(_)) | None => Vec::new(),
    }
}

/// Applies the rule to successful requests in the order of sending.
fn judge(records: &[&RequestRecord]) -> Judged {
    let untold = |why: String| Judged { skip: 0, state: SteadyState::Untold { why }, checks: Vec::new() };
    if records.len() < FEWEST {
        let why =
            format!("it takes {FEWEST} successful requests while all users are busy, there are {}", records.len());
        return untold(why);
    }
    // A metric that some request lacks (the ITL of a single token) would shift its series against the others.
    let tested: Vec<&str> = TESTED.into_iter().filter(|id| values(records, id).len() == records.len()).collect();
    if tested.is_empty() {
        return untold("not every request has a TTFT".to_owned());
    }
    // Where the rule finds no end of the transient nothing is cut: the tests say whether what is there matters.
    let transients = tested.iter().map(|id| mser5(&values(records, id)).unwrap_or(0));
    let skip = transients.max().unwrap_or(0);
    let kept = &records[skip..];
    let checks: Vec<_> = tested.iter().map(|id| check(id, &values(kept, id), users(kept))).collect();
    let alpha = TREND_ALPHA / checks.len() as f64;
    let faults: Vec<String> = checks.iter().filter_map(|check| fault(check, alpha)).collect();
    let state = if faults.is_empty() { SteadyState::Reached } else { SteadyState::Missed { why: faults.join("; ") } };
    Judged { skip, state, checks }
}

fn users(records: &[&RequestRecord]) -> usize {
    records.iter().map(|record| record.slot).collect::<std::collections::BTreeSet<_>>().len()
}

fn check(id: &str, series: &[f64], users: usize) -> SteadyCheck {
    let parts: Vec<f64> = parts(series, WINDOWS).map(median).collect();
    let mean = mean_of(&parts);
    let deviation = (parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / (parts.len() - 1) as f64).sqrt();
    // A batch holds a request of each user where there are enough of them: slots that answer in waves are no trend.
    let size = users.min(series.len() / FEWEST_BATCHES).max(super::truncation::BATCH);
    let count = (series.len() / size).min(MOST_BATCHES);
    let batches: Vec<f64> = self::parts(series, count).map(mean_of).collect();
    let middle = median(&batches);
    let found = trend(&batches);
    let share = |amount: f64| if middle > 0.0 { amount / middle } else { 0.0 };
    SteadyCheck {
        metric: id.to_owned(),
        cov: if mean > 0.0 { deviation / mean } else { 0.0 },
        p: found.map_or(1.0, |found| found.p),
        drift: share(found.map_or(0.0, |found| found.slope * (batches.len() - 1) as f64)),
    }
}

/// A series in so many parts of equal length, as nearly as it goes.
fn parts(series: &[f64], count: usize) -> impl Iterator<Item = &[f64]> {
    (0..count).map(move |at| &series[at * series.len() / count..(at + 1) * series.len() / count])
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, 0.5)
}

fn fault(check: &SteadyCheck, alpha: f64) -> Option<String> {
    let name = name(&check.metric);
    if check.p < alpha && check.drift.abs() > DRIFT_LIMIT {
        let way = if check.drift > 0.0 { "rises" } else { "falls" };
        let share = 100.0 * check.drift.abs();
        return Some(format!("{name} {way} by {share:.1} % over it (trend test p {})", p_text(check.p)));
    }
    (check.cov > COV_LIMIT).then(|| {
        let (found, limit) = (100.0 * check.cov, 100.0 * COV_LIMIT);
        format!("{name} differs between the parts of it by a CoV of {found:.1} %, at most {limit:.0} % is steady")
    })
}

fn p_text(p: f64) -> String {
    if p < 0.0001 { "below 0.0001".to_owned() } else { format!("{p:.4}") }
}

fn name(id: &str) -> &str {
    metric(id).map_or(id, |row| row.title)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution as _, StandardNormal};

    use super::*;
    use crate::measure::sample::{Shape, point};

    /// A closed loop whose TTFT is changed by its place among all requests, 0 to 1.
    fn changed(seed: u64, by: impl Fn(f64) -> f64) -> Vec<RequestRecord> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let shape = Shape { requests: 800, users: 8, ..Shape::default() };
        let mut records = point(shape).records;
        for record in &mut records {
            let noise: f64 = StandardNormal.sample(&mut random);
            let factor = by(record.index as f64 / 800.0) * (0.1 * noise).exp();
            let ttft = (100e6 * factor) as u64;
            let first = record.sent + ttft;
            let decode = record.last_text.unwrap() - record.first_text.unwrap();
            record.first_text = Some(first);
            record.last_text = Some(first + decode);
        }
        records
    }

    #[test]
    fn noise_about_one_value_is_steady_and_its_rates_are_those_of_the_users() {
        let found = SteadyWindow::of(&point(Shape::default()).records).unwrap();
        assert!(found.is_reached(), "{found:?}");
        // 4 users, 20 tokens per 290 ms each.
        let rate = found.number("output-throughput", "value").unwrap();
        assert!((rate / (80.0 / 0.29) - 1.0).abs() < 0.02, "{rate}");
        let requests = found.number("request-throughput", "value").unwrap();
        assert!((requests / (4.0 / 0.29) - 1.0).abs() < 0.02, "{requests}");
        let under_way = found.number("effective-concurrency", "value").unwrap();
        assert!((under_way - 4.0).abs() < 0.01, "{under_way}");
        // Every metric of single requests, not only those that are tested.
        for id in ["time-to-second-token", "time-per-output-token", "output-throughput-per-user"] {
            assert_eq!(found.distributions[id].n, found.requests, "{id}");
        }
        assert!(found.from_s < 0.1 * found.to_s);
    }

    #[test]
    fn steady_noise_is_seldom_called_unsteady() {
        let missed = (0..200).filter(|seed| !SteadyWindow::of(&changed(*seed, |_| 1.0)).unwrap().is_reached()).count();
        // 5 % of 200 is 10; both metrics share it, and ITL has no noise here.
        assert!(missed <= 14, "{missed} of 200");
    }

    #[test]
    fn a_drift_is_never_steady_and_is_named() {
        for seed in 0..20 {
            let found = SteadyWindow::of(&changed(seed, |place| 1.0 + 0.3 * place)).unwrap();
            let SteadyState::Missed { why } = &found.state else { panic!("{found:?}") };
            assert!(why.starts_with("Time to first token rises by"), "{why}");
        }
    }

    #[test]
    fn a_transient_is_cut_off_and_what_is_left_is_steady() {
        let found = SteadyWindow::of(&changed(3, |place| if place < 0.2 { 5.0 } else { 1.0 })).unwrap();
        assert!(found.is_reached(), "{found:?}");
        assert!((600..=640).contains(&found.requests), "{}", found.requests);
        let mean = found.number("time-to-first-token", "mean").unwrap();
        assert!((95.0..107.0).contains(&mean), "{mean}");
    }

    #[test]
    fn a_step_that_stays_is_not_steady() {
        let found = SteadyWindow::of(&changed(5, |place| if place > 0.6 { 1.5 } else { 1.0 })).unwrap();
        assert!(matches!(found.state, SteadyState::Missed { .. }), "{found:?}");
    }

    #[test]
    fn few_requests_and_none_have_no_answer() {
        let few = SteadyWindow::of(&point(Shape { requests: 60, ..Shape::default() }).records).unwrap();
        assert!(matches!(few.state, SteadyState::Untold { .. }), "{few:?}");
        assert!(few.number("output-throughput", "value").is_some());
        assert_eq!(SteadyWindow::of(&[]), None);
        assert_eq!(SteadyWindow::of(&point(Shape { requests: 4, users: 4, ..Shape::default() }).records), None);
    }

    #[test]
    fn a_drift_too_small_to_matter_is_steady() {
        let mut records = point(Shape { requests: 4000, ..Shape::default() }).records;
        for record in &mut records {
            record.first_text = record.first_text.map(|first| first + record.index * 100);
        }
        let found = SteadyWindow::of(&records).unwrap();
        assert!(found.is_reached() && found.checks[0].drift < DRIFT_LIMIT, "{found:?}");
    }
}
