//! The distribution of a sample that is too large to be held: gaps of all tokens of a level.
//!
//! Exact, and in the memory of a few megabytes whatever the sample's size: the values are gone through several times. Up to
//! [`HELD`] of them are sorted as any other sample. Beyond it a percentile's two neighbouring ranks are found digit by
//! digit: values are read as whole numbers of the same order, counted by their highest sixteen bits, then, among those that
//! share a rank's, by the next sixteen, and so on (a radix selection).

use std::collections::BTreeMap;

use super::stats::{Distribution, PERCENTILES, interpolated};

/// Values up to which a sample is held and sorted: eight megabytes.
const HELD: u64 = 1 << 20;
/// Bits of one digit.
const DIGIT: u32 = 16;

/// Goes through a sample: each value with how many times it counts.
pub(super) type Visit<'a> = &'a dyn Fn(&mut dyn FnMut(f64, u64));

/// The distribution of a sample that `visit` goes through, the same each time; `None` when it is empty.
pub(super) fn distribution(visit: Visit<'_>) -> Option<Distribution> {
    let mut n = 0_u64;
    visit(&mut |_, times| n += times);
    if n > HELD {
        return Some(selected(visit, n));
    }
    let mut sample = Vec::with_capacity(usize::try_from(n).ok()?);
    visit(&mut |value, times| sample.extend((0..times).map(|_| value)));
    Distribution::of(sample)
}

fn selected(visit: Visit<'_>, n: u64) -> Distribution {
    let (mut sum, mut min, mut max) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
    visit(&mut |value, times| {
        sum += value * times as f64;
        (min, max) = (value.min(min), value.max(max));
    });
    let mean = sum / n as f64;
    let mut squares = 0.0;
    visit(&mut |value, times| squares += (value - mean).powi(2) * times as f64);
    let places = PERCENTILES.map(|p| f64::from(p) / 100.0 * (n - 1) as f64);
    let ranks = places.iter().flat_map(|place| [place.floor() as u64, place.ceil() as u64]).collect();
    let found = at_ranks(visit, ranks);
    let percentile = |place: f64| interpolated(found[&(place.floor() as u64)], found[&(place.ceil() as u64)], place);
    let percentiles = places.map(percentile);
    Distribution { n, requests: None, mean, std: (squares / n as f64).sqrt(), min, max, percentiles }
}

/// A whole number whose order is that of the value ([`f64::total_cmp`]).
fn key(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn value(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

/// The values that stand at these places of the sorted sample, counted from 0.
fn at_ranks(visit: Visit<'_>, ranks: Vec<u64>) -> BTreeMap<u64, f64> {
    // By the digits found so far: the ranks that have them, each with its place among the values that share them.
    let mut groups = BTreeMap::from([(0_u64, ranks.into_iter().map(|rank| (rank, rank)).collect::<Vec<_>>())]);
    for round in 0..u64::BITS / DIGIT {
        let below = u64::BITS - DIGIT * (round + 1);
        let mut counts: BTreeMap<u64, Vec<u64>> = groups.keys().map(|digits| (*digits, vec![0; 1 << DIGIT])).collect();
        visit(&mut |value, times| {
            let key = key(value) >> below;
            if let Some(counts) = counts.get_mut(&(key >> DIGIT)) {
                counts[(key & ((1 << DIGIT) - 1)) as usize] += times;
            }
        });
        let mut finer = BTreeMap::<u64, Vec<(u64, u64)>>::new();
        for (digits, ranks) in groups {
            for (rank, mut place) in ranks {
                let mut digit = 0_u64;
                for count in &counts[&digits] {
                    if place < *count {
                        break;
                    }
                    place -= count;
                    digit += 1;
                }
                finer.entry(digits << DIGIT | digit).or_default().push((rank, place));
            }
        }
        groups = finer;
    }
    groups.into_iter().flat_map(|(key, ranks)| ranks.into_iter().map(move |(rank, _)| (rank, value(key)))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn visiting(sample: &[(f64, u64)]) -> impl Fn(&mut dyn FnMut(f64, u64)) + '_ {
        move |see| sample.iter().for_each(|(value, times)| see(*value, *times))
    }

    fn expanded(sample: &[(f64, u64)]) -> Vec<f64> {
        sample.iter().flat_map(|(value, times)| (0..*times).map(move |_| *value)).collect()
    }

    fn agree(one: &Distribution, other: &Distribution) -> bool {
        // Rounding goes by the size of the values: the spread of equal ones may be told as a billionth of them.
        let size = one.min.abs().max(one.max.abs()).max(1.0);
        let near = |one: f64, other: f64| (one - other).abs() <= 1e-9 * size;
        one.n == other.n
            && near(one.mean, other.mean)
            && near(one.std, other.std)
            && (one.min, one.max) == (other.min, other.max)
            && one.percentiles.iter().zip(&other.percentiles).all(|(one, other)| near(*one, *other))
    }

    #[test]
    fn a_sample_too_large_to_hold_has_the_numbers_of_the_sorted_one() {
        let sample: Vec<(f64, u64)> =
            (0..HELD / 2).map(|place| ((place * 7_919_993 % 1_000_003) as f64 / 7.0, 1 + place % 5)).collect();
        let streamed = distribution(&visiting(&sample)).unwrap();
        assert!(streamed.n > HELD);
        assert!(agree(&streamed, &Distribution::of(expanded(&sample)).unwrap()), "{streamed:?}");
    }

    #[test]
    fn an_empty_sample_has_no_distribution() {
        assert_eq!(distribution(&|_: &mut dyn FnMut(f64, u64)| {}), None);
    }

    proptest! {
        #[test]
        fn selecting_is_sorting(
            sample in prop::collection::vec((prop_oneof![-1e9..1e9_f64, Just(0.0), -1e-300..1e-300_f64], 1..9_u64), 1..60)
        ) {
            let whole = Distribution::of(expanded(&sample)).unwrap();
            let found = selected(&visiting(&sample), whole.n);
            prop_assert!(agree(&found, &whole), "{:?} {:?}", found, whole);
        }
    }
}
