//! The formula of every metric that is printed, from the one table that also computes them.

use std::collections::BTreeSet;

use super::{levels, more};
use crate::measure::{METRICS, metric};
use crate::report::RunResults;
use crate::report::text::wrapped;

pub(super) fn section(results: &RunResults) -> String {
    if results.points.is_empty() {
        return String::new();
    }
    let info = &results.info;
    let mut ids: BTreeSet<_> = levels::printed_metrics()
        .chain(more::printed_metrics(results))
        .chain(["input-sequence-length", "output-sequence-length"])
        .collect();
    let named = info.objectives.iter().map(|bound| &bound.metric).chain([&info.compare.primary]);
    ids.extend(named.filter_map(|name| metric(name)).map(|row| row.id));
    let mut out = String::from("DEFINITIONS\n");
    for row in METRICS.iter().filter(|row| ids.contains(row.id)) {
        out.push_str(&wrapped(&format!("  {} ({}): ", row.title, row.unit), row.definition));
    }
    out.push_str(&wrapped(
        "  ",
        "Percentiles by linear interpolation. Failed requests are in no latency and no token count; requests given up by \
         us are in nothing. Every number of every point: results.csv and results.json.",
    ));
    out
}
