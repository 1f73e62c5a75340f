//! The best level of each deployment: under each objective, under all, and without any.

use indexmap::IndexMap;

use crate::base::{Name, format_quantity};
use crate::measure::{Better, Bound, Judgement, PointSummary, best_level, judge_bound, metric};
use crate::report::RunResults;
use crate::report::text::{Align, columns, wrapped};

pub(super) fn section(results: &RunResults) -> String {
    if results.points.is_empty() {
        return String::new();
    }
    let mut out = String::from("BEST LEVEL (highest output throughput among the valid levels)\n");
    let objectives = &results.info.objectives;
    let mut questions: Vec<(String, &[Bound])> = Vec::new();
    if objectives.len() > 1 {
        questions.push(("all objectives".to_owned(), objectives.as_slice()));
    }
    questions.extend(objectives.iter().map(|bound| (bound.describe(), std::slice::from_ref(bound))));
    questions.push(("no objective".to_owned(), &[]));
    for workload in results.workloads() {
        for (question, bounds) in &questions {
            let mut rows = Vec::new();
            let mut notes = String::new();
            for deployment in results.deployments() {
                let sweep = results.sweep(&deployment, &workload);
                let (row, note) = answer(&deployment, &sweep, bounds);
                rows.push(row);
                notes.push_str(&note);
            }
            let of = if results.workloads().len() > 1 { format!("{workload}, ") } else { String::new() };
            out.push_str(&format!("  {of}{question}\n"));
            out.push_str(&columns(&rows, &[Align::Left, Align::Left, Align::Right, Align::Left], 4, 2));
            out.push_str(&notes);
        }
    }
    out
}

/// A row of the table, and a line below it about what could not be told.
fn answer(deployment: &Name, sweep: &[&PointSummary], bounds: &[Bound]) -> (Vec<String>, String) {
    let mut unknown: IndexMap<String, Vec<String>> = IndexMap::new();
    for point in sweep.iter().filter(|point| point.is_valid()) {
        for bound in bounds {
            if let Judgement::Unknown { reason } = judge_bound(point, bound) {
                let levels = unknown.entry(reason).or_default();
                let level = point.meta.level.to_string();
                if !levels.contains(&level) {
                    levels.push(level);
                }
            }
        }
    }
    let notes = unknown
        .into_iter()
        .map(|(reason, levels)| {
            wrapped("      ", &format!("{deployment}: not told at {}: {reason}", levels.join(", ")))
        })
        .collect::<String>();
    let row = match best_level(sweep.iter().copied(), bounds) {
        Some(best) => {
            let at: Vec<_> =
                sweep.iter().copied().filter(|point| point.meta.level == best.level && point.is_valid()).collect();
            let values: Vec<_> = bounds.iter().filter_map(|bound| worst(&at, bound)).collect();
            vec![
                deployment.to_string(),
                best.level.to_string(),
                format!("{} tok/s", format_quantity(best.throughput)),
                values.join(", "),
            ]
        }
        None if sweep.is_empty() => vec![deployment.to_string(), "not measured".to_owned()],
        None if !sweep.iter().any(|point| point.is_valid()) => {
            vec![deployment.to_string(), "none: no valid level".to_owned()]
        }
        None if notes.is_empty() => vec![deployment.to_string(), "none: no level meets it".to_owned()],
        None => vec![deployment.to_string(), "none that can be told".to_owned()],
    };
    (row, notes)
}

/// `ttft 410 ms`: what the bound was compared with; of several repeats the worst.
fn worst(repeats: &[&PointSummary], bound: &Bound) -> Option<String> {
    let row = metric(&bound.metric);
    let values = repeats.iter().filter_map(|point| match judge_bound(point, bound) {
        Judgement::Met { value } | Judgement::Missed { value } => Some(value),
        Judgement::Unknown { .. } => None,
    });
    let worst = match row.map(|row| row.better) {
        Some(Better::Lower) => values.reduce(f64::max),
        Some(Better::Higher | Better::Neutral) | None => values.reduce(f64::min),
    };
    let name = row.map_or(bound.metric.as_str(), |row| row.short);
    Some(format!("{name} {} {}", format_quantity(worst?), row.map_or("", |row| row.unit)).trim_end().to_owned())
}
