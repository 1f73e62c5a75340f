//! What can be claimed and what cannot, with the uncertainty or the reason.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::base::Name;
use crate::measure::{Better, Claims, Comparison, NoClaim, PointSummary, SMALLEST_CLAIM, Verdict, compare, metric};
use crate::report::RunResults;
use crate::report::caveats;
use crate::report::text::{Align, columns, wrapped};

pub(super) fn section(results: &RunResults) -> String {
    let mut out = String::from("VERDICT\n");
    if results.points.is_empty() {
        out.push_str("  Nothing was measured: there is nothing to claim.\n");
        return out;
    }
    let points: Vec<&PointSummary> = results.points.iter().map(|point| &point.summary).collect();
    let deployments = results.deployments();
    let Some(claims) = compare(&points, &deployments, &results.info.compare) else {
        out.push_str("  One deployment: there is nothing to compare it with.\n");
        return out;
    };
    out.push_str(&wrapped("  ", &subject(results, &claims)));
    for name in deployments.iter().filter(|name| **name != claims.baseline) {
        for workload in results.workloads() {
            let own: Vec<_> =
                claims.primary.iter().filter(|c| c.deployment == *name && c.workload == workload).collect();
            if own.is_empty() {
                continue;
            }
            let of = if results.workloads().len() > 1 { format!(", {workload}") } else { String::new() };
            out.push_str(&wrapped(&format!("  - {name} against {}{of}: ", claims.baseline), &headline(&own)));
        }
    }
    out.push_str(&surroundings(results, &deployments, &claims));
    out.push('\n');
    out.push_str(&table(&claims, results.workloads().len() > 1));
    out.push_str(&reasons(&claims.primary));
    out.push_str(&advice(&claims.primary));
    out.push_str(&others(&claims));
    out.push_str(&controls(results, &claims));
    out
}

/// What differs between the deployments that is no property of theirs, and what is not sure about them.
fn surroundings(results: &RunResults, deployments: &[Name], claims: &Claims) -> String {
    let mut out = String::new();
    for name in deployments {
        let differ = caveats::between(results, name, &claims.baseline);
        if !differ.is_empty() {
            let words = format!(
                "{name} and {} are of different series ({}): what differs between them may come from there.",
                claims.baseline,
                differ.join("; ")
            );
            out.push_str(&wrapped("  ", &words));
        }
        if !caveats::mark(&caveats::points_of(results, name)).is_empty() {
            let words = format!("{name}: that it served disaggregated is not proven; see its line at the top.");
            out.push_str(&wrapped("  ", &words));
        }
    }
    out
}

/// What is compared with what.
fn subject(results: &RunResults, claims: &Claims) -> String {
    let rules = &results.info.compare;
    let name = match metric(&rules.primary) {
        Some(row) => {
            let direction = match row.better {
                Better::Lower => ", lower is better",
                Better::Higher => ", higher is better",
                Better::Neutral => "",
            };
            format!("{} ({}{direction})", row.title, row.unit)
        }
        None => rules.primary.clone(),
    };
    let simulated = if results.is_simulated() { " It is a verdict about simulated engines." } else { "" };
    format!(
        "Primary metric: {name}. Baseline: {}. Equivalent: the whole 95 % interval within {} %.{simulated}",
        claims.baseline,
        trimmed(100.0 * rules.margin)
    )
}

/// One sentence about one deployment over all levels.
fn headline(own: &[&Comparison]) -> String {
    let mut groups: IndexMap<String, Vec<&Comparison>> = IndexMap::new();
    for comparison in own {
        groups.entry(word(&comparison.verdict)).or_default().push(comparison);
    }
    let parts: Vec<_> = groups
        .into_iter()
        .map(|(word, list)| {
            let levels: Vec<_> = list.iter().map(|comparison| comparison.level.to_string()).collect();
            let ratios: Vec<_> = list.iter().filter_map(|comparison| comparison.ratio).collect();
            let low = ratios.iter().copied().reduce(f64::min);
            let high = ratios.iter().copied().reduce(f64::max);
            let range = match low.zip(high) {
                Some((low, high)) if percent(low) == percent(high) => format!(" ({})", percent(low)),
                Some((low, high)) => format!(" ({} to {})", percent(low), percent(high)),
                None => String::new(),
            };
            format!("{word} at {}{range}", levels.join(", "))
        })
        .collect();
    parts.join("; ")
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Better => "better".to_owned(),
        Verdict::Worse => "worse".to_owned(),
        Verdict::Equivalent => "equivalent".to_owned(),
        Verdict::Undecided => "undecided".to_owned(),
        Verdict::NoClaim(NoClaim::OneRun) => "one run each: no claim".to_owned(),
        Verdict::NoClaim(NoClaim::FewPairs(pairs)) => format!("{pairs} pairs: no claim"),
        Verdict::NoClaim(NoClaim::DifferentWork(_)) => "not compared: different work".to_owned(),
        Verdict::NoClaim(NoClaim::NoPair(_)) => "not compared: no pair".to_owned(),
        Verdict::NoClaim(NoClaim::NoDirection) => "no claim: neither direction is better".to_owned(),
    }
}

fn table(claims: &Claims, several_workloads: bool) -> String {
    if claims.primary.iter().all(|comparison| comparison.ratio.is_none()) {
        return String::new();
    }
    let mut rows = vec![vec![
        "deployment".to_owned(),
        "level".to_owned(),
        format!("to {}", claims.baseline),
        "95 % interval".to_owned(),
        "pairs".to_owned(),
        "detectable".to_owned(),
        "p (Holm)".to_owned(),
        "verdict".to_owned(),
    ]];
    let none = || "-".to_owned();
    for comparison in &claims.primary {
        let paired = comparison.paired;
        let pairs = paired.map_or(u64::from(comparison.ratio.is_some()), |paired| paired.n);
        let name = &comparison.deployment;
        rows.push(vec![
            if several_workloads { format!("{name}, {}", comparison.workload) } else { name.to_string() },
            comparison.level.to_string(),
            comparison.ratio.map_or_else(none, percent),
            paired.map_or_else(none, |p| format!("{} to {}", percent(p.low), percent(p.high))),
            pairs.to_string(),
            paired.map_or_else(none, |p| format!("{:.1} %", 100.0 * p.detectable)),
            comparison.adjusted_p.map_or_else(none, p_value),
            word(&comparison.verdict),
        ]);
    }
    let align =
        [Align::Left, Align::Left, Align::Right, Align::Right, Align::Right, Align::Right, Align::Right, Align::Left];
    columns(&rows, &align, 2, 2)
}

/// Why some were not compared, each reason once.
fn reasons(list: &[Comparison]) -> String {
    let mut found: IndexMap<(Name, String), Vec<String>> = IndexMap::new();
    for comparison in list {
        let reasons = match &comparison.verdict {
            Verdict::NoClaim(NoClaim::DifferentWork(reasons)) => reasons.clone(),
            Verdict::NoClaim(NoClaim::NoPair(reason)) => vec![reason.clone()],
            Verdict::NoClaim(NoClaim::OneRun | NoClaim::FewPairs(_) | NoClaim::NoDirection)
            | Verdict::Better
            | Verdict::Worse
            | Verdict::Equivalent
            | Verdict::Undecided => continue,
        };
        for reason in reasons {
            found.entry((comparison.deployment.clone(), reason)).or_default().push(comparison.level.to_string());
        }
    }
    found
        .into_iter()
        .map(|((name, reason), levels)| {
            wrapped("  ", &format!("{name} at {} is not compared: {reason}", levels.join(", ")))
        })
        .collect()
}

fn advice(list: &[Comparison]) -> String {
    let too_few = |comparison: &Comparison| {
        matches!(comparison.verdict, Verdict::NoClaim(NoClaim::OneRun | NoClaim::FewPairs(_)))
    };
    let mut out = String::new();
    if list.iter().any(too_few) {
        out.push_str(&wrapped(
            "  ",
            &format!(
                "The run is the replicate: below {SMALLEST_CLAIM} pairs of runs a ratio is an observation and no claim. \
                 `repeats = 5` on the workload measures five interleaved pairs."
            ),
        ));
    }
    if list.iter().any(|comparison| comparison.adjusted_p.is_some()) {
        out.push_str(&wrapped(
            "  ",
            "95 % t interval on log ratios of runs paired by block. Detectable: the smallest difference that so many \
             pairs find in 80 of 100 cases. p: Holm over all rows of this table. Undecided does not mean equal.",
        ));
    }
    out
}

/// Claims on the other metrics, after Holm over all of them; nothing where no run was repeated.
fn others(claims: &Claims) -> String {
    let judged = claims.others.iter().filter(|comparison| comparison.adjusted_p.is_some()).count();
    if judged == 0 {
        return String::new();
    }
    let mut groups: IndexMap<(&str, &Name, &Name, String), Vec<&Comparison>> = IndexMap::new();
    for comparison in &claims.others {
        match comparison.verdict {
            Verdict::Better | Verdict::Worse | Verdict::Equivalent => {
                let word = word(&comparison.verdict);
                let key = (comparison.metric.as_str(), &comparison.deployment, &comparison.workload, word);
                groups.entry(key).or_default().push(comparison);
            }
            Verdict::Undecided | Verdict::NoClaim(_) => {}
        }
    }
    let mut out = format!("\n  Other metrics (means of runs; Holm over {judged} comparisons):\n");
    if groups.is_empty() {
        out.push_str("  - none allows a claim\n");
    }
    for ((id, deployment, _, _), list) in groups {
        let title = metric(id).map_or(id, |row| row.title);
        out.push_str(&wrapped(&format!("  - {deployment}, {title}: "), &headline(&list)));
    }
    out
}

/// Two deployments that are one and the same: what differs between them is noise.
fn controls(results: &RunResults, claims: &Claims) -> String {
    let fingerprint = |name: &Name| results.info.deployment(name).and_then(|found| found.fingerprint.as_deref());
    let Some(baseline) = fingerprint(&claims.baseline) else { return String::new() };
    let mut largest: BTreeMap<&Name, f64> = BTreeMap::new();
    for comparison in &claims.primary {
        if fingerprint(&comparison.deployment) == Some(baseline) {
            let interval = comparison.paired.map(|paired| [paired.low, paired.high]);
            let size = largest.entry(&comparison.deployment).or_insert(0.0);
            for ratio in interval.into_iter().flatten().chain(comparison.ratio) {
                *size = size.max(ratio.ln().abs());
            }
        }
    }
    largest
        .into_iter()
        .map(|(name, size)| {
            let words = format!(
                "{name} is the same thing as {} (A/A control): what differs between them, up to {:.1} % by the ends of the \
                 intervals above, is the noise floor of this run. Smaller differences elsewhere mean nothing.",
                claims.baseline,
                100.0 * (size.exp() - 1.0)
            );
            wrapped("  ", &words)
        })
        .collect()
}

/// `+12.4 %`, from a ratio.
fn percent(ratio: f64) -> String {
    let text = format!("{:+.1} %", 100.0 * (ratio - 1.0));
    // A sign before nothing would look like a direction.
    if text.ends_with("0.0 %") && text.len() == 6 { "0.0 %".to_owned() } else { text }
}

fn p_value(p: f64) -> String {
    if p < 0.001 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
