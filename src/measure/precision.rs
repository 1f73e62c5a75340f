//! How well a mean is known: batch means, because neighbouring requests are alike.
//!
//! The values, in the order in which requests ended, are cut into [`BATCHES`] batches of equal size (what is left over at
//! the start is not used). The means of batches are nearly independent where single requests are not, so
//! `half width = t(confidence, BATCHES - 1) x s / sqrt(BATCHES)`, `s` being the standard deviation of the batches' means.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::metric::{Formula, metric};
use super::record::RequestRecord;

/// Into so many batches a sample is cut.
pub const BATCHES: usize = 20;

/// From one look to the next the sample must have grown by this factor: each look is a chance to be fooled.
const GROWTH: f64 = 1.25;

/// When a level is known well enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PrecisionRule {
    /// A metric with one value per request, by its id; its mean is what counts.
    pub metric: String,
    /// Half the width of the interval, as a share of the mean.
    pub relative: f64,
    /// Confidence of the interval, such as 0.95.
    pub confidence: f64,
    /// Not before so many successful requests.
    pub min_requests: u64,
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
        batch_means(values, self.confidence)
    }

    /// The size of the sample at which to look next, after a look at `n` (0: the first).
    pub fn next_look(&self, n: u64) -> u64 {
        let first = self.min_requests.max(2 * BATCHES as u64);
        first.max((n as f64 * GROWTH).ceil() as u64)
    }

    /// Whether a mean is known well enough.
    pub fn is_kept_by(&self, precision: &Precision) -> bool {
        precision.n >= self.min_requests && precision.relative <= self.relative
    }
}

/// A mean and how well it is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Precision {
    /// The mean of the batches.
    pub mean: f64,
    /// Half the width of its interval, as a share of the mean.
    pub relative: f64,
    /// Values that went into it.
    pub n: u64,
}

/// The mean of values in the order of their coming, and how well it is known; `None` when there are fewer than two for
/// each batch, or the mean is zero.
pub fn batch_means(values: &[f64], confidence: f64) -> Option<Precision> {
    let size = values.len() / BATCHES;
    if size < 2 {
        return None;
    }
    let used = &values[values.len() - size * BATCHES..];
    let means: Vec<f64> = used.chunks(size).map(|batch| batch.iter().sum::<f64>() / size as f64).collect();
    let count = BATCHES as f64;
    let mean = means.iter().sum::<f64>() / count;
    let variance = means.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let t = StudentsT::new(0.0, 1.0, count - 1.0).ok()?.inverse_cdf(0.5 + confidence / 2.0);
    let relative = t * (variance / count).sqrt() / mean.abs();
    relative.is_finite().then_some(Precision { mean, relative, n: used.len() as u64 })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Normal};

    use super::*;
    use crate::measure::sample::{Shape, point};

    fn rule() -> PrecisionRule {
        PrecisionRule { metric: "time-to-first-token".to_owned(), relative: 0.02, confidence: 0.95, min_requests: 100 }
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
            held += u32::from((found.mean - 100.0).abs() <= found.relative * found.mean);
        }
        // 95 % of 400 are 380; as if neighbours were independent it would be about 190.
        assert!((364..=396).contains(&held), "{held}");
    }

    #[test]
    fn too_few_values_tell_nothing() {
        assert_eq!(batch_means(&[1.0; 39], 0.95), None);
        assert_eq!(batch_means(&[0.0; 40], 0.95), None);
        assert_eq!(batch_means(&[2.0; 47], 0.95), Some(Precision { mean: 2.0, relative: 0.0, n: 40 }));
    }

    #[test]
    fn looks_are_few_and_never_before_the_smallest_sample() {
        assert_eq!((rule().next_look(0), rule().next_look(100)), (100, 125));
        assert_eq!(PrecisionRule { min_requests: 1, ..rule() }.next_look(0), 40);
        let exact = Precision { mean: 1.0, relative: 0.0, n: 99 };
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
