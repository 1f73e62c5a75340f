//! The Pareto frontier: what no other point beats on both axes.

/// Places of the points that no other one beats, where more is better on both axes (tokens/s/user and tokens/s/GPU),
/// from the smallest `x` to the largest. A point is beaten by one that is at least as good on both axes and better on
/// one; of equal points the first is kept. Points that are not finite are on no frontier.
pub fn frontier(points: &[(f64, f64)]) -> Vec<usize> {
    let mut places: Vec<_> =
        (0..points.len()).filter(|at| points[*at].0.is_finite() && points[*at].1.is_finite()).collect();
    places.sort_by(|a, b| {
        points[*b].0.total_cmp(&points[*a].0).then(points[*b].1.total_cmp(&points[*a].1)).then(a.cmp(b))
    });
    let mut highest = f64::NEG_INFINITY;
    places.retain(|at| {
        let unbeaten = points[*at].1 > highest;
        highest = highest.max(points[*at].1);
        unbeaten
    });
    places.reverse();
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn beats(a: (f64, f64), b: (f64, f64)) -> bool {
        a.0 >= b.0 && a.1 >= b.1 && a != b
    }

    #[test]
    fn points_that_another_beats_on_both_axes_are_not_on_the_frontier() {
        let points = [(10.0, 900.0), (50.0, 500.0), (40.0, 400.0), (100.0, 100.0), (f64::NAN, 1e9)];
        assert_eq!(frontier(&points), [0, 1, 3]);
    }

    proptest! {
        #[test]
        fn the_frontier_is_what_the_definition_says(
            points in prop::collection::vec((0..8_i32, 0..8_i32), 0..20)
        ) {
            let points: Vec<_> = points.into_iter().map(|(x, y)| (f64::from(x), f64::from(y))).collect();
            let found = frontier(&points);
            for (at, point) in points.iter().enumerate() {
                let beaten = points.iter().any(|other| beats(*other, *point));
                let first = !points[..at].contains(point);
                prop_assert_eq!(found.contains(&at), !beaten && first, "{:?}", point);
            }
        }
    }
}
