//! The paired t interval on log ratios, and Holm's adjustment of several p values.
//!
//! The run is the replicate, not the request: each value here is one block's ln(other / baseline).

use statrs::distribution::{ContinuousCDF, StudentsT};

/// What a set of paired log ratios says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// Number of pairs.
    pub n: u64,
    /// Geometric mean of the ratios.
    pub ratio: f64,
    /// 95 % t interval of the ratio: `exp(mean -+ t(0.975, n-1) s / sqrt n)`.
    pub low: f64,
    /// See `low`.
    pub high: f64,
    /// Two-sided p value of "the ratio is 1".
    pub p: f64,
    /// The smallest relative difference that so many pairs with this spread find in 80 of 100 cases:
    /// `exp((t(0.975, n-1) + t(0.8, n-1)) s / sqrt n) - 1`.
    pub detectable: f64,
}

/// Evaluates log ratios, one per block; `None` below two, or when one is not finite.
pub fn paired(log_ratios: &[f64]) -> Option<Paired> {
    if log_ratios.len() < 2 || log_ratios.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut values = log_ratios.to_vec();
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let error = (variance / n).sqrt();
    let student = StudentsT::new(0.0, 1.0, n - 1.0).expect("location 0, scale 1 and at least one degree of freedom");
    let quantile = student.inverse_cdf(0.975);
    let p = if error > 0.0 {
        2.0 * student.cdf(-(mean / error).abs())
    } else if mean == 0.0 {
        1.0
    } else {
        0.0
    };
    Some(Paired {
        n: values.len() as u64,
        ratio: mean.exp(),
        low: (mean - quantile * error).exp(),
        high: (mean + quantile * error).exp(),
        p: p.min(1.0),
        detectable: ((quantile + student.inverse_cdf(0.8)) * error).exp() - 1.0,
    })
}

/// Holm's step-down adjustment: p values in the same order, each to be compared with the level of the whole family.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<_> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut highest = 0.0_f64;
    for (rank, at) in order.into_iter().enumerate() {
        highest = highest.max(p_values[at] * (p_values.len() - rank) as f64).min(1.0);
        adjusted[at] = highest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The distribution of t by Simpson's rule over its density: slow and obvious.
    fn slow_cdf(t: f64, freedom: u32) -> f64 {
        // Gamma((v+1)/2) / Gamma(v/2) by its recurrence from Gamma(1) / Gamma(1/2) and Gamma(3/2) / Gamma(1)
        let pi = std::f64::consts::PI;
        let (mut factor, mut v) = if freedom % 2 == 1 { (1.0 / pi.sqrt(), 1) } else { (pi.sqrt() / 2.0, 2) };
        while v < freedom {
            factor *= f64::from(v + 1) / f64::from(v);
            v += 2;
        }
        let freedom = f64::from(freedom);
        let density = |x: f64| factor / (freedom * pi).sqrt() * (1.0 + x * x / freedom).powf(-(freedom + 1.0) / 2.0);
        let steps = 20_000;
        let width = t / f64::from(steps);
        let inner: f64 = (1..steps).map(|i| density(width * f64::from(i)) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
        0.5 + width / 3.0 * (density(0.0) + inner + density(t))
    }

    #[test]
    fn the_interval_uses_the_tabulated_quantiles() {
        // t(0.975) of the tables: 12.706, 4.3027, 3.1824, 2.7764 for 1, 2, 3, 4 degrees of freedom
        for (n, quantile) in [(2, 12.7062), (3, 4.30265), (4, 3.18245), (5, 2.77645)] {
            let values: Vec<_> = (0..n).map(|i| 0.01 * f64::from(i)).collect();
            let found = paired(&values).unwrap();
            let mean = values.iter().sum::<f64>() / f64::from(n);
            let spread = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n - 1)).sqrt();
            let half = (found.high.ln() - found.low.ln()) / 2.0;
            assert!((half * f64::from(n).sqrt() / spread - quantile).abs() < 1e-3, "{n}: {half}");
            assert!((found.ratio.ln() - mean).abs() < 1e-12);
        }
    }

    #[test]
    fn five_pairs_worked_by_hand() {
        // ratios 1.10 1.12 1.15 1.11 1.14: ln mean 0.116758, s 0.018428, error 0.008241, t 14.168, p 0.000144
        let found = paired(&[1.10_f64, 1.12, 1.15, 1.11, 1.14].map(f64::ln)).unwrap();
        for (value, expected) in [(found.ratio, 1.12385), (found.low, 1.09847), (found.high, 1.14984)] {
            assert!((value - expected).abs() < 2e-4, "{value} is not {expected}");
        }
        assert!((1.43e-4..1.45e-4).contains(&found.p), "{}", found.p);
    }

    #[test]
    fn the_p_value_agrees_with_a_slow_integral() {
        for (values, freedom) in [(vec![0.02, 0.05, -0.01], 2), (vec![0.1, -0.1, 0.05, 0.02], 3), (vec![0.3, 0.1], 1)] {
            let found = paired(&values).unwrap();
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let error = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt();
            let slow = 2.0 * (1.0 - slow_cdf((mean / error).abs(), freedom));
            assert!((found.p - slow).abs() < 1e-6, "{} is not {slow}", found.p);
        }
    }

    #[test]
    fn pairs_without_spread_are_certain() {
        assert_eq!(paired(&[0.0, 0.0, 0.0]).unwrap().p, 1.0);
        assert_eq!(paired(&[0.125, 0.125, 0.125]).map(|found| (found.p, found.detectable)), Some((0.0, 0.0)));
        assert_eq!(paired(&[0.1]), None);
        assert_eq!(paired(&[0.1, f64::NAN]), None);
    }

    #[test]
    fn holm_multiplies_by_what_is_left_and_never_falls() {
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (value, expected) in found.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((value - expected).abs() < 1e-12, "{found:?}");
        }
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }

    proptest! {
        #[test]
        fn order_and_direction_do_not_matter(values in prop::collection::vec(-1.0..1.0_f64, 2..9)) {
            let found = paired(&values).unwrap();
            let backwards: Vec<_> = values.iter().rev().copied().collect();
            prop_assert_eq!(paired(&backwards).unwrap(), found);
            let swapped: Vec<_> = values.iter().map(|value| -value).collect();
            let swapped = paired(&swapped).unwrap();
            prop_assert!((swapped.ratio * found.ratio - 1.0).abs() < 1e-9);
            prop_assert!((swapped.low * found.high - 1.0).abs() < 1e-6);
            prop_assert!((swapped.p - found.p).abs() < 1e-9);
            prop_assert!(found.low <= found.ratio && found.ratio <= found.high);
            // the interval and the p value tell the same story
            let outside = found.low > 1.0 || found.high < 1.0;
            prop_assert!(outside == (found.p < 0.05) || (found.p - 0.05).abs() < 1e-6);
        }

        #[test]
        fn adjusted_values_keep_order_and_are_never_smaller(values in prop::collection::vec(0.0..1.0_f64, 0..9)) {
            let adjusted = holm(&values);
            for (a, adjusted_a) in values.iter().zip(&adjusted) {
                prop_assert!(adjusted_a >= a && *adjusted_a <= 1.0);
                for (b, adjusted_b) in values.iter().zip(&adjusted) {
                    prop_assert!(a > b || adjusted_a <= adjusted_b);
                }
            }
        }
    }
}
