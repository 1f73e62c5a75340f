//! The server's own counters beside ours.

use super::level::Totals;
use super::metrics::CounterSnapshot;
use crate::measure::CounterCheck;

/// The growth of each counter that the server has, beside ours. Requests that failed are told beside it: the server may
/// have counted them or not. A counter that went back belongs to another life of the server and is not compared.
pub fn counter_checks(before: &CounterSnapshot, after: &CounterSnapshot, ours: &Totals) -> Vec<CounterCheck> {
    let growth = |before: Option<f64>, after: Option<f64>| {
        let grown = after? - before.unwrap_or(0.0);
        (grown >= 0.0).then(|| grown.round() as u64)
    };
    [
        (CounterCheck::REQUESTS, growth(before.requests, after.requests), ours.ok),
        ("prompt tokens", growth(before.prompt_tokens, after.prompt_tokens), ours.prompt_tokens),
        ("output tokens", growth(before.output_tokens, after.output_tokens), ours.output_tokens),
    ]
    .into_iter()
    // Zero tokens in good answers: the server tells none in them, and there is nothing to compare its counters with.
    .filter(|(_, _, counted)| *counted > 0 || ours.ok == 0)
    .filter_map(|(what, server, counted)| {
        Some(CounterCheck { what: what.to_owned(), server: server?, ours: counted, failed: ours.other })
    })
    .collect()
}

/// Whether every counter that can be compared agrees with ours.
pub(super) fn all_equal(before: &CounterSnapshot, after: &CounterSnapshot, ours: &Totals) -> bool {
    counter_checks(before, after, ours).iter().all(CounterCheck::agrees)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(requests: f64) -> CounterSnapshot {
        CounterSnapshot { requests: Some(requests), prompt_tokens: None, output_tokens: Some(10.0 * requests) }
    }

    #[test]
    fn counters_that_the_server_has_are_compared_by_their_growth() {
        let ours = Totals { ok: 5, prompt_tokens: 7, output_tokens: 49, other: 0 };
        let checks = counter_checks(&snapshot(2.0), &snapshot(7.0), &ours);
        let found: Vec<_> = checks.iter().map(|check| (check.what.as_str(), check.server, check.ours)).collect();
        assert_eq!(found, [("requests", 5, 5), ("output tokens", 50, 49)]);
        assert!(!all_equal(&snapshot(2.0), &snapshot(7.0), &ours));
    }

    #[test]
    fn tokens_that_no_answer_told_are_not_compared() {
        let ours = Totals { ok: 5, prompt_tokens: 0, output_tokens: 0, other: 0 };
        let checks = counter_checks(&snapshot(2.0), &snapshot(7.0), &ours);
        assert_eq!(checks.iter().map(|check| check.what.as_str()).collect::<Vec<_>>(), ["requests"]);
        assert!(all_equal(&snapshot(2.0), &snapshot(7.0), &ours));
    }

    #[test]
    fn a_failed_request_may_be_counted_or_not_and_the_others_must_be() {
        let ours = Totals { ok: 4, prompt_tokens: 0, output_tokens: 40, other: 1 };
        let grown = |requests: f64| counter_checks(&snapshot(2.0), &snapshot(2.0 + requests), &ours);
        assert_eq!(grown(5.0).iter().map(|check| (check.ours, check.failed)).collect::<Vec<_>>(), [(4, 1), (40, 1)]);
        for (requests, agree) in [(3.0, false), (4.0, true), (5.0, true), (6.0, false)] {
            assert_eq!(grown(requests).iter().all(CounterCheck::agrees), agree, "{requests}");
        }
    }

    #[test]
    fn a_counter_that_went_back_is_not_compared() {
        let ours = Totals { ok: 5, prompt_tokens: 0, output_tokens: 50, other: 0 };
        assert_eq!(counter_checks(&snapshot(7.0), &snapshot(3.0), &ours), []);
    }
}
