//! How much of a series' start is its transient: MSER-5.

use super::stats::mean_of;

/// Observations that are averaged before the rule is applied.
pub(super) const BATCH: usize = 5;

/// Where the transient ends, as a number of leading observations to leave out.
///
/// MSER-5 (White 1997; White, Cobb and Spratt 2000): of the k means of five observations the first d are left out, where d
/// minimises sum over j > d of (Z_j - mean)^2 / (k - d)^2, the squared half-width of the mean's interval. It chooses by
/// precision and never by the value. d is looked for in the first half only; `None` when the smallest value lies at the end of
/// it, so that no end of the transient was found, or when there are fewer than four means.
pub(super) fn mser5(series: &[f64]) -> Option<usize> {
    let means: Vec<f64> = series.chunks_exact(BATCH).map(mean_of).collect();
    let half = means.len() / 2;
    if half < 2 {
        return None;
    }
    // From the back, so that each d costs one step (Welford's update).
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    let mut best = (f64::INFINITY, 0);
    for d in (0..means.len()).rev() {
        count += 1.0;
        let off = means[d] - mean;
        mean += off / count;
        squares += off * (means[d] - mean);
        let score = squares / (count * count);
        // `<=`: of equal ones the smallest d, which comes last.
        if d <= half && score <= best.0 {
            best = (score, d);
        }
    }
    let (_, d) = best;
    (d < half).then_some(d * BATCH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rule as its definition says it, without the shortcut.
    fn slowly(series: &[f64]) -> Option<usize> {
        let means: Vec<f64> = series.chunks_exact(BATCH).map(mean_of).collect();
        let half = means.len() / 2;
        let score = |d: usize| {
            let rest = &means[d..];
            let mean = mean_of(rest);
            rest.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (rest.len() as f64).powi(2)
        };
        let best = (0..=half).reduce(|best, d| if score(d) < score(best) - 1e-12 { d } else { best })?;
        (half >= 2 && best < half).then_some(best * BATCH)
    }

    #[test]
    fn a_transient_is_cut_where_it_ends() {
        // Ten observations on the way, then noise about one value. By hand: with Z = 9, 4, 1, 2, 1, 2, 1, 2, 1, 2 the
        // scores of d = 0, 1, 2, 3 are 0.545 (54.5 / 100), 0.0933 (7.556 / 81), 0.03125 (2 / 64), 0.0350 (1.714 / 49).
        let means = [9.0, 4.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0];
        let series: Vec<f64> = means.iter().flat_map(|mean| [*mean; BATCH]).collect();
        assert_eq!(mser5(&series), Some(10));
    }

    #[test]
    fn a_steady_series_keeps_its_start_and_a_drift_has_no_end() {
        let steady: Vec<f64> = (0..200).map(|at| f64::from(at % 10)).collect();
        assert_eq!(mser5(&steady), Some(0));
        let drift: Vec<f64> = (0..200).map(f64::from).collect();
        assert_eq!(mser5(&drift), None);
        assert_eq!(mser5(&[1.0; 19]), None);
    }

    proptest! {
        #[test]
        fn the_shortcut_gives_what_the_definition_gives(series in prop::collection::vec(0.0..100.0_f64, 20..150)) {
            prop_assert_eq!(mser5(&series), slowly(&series));
        }
    }
}
