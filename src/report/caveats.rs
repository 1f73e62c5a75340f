//! What was found out about deployments and stands beside their numbers wherever these are shown: a disaggregation that
//! is not proven, GPUs that are not those of the plan, points of several series.

use std::collections::BTreeSet;

use super::dataset::RunResults;
use crate::base::Name;
use crate::base::fact::{DISAGGREGATED, GPUS_DIFFER, NOT_PROVEN};
use crate::measure::{PointMeta, series_between, series_within};

/// All points of a deployment.
pub(super) fn points_of<'a>(results: &'a RunResults, name: &Name) -> Vec<&'a PointMeta> {
    let all = results.points.iter().map(|point| &point.summary.meta);
    all.filter(|meta| meta.deployment == *name).collect()
}

/// What these points say under the name of a fact, each answer once.
pub(super) fn facts<'a>(points: &[&'a PointMeta], fact: &str) -> BTreeSet<&'a str> {
    points.iter().filter_map(|meta| meta.facts.get(fact)).map(String::as_str).collect()
}

/// The short mark of a deployment in titles of tables and pictures; empty when all is well.
pub(super) fn mark(points: &[&PointMeta]) -> &'static str {
    let proven = facts(points, DISAGGREGATED).iter().all(|verdict| !verdict.starts_with(NOT_PROVEN));
    if proven { "" } else { " (disaggregated: not proven)" }
}

/// What must be read before the numbers of a deployment are.
pub(super) fn about_deployment(points: &[&PointMeta]) -> Vec<String> {
    let proof = facts(points, DISAGGREGATED).into_iter().map(|verdict| format!("disaggregated: {verdict}"));
    let gpus = facts(points, GPUS_DIFFER).into_iter().map(|found| format!("GPUs: {found}"));
    let mixed = series_within(points).into_iter().map(|what| format!("measured in several series, {what}"));
    proof.chain(gpus).chain(mixed).collect()
}

/// The same in a few words for a picture: whatever makes a curve another thing than its name says.
pub fn in_a_picture(results: &RunResults) -> String {
    let names = results.deployments();
    let mut parts: Vec<String> = names
        .iter()
        .filter(|name| !mark(&points_of(results, name)).is_empty())
        .map(|name| format!("{name}: disaggregated not proven"))
        .collect();
    let differing = names.iter().filter(|name| !facts(&points_of(results, name), GPUS_DIFFER).is_empty());
    parts.extend(differing.map(|name| format!("{name}: not the plan's GPUs")));
    let all: Vec<&PointMeta> = results.points.iter().map(|point| &point.summary.meta).collect();
    if !series_within(&all).is_empty() {
        parts.push("several series, see SUMMARY.txt".to_owned());
    }
    parts.join(", ")
}

/// Why a comparison of two deployments is one of their surroundings as well.
pub(super) fn between(results: &RunResults, one: &Name, other: &Name) -> Vec<String> {
    series_between(&points_of(results, one), &points_of(results, other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Series;
    use crate::measure::sample::{Shape, name, point};
    use crate::report::dataset::tests::info;
    use crate::report::{Point, summary_text};

    /// Two deployments, of which the second was measured elsewhere.
    pub(in crate::report) fn results() -> RunResults {
        let of = |deployment: &'static str, change: &dyn Fn(&mut PointMeta)| {
            let mut data = point(Shape { deployment, requests: 40, ..Shape::default() });
            data.meta.series = Series {
                cluster: Some("c1".to_owned()),
                gpus: Some("H100".to_owned()),
                generator: Some("node-1".to_owned()),
            };
            change(&mut data.meta);
            Point { dir: "x".into(), summary: crate::measure::PointSummary::of(&data) }
        };
        let disagg = |meta: &mut PointMeta| {
            meta.series.gpus = Some("A100".to_owned());
            let verdict = format!("{NOT_PROVEN}: no prefill worker is ready");
            meta.facts.insert(DISAGGREGATED.to_owned(), verdict);
            meta.facts.insert(GPUS_DIFFER.to_owned(), "the plan counts 4, the bound pods hold 2".to_owned());
        };
        RunResults::new(info(&["agg", "disagg"]), vec![of("agg", &|_| {}), of("disagg", &disagg)])
    }

    #[test]
    fn what_was_found_out_stands_beside_the_numbers_in_the_summary() {
        let text = summary_text(&results());
        for words in [
            "disaggregated: not proven: no prefill worker is ready",
            "GPUs: the plan counts 4, the bound pods hold 2",
            "disagg (disaggregated: not proven)\n",
            "disagg and agg are of different series (GPUs: A100 and H100)",
            "measured on  cluster c1; GPUs A100, H100; load from node-1",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
    }

    #[test]
    fn a_picture_says_what_its_curves_are() {
        assert_eq!(
            in_a_picture(&results()),
            "disagg: disaggregated not proven, disagg: not the plan's GPUs, several series, see SUMMARY.txt"
        );
        let mut alone = results();
        alone.points.truncate(1);
        assert_eq!(in_a_picture(&alone), "");
        assert_eq!(between(&results(), &name("agg"), &name("agg")), Vec::<String>::new());
    }
}
