//! Statistics of a sample: moments and percentiles, and the size below which a percentile is not printed.

use serde::{Deserialize, Deserializer, Serialize};

/// The percentiles that are kept of every sample, as GenAI-Perf and AIPerf write them.
pub const PERCENTILES: [u8; 9] = [1, 5, 10, 25, 50, 75, 90, 95, 99];

/// A sample in a few numbers, in the metric's unit. What a foreign file did not tell is NaN, and `null` in files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Size of the sample.
    pub n: u64,
    /// Requests that it is of, where each of them has several values: they are alike, and a percentile is no better known than
    /// by so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Arithmetic mean.
    pub mean: f64,
    /// Population standard deviation, as numpy's default.
    #[serde(deserialize_with = "number_or_unknown")]
    pub std: f64,
    /// Smallest value.
    #[serde(deserialize_with = "number_or_unknown")]
    pub min: f64,
    /// Largest value.
    #[serde(deserialize_with = "number_or_unknown")]
    pub max: f64,
    /// One value for each of [`PERCENTILES`], by linear interpolation.
    #[serde(deserialize_with = "numbers_or_unknown")]
    pub percentiles: [f64; 9],
}

fn number_or_unknown<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Option::deserialize(from).map(|number| number.unwrap_or(f64::NAN))
}

fn numbers_or_unknown<'de, D: Deserializer<'de>>(from: D) -> Result<[f64; 9], D::Error> {
    <[Option<f64>; 9]>::deserialize(from).map(|numbers| numbers.map(|number| number.unwrap_or(f64::NAN)))
}

impl Distribution {
    /// Of a sample in any order; `None` when it is empty.
    pub fn of(mut sample: Vec<f64>) -> Option<Self> {
        // In place: a sample of every gap of a level is as large as all its records.
        sample.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sample.first()?, *sample.last()?);
        let n = sample.len() as f64;
        let mean = sample.iter().sum::<f64>() / n;
        let variance = sample.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        Some(Self {
            n: sample.len() as u64,
            requests: None,
            mean,
            std: variance.sqrt(),
            min,
            max,
            percentiles: PERCENTILES.map(|p| percentile(&sample, f64::from(p) / 100.0)),
        })
    }

    /// The value of one of [`PERCENTILES`], whatever the sample's size; `None` for another percentile.
    pub fn percentile(&self, p: u8) -> Option<f64> {
        PERCENTILES.iter().position(|known| *known == p).map(|place| self.percentiles[place]).filter(|v| !v.is_nan())
    }

    /// How many values that are not alike it has: what decides which percentiles may be printed.
    pub fn requests(&self) -> u64 {
        self.requests.unwrap_or(self.n)
    }

    /// The same, but only from [`smallest_sample`] requests on: what may be printed and drawn.
    pub fn trusted_percentile(&self, p: u8) -> Option<f64> {
        if self.requests() < smallest_sample(p) { None } else { self.percentile(p) }
    }

    /// A statistic by its name, one of [`STATISTICS`]; percentiles only when they may be printed.
    pub fn statistic(&self, name: &str) -> Option<f64> {
        let found = match name {
            "mean" => Some(self.mean),
            "std" => Some(self.std),
            "min" => Some(self.min),
            "max" => Some(self.max),
            _ => self.trusted_percentile(name.strip_prefix('p')?.parse().ok()?),
        };
        found.filter(|value| !value.is_nan())
    }
}

/// Names of all statistics of a distribution.
pub const STATISTICS: &[&str] =
    &["mean", "std", "min", "max", "p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99"];

/// Arithmetic mean of at least one value.
pub(super) fn mean_of(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Percentile of a sorted sample by linear interpolation between closest ranks (numpy's default, `linear`).
///
/// # Panics
/// When the sample is empty.
pub fn percentile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    interpolated(sorted[place.floor() as usize], sorted[place.ceil() as usize], place)
}

/// What stands at `place` between the values at the whole places below and above it.
pub(super) fn interpolated(low: f64, high: f64, place: f64) -> f64 {
    low + (high - low) * (place - place.floor())
}

/// The smallest sample from which percentile `p` is printed: ln 0.025 / ln p, so that with 97.5 % probability at least
/// one value lies above it (p90 36, p95 72, p99 368). Below the median the same rule holds from the other side.
pub fn smallest_sample(p: u8) -> u64 {
    let tail = f64::from(p.max(100 - p.min(100))) / 100.0;
    if tail >= 1.0 {
        return u64::MAX;
    }
    (0.025_f64.ln() / tail.ln()).ceil() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_interpolate_as_numpy_does() {
        let sample: Vec<f64> = (0..40).map(f64::from).collect();
        // numpy.percentile(numpy.arange(40), [50, 90, 99]) = 19.5, 35.1, 38.61
        for (q, expected) in [(0.5, 19.5), (0.9, 35.1), (0.99, 38.61)] {
            assert!((percentile(&sample, q) - expected).abs() < 1e-9, "{q}");
        }
    }

    #[test]
    fn smallest_samples_are_those_of_the_design() {
        assert_eq!([90, 95, 99].map(smallest_sample), [36, 72, 368]);
        assert_eq!(smallest_sample(10), smallest_sample(90));
        assert_eq!(smallest_sample(100), u64::MAX);
    }

    #[test]
    fn a_percentile_of_a_small_sample_is_not_printed() {
        let small = Distribution::of(vec![1.0; 367]).unwrap();
        assert_eq!(small.statistic("p99"), None);
        assert_eq!(small.percentile(99), Some(1.0));
        assert_eq!(Distribution::of(vec![1.0; 368]).unwrap().statistic("p99"), Some(1.0));
    }

    #[test]
    fn every_percentile_that_is_kept_has_a_name() {
        let named: Vec<u8> = STATISTICS.iter().filter_map(|name| name.strip_prefix('p')?.parse().ok()).collect();
        assert_eq!(named, PERCENTILES);
        let known = Distribution::of(vec![1.0; 5000]).unwrap();
        assert!(STATISTICS.iter().all(|name| known.statistic(name).is_some()));
    }

    #[test]
    fn the_standard_deviation_is_of_the_population() {
        let two = Distribution::of(vec![1.0, 3.0]).unwrap();
        assert_eq!((two.mean, two.std), (2.0, 1.0));
        assert_eq!(Distribution::of(Vec::new()), None);
    }

    proptest! {
        #[test]
        fn every_statistic_lies_within_the_sample_and_ignores_its_order(
            sample in prop::collection::vec(-1e6..1e6_f64, 1..200)
        ) {
            let found = Distribution::of(sample.clone()).unwrap();
            let backwards = sample.iter().rev().copied().collect();
            prop_assert_eq!(Distribution::of(backwards).unwrap(), found.clone());
            prop_assert!(found.percentiles.is_sorted());
            let slack = 1e-9 * found.max.abs().max(found.min.abs()).max(1.0);
            for value in found.percentiles.into_iter().chain([found.mean]) {
                prop_assert!(value >= found.min - slack && value <= found.max + slack, "{}", value);
            }
            prop_assert!(found.std <= found.max - found.min + slack);
        }

        #[test]
        fn a_percentile_splits_the_sample_where_it_says(
            mut sample in prop::collection::vec(-1e6..1e6_f64, 1..200), p in 0_u8..=100
        ) {
            sample.sort_by(f64::total_cmp);
            let q = f64::from(p) / 100.0;
            let value = percentile(&sample, q);
            let (below, above) = (
                sample.iter().filter(|other| **other < value - 1e-6).count(),
                sample.iter().filter(|other| **other > value + 1e-6).count(),
            );
            let last = (sample.len() - 1) as f64;
            prop_assert!(below as f64 <= (q * last).ceil() && above as f64 <= ((1.0 - q) * last).ceil());
        }
    }
}
