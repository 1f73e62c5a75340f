//! Numbers of each point that are not in the tables of levels: gaps of chunks, totals, goodput.

use super::levels::{place, sweeps};
use crate::base::format_quantity;
use crate::measure::PointSummary;
use crate::report::RunResults;
use crate::report::text::{Align, columns};

/// Title, metric, statistic.
const COLUMNS: [(&str, &str, &str); 11] = [
    ("tok gap p50", "token-gap", "p50"),
    ("p99", "token-gap", "p99"),
    ("chunk gap p50", "chunk-gap", "p50"),
    ("p99", "chunk-gap", "p99"),
    ("max ms", "chunk-gap", "max"),
    ("tok/chunk", "tokens-per-chunk", "mean"),
    ("lat/tok ms", "normalised-latency", "mean"),
    ("total tok/s", "total-throughput", "value"),
    ("under way", "effective-concurrency", "value"),
    ("good req/s", "goodput", "value"),
    ("good %", "goodput-share", "value"),
];

/// Ids of the metrics that are printed here.
pub(super) fn printed_metrics() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().map(|(_, metric, _)| *metric)
}

pub(super) fn section(results: &RunResults) -> String {
    let tables: String = sweeps(results).map(|(title, sweep)| table(&title, &sweep)).collect();
    if tables.is_empty() { tables } else { format!("MORE NUMBERS\n{tables}") }
}

fn table(title: &str, sweep: &[&PointSummary]) -> String {
    // Goodput without objectives would be a column of nothing.
    let told = |(_, metric, statistic): &(&str, &str, &str)| {
        sweep.iter().any(|point| point.number(metric, statistic).is_some())
    };
    let shown: Vec<_> = COLUMNS.into_iter().filter(told).collect();
    let mut rows = vec![vec![String::new(), "level".to_owned()]];
    rows[0].extend(shown.iter().map(|(title, _, _)| (*title).to_owned()));
    for point in sweep {
        let mark = if point.is_valid() { "" } else { "!" };
        let mut row = vec![mark.to_owned(), place(point, sweep)];
        row.extend(shown.iter().map(|(_, metric, statistic)| {
            point.number(metric, statistic).map_or_else(|| "-".to_owned(), format_quantity)
        }));
        rows.push(row);
    }
    let align: Vec<_> = (0..rows[0].len()).map(|at| if at < 2 { Align::Left } else { Align::Right }).collect();
    format!("\n{title}\n{}", columns(&rows, &align, 2, 2))
}
