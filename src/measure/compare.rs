//! The verdict: which deployment is better, by how much, and what cannot be claimed.
//!
//! Rules it keeps, and why:
//! - The run is the replicate. Repeats are paired by block (same prompts, same hour), and the interval is a t interval
//!   on ln(other / baseline); requests of one run share their fate and are no sample.
//! - No claim below [`SMALLEST_CLAIM`] pairs, none between points that are not valid or did different work.
//! - `equivalent`: the whole interval lies inside the margin of the plan. `better` and `worse`: the interval excludes 1
//!   and the p value, adjusted by Holm, is below 0.05. Everything else is `undecided`, which is not `equal`.
//! - Families for Holm: the primary metric over all its levels and deployments is one; all other metrics together are
//!   another, so that they can never weaken the primary claim.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::metric::{Better, Formula, METRICS, Metric, metric};
use super::paired::{Paired, holm, paired};
use super::point::Level;
use super::same_work::different_work;
use super::summary::PointSummary;
use crate::base::Name;

/// Fewer pairs are no evidence: with two, t is 12.7 and the interval says nothing.
pub const SMALLEST_CLAIM: u64 = 3;
/// Metrics of which nothing is claimed: errors are judged by the same-work gate, and the others say once more what the
/// inter-token latency and the chunk gap say, which would only cost every other metric certainty.
const NOT_COMPARED: [&str; 3] = ["error-share", "time-per-output-token", "token-gap"];
/// Probability of a wrong claim in a family.
const ALPHA: f64 = 0.05;

/// What the verdict is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompareRules {
    /// Id of the primary metric; of a per-request metric the mean is compared.
    pub primary: String,
    /// What others are compared with; `None`: the first deployment.
    pub baseline: Option<Name>,
    /// Relative difference below which two deployments count as equivalent, such as 0.02.
    pub margin: f64,
}

/// One deployment against the baseline, at one level.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The metric's id.
    pub metric: String,
    /// The workload.
    pub workload: Name,
    /// The level.
    pub level: Level,
    /// The deployment that is compared with the baseline.
    pub deployment: Name,
    /// Geometric mean of value / baseline's value over the pairs; `None` without a pair.
    pub ratio: Option<f64>,
    /// From two pairs on.
    pub paired: Option<Paired>,
    /// p value adjusted within its family; from [`SMALLEST_CLAIM`] pairs on.
    pub adjusted_p: Option<f64>,
    /// What may be said.
    pub verdict: Verdict,
}

/// What may be said.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Better than the baseline.
    Better,
    /// Worse than the baseline.
    Worse,
    /// The same within the margin.
    Equivalent,
    /// The data allow neither claim.
    Undecided,
    /// There is nothing to base a claim on.
    NoClaim(NoClaim),
}

/// Why there is no claim.
#[derive(Debug, Clone, PartialEq)]
pub enum NoClaim {
    /// One run each.
    OneRun,
    /// More than one pair, but fewer than [`SMALLEST_CLAIM`].
    FewPairs(u64),
    /// Not the same work; the reasons.
    DifferentWork(Vec<String>),
    /// No block in which both have the number; why.
    NoPair(String),
    /// The metric has no good direction.
    NoDirection,
}

/// All comparisons with the baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// The deployment that the others are compared with.
    pub baseline: Name,
    /// Of the primary metric: by workload, deployment, level.
    pub primary: Vec<Comparison>,
    /// Of all other metrics that have a good direction, in the same order within each metric.
    pub others: Vec<Comparison>,
}

/// Compares every deployment with the baseline; `None` when there are not two deployments.
pub fn compare(points: &[&PointSummary], deployments: &[Name], rules: &CompareRules) -> Option<Claims> {
    let baseline = rules.baseline.as_ref().or_else(|| deployments.first())?;
    let others: Vec<_> = deployments.iter().filter(|name| *name != baseline).collect();
    if others.is_empty() || !deployments.contains(baseline) {
        return None;
    }
    let primary = metric(&rules.primary);
    let places: BTreeSet<_> = points.iter().map(|point| (&point.meta.workload, point.meta.level)).collect();
    let workloads: BTreeSet<_> = places.iter().map(|(workload, _)| *workload).collect();
    let family = |id: &str, row: Option<&Metric>| {
        let mut list = Vec::new();
        for workload in &workloads {
            for deployment in &others {
                for (_, level) in places.iter().filter(|(of, _)| of == workload) {
                    let at = |name: &Name| blocks(points, name, workload, *level);
                    list.push(one(
                        id,
                        row,
                        (&at(baseline), baseline),
                        (&at(deployment), deployment),
                        (workload, *level),
                    ));
                }
            }
        }
        list
    };
    let mut primary_list = family(primary.map_or(rules.primary.as_str(), |row| row.id), primary);
    judge_family(&mut primary_list, rules.margin);
    let mut other_list: Vec<_> = METRICS
        .iter()
        .filter(|row| row.better != Better::Neutral && !NOT_COMPARED.contains(&row.id))
        .filter(|row| primary.is_none_or(|primary| primary.id != row.id))
        .flat_map(|row| family(row.id, Some(row)))
        .collect();
    judge_family(&mut other_list, rules.margin);
    Some(Claims { baseline: baseline.clone(), primary: primary_list, others: other_list })
}

/// The points of one deployment at one level, by block.
fn blocks<'a>(
    points: &[&'a PointSummary],
    deployment: &Name,
    workload: &Name,
    level: Level,
) -> BTreeMap<u32, &'a PointSummary> {
    let here = |point: &&&PointSummary| {
        point.meta.deployment == *deployment && point.meta.workload == *workload && point.meta.level == level
    };
    points.iter().filter(here).map(|point| (point.meta.repeat, *point)).collect()
}

type Side<'a> = (&'a BTreeMap<u32, &'a PointSummary>, &'a Name);

/// One comparison, before the adjustment: claims are `Undecided` until [`judge_family`] has seen all of them.
fn one(id: &str, row: Option<&Metric>, baseline: Side<'_>, other: Side<'_>, place: (&Name, Level)) -> Comparison {
    let mut comparison = Comparison {
        metric: id.to_owned(),
        workload: place.0.clone(),
        level: place.1,
        deployment: other.1.clone(),
        ratio: None,
        paired: None,
        adjusted_p: None,
        verdict: Verdict::Undecided,
    };
    let statistic = match row.map(|row| &row.formula) {
        Some(Formula::PerRequest(_) | Formula::Pooled(_)) => "mean",
        Some(Formula::PerPoint(_)) | None => "value",
    };
    let mut missing = BTreeSet::new();
    for (points, name) in [baseline, other] {
        if points.is_empty() {
            missing.insert(format!("{name} was not measured"));
        }
    }
    let mut log_ratios = Vec::new();
    let mut reasons = Vec::new();
    for (block, a) in baseline.0 {
        let Some(b) = other.0.get(block) else { continue };
        for (point, name) in [(a, baseline.1), (b, other.1)] {
            if !point.is_valid() {
                missing.insert(format!("{name} is not valid"));
            } else if point.number(id, statistic).is_none_or(|value| value <= 0.0) {
                missing.insert(format!("{id} of {name} is not known"));
            }
        }
        if !a.is_valid() || !b.is_valid() {
            continue;
        }
        for reason in different_work(a, b) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        let values = a.number(id, statistic).zip(b.number(id, statistic));
        log_ratios.extend(values.filter(|(a, b)| *a > 0.0 && *b > 0.0).map(|(a, b)| (b / a).ln()));
    }
    if !reasons.is_empty() {
        comparison.verdict = Verdict::NoClaim(NoClaim::DifferentWork(reasons));
        return comparison;
    }
    comparison.verdict = match (log_ratios.len() as u64, row.map(|row| row.better)) {
        (0, _) if missing.is_empty() => Verdict::NoClaim(NoClaim::NoPair("no block has both".to_owned())),
        (0, _) => Verdict::NoClaim(NoClaim::NoPair(missing.into_iter().collect::<Vec<_>>().join(", "))),
        (1, _) => Verdict::NoClaim(NoClaim::OneRun),
        (pairs, _) if pairs < SMALLEST_CLAIM => Verdict::NoClaim(NoClaim::FewPairs(pairs)),
        (_, Some(Better::Neutral) | None) => Verdict::NoClaim(NoClaim::NoDirection),
        (_, Some(Better::Lower | Better::Higher)) => Verdict::Undecided,
    };
    comparison.paired = paired(&log_ratios);
    comparison.ratio =
        comparison.paired.map(|paired| paired.ratio).or_else(|| log_ratios.first().map(|ratio| ratio.exp()));
    comparison
}

/// Adjusts the p values of one family, and turns `Undecided` into claims where the data allow it.
fn judge_family(family: &mut [Comparison], margin: f64) {
    let claims = |comparison: &Comparison| comparison.paired.filter(|_| comparison.verdict == Verdict::Undecided);
    let p_values: Vec<_> = family.iter().filter_map(claims).map(|paired| paired.p).collect();
    let mut adjusted = holm(&p_values).into_iter();
    for comparison in family {
        let Some(paired) = claims(comparison) else { continue };
        let p = adjusted.next().expect("one adjusted value for each comparison that passed the same filter");
        let lower_is_better = metric(&comparison.metric).is_some_and(|row| row.better == Better::Lower);
        comparison.adjusted_p = Some(p);
        comparison.verdict = if paired.low >= 1.0 / (1.0 + margin) && paired.high <= 1.0 + margin {
            Verdict::Equivalent
        } else if p < ALPHA && (paired.low > 1.0 || paired.high < 1.0) {
            if (paired.ratio < 1.0) == lower_is_better { Verdict::Better } else { Verdict::Worse }
        } else {
            Verdict::Undecided
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Breach;
    use crate::measure::sample::{Shape, name, summary};

    fn rules(primary: &str) -> CompareRules {
        CompareRules { primary: primary.to_owned(), baseline: None, margin: 0.02 }
    }

    /// One level; the ITL of `disagg` is `factor[block]` times that of `agg`.
    fn two(factors: &[f64]) -> Vec<PointSummary> {
        let blocks = (1..).zip(factors);
        let pair = |(repeat, factor): (u32, &f64)| {
            let one = Shape { repeat, itl: 10.0 + f64::from(repeat) * 0.2, ..Shape::default() };
            [summary(one), summary(Shape { deployment: "disagg", itl: one.itl * factor, ..one })]
        };
        blocks.flat_map(pair).collect()
    }

    fn claims(points: &[PointSummary], rules: &CompareRules) -> Claims {
        let points: Vec<_> = points.iter().collect();
        compare(&points, &[name("agg"), name("disagg")], rules).unwrap()
    }

    fn verdict(factors: &[f64], primary: &str) -> Verdict {
        claims(&two(factors), &rules(primary)).primary[0].verdict.clone()
    }

    #[test]
    fn direction_follows_the_metric() {
        let faster = [0.90, 0.91, 0.89, 0.9];
        assert_eq!(verdict(&faster, "inter-token-latency"), Verdict::Better);
        assert_eq!(verdict(&faster, "output-throughput-per-user"), Verdict::Better);
        assert_eq!(verdict(&faster.map(|factor| 1.0 / factor), "inter-token-latency"), Verdict::Worse);
        assert_eq!(verdict(&faster.map(|factor| 1.0 / factor), "output-throughput"), Verdict::Worse);
    }

    #[test]
    fn undecided_is_not_equivalent() {
        assert_eq!(verdict(&[0.8, 1.2, 1.0, 0.95], "itl"), Verdict::Undecided);
        assert_eq!(verdict(&[1.001, 0.999, 1.002, 1.0], "itl"), Verdict::Equivalent);
    }

    #[test]
    fn fewer_than_three_pairs_claim_nothing() {
        assert_eq!(verdict(&[0.5], "itl"), Verdict::NoClaim(NoClaim::OneRun));
        assert_eq!(verdict(&[0.5, 0.5], "itl"), Verdict::NoClaim(NoClaim::FewPairs(2)));
        let one = &claims(&two(&[0.5]), &rules("itl")).primary[0];
        assert!((one.ratio.unwrap() - 0.5).abs() < 1e-6);
    }

    #[test]
    fn blocks_are_paired_so_that_a_drift_of_the_hour_cancels() {
        // ITL of both drifts by 2 % a block; the ratio does not.
        let found = &claims(&two(&[0.95, 0.951, 0.949]), &rules("itl")).primary[0];
        assert_eq!(found.verdict, Verdict::Better);
        let interval = found.paired.unwrap();
        assert!(interval.high - interval.low < 0.01, "{interval:?}");
    }

    #[test]
    fn an_invalid_point_takes_its_block_out() {
        let mut points = two(&[0.9, 0.9, 0.9]);
        let breach = Breach { rule: "osl".to_owned(), reason: String::new(), momentary: false };
        points[1].invalid.push(breach.clone());
        assert_eq!(claims(&points, &rules("itl")).primary[0].verdict, Verdict::NoClaim(NoClaim::FewPairs(2)));
        points.iter_mut().for_each(|point| point.invalid = vec![breach.clone()]);
        let reason = "agg is not valid, disagg is not valid".to_owned();
        assert_eq!(claims(&points, &rules("itl")).primary[0].verdict, Verdict::NoClaim(NoClaim::NoPair(reason)));
    }

    #[test]
    fn different_work_is_never_compared() {
        let mut points = two(&[0.9, 0.9, 0.9]);
        points[1].finish_reasons = [("stop".to_owned(), 400)].into();
        let found = &claims(&points, &rules("itl")).primary[0];
        assert!(matches!(&found.verdict, Verdict::NoClaim(NoClaim::DifferentWork(why)) if why.len() == 1), "{found:?}");
        assert_eq!(found.ratio, None);
    }

    #[test]
    fn more_levels_make_each_claim_harder() {
        let alone = two(&[0.97, 0.99, 0.98]);
        let one = claims(&alone, &rules("itl")).primary[0].adjusted_p.unwrap();
        let mut many = alone;
        for users in [8, 16] {
            many.extend(two(&[1.1, 0.9, 1.0]).into_iter().map(|mut point| {
                point.meta.level = Level::Concurrency(users);
                point
            }));
        }
        let found = claims(&many, &rules("itl"));
        assert_eq!(found.primary.len(), 3);
        assert!((found.primary[0].adjusted_p.unwrap() - 3.0 * one).abs() < 1e-9);
    }

    #[test]
    fn a_metric_that_is_not_known_is_no_claim() {
        let points = [
            summary(Shape { gpus: 0, ..Shape::default() }),
            summary(Shape { deployment: "disagg", ..Shape::default() }),
        ];
        let found = &claims(&points, &rules("output-throughput-per-gpu")).primary[0];
        let reason = "output-throughput-per-gpu of agg is not known".to_owned();
        assert_eq!(found.verdict, Verdict::NoClaim(NoClaim::NoPair(reason)));
    }
}
