//! What a measured load says to a search, and what searches came to.

use super::point::bounds;
use crate::measure::{Bound, Judgement, Level, NOT_SUSTAINED, PointSummary, judge_bound};
use crate::plan::{LoadOutcome, Plan};
use crate::report::{RunResults, SearchAnswer};

/// Rules that a point breaks because its load is too much for the server.
const TOO_MUCH: [&str; 4] = [NOT_SUSTAINED, "errors", "failed", "nothing-succeeded"];

/// Whether a point breaks this rule because its load is too much.
pub(super) fn is_too_much(rule: &str) -> bool {
    TOO_MUCH.contains(&rule)
}

/// Whether a load keeps all objectives.
pub(super) fn outcome(summary: &PointSummary, bounds: &[Bound]) -> LoadOutcome {
    if summary.invalid.iter().any(|breach| breach.momentary && !is_too_much(&breach.rule)) {
        // A restart, a cut, the generator: nothing that was seen says something about the load.
        return LoadOutcome::Untold;
    }
    if summary.invalid.iter().any(|breach| is_too_much(&breach.rule)) {
        return LoadOutcome::Missed;
    }
    let mut outcome = LoadOutcome::Kept;
    for bound in bounds {
        match judge_bound(summary, bound) {
            Judgement::Met { .. } => {}
            Judgement::Missed { .. } => return LoadOutcome::Missed,
            Judgement::Unknown { .. } => outcome = LoadOutcome::Untold,
        }
    }
    outcome
}

/// What every search of a plan has come to, by the points that were measured.
pub(super) fn answers(plan: &Plan, results: &RunResults) -> Vec<SearchAnswer> {
    let bounds = bounds(plan);
    let mut answers = Vec::new();
    for workload in plan.workloads.values() {
        let Some(search) = &workload.shape.search else { continue };
        for deployment in plan.deployments.keys() {
            let sweep = results.sweep(deployment, &workload.name);
            let of = |level: Level| sweep.iter().find(|point| point.meta.level == level);
            let walk = search.walk(|level| of(level).map(|point| outcome(point, &bounds)));
            answers.push(SearchAnswer {
                deployment: deployment.clone(),
                workload: workload.name.clone(),
                kept: walk.kept,
                missed: walk.missed,
                loads: walk.path.iter().filter(|level| of(**level).is_some()).count() as u32,
                ended: walk.state.words().to_owned(),
            });
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Breach;
    use crate::measure::sample::{Shape, summary};

    fn bound(statistic: &str, bound: f64) -> Bound {
        Bound { metric: "time-to-first-token".to_owned(), statistic: statistic.to_owned(), bound }
    }

    #[test]
    fn a_load_is_judged_by_its_objectives_and_by_whether_the_server_keeps_up() {
        let mut point = summary(Shape::default());
        assert_eq!(outcome(&point, &[bound("p99", 120.0)]), LoadOutcome::Kept);
        assert_eq!(outcome(&point, &[bound("p99", 120.0), bound("mean", 90.0)]), LoadOutcome::Missed);
        assert_eq!(
            outcome(&summary(Shape { requests: 300, ..Shape::default() }), &[bound("p99", 120.0)]),
            LoadOutcome::Untold
        );
        let breach = |rule: &str| Breach { rule: rule.to_owned(), reason: String::new(), momentary: false };
        point.invalid = vec![breach("isl")];
        assert_eq!(outcome(&point, &[bound("p99", 120.0)]), LoadOutcome::Untold);
        point.invalid = vec![breach("isl"), breach("not-sustained")];
        assert_eq!(outcome(&point, &[bound("p99", 120.0)]), LoadOutcome::Missed);
        point.invalid[0] = Breach { momentary: true, ..breach("restarted") };
        assert_eq!(outcome(&point, &[bound("p99", 120.0)]), LoadOutcome::Untold);
    }
}
