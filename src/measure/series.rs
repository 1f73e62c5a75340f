//! Where a point was measured, and what was found out about its deployment there.
//!
//! Points of one series come from one cluster, one kind of GPU and one place of the generator. Numbers of different
//! series differ for reasons that are no property of the deployments: they are never put side by side in silence.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::point::PointMeta;
use crate::base::fact;

/// What a target found out about a deployment when it was ready, by name.
pub type Facts = BTreeMap<String, String>;

/// The series of a point; what is `None` is not known, or does not apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Series {
    /// Uid of the cluster.
    pub cluster: Option<String>,
    /// Product of the GPUs.
    pub gpus: Option<String>,
    /// The machine, or the nodes, that the load came from.
    pub generator: Option<String>,
}

/// One side of a series: what it is called, and how it is read.
type Side = (&'static str, fn(&Series) -> Option<&String>);

const SIDES: [Side; 3] = [
    ("clusters", |series| series.cluster.as_ref()),
    ("GPUs", |series| series.gpus.as_ref()),
    ("load generators' machines", |series| series.generator.as_ref()),
];

impl Series {
    /// The series of a deployment about which this is known, with load from there.
    pub fn of(facts: &Facts, generator: Option<String>) -> Self {
        let known = |name: &str| facts.get(name).filter(|text| !text.is_empty()).cloned();
        Self { cluster: known(fact::CLUSTER), gpus: known(fact::GPU_PRODUCT), generator }
    }

    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// In what the series of two sets of points differ, a few words for each side. Where one of them is not known nothing can
/// be said.
pub fn series_between(ones: &[&PointMeta], others: &[&PointMeta]) -> Vec<String> {
    let differ = SIDES.iter().filter_map(|(name, side)| {
        let (one, other) = (known(ones, *side), known(others, *side));
        let differs = !one.is_empty() && !other.is_empty() && one != other;
        differs.then(|| format!("{name}: {} and {}", joined(&one), joined(&other)))
    });
    differ.collect()
}

/// In what the points of one set are of several series.
pub fn series_within(points: &[&PointMeta]) -> Vec<String> {
    let mixed = SIDES.iter().filter_map(|(name, side)| {
        let all = known(points, *side);
        (all.len() > 1).then(|| format!("{name}: {}", joined(&all)))
    });
    mixed.collect()
}

fn known<'a>(points: &[&'a PointMeta], side: fn(&Series) -> Option<&String>) -> BTreeSet<&'a str> {
    points.iter().filter_map(|meta| side(&meta.series)).map(String::as_str).collect()
}

fn joined(all: &BTreeSet<&str>) -> String {
    all.iter().copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::sample::{Shape, point};

    fn on(cluster: &str, gpus: &str, generator: &str) -> PointMeta {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let series = Series { cluster: text(cluster), gpus: text(gpus), generator: text(generator) };
        PointMeta { series, ..point(Shape { requests: 1, ..Shape::default() }).meta }
    }

    #[test]
    fn each_side_that_differs_is_named_and_what_is_not_known_is_not() {
        let (one, other, unknown) = (on("a", "H100", "n1"), on("b", "A100", "n1"), on("", "", ""));
        assert_eq!(series_between(&[&one], &[&other]), ["clusters: a and b", "GPUs: H100 and A100"]);
        assert_eq!(series_between(&[&one], &[&one]), Vec::<String>::new());
        assert_eq!(series_between(&[&one], &[&unknown]), Vec::<String>::new());
        let moved = on("a", "H100", "n2");
        assert_eq!(series_within(&[&one, &moved, &unknown]), ["load generators' machines: n1, n2"]);
        assert_eq!(series_between(&[&one, &moved], &[&one]), ["load generators' machines: n1, n2 and n1"]);
        assert_eq!(series_within(&[&one, &one]), Vec::<String>::new());
    }

    #[test]
    fn a_series_is_read_from_what_the_target_found_out() {
        let facts =
            Facts::from([(fact::CLUSTER.to_owned(), "u".to_owned()), (fact::GPU_PRODUCT.to_owned(), String::new())]);
        let series = Series::of(&facts, Some("laptop".to_owned()));
        assert_eq!(series, Series { cluster: Some("u".to_owned()), gpus: None, generator: Some("laptop".to_owned()) });
        assert!(!series.is_unknown() && Series::of(&Facts::new(), None).is_unknown());
    }
}
