//! What makes a point unfit to be drawn or compared.
//!
//! [`judge`] looks at the numbers of the point alone. Restarts and a change of incarnation are breaches too, but only
//! the caller can see them: it adds its own, and [`excuse`] says what follows from them for the others.

use serde::{Deserialize, Serialize};

use super::limited::generator_limited;
use super::point::Level;
use super::record::FailureClass;
use super::steady::SteadyState;
use super::summary::PointSummary;

/// One rule that a point broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breach {
    /// Its name, such as `errors`, `isl`, `osl`, `generator-limited`, `counters`, `restarted`.
    pub rule: String,
    /// In words, with the figures.
    pub reason: String,
    /// Whether the moment was to blame (a restart, a cut, the generator) and not the configuration.
    pub momentary: bool,
}

/// The limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidityRules {
    /// Largest relative difference of the mean ISL achieved from the mean asked.
    pub isl_tolerance: f64,
    /// The same for OSL.
    pub osl_tolerance: f64,
    /// Largest share of failed requests among those that were not given up by us, 0 to 1.
    pub max_error_share: f64,
    /// Whether the server's counters must equal ours, where it has them.
    pub counters: bool,
    /// Send lag p99 that is always allowed, milliseconds; the limit is the larger of this and 1 % of the TTFT's median.
    pub send_lag_ms: f64,
    /// Whether the point must have reached a steady state.
    pub require_steady: bool,
}

/// The rule that a point breaks whose server did not live through it.
pub const RESTARTED: &str = "restarted";
/// The rule that a point breaks under which the way to the server broke.
pub const TRANSPORT: &str = "transport";
/// The rule that an open loop breaks whose server does not keep up.
pub const NOT_SUSTAINED: &str = "not-sustained";

/// Every rule that the point broke, in a fixed order; empty: it is valid.
pub fn judge(summary: &PointSummary, rules: &ValidityRules) -> Vec<Breach> {
    let mut breaches = Vec::new();
    breaches.extend(outcome(summary, rules));
    breaches.extend(not_sustained(summary, rules));
    breaches.extend(length(summary, Length::Isl, rules.isl_tolerance));
    breaches.extend(length(summary, Length::Osl, rules.osl_tolerance));
    if rules.counters {
        breaches.extend(counters(summary));
    }
    breaches.extend(generator_limited(summary, rules));
    if rules.require_steady {
        breaches.extend(unsteady(summary));
    }
    breaches
}

/// Where the server or the way to it was another in the midst of a point, errors and lengths tell of that moment and not of
/// the configuration: then every breach is of the moment.
pub fn excuse(breaches: &mut [Breach]) {
    if breaches.iter().any(|breach| [RESTARTED, TRANSPORT].contains(&breach.rule.as_str())) {
        breaches.iter_mut().for_each(|breach| breach.momentary = true);
    }
}

/// Arrivals of an open loop that the server did not get to within the grace period: whatever was answered says more about
/// how long the level lasted than about the server.
fn not_sustained(summary: &PointSummary, rules: &ValidityRules) -> Option<Breach> {
    let Level::Rate(rate) = summary.meta.level else { return None };
    let counts = summary.counts;
    let left = counts.cancelled + counts.unsent;
    let share = left as f64 / counts.sent.max(1) as f64;
    (share > rules.max_error_share).then(|| Breach {
        rule: NOT_SUSTAINED.to_owned(),
        reason: format!(
            "the load was not sustained: of {} arrivals at {rate}/s {left} were not answered when the level had ended \
             ({} of them never sent): {:.1} %, at most {:.1} % allowed",
            counts.sent,
            counts.unsent,
            100.0 * share,
            100.0 * rules.max_error_share
        ),
        momentary: false,
    })
}

/// Nothing succeeded, or too much failed.
fn outcome(summary: &PointSummary, rules: &ValidityRules) -> Option<Breach> {
    let counts = summary.counts;
    let judged = counts.ok + counts.failed;
    if counts.ok == 0 {
        let reason = match judged {
            0 => format!("no request was finished ({} given up)", counts.cancelled),
            _ => format!("none of {judged} requests succeeded{}", most_frequent(summary)),
        };
        return Some(Breach {
            rule: "nothing-succeeded".to_owned(),
            reason,
            momentary: judged == 0 || was_cut(summary),
        });
    }
    let share = counts.failed as f64 / judged as f64;
    (share > rules.max_error_share).then(|| Breach {
        rule: "errors".to_owned(),
        reason: format!(
            "{} of {judged} requests failed: {:.1} %, at most {:.1} % allowed{}",
            counts.failed,
            100.0 * share,
            100.0 * rules.max_error_share,
            most_frequent(summary)
        ),
        momentary: was_cut(summary),
    })
}

fn most_frequent(summary: &PointSummary) -> String {
    let frequent = summary.failures.iter().find(|failure| !failure.class.is_ours());
    frequent.map(|failure| format!("; most often {}", failure.class)).unwrap_or_default()
}

/// Whether most failures are of connections that broke or could not be made: a server or a tunnel that went away, and
/// not one that says no.
fn was_cut(summary: &PointSummary) -> bool {
    let count = |cut: bool| -> u64 {
        summary.failures.iter().filter(|failure| is_cut(failure.class) == Some(cut)).map(|failure| failure.count).sum()
    };
    count(true) > count(false)
}

/// `None`: the failure says nothing about the server.
fn is_cut(class: FailureClass) -> Option<bool> {
    match class {
        FailureClass::Connect | FailureClass::Reset | FailureClass::Stale | FailureClass::Cut => Some(true),
        FailureClass::Timeout
        | FailureClass::IdleTimeout
        | FailureClass::Rejected
        | FailureClass::Overloaded
        | FailureClass::ServerError
        | FailureClass::NotAStream
        | FailureClass::ErrorEvent
        | FailureClass::Malformed
        | FailureClass::NoTokens
        | FailureClass::TooLarge => Some(false),
        FailureClass::Cancelled | FailureClass::Unsent | FailureClass::NoRoom => None,
    }
}

#[derive(Clone, Copy)]
enum Length {
    Isl,
    Osl,
}

/// A length that was not reached. One that nobody counted cannot be judged; the summary says so.
fn length(summary: &PointSummary, which: Length, tolerance: f64) -> Option<Breach> {
    let (rule, name, metric, asked, plan) = match which {
        Length::Isl => ("isl", "ISL", "input-sequence-length", summary.asked.isl, summary.meta.isl),
        Length::Osl => ("osl", "OSL", "output-sequence-length", summary.asked.osl, summary.meta.osl),
    };
    let achieved = summary.distributions.get(metric)?.mean;
    let asked = asked.filter(|asked| *asked > 0.0)?;
    let difference = achieved / asked - 1.0;
    // What lies on the limit is allowed, whatever the rounding of the division.
    (difference.abs() > tolerance + 1e-9).then(|| Breach {
        rule: rule.to_owned(),
        reason: format!(
            "mean {name} {achieved:.1} is {:.1} % {} the {asked:.1} asked of these requests (plan {plan}); \
             {:.1} % allowed",
            100.0 * difference.abs(),
            if difference < 0.0 { "below" } else { "above" },
            100.0 * tolerance
        ),
        momentary: false,
    })
}

fn counters(summary: &PointSummary) -> Option<Breach> {
    let differing: Vec<_> = summary
        .server_counters
        .iter()
        .filter(|check| !check.agrees())
        .map(|check| {
            let more = match check.failed {
                0 => String::new(),
                failed => format!(" and {failed} requests that failed"),
            };
            format!("{} {} against {} of ours{more}", check.server, check.what, check.ours)
        })
        .collect();
    (!differing.is_empty()).then(|| Breach {
        rule: "counters".to_owned(),
        reason: format!(
            "the server counted {}: someone else uses it, or one of the two counts wrongly",
            differing.join(", ")
        ),
        // Where requests failed the server may have lost its count with them.
        momentary: summary.server_counters.iter().any(|check| check.failed > 0),
    })
}

fn unsteady(summary: &PointSummary) -> Option<Breach> {
    let reason = match summary.steady.as_ref().map(|window| &window.state) {
        Some(SteadyState::Reached) => return None,
        Some(SteadyState::Missed { why }) => format!("no steady state: {why}"),
        Some(SteadyState::Untold { why }) => format!("a steady state cannot be told: {why}"),
        None => "a steady state cannot be told: the users were never all busy".to_owned(),
    };
    Some(Breach { rule: "steady".to_owned(), reason, momentary: false })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::measure::CounterCheck;
    use crate::measure::sample::{Shape, point, summary};

    pub(in crate::measure) const RULES: ValidityRules = ValidityRules {
        isl_tolerance: 0.02,
        osl_tolerance: 0.02,
        max_error_share: 0.01,
        counters: true,
        send_lag_ms: 1.0,
        require_steady: false,
    };

    pub(in crate::measure) fn rules_broken(summary: &PointSummary) -> Vec<(String, bool)> {
        judge(summary, &RULES).into_iter().map(|breach| (breach.rule, breach.momentary)).collect()
    }

    #[test]
    fn a_good_point_breaks_no_rule() {
        assert_eq!(judge(&summary(Shape::default()), &RULES), []);
    }

    #[test]
    fn lengths_are_compared_with_what_was_asked_of_each_request() {
        let mut data = point(Shape::default());
        // The plan's mean is far off, but every request got what it was asked to have.
        data.meta.isl = 300.0;
        assert_eq!(judge(&PointSummary::of(&data), &RULES), []);
        for record in &mut data.records {
            record.isl = record.isl.map(|isl| isl + 5);
            record.output_tokens = Some(18);
        }
        let breaches = judge(&PointSummary::of(&data), &RULES);
        let reasons: Vec<_> = breaches.iter().map(|breach| breach.reason.as_str()).collect();
        assert_eq!(
            reasons,
            [
                "mean ISL 205.0 is 2.5 % above the 200.0 asked of these requests (plan 300); 2.0 % allowed",
                "mean OSL 18.0 is 10.0 % below the 20.0 asked of these requests (plan 20); 2.0 % allowed",
            ]
        );
        assert!(breaches.iter().all(|breach| !breach.momentary));
    }

    #[test]
    fn errors_are_of_the_moment_only_when_the_server_or_the_way_to_it_was_another() {
        let breach = |rule: &str| Breach { rule: rule.to_owned(), reason: String::new(), momentary: false };
        for (cause, momentary) in [(RESTARTED, true), (TRANSPORT, true), ("isl", false), ("failed", false)] {
            let mut breaches = [breach("errors"), breach(cause)];
            excuse(&mut breaches);
            assert_eq!(breaches.map(|breach| breach.momentary), [momentary; 2], "{cause}");
        }
    }

    #[test]
    fn lengths_within_the_tolerance_are_allowed() {
        let mut data = point(Shape { osl: 100, ..Shape::default() });
        data.records.iter_mut().for_each(|record| record.output_tokens = Some(98));
        assert_eq!(judge(&PointSummary::of(&data), &RULES), []);
    }

    #[test]
    fn an_open_loop_that_leaves_arrivals_unanswered_was_not_sustained() {
        let mut overloaded = summary(Shape::default());
        overloaded.meta.level = Level::Rate(crate::measure::Rate::new(8.0).unwrap());
        assert_eq!(rules_broken(&overloaded), []);
        overloaded.counts = crate::measure::Counts { sent: 500, ok: 400, failed: 0, cancelled: 40, unsent: 60 };
        assert_eq!(rules_broken(&overloaded), [("not-sustained".to_owned(), false)]);
        assert!(judge(&overloaded, &RULES)[0].reason.contains("of 500 arrivals at 8/s 100 were not answered"));
        // In a closed loop a level that ends gives up whoever is under way: no more than its users.
        overloaded.meta.level = Level::Concurrency(8);
        assert_eq!(rules_broken(&overloaded), []);
    }

    #[test]
    fn too_many_errors_are_a_breach_and_one_percent_is_not() {
        assert_eq!(rules_broken(&summary(Shape { fail_every: 100, ..Shape::default() })), []);
        let many = summary(Shape { fail_every: 50, ..Shape::default() });
        assert_eq!(rules_broken(&many), [("errors".to_owned(), false)]);
        assert_eq!(
            judge(&many, &RULES)[0].reason,
            "8 of 400 requests failed: 2.0 %, at most 1.0 % allowed; most often timeout"
        );
    }

    #[test]
    fn broken_connections_are_the_moments_fault() {
        let mut many = summary(Shape { fail_every: 50, ..Shape::default() });
        many.failures[0].class = FailureClass::Reset;
        assert_eq!(rules_broken(&many), [("errors".to_owned(), true)]);
    }

    #[test]
    fn one_failed_request_does_not_switch_the_comparison_of_counters_off() {
        let mut point = summary(Shape::default());
        let check = |what: &str, server, failed| CounterCheck { what: what.to_owned(), server, ours: 399, failed };
        for (what, server, failed, agrees) in [
            ("requests", 399, 0, true),
            ("requests", 400, 0, false),
            ("requests", 399, 1, true),
            ("requests", 400, 1, true),
            ("requests", 398, 1, false),
            ("requests", 401, 1, false),
            ("output tokens", 500, 1, true),
            ("output tokens", 398, 1, false),
            ("output tokens", 400, 0, false),
        ] {
            point.server_counters = vec![check(what, server, failed)];
            assert_eq!(rules_broken(&point).is_empty(), agrees, "{what} {server} {failed}");
        }
        assert_eq!(
            judge(&PointSummary { server_counters: vec![check("requests", 700, 1)], ..point }, &RULES)[0].reason,
            "the server counted 700 requests against 399 of ours and 1 requests that failed: someone else uses it, or one of \
             the two counts wrongly"
        );
    }

    #[test]
    fn a_point_without_a_success_is_never_valid() {
        assert_eq!(
            rules_broken(&summary(Shape { fail_every: 1, ..Shape::default() })),
            [("nothing-succeeded".to_owned(), false)]
        );
        assert_eq!(
            rules_broken(&summary(Shape { requests: 0, ..Shape::default() })),
            [("nothing-succeeded".to_owned(), true)]
        );
    }

    #[test]
    fn a_point_that_never_becomes_steady_is_invalid_only_where_the_plan_wants_it() {
        let strict = ValidityRules { require_steady: true, ..RULES };
        assert_eq!(judge(&summary(Shape::default()), &strict), []);
        let few = summary(Shape { requests: 50, ..Shape::default() });
        assert_eq!(judge(&few, &RULES), []);
        let reason = &judge(&few, &strict)[0].reason;
        assert!(reason.starts_with("a steady state cannot be told: it takes 100 successful requests"), "{reason}");
        let mut drifting = point(Shape::default());
        for record in &mut drifting.records {
            record.first_text = record.first_text.map(|first| first + record.index * 100_000);
        }
        let breaches = judge(&PointSummary::of(&drifting), &strict);
        assert_eq!(breaches.len(), 1);
        assert!(breaches[0].reason.starts_with("no steady state: ") && !breaches[0].momentary, "{breaches:?}");
    }

    #[test]
    fn counters_that_differ_are_named() {
        let mut other = summary(Shape::default());
        other.server_counters = vec![
            CounterCheck { what: "requests".to_owned(), server: 404, ours: 404, failed: 0 },
            CounterCheck { what: "output tokens".to_owned(), server: 8100, ours: 8080, failed: 0 },
        ];
        let breaches = judge(&other, &RULES);
        assert!(breaches[0].reason.starts_with("the server counted 8100 output tokens against 8080 of ours"));
        assert_eq!(judge(&other, &ValidityRules { counters: false, ..RULES }), []);
    }
}
