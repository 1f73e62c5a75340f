//! How well a mean or a percentile is known: by batches, because neighbouring requests are alike.
//!
//! The values, in the order in which requests ended, are cut into [`BATCHES`] batches of equal size (what is left over at
//! the start is not used). The means of batches are nearly independent where single requests are not, so for a mean
//! `half width = t(confidence, BATCHES - 1) x s / sqrt(BATCHES)`, `s` being the standard deviation of the batches' means.
//!
//! For a percentile q the same is done with the share of values that lie at or below it, which is a mean: its half width is
//! `h = t(confidence, BATCHES - 1) x sqrt(max(s^2 / BATCHES, q (1 - q) / n))`, `s` being the standard deviation of the
//! batches' shares; it is never narrower than by the binomial rule for n independent values. The interval's ends are the
//! order statistics of ranks `n (q - h)` rounded down and `n (q + h)` rounded up: an interval of the distribution function
//! turned into one of its inverse (Woodruff, Confidence intervals for medians and other position measures, JASA 47, 1952; for
//! dependent values Heidelberger and Lewis, Quantile estimation in dependent sequences, Operations Research 32, 1984). While
//! one of these ranks is outside of the sample nothing is known of the percentile.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::metric::{Formula, metric};
use super::record::RequestRecord;
use super::stats::percentile;

/// Into so many batches a sample is cut.
pub const BATCHES: usize = 20;

/// From one look to the next the sample must have grown by this factor: each look is a chance to be fooled.
const GROWTH: f64 = 1.25;

/// When a level is known well enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PrecisionRule {
    /// A metric with one value per request, by its id.
    pub metric: String,
    /// What of it must be known.
    #[serde(default, skip_serializing_if = "KnownStatistic::is_mean")]
    pub statistic: KnownStatistic,
    /// Half the width of the interval, as a share of the statistic.
    pub relative: f64,
    /// Confidence of the interval, such as 0.95.
    pub confidence: f64,
    /// Not before so many successful requests.
    pub min_requests: u64,
}

/// A statistic of which can be told how well it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KnownStatistic {
    /// The mean.
    #[default]
    Mean,
    /// The median.
    P50,
    /// The 90th percentile.
    P90,
    /// The 95th percentile.
    P95,
    /// The 99th percentile.
    P99,
}

impl KnownStatistic {
    /// Their names in plans.
    pub const NAMES: &[&str] = &["mean", "p50", "p90", "p95", "p99"];

    /// Its name in plans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    fn is_mean(&self) -> bool {
        *self == Self::Mean
    }

    /// As a share; `None` for the mean.
    fn quantile(self) -> Option<f64> {
        match self {
            Self::Mean => None,
            Self::P50 => Some(0.5),
            Self::P90 => Some(0.9),
            Self::P95 => Some(0.95),
            Self::P99 => Some(0.99),
        }
    }
}

impl PrecisionRule {
    /// The value of a request, if it has one.
    pub fn value(&self, record: &RequestRecord) -> Option<f64> {
        match metric(&self.metric)?.formula {
            Formula::PerRequest(of_request) if record.is_ok() => of_request(record),
            Formula::PerRequest(_) | Formula::Pooled(_) | Formula::PerPoint(_) => None,
        }
    }

    /// What is known after these values, in the order in which requests ended.
    pub fn reached(&self, values: &[f64]) -> Option<Precision> {
        match self.statistic.quantile() {
            None => batch_means(values, self.confidence),
            Some(q) => batch_percentile(values, q, self.confidence),
        }
    }

    /// How the interval was made, in words.
    pub fn method(&self) -> String {
        match self.statistic {
            KnownStatistic::Mean => format!("t interval over {BATCHES} batch means"),
            KnownStatistic::P50 | KnownStatistic::P90 | KnownStatistic::P95 | KnownStatistic::P99 => {
                format!("order statistics, shares of {BATCHES} batches")
            }
        }
    }

    /// The size of the sample at which to look next, after a look at `n` (0: the first).
    pub fn next_look(&self, n: u64) -> u64 {
        let first = self.min_requests.max(2 * BATCHES as u64);
        first.max((n as f64 * GROWTH).ceil() as u64)
    }

    /// Whether it is known well enough.
    pub fn is_kept_by(&self, precision: &Precision) -> bool {
        precision.n >= self.min_requests && precision.relative <= self.relative
    }
}

/// A statistic and how well it is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Precision {
    /// The statistic.
    pub value: f64,
    /// Half the width of its interval, as a share of it.
    pub relative: f64,
    /// Values that went into it.
    pub n: u64,
}

/// The mean of values in the order of their coming, and how well it is known; `None` when there are fewer than two for
/// each batch, or the mean is zero.
pub fn batch_means(values: &[f64], confidence: f64) -> Option<Precision> {
    let used = batched(values)?;
    let (mean, error) = of_batches(used, |value| *value);
    let relative = t(confidence)? * error / mean.abs();
    relative.is_finite().then_some(Precision { value: mean, relative, n: used.len() as u64 })
}

/// The percentile `q` (a share) of values in the order of their coming, and how well it is known; `None` when there are too
/// few for an interval, or it is zero.
pub fn batch_percentile(values: &[f64], q: f64, confidence: f64) -> Option<Precision> {
    let (value, interval, n) = percentile_interval(values, q, confidence)?;
    let relative = (interval.1 - interval.0) / 2.0 / value.abs();
    relative.is_finite().then_some(Precision { value, relative, n })
}

/// The percentile, the ends of its interval, and the values that went into it.
fn percentile_interval(values: &[f64], q: f64, confidence: f64) -> Option<(f64, (f64, f64), u64)> {
    let used = batched(values)?;
    let mut sorted = used.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (value, n) = (percentile(&sorted, q), used.len() as f64);
    let (_, error) = of_batches(used, |one| f64::from(u8::from(*one <= value)));
    let half = t(confidence)? * error.max((q * (1.0 - q) / n).sqrt());
    let (below, above) = ((n * (q - half)).floor(), (n * (q + half)).ceil());
    if below < 1.0 || above > n {
        return None;
    }
    let at_rank = |rank: f64| sorted[rank as usize - 1];
    Some((value, (at_rank(below), at_rank(above)), used.len() as u64))
}

/// As many of the last values as fill all batches equally; `None` when they would have fewer than two.
fn batched(values: &[f64]) -> Option<&[f64]> {
    let size = values.len() / BATCHES;
    (size >= 2).then(|| &values[values.len() - size * BATCHES..])
}

/// The mean of something over all batches, and its standard error.
fn of_batches(used: &[f64], of: impl Fn(&f64) -> f64) -> (f64, f64) {
    let (size, count) = (used.len() / BATCHES, BATCHES as f64);
    let means: Vec<f64> = used.chunks(size).map(|batch| batch.iter().map(&of).sum::<f64>() / size as f64).collect();
    let mean = means.iter().sum::<f64>() / count;
    let variance = means.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, (variance / count).sqrt())
}

fn t(confidence: f64) -> Option<f64> {
    Some(StudentsT::new(0.0, 1.0, BATCHES as f64 - 1.0).ok()?.inverse_cdf(0.5 + confidence / 2.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Normal};

    use super::*;
    use crate::measure::sample::{Shape, point};

    fn rule() -> PrecisionRule {
        PrecisionRule {
            metric: "time-to-first-token".to_owned(),
            statistic: KnownStatistic::Mean,
            relative: 0.02,
            confidence: 0.95,
            min_requests: 100,
        }
    }

    #[test]
    fn the_interval_of_batch_means_holds_the_true_mean_as_often_as_it_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let noise = Normal::new(0.0, 1.0).unwrap();
        let mut held = 0;
        for _ in 0..400 {
            // Neighbours are alike: each value keeps 0.8 of the last one's deviation.
            let mut deviation = 0.0;
            let values: Vec<f64> = (0..2000)
                .map(|_| {
                    deviation = 0.8 * deviation + noise.sample(&mut rng);
                    100.0 + deviation
                })
                .collect();
            let found = batch_means(&values, 0.95).unwrap();
            held += u32::from((found.value - 100.0).abs() <= found.relative * found.value);
        }
        // 95 % of 400 are 380; as if neighbours were independent it would be about 190.
        assert!((364..=396).contains(&held), "{held}");
    }

    /// Each value keeps so much of the last one's deviation; their variance is 1 / (1 - alike^2).
    fn alike(rng: &mut ChaCha8Rng, n: usize, alike: f64) -> Vec<f64> {
        let noise = Normal::new(0.0, 1.0).unwrap();
        let spread = 1.0 / (1.0_f64 - alike * alike).sqrt();
        let mut deviation = spread * noise.sample(rng);
        (0..n)
            .map(|_| {
                deviation = alike * deviation + noise.sample(rng);
                100.0 + deviation / spread
            })
            .collect()
    }

    /// Of 400 samples, in how many the interval holds the true percentile, and in how many there is one.
    fn held(n: usize, likeness: f64, q: f64, z: f64) -> (u32, u32) {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let (mut held, mut told) = (0, 0);
        for _ in 0..400 {
            let values = alike(&mut rng, n, likeness);
            let Some((_, (low, high), _)) = percentile_interval(&values, q, 0.95) else { continue };
            told += 1;
            held += u32::from((low..=high).contains(&(100.0 + z)));
        }
        (held, told)
    }

    #[test]
    fn the_interval_of_a_percentile_holds_the_true_one_about_as_often_as_it_says() {
        for (n, likeness, q, z) in [
            (1000, 0.0, 0.5, 0.0),
            (2000, 0.8, 0.5, 0.0),
            (2000, 0.0, 0.9, 1.281_552),
            (4000, 0.8, 0.9, 1.281_552),
            (4000, 0.0, 0.99, 2.326_348),
            (10_000, 0.5, 0.99, 2.326_348),
        ] {
            let (held, told) = held(n, likeness, q, z);
            // 95 % of 400 are 380; taking neighbours for independent it would be about 250 where they keep 0.8.
            assert!(told >= 395 && (360..=398).contains(&held), "n {n}, likeness {likeness}, q {q}: {held} of {told}");
        }
    }

    #[test]
    fn an_interval_of_a_percentile_has_the_ranks_of_the_binomial_rule_where_batches_are_alike() {
        // The same hundred values in each batch: no spread between batches at all.
        let values: Vec<f64> = (0..2000).map(|place| f64::from(place % 100 + 1)).collect();
        let found = batch_percentile(&values, 0.5, 0.95).unwrap();
        // 2.093 x sqrt(0.25 / 2000) = 0.0234: ranks 953 and 1047 of twenty of each value.
        assert_eq!((found.value, found.n), (50.5, 2000));
        assert!((found.relative - (53.0 - 48.0) / 2.0 / 50.5).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn a_far_percentile_is_not_known_before_values_lie_beyond_its_interval() {
        let values: Vec<f64> = (0..1000).map(|place| f64::from(place * 7919 % 1000)).collect();
        assert_eq!(batch_percentile(&values[..400], 0.99, 0.95), None);
        assert!(batch_percentile(&values, 0.99, 0.95).is_some());
        assert_eq!(batch_percentile(&[5.0; 60], 0.5, 0.95), Some(Precision { value: 5.0, relative: 0.0, n: 60 }));
    }

    #[test]
    fn a_rule_without_a_statistic_is_of_the_mean_and_written_as_before() {
        let text = serde_json::to_string(&rule()).unwrap();
        assert!(!text.contains("statistic"), "{text}");
        assert_eq!(serde_json::from_str::<PrecisionRule>(&text).unwrap(), rule());
        for name in KnownStatistic::NAMES {
            let statistic: KnownStatistic = serde_json::from_value((*name).into()).unwrap();
            assert_eq!(statistic.as_str(), *name);
        }
        let tail = PrecisionRule { statistic: KnownStatistic::P90, ..rule() };
        let values: Vec<f64> = (0..1000).map(|place| f64::from(place % 10)).collect();
        assert_eq!(tail.reached(&values), batch_percentile(&values, 0.9, 0.95));
    }

    #[test]
    fn too_few_values_tell_nothing() {
        assert_eq!(batch_means(&[1.0; 39], 0.95), None);
        assert_eq!(batch_means(&[0.0; 40], 0.95), None);
        assert_eq!(batch_means(&[2.0; 47], 0.95), Some(Precision { value: 2.0, relative: 0.0, n: 40 }));
    }

    #[test]
    fn looks_are_few_and_never_before_the_smallest_sample() {
        assert_eq!((rule().next_look(0), rule().next_look(100)), (100, 125));
        assert_eq!(PrecisionRule { min_requests: 1, ..rule() }.next_look(0), 40);
        let exact = Precision { value: 1.0, relative: 0.0, n: 99 };
        assert!(!rule().is_kept_by(&exact));
        assert!(rule().is_kept_by(&Precision { n: 100, ..exact }));
        assert!(!rule().is_kept_by(&Precision { n: 100, relative: 0.03, ..exact }));
    }

    #[test]
    fn only_successful_requests_have_a_value() {
        let records = point(Shape { requests: 10, fail_every: 5, ..Shape::default() }).records;
        assert_eq!(records.iter().filter_map(|record| rule().value(record)).count(), 8);
        let whole = PrecisionRule { metric: "output-throughput".to_owned(), ..rule() };
        assert_eq!(records.iter().filter_map(|record| whole.value(record)).count(), 0);
    }
}
