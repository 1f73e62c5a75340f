//! What a measured load says to a search, and what searches came to.

use super::point::bounds;
use crate::measure::{
    Bound, FailureClass, GENERATOR_LIMITED, Judgement, Level, NOT_SUSTAINED, PointSummary, judge_bound,
};
use crate::plan::{LoadOutcome, Plan, Walk, WalkState};
use crate::report::{RunResults, SearchAnswer};

/// Rules that a point breaks because its load is too much for the server.
const TOO_MUCH: [&str; 4] = [NOT_SUSTAINED, "errors", "failed", "nothing-succeeded"];

/// Whether a point breaks this rule because its load is too much.
pub(super) fn is_too_much(rule: &str) -> bool {
    TOO_MUCH.contains(&rule)
}

/// Whether most failures are of a kind that a lower load would meet as well: the server says no to what is asked, or
/// answers with something else. They say nothing about the load.
fn is_refused(summary: &PointSummary) -> bool {
    let refuses = |class: FailureClass| match class {
        FailureClass::Rejected
        | FailureClass::NotAStream
        | FailureClass::Malformed
        | FailureClass::NoTokens
        | FailureClass::TooLarge => true,
        FailureClass::Connect
        | FailureClass::Reset
        | FailureClass::Stale
        | FailureClass::Timeout
        | FailureClass::IdleTimeout
        | FailureClass::Overloaded
        | FailureClass::ServerError
        | FailureClass::ErrorEvent
        | FailureClass::Cut
        | FailureClass::Cancelled
        | FailureClass::Unsent
        | FailureClass::NoRoom => false,
    };
    let failures = || summary.failures.iter().filter(|failure| !failure.class.is_ours());
    let all: u64 = failures().map(|failure| failure.count).sum();
    let refused: u64 = failures().filter(|failure| refuses(failure.class)).map(|failure| failure.count).sum();
    2 * refused > all
}

/// Whether a load keeps all objectives.
pub(super) fn outcome(summary: &PointSummary, bounds: &[Bound]) -> LoadOutcome {
    if summary.invalid.iter().any(|breach| breach.momentary && !is_too_much(&breach.rule)) {
        // A restart, a cut, the generator: nothing that was seen says something about the load.
        return LoadOutcome::Untold;
    }
    if summary.invalid.iter().any(|breach| is_too_much(&breach.rule)) {
        let not_sustained = summary.invalid.iter().any(|breach| breach.rule == NOT_SUSTAINED);
        return if is_refused(summary) && !not_sustained { LoadOutcome::Untold } else { LoadOutcome::Missed };
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
                ended: ended(&walk, walk.path.last().and_then(|level| of(*level).copied()), &bounds),
            });
        }
    }
    answers
}

/// How a search ended, in words: where it cannot go on, at which load and why.
fn ended(walk: &Walk, last: Option<&PointSummary>, bounds: &[Bound]) -> String {
    let (WalkState::Stuck, Some(point)) = (walk.state, last) else { return walk.state.words().to_owned() };
    let at = point.meta.level.words();
    if point.invalid.iter().any(|breach| breach.rule == GENERATOR_LIMITED) {
        return match walk.kept {
            Some(kept) => format!("at least {}; at {at} the generator is the limit, not the server", kept.words()),
            None => format!("at {at}, the lowest load, the generator is the limit, not the server"),
        };
    }
    format!("{at} cannot be judged: {}", why_untold(point, bounds).unwrap_or_else(|| walk.state.words().to_owned()))
}

/// Why nothing is known of a load.
fn why_untold(point: &PointSummary, bounds: &[Bound]) -> Option<String> {
    let unknown = |bound: &Bound| match judge_bound(point, bound) {
        Judgement::Unknown { reason } => Some(reason),
        Judgement::Met { .. } | Judgement::Missed { .. } => None,
    };
    let breach = point.invalid.first().map(|breach| breach.reason.clone());
    breach.or_else(|| bounds.iter().find_map(unknown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::sample::{Shape, summary};
    use crate::measure::{Breach, ValidityRules, judge};
    use crate::plan::{Search, SearchOver};

    const RULES: ValidityRules = ValidityRules {
        isl_tolerance: 0.02,
        osl_tolerance: 0.02,
        max_error_share: 0.01,
        counters: true,
        send_lag_ms: 1.0,
        require_steady: false,
    };

    fn search() -> Search {
        let over = SearchOver::Concurrency;
        Search { over, from: 4.0, to: 64.0, resolution: 0.05, max_points: 16, least: 368 }
    }

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

    #[test]
    fn a_server_that_refuses_what_is_asked_says_nothing_about_the_load() {
        let mut point = summary(Shape { fail_every: 1, ..Shape::default() });
        point.invalid = judge(&point, &RULES);
        assert_eq!(point.invalid[0].rule, "nothing-succeeded");
        assert_eq!(outcome(&point, &[bound("p99", 120.0)]), LoadOutcome::Missed, "time-outs are too much");
        point.failures[0].class = FailureClass::Rejected;
        point.invalid = judge(&point, &RULES);
        assert_eq!(outcome(&point, &[bound("p99", 120.0)]), LoadOutcome::Untold);
        let walk = search().walk(|_| Some(LoadOutcome::Untold));
        assert_eq!(
            ended(&walk, Some(&point), &[]),
            "concurrency 4 cannot be judged: none of 400 requests succeeded; most often rejected"
        );
    }

    #[test]
    fn a_search_that_cannot_go_on_names_the_load_and_the_reason() {
        let walk = search().walk(|_| Some(LoadOutcome::Untold));
        let small = summary(Shape { requests: 180, ..Shape::default() });
        assert_eq!(
            ended(&walk, Some(&small), &[bound("mean", 120.0), bound("p99", 120.0)]),
            "concurrency 4 cannot be judged: p99 needs 368 requests, there are 180"
        );
        let found = search().walk(|_| Some(LoadOutcome::Missed));
        assert_eq!(ended(&found, Some(&small), &[]), "the lowest load of the search misses them already");
    }

    #[test]
    fn a_search_that_the_generator_limits_says_how_far_it_came() {
        let mut limited = summary(Shape::default());
        limited.health.cpu_share = 0.99;
        limited.invalid = judge(&limited, &RULES);
        let kept = |level: Level| if level.value() < 4.0 { LoadOutcome::Kept } else { LoadOutcome::Untold };
        let walk = Search { from: 2.0, ..search() }.walk(|level| Some(kept(level)));
        assert_eq!(
            ended(&walk, Some(&limited), &[]),
            "at least concurrency 2; at concurrency 4 the generator is the limit, not the server"
        );
        assert_eq!(
            ended(&search().walk(|_| Some(LoadOutcome::Untold)), Some(&limited), &[]),
            "at concurrency 4, the lowest load, the generator is the limit, not the server"
        );
    }
}
