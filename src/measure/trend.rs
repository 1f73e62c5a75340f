//! Whether a series drifts: the Mann-Kendall test with its variance corrected for autocorrelation.
//!
//! Values that follow each other in a server are alike, which makes the plain test see trends in noise. The correction is
//! that of Hamed and Rao (1998): the variance of S grows by the significant autocorrelations of the ranks of the
//! detrended series.

use statrs::distribution::{ContinuousCDF, Normal};

/// Level at which an autocorrelation counts as significant, two-sided.
const AUTOCORRELATION_ALPHA: f64 = 0.05;
/// Fewer values say nothing by a normal approximation (Kendall 1975: 10 and more).
pub(super) const FEWEST: usize = 10;

/// What the test found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trend {
    /// Kendall's score: pairs that rise less pairs that fall.
    pub(super) s: f64,
    /// Variance of `s` without a trend and without autocorrelation, ties allowed for.
    pub(super) variance: f64,
    /// What autocorrelation multiplies the variance by, at least 1.
    pub(super) correction: f64,
    /// Two-sided p-value, corrected.
    pub(super) p: f64,
    /// The median slope between all pairs (Theil and Sen), per step of the series.
    pub(super) slope: f64,
}

impl Trend {
    /// p-value of the test without the correction.
    #[cfg(test)]
    fn plain_p(&self) -> f64 {
        two_sided(self.s, self.variance)
    }
}

/// Tests a series in the order of time; `None` when it is shorter than [`FEWEST`] or all values are the same.
///
/// S = sum over i < j of sign(x_j - x_i); var(S) = (n(n-1)(2n+5) - sum over ties t of t(t-1)(2t+5)) / 18 (Mann 1945, Kendall
/// 1975). The correction is 1 + 2 / (n(n-1)(n-2)) x sum over lags k of (n-k)(n-k-1)(n-k-2) r(k), where r(k) is the
/// autocorrelation of the ranks of x less its Theil-Sen line (Hamed and Rao 1998, equations 11 to 14). Of the lags those
/// count that are significant without a gap from the first on: later ones that are significant by chance would blur
/// the variance (their own examples use the first three). A factor below 1 is not applied: from a negative autocorrelation of
/// few values no certainty is won.
pub(super) fn trend(series: &[f64]) -> Option<Trend> {
    let n = series.len();
    if n < FEWEST {
        return None;
    }
    let mut s = 0.0;
    let mut slopes = Vec::with_capacity(n * (n - 1) / 2);
    for (i, one) in series.iter().enumerate() {
        for (steps, other) in series[i + 1..].iter().enumerate() {
            let rise = other - one;
            s += if rise > 0.0 {
                1.0
            } else if rise < 0.0 {
                -1.0
            } else {
                0.0
            };
            slopes.push(rise / (steps + 1) as f64);
        }
    }
    let variance = variance(series);
    if variance <= 0.0 {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let slope = super::stats::percentile(&slopes, 0.5);
    let detrended: Vec<f64> = series.iter().enumerate().map(|(at, value)| value - at as f64 * slope).collect();
    let correction = correction(&ranks(&detrended));
    Some(Trend { s, variance, correction, p: two_sided(s, variance * correction), slope })
}

fn variance(series: &[f64]) -> f64 {
    let of = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut sorted = series.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted.chunk_by(|one, other| one == other).map(|tied| of(tied.len() as f64)).sum();
    (of(series.len() as f64) - ties) / 18.0
}

/// The probability of a score that far from zero, with the correction for continuity.
fn two_sided(s: f64, variance: f64) -> f64 {
    let z = (s.abs() - 1.0).max(0.0) / variance.sqrt();
    2.0 * Normal::standard().sf(z)
}

/// Ranks from 1; ties share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for tied in order.chunk_by(|one, other| values[*one] == values[*other]) {
        let rank = before as f64 + (tied.len() as f64 + 1.0) / 2.0;
        tied.iter().for_each(|place| ranks[*place] = rank);
        before += tied.len();
    }
    ranks
}

fn correction(ranks: &[f64]) -> f64 {
    let n = ranks.len() as f64;
    let significant = Normal::standard().inverse_cdf(1.0 - AUTOCORRELATION_ALPHA / 2.0) / n.sqrt();
    let mean = ranks.iter().sum::<f64>() / n;
    let about: Vec<f64> = ranks.iter().map(|rank| rank - mean).collect();
    let product = |lag: usize| about.iter().zip(&about[lag..]).map(|(one, other)| one * other).sum::<f64>();
    let whole = product(0);
    if whole <= 0.0 {
        return 1.0;
    }
    let sum: f64 = (1..ranks.len())
        .map(|lag| (lag as f64, product(lag) / whole))
        .take_while(|(_, correlation)| correlation.abs() > significant)
        .map(|(lag, correlation)| (n - lag) * (n - lag - 1.0) * (n - lag - 2.0) * correlation)
        .sum();
    (1.0 + 2.0 / (n * (n - 1.0) * (n - 2.0)) * sum).max(1.0)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-9, "{found} and not {expected}");
    }

    // The expected numbers of the next three tests are those of pyMannKendall 1.4.3 (original_test and
    // hamed_rao_modification_test) for the same series.

    #[test]
    fn a_rising_series_has_the_reference_numbers() {
        let rising =
            [5.2, 4.9, 6.1, 5.8, 6.4, 6.0, 7.1, 6.6, 7.3, 6.9, 7.8, 7.2, 8.1, 7.9, 7.5, 8.4, 8.0, 8.8, 8.6, 9.1];
        let found = trend(&rising).unwrap();
        assert_eq!((found.s, found.variance), (158.0, 950.0));
        close(found.slope, 0.188_888_888_888_888_88);
        close(found.plain_p(), 3.510_447_526e-7);
        // Its autocorrelations are negative: there is nothing to add.
        assert_eq!(found.correction, 1.0);
    }

    #[test]
    fn ties_lower_the_variance_as_in_the_reference() {
        let digits = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4, 3, 3, 8, 3, 2, 7];
        let found = trend(&digits.map(f64::from)).unwrap();
        assert_eq!((found.s, found.slope, found.correction), (19.0, 0.0, 1.0));
        close(found.variance, 3_068.333_333_333_333_5);
        close(found.p, 0.745_216_255_360_702_7);
    }

    #[test]
    fn an_autocorrelated_series_has_the_corrected_variance_of_the_reference() {
        let wandering = [
            0.155154, -0.071062, 0.118111, -0.298743, -0.22242, -0.18827, -0.048143, -0.16856, -0.378181, -0.428363,
            -0.017105, -0.340964, -0.474959, -0.236437, 0.100505, 0.568216, 0.755143, 0.568372, 0.493696, 0.52045,
            0.166352, 0.336969, 0.485859, 0.868205, 0.523586, 0.364326, 0.499862, 0.639785, 0.184606, -0.33661,
            0.013289, -0.448162, -0.261097, -0.463181, -0.314083, -0.236047, -0.291387, -0.550493, -0.294437,
            -0.019006, -0.210262, 0.303269, 0.577147, 0.35181, 0.486321, 0.014573, 0.119424, 0.144615, 0.315576,
            0.656448, 0.422032, 0.669939, 0.654416, 0.039687, -0.093268, -0.465046, -0.311784, -0.379243, -0.653525,
            -0.219119,
        ];
        let found = trend(&wandering).unwrap();
        assert_eq!(found.s, 14.0);
        close(found.slope, 0.000_113_764_285_714_285_27);
        close(found.variance, 24_583.333_333_333_332);
        close(found.plain_p(), 0.933_920_665_812_010_7);
        // The first three lags are significant: the reference with `lag=3`.
        close(found.variance * found.correction, 99_974.796_898_404_08);
        close(found.p, 0.967_204_383_053_537_5);
    }

    #[test]
    fn short_and_constant_series_have_no_answer() {
        assert_eq!(trend(&[1.0; 9]), None);
        assert_eq!(trend(&[1.0; 50]), None);
    }

    /// How often a trend is seen at 5 % in noise with that autocorrelation: corrected, and not.
    fn false_alarms(phi: f64, length: usize) -> (f64, f64) {
        const SERIES: u64 = 400;
        let (mut corrected, mut plain) = (0.0, 0.0);
        for seed in 0..SERIES {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut value = 0.0;
            let mut next = || {
                let noise: f64 = StandardNormal.sample(&mut random);
                value = phi * value + noise;
                value
            };
            (0..100).for_each(|_| {
                next();
            });
            let series: Vec<f64> = (0..length).map(|_| next()).collect();
            let found = trend(&series).unwrap();
            corrected += f64::from(u8::from(found.p < 0.05));
            plain += f64::from(u8::from(found.plain_p() < 0.05));
        }
        (corrected / SERIES as f64, plain / SERIES as f64)
    }

    #[test]
    fn white_noise_is_called_a_trend_as_often_as_the_level_says() {
        let (corrected, plain) = false_alarms(0.0, 80);
        // 5 % of 400 is 20, with a standard deviation of 4.4.
        assert!((0.02..0.085).contains(&corrected) && (0.02..0.085).contains(&plain), "{corrected} {plain}");
    }

    #[test]
    fn autocorrelated_noise_fools_the_plain_test_and_not_the_corrected_one() {
        let (corrected, plain) = false_alarms(0.7, 200);
        assert!(plain > 0.3 && corrected < 0.13, "{corrected} {plain}");
    }

    #[test]
    fn a_drift_of_half_a_deviation_is_seen_through_the_correction() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let drifting = (0..80).map(|at| {
            let noise: f64 = StandardNormal.sample(&mut random);
            noise + 2.0 * f64::from(at) / 80.0
        });
        let found = trend(&drifting.collect::<Vec<_>>()).unwrap();
        assert!(found.p < 0.01 && found.slope > 0.0, "{found:?}");
    }
}
