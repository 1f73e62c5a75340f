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

/// The same for the other clock of an open loop, in a table of its own.
const FROM_SEND: [(&str, &str, &str); 6] = [
    ("TTFT from send p50", "time-to-first-token-from-send", "p50"),
    ("p99", "time-to-first-token-from-send", "p99"),
    ("latency from send p50", "request-latency-from-send", "p50"),
    ("p99", "request-latency-from-send", "p99"),
    ("send delay p50", "send-delay", "p50"),
    ("p99 ms", "send-delay", "p99"),
];

/// Ids of the metrics that are printed here.
pub(super) fn printed_metrics(results: &RunResults) -> impl Iterator<Item = &'static str> {
    let told = |metric: &str| results.points.iter().any(|point| point.summary.distributions.contains_key(metric));
    let other_clock = FROM_SEND.iter().map(|(_, metric, _)| *metric).filter(move |metric| told(metric));
    COLUMNS.iter().map(|(_, metric, _)| *metric).chain(other_clock)
}

pub(super) fn section(results: &RunResults) -> String {
    let of = |(title, sweep): (String, Vec<&PointSummary>)| {
        format!("\n{title}\n{}{}", table(&sweep, &COLUMNS), table(&sweep, &FROM_SEND))
    };
    let tables: String = sweeps(results).map(of).collect();
    if tables.is_empty() { tables } else { format!("MORE NUMBERS\n{tables}") }
}

/// The columns that some point has; nothing where none has any.
fn table(sweep: &[&PointSummary], all: &[(&str, &str, &str)]) -> String {
    // Goodput without objectives would be a column of nothing.
    let told = |(_, metric, statistic): &(&str, &str, &str)| {
        sweep.iter().any(|point| point.number(metric, statistic).is_some())
    };
    let shown: Vec<_> = all.iter().filter(|column| told(column)).collect();
    if shown.is_empty() {
        return String::new();
    }
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
    columns(&rows, &align, 2, 2)
}
