//! The whole of each point beside its steady part, and whether it has one.

use super::levels::{place, sweeps};
use crate::base::format_quantity;
use crate::measure::{COV_LIMIT, DRIFT_LIMIT, PointSummary, SteadyState, SteadyWindow, TREND_ALPHA};
use crate::report::RunResults;
use crate::report::text::{Align, columns, wrapped};

/// Numbers that stand side by side: title, metric, statistic.
const PAIRS: [(&str, &str, &str); 5] = [
    ("TTFT p50", "time-to-first-token", "p50"),
    ("TTFT p99", "time-to-first-token", "p99"),
    ("ITL p50", "inter-token-latency", "p50"),
    ("req/s", "request-throughput", "value"),
    ("tok/s", "output-throughput", "value"),
];

pub(super) fn section(results: &RunResults) -> String {
    let tables: Vec<String> = sweeps(results).map(|(title, sweep)| table(&title, &sweep)).collect();
    if tables.is_empty() {
        return String::new();
    }
    let mut out = format!("TOTAL AND STEADY WINDOW\n{}\n", tables.concat());
    out.push_str(&wrapped(
        "",
        &format!(
            "Each cell: whole point | steady window. The window begins when every user has sent a recorded request, less the \
             transient by MSER-5, and ends with the last sending; its latencies are of the requests sent in it. Steady: of \
             TTFT and ITL, which are told in this order, the medians of ten parts differ by a CoV of at most {:.0} %, and \
             the Mann-Kendall trend test (corrected for autocorrelation by Hamed and Rao) finds no trend at {TREND_ALPHA} \
             for both together of more than {:.0} % over the window. ?: too few requests to tell.",
            100.0 * COV_LIMIT,
            100.0 * DRIFT_LIMIT
        ),
    ));
    out
}

fn table(title: &str, sweep: &[&PointSummary]) -> String {
    let mut head = vec![String::new(), "level".to_owned(), "window s".to_owned()];
    head.extend(PAIRS.iter().map(|(title, _, _)| (*title).to_owned()));
    head.extend(["CoV %", "trend p", "steady"].map(str::to_owned));
    let mut rows = vec![head];
    rows.extend(sweep.iter().filter_map(|point| row(point, place(point, sweep))));
    if rows.len() == 1 {
        return String::new();
    }
    let align: Vec<_> = (0..rows[0].len()).map(|at| if at < 2 { Align::Left } else { Align::Right }).collect();
    let mut out = format!("\n{title}\n{}", columns(&rows, &align, 2, 2));
    for point in sweep {
        if let Some(SteadyState::Missed { why }) = point.steady.as_ref().map(|window| &window.state) {
            out.push_str(&wrapped(&format!("  {} ", place(point, sweep)), &format!("never became steady: {why}")));
        }
    }
    out
}

fn row(point: &PointSummary, place: String) -> Option<Vec<String>> {
    let window = point.steady.as_ref()?;
    let steady = match window.state {
        SteadyState::Reached => "yes",
        SteadyState::Missed { .. } => "NO",
        SteadyState::Untold { .. } => "?",
    };
    let mark = if point.is_valid() { "" } else { "!" };
    let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), format_quantity);
    let mut row = vec![mark.to_owned(), place, format!("{:.1}..{:.1}", window.from_s, window.to_s)];
    row.extend(PAIRS.iter().map(|(_, metric, statistic)| {
        format!("{} | {}", cell(point.number(metric, statistic)), cell(window.number(metric, statistic)))
    }));
    row.push(checks(window, |check| format!("{:.1}", 100.0 * check.cov)));
    row.push(checks(window, |check| if check.p < 0.001 { "<0.001".to_owned() } else { format!("{:.3}", check.p) }));
    row.push(steady.to_owned());
    Some(row)
}

fn checks(window: &SteadyWindow, of: impl Fn(&crate::measure::SteadyCheck) -> String) -> String {
    if window.checks.is_empty() { "-".to_owned() } else { window.checks.iter().map(of).collect::<Vec<_>>().join(", ") }
}
