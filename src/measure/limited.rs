//! Whether the generator, and not the server, was the limit of a point.

use super::record::FailureClass;
use super::summary::PointSummary;
use super::validity::{Breach, ValidityRules};
use crate::base::format_quantity;

/// The rule that a point breaks of which the generator was the limit.
pub const GENERATOR_LIMITED: &str = "generator-limited";
/// The share of the TTFT's median that the generator's own lateness may have.
const LAG_SHARE: f64 = 0.01;
/// How late the timer of an idle event loop rings: its own grain, milliseconds, on average and at p99 nearly.
const LOOP_GRAIN_MS: f64 = 1.0;
/// How late an event loop may look at its sockets over time, on average and at p99, as shares of what is promised of each TTFT
/// on average. What has arrived has waited longer than this says: a server that wakes many streams at once is read one by one.
/// Measured against the log of the truth (512 streams on one core, 0, 1, 2 busy threads beside them): lateness beyond the grain
/// 0.03, 0.44, 1.97 ms on average and 0.8, 3.9, 7.2 ms at p99, TTFT off by 0.34, 1.25, 2.47 and 1.2, 5.2, 9.7 ms.
const LOOP_MEAN_SHARE: f64 = 0.3;
const LOOP_P99_SHARE: f64 = 4.0;
/// Share of its time that a thread may compute and wait for a core together.
const MOST_CPU: f64 = 0.9;
/// Share of the ceiling that the rate of events may come to.
const MOST_OF_CEILING: f64 = 0.8;

/// The generator and not the server was the limit: the numbers are its own.
///
/// What a valid point promises is a TTFT that the generator itself has made wrong by no more than the larger of `send-lag-ms`
/// and 1 % of its median on average, and five times that at p99. Two causes can make it wrong. It sends late, which moves the
/// whole request. Or its event loop looks late at what has arrived, which a timer of the loop's own tells. Neither is seen where
/// a thread that never sleeps reads many events at a time; then it has no time left, or it is near the rate that this machine
/// can read.
pub(super) fn generator_limited(summary: &PointSummary, rules: &ValidityRules) -> Option<Breach> {
    let health = &summary.health;
    let median = summary.distributions.get("time-to-first-token").and_then(|ttft| ttft.percentile(50));
    let lag = rules.send_lag_ms.max(LAG_SHARE * median.unwrap_or(0.0));
    let (late, late_p99) = (LOOP_GRAIN_MS + LOOP_MEAN_SHARE * lag, LOOP_GRAIN_MS + LOOP_P99_SHARE * lag);
    let mut faults = Vec::new();
    if health.send_lag_p99_ms > lag {
        let (found, limit) = apart(health.send_lag_p99_ms, lag);
        faults.push(format!("it sent late by p99 {found} ms, at most {limit} ms allowed"));
    }
    if health.loop_lag_mean_ms > late {
        let (found, limit) = apart(health.loop_lag_mean_ms, late);
        faults.push(format!("its event loop was late by {found} ms on average, at most {limit} ms allowed"));
    }
    if health.loop_lag_p99_ms > late_p99 {
        let (found, limit) = apart(health.loop_lag_p99_ms, late_p99);
        faults.push(format!("its event loop was late by p99 {found} ms, at most {limit} ms allowed"));
    }
    if health.cpu_share + health.cpu_wait_share > MOST_CPU {
        faults.push(format!(
            "a thread of it computed {:.0} % of the time and waited {:.0} % of it for a core, at most {:.0} % together",
            100.0 * health.cpu_share,
            100.0 * health.cpu_wait_share,
            100.0 * MOST_CPU
        ));
    }
    if let Some(ceiling) = health.ceiling_events_per_s.filter(|ceiling| health.events_per_s > MOST_OF_CEILING * ceiling)
    {
        faults.push(format!(
            "it read {} events/s, and this machine's {} threads of it can read {} at most",
            format_quantity(health.events_per_s),
            health.threads,
            format_quantity(ceiling)
        ));
    }
    let unsent = summary.failures.iter().find(|failure| failure.class == FailureClass::NoRoom);
    faults.extend(unsent.map(|failure| {
        format!("this machine had no file, port or memory left for {} connections ({})", failure.count, failure.example)
    }));
    (!faults.is_empty()).then(|| Breach {
        rule: GENERATOR_LIMITED.to_owned(),
        reason: format!(
            "the load generator was the limit and not the server: {}; use fewer streams, give it cores of its own, or let \
             workers in the cluster send",
            faults.join("; ")
        ),
        momentary: true,
    })
}

/// A value and the limit that it exceeds, with as many decimals as tell them apart, two at least.
fn apart(value: f64, limit: f64) -> (String, String) {
    let texts = |decimals: usize| (format!("{value:.decimals$}"), format!("{limit:.decimals$}"));
    (2..9).map(texts).find(|(value, limit)| value != limit).unwrap_or_else(|| texts(9))
}

#[cfg(test)]
mod tests {
    use super::super::point::GeneratorHealth;
    use super::super::sample::{Shape, summary};
    use super::super::validity::judge;
    use super::super::validity::tests::{RULES, rules_broken};
    use super::*;

    #[test]
    fn a_machine_without_a_file_for_a_connection_is_the_generators_limit() {
        let mut short = summary(Shape { fail_every: 200, ..Shape::default() });
        assert_eq!(rules_broken(&short), []);
        short.failures[0].class = FailureClass::NoRoom;
        assert_eq!(rules_broken(&short), [("generator-limited".to_owned(), true)]);
        assert!(judge(&short, &RULES)[0].reason.contains("no file, port or memory left for 2 connections"));
    }

    #[test]
    fn the_send_lag_may_be_one_percent_of_a_long_ttft() {
        let mut late = summary(Shape::default());
        late.health.send_lag_p99_ms = 3.0;
        assert_eq!(rules_broken(&late), [("generator-limited".to_owned(), true)]);
        let mut slow = summary(Shape { ttft: 500.0, ..Shape::default() });
        slow.health.send_lag_p99_ms = 3.0;
        assert_eq!(rules_broken(&slow), []);
    }

    #[test]
    fn each_sign_that_the_generator_was_the_limit_is_enough() {
        type Change = fn(&mut GeneratorHealth);
        let signs: [(Change, &str); 5] = [
            (
                |health| health.loop_lag_mean_ms = 1.4,
                "event loop was late by 1.40 ms on average, at most 1.30 ms allowed",
            ),
            (|health| health.loop_lag_p99_ms = 5.1, "event loop was late by p99 5.10 ms, at most 5.00 ms allowed"),
            (|health| health.cpu_share = 0.95, "computed 95 % of the time and waited 1 %"),
            (
                |health| (health.cpu_share, health.cpu_wait_share) = (0.5, 0.45),
                "computed 50 % of the time and waited 45 %",
            ),
            (|health| health.events_per_s = 500_000.0, "it read 500,000 events/s, and this machine's 1 threads of it"),
        ];
        for (sign, words) in signs {
            let mut limited = summary(Shape::default());
            sign(&mut limited.health);
            let breaches = judge(&limited, &RULES);
            assert_eq!(breaches.len(), 1, "{words}");
            assert!(breaches[0].reason.contains(words) && breaches[0].momentary, "{}", breaches[0].reason);
            assert!(breaches[0].reason.contains("use fewer streams"), "{}", breaches[0].reason);
        }
        let mut fine = summary(Shape::default());
        (fine.health.loop_lag_mean_ms, fine.health.loop_lag_p99_ms) = (1.25, 4.9);
        fine.health.cpu_share = 0.85;
        fine.health.events_per_s = 400_000.0;
        assert_eq!(judge(&fine, &RULES), []);
    }

    #[test]
    fn a_value_just_over_its_limit_is_not_printed_as_equal_to_it() {
        let mut late = summary(Shape { ttft: 100.0, ..Shape::default() });
        late.health.send_lag_p99_ms = 1.000_4;
        let reason = &judge(&late, &RULES)[0].reason;
        assert!(reason.contains("late by p99 1.0004 ms, at most 1.0000 ms allowed"), "{reason}");
    }
}
