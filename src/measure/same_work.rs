//! The gate before any comparison: both deployments must have done the same work, reached in the same way.

use std::collections::{BTreeMap, BTreeSet};

use super::summary::PointSummary;

/// Largest relative difference of mean ISL and OSL between two points that may be compared.
const LENGTH_TOLERANCE: f64 = 0.02;
/// Largest difference of shares: errors, finish reasons, prompt tokens from the cache.
const SHARE_TOLERANCE: f64 = 0.02;

/// Why two points must not be compared, a sentence each; empty: they did the same work.
pub fn different_work(a: &PointSummary, b: &PointSummary) -> Vec<String> {
    let mut reasons = Vec::new();
    for (name, metric) in [("ISL", "input-sequence-length"), ("OSL", "output-sequence-length")] {
        match (a.number(metric, "mean"), b.number(metric, "mean")) {
            (Some(one), Some(other)) if (one / other - 1.0).abs() > LENGTH_TOLERANCE => {
                reasons.push(format!("mean {name} differs: {one:.1} and {other:.1}"));
            }
            (Some(_), None) | (None, Some(_)) => reasons.push(format!("{name} is known of only one of them")),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    if let (Some(one), Some(other)) = (a.number("error-share", "value"), b.number("error-share", "value"))
        && (one - other).abs() > 100.0 * SHARE_TOLERANCE
    {
        reasons.push(format!("share of failed requests differs: {one:.1} % and {other:.1} %"));
    }
    let distance = distance(&a.finish_reasons, &b.finish_reasons);
    if distance > SHARE_TOLERANCE {
        reasons.push(format!("finish reasons differ: {} and {}", mix(&a.finish_reasons), mix(&b.finish_reasons)));
    }
    // A server that reports no cached tokens is not evidence of a difference. Where prompts are to begin alike, what a server
    // makes of that is its result.
    if let (Some(one), Some(other)) = (a.cached_share, b.cached_share)
        && !(a.meta.alike && b.meta.alike)
        && (one - other).abs() > SHARE_TOLERANCE
    {
        reasons.push(format!(
            "share of prompt tokens from the cache differs: {:.1} % and {:.1} %",
            100.0 * one,
            100.0 * other
        ));
    }
    let sources = |point: &PointSummary| point.token_sources.keys().copied().collect::<BTreeSet<_>>();
    if sources(a) != sources(b) {
        reasons.push("output tokens were not counted in the same way".to_owned());
    }
    if a.meta.simulated != b.meta.simulated {
        reasons.push("one of them is simulated".to_owned());
    }
    if a.meta.measured_by != b.meta.measured_by {
        let tool = |point: &PointSummary| point.meta.measured_by.clone().unwrap_or_else(|| "dynbench".to_owned());
        reasons.push(format!("they were measured by different tools: {} and {}", tool(a), tool(b)));
    } else if a.meta.transport != b.meta.transport {
        reasons.push(format!("they were reached in different ways: {} and {}", a.meta.transport, b.meta.transport));
    }
    if a.meta.api != b.meta.api {
        reasons.push(format!("they were asked through different endpoints: {} and {}", a.meta.api, b.meta.api));
    }
    reasons
}

/// Total variation distance of two mixes, 0 to 1.
fn distance(a: &BTreeMap<String, u64>, b: &BTreeMap<String, u64>) -> f64 {
    let share = |mix: &BTreeMap<String, u64>, reason: &String| {
        mix.get(reason).copied().unwrap_or(0) as f64 / mix.values().sum::<u64>().max(1) as f64
    };
    let reasons: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    reasons.into_iter().map(|reason| (share(a, reason) - share(b, reason)).abs()).sum::<f64>() / 2.0
}

/// `length 98 %, stop 2 %`
pub(crate) fn mix(reasons: &BTreeMap<String, u64>) -> String {
    let all = reasons.values().sum::<u64>().max(1) as f64;
    let parts: Vec<_> =
        reasons.iter().map(|(reason, count)| format!("{reason} {:.0} %", 100.0 * *count as f64 / all)).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::TokenSource;
    use crate::measure::sample::{Shape, point, summary};

    #[test]
    fn equal_work_may_be_compared_however_fast_it_was_done() {
        let slow = summary(Shape { deployment: "disagg", ttft: 900.0, itl: 30.0, ..Shape::default() });
        assert_eq!(different_work(&summary(Shape::default()), &slow), Vec::<String>::new());
    }

    #[test]
    fn what_a_cache_makes_of_prompts_that_are_to_begin_alike_is_no_difference_of_work() {
        let cached = |alike, tokens| {
            let mut data = point(Shape::default());
            data.meta.alike = alike;
            data.records.iter_mut().for_each(|record| record.cached_tokens = Some(tokens));
            PointSummary::of(&data)
        };
        assert_eq!(different_work(&cached(true, 20), &cached(true, 150)), Vec::<String>::new());
        assert_eq!(different_work(&cached(false, 20), &cached(false, 150)).len(), 1);
    }

    #[test]
    fn each_difference_of_work_is_named() {
        let one = summary(Shape::default());
        let mut data = point(Shape { osl: 30, fail_every: 10, ..Shape::default() });
        data.meta.transport = "port-forward".to_owned();
        for record in data.records.iter_mut().filter(|record| record.is_ok()) {
            record.isl = record.isl.map(|isl| isl + 20);
            record.cached_tokens = Some(102);
            record.finish_reason = Some(if record.index % 2 == 0 { "stop" } else { "length" }.to_owned());
            record.token_source = TokenSource::Chunks;
        }
        let reasons = different_work(&one, &PointSummary::of(&data));
        let firsts: Vec<_> = reasons.iter().map(|reason| reason.split(':').next().unwrap()).collect();
        assert_eq!(
            firsts,
            [
                "mean ISL differs",
                "mean OSL differs",
                "share of failed requests differs",
                "finish reasons differ",
                "share of prompt tokens from the cache differs",
                "output tokens were not counted in the same way",
                "they were reached in different ways",
            ]
        );
    }
}
