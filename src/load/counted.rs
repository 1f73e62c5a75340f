//! The server's own counters beside ours.

use super::level::Totals;
use super::metrics::CounterSnapshot;
use crate::measure::CounterCheck;

/// The growth of each counter that the server has, beside ours. Nothing can be said once a request failed: the server
/// may have counted it or not.
pub fn counter_checks(before: &CounterSnapshot, after: &CounterSnapshot, ours: &Totals) -> Vec<CounterCheck> {
    if ours.other > 0 {
        return Vec::new();
    }
    let growth =
        |before: Option<f64>, after: Option<f64>| Some((after? - before.unwrap_or(0.0)).max(0.0).round() as u64);
    [
        ("requests", growth(before.requests, after.requests), ours.ok),
        ("prompt tokens", growth(before.prompt_tokens, after.prompt_tokens), ours.prompt_tokens),
        ("output tokens", growth(before.output_tokens, after.output_tokens), ours.output_tokens),
    ]
    .into_iter()
    // Zero tokens in good answers: the server tells none in them, and there is nothing to compare its counters with.
    .filter(|(_, _, counted)| *counted > 0 || ours.ok == 0)
    .filter_map(|(what, server, ours)| Some(CounterCheck { what: what.to_owned(), server: server?, ours }))
    .collect()
}

/// Whether every counter that can be compared is equal to ours.
pub(super) fn all_equal(before: &CounterSnapshot, after: &CounterSnapshot, ours: &Totals) -> bool {
    counter_checks(before, after, ours).iter().all(|check| check.server == check.ours)
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
    fn nothing_is_compared_once_a_request_failed() {
        let ours = Totals { ok: 5, prompt_tokens: 7, output_tokens: 49, other: 1 };
        assert!(counter_checks(&snapshot(2.0), &snapshot(7.0), &ours).is_empty());
    }
}
