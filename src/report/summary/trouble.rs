//! What went wrong: failures by class, steps that did not do what they should, mixed incarnations.

use std::collections::BTreeSet;

use super::levels::place;
use crate::report::RunResults;
use crate::report::text::wrapped;

pub(super) fn section(results: &RunResults) -> String {
    let mut out = String::new();
    for (title, lines) in [
        ("FAILED REQUESTS", failures(results)),
        ("STEPS THAT DID NOT DO WHAT THEY SHOULD", steps(results)),
        ("INCARNATIONS", incarnations(results)),
    ] {
        if !lines.is_empty() {
            let gap = if out.is_empty() { "" } else { "\n" };
            out.push_str(&format!("{gap}{title}\n{lines}"));
        }
    }
    out
}

fn failures(results: &RunResults) -> String {
    let mut out = String::new();
    for workload in results.workloads() {
        for deployment in results.deployments() {
            let sweep = results.sweep(&deployment, &workload);
            for point in &sweep {
                for failure in &point.failures {
                    let of = if results.workloads().len() > 1 { format!(" {workload}") } else { String::new() };
                    let first = format!("  {deployment}{of} {}: ", place(point, &sweep));
                    let words = format!("{} {}, such as \"{}\"", failure.count, failure.class, failure.example);
                    out.push_str(&wrapped(&first, &words));
                }
            }
        }
    }
    out
}

fn steps(results: &RunResults) -> String {
    let mut notes: Vec<_> = results.info.notes.iter().collect();
    // By kind of trouble; within one the order of the run.
    notes.sort_by_key(|note| note.state);
    notes
        .into_iter()
        .map(|note| wrapped(&format!("  {} {}: ", note.state.as_str(), note.address), &note.reason))
        .collect()
}

fn incarnations(results: &RunResults) -> String {
    let mut out = String::new();
    if !results.info.incarnations_matter {
        return out;
    }
    for workload in results.workloads() {
        for deployment in results.deployments() {
            let sweep = results.sweep(&deployment, &workload);
            let blocks: BTreeSet<_> = sweep.iter().map(|point| point.meta.repeat).collect();
            for block in blocks {
                let own = sweep.iter().filter(|point| point.meta.repeat == block);
                let lives: BTreeSet<_> = own.map(|point| point.meta.incarnation.as_str()).collect();
                if lives.len() > 1 {
                    let words = format!(
                        "{deployment}, {workload}, block {block}: the levels were measured on {} incarnations; \
                         differences between levels may be differences between them",
                        lives.len()
                    );
                    out.push_str(&wrapped("  ", &words));
                }
            }
        }
    }
    out
}
