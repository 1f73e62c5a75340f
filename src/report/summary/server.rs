//! The server's own view of each point, by part of the deployment, and of its GPUs.

use std::collections::BTreeSet;

use super::levels::{place, sweeps};
use crate::base::format_quantity;
use crate::measure::{Gpu, PointSummary, ServerView};
use crate::report::RunResults;
use crate::report::text::{Align, columns, wrapped};

pub(super) fn section(results: &RunResults) -> String {
    let tables: Vec<String> = sweeps(results).map(|(title, sweep)| tables(&title, &sweep)).collect();
    if tables.iter().all(String::is_empty) {
        return String::new();
    }
    let mut out = format!("SERVER'S OWN VIEW\n{}\n", tables.concat());
    out.push_str(&wrapped(
        "",
        "From /metrics of the deployment's parts while the requests were under way: mean and largest value over the looks. KV: \
         share of the cache in use. Every look: server_metrics.jsonl of the point.",
    ));
    out
}

fn tables(title: &str, sweep: &[&PointSummary]) -> String {
    let (parts, gpus) = (parts(sweep), gpus(sweep));
    if parts.is_empty() && gpus.is_empty() { String::new() } else { format!("\n{title}\n{parts}{gpus}") }
}

fn text(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), format_quantity)
}

/// One line for each point and part of the deployment.
fn parts(sweep: &[&PointSummary]) -> String {
    let heads = [
        "level",
        "part",
        "waiting mean",
        "max",
        "running mean",
        "max",
        "KV % mean",
        "max",
        "cache hits %",
        "preempted",
        "looks",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for point in sweep {
        let roles: BTreeSet<_> =
            point.server.iter().filter(|view| view.gpu.is_none()).map(|view| view.role.as_deref()).collect();
        for role in roles {
            let of = |id: &str| point.server.iter().find(|view| view.series == id && view.role.as_deref() == role);
            let amounts = ["requests-waiting", "requests-running"].map(of);
            let mut row = vec![place(point, sweep), role.unwrap_or("-").to_owned()];
            row.extend(
                amounts.iter().flat_map(|view| [view.map(|view| view.mean), view.map(|view| view.max)]).map(text),
            );
            let kv = of("kv-usage");
            row.extend([kv.map(|view| 100.0 * view.mean), kv.map(|view| 100.0 * view.max)].map(text));
            let grown = |id: &str| of(id).map(|view| view.max);
            // Queries are prompt tokens that were looked up; where a server does not count them, its prompt tokens.
            let asked = grown("prefix-cache-queries").or_else(|| grown("prompt-tokens")).filter(|asked| *asked > 0.0);
            row.push(text(grown("prefix-cache-hits").zip(asked).map(|(hits, asked)| 100.0 * hits / asked)));
            row.push(text(grown("preemptions")));
            let looks = point.server.iter().filter(|view| view.role.as_deref() == role).map(|view| view.rounds).max();
            row.push(looks.unwrap_or(0).to_string());
            rows.push(row);
        }
    }
    lines(&rows, 2)
}

/// One line for each point and GPU.
fn gpus(sweep: &[&PointSummary]) -> String {
    let heads =
        ["level", "node", "GPU", "part", "pod", "utilisation % mean", "max", "memory MiB max", "power W mean", "max"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for point in sweep {
        let all: BTreeSet<(&Gpu, Option<&str>)> =
            point.server.iter().filter_map(|view| Some((view.gpu.as_ref()?, view.role.as_deref()))).collect();
        for (gpu, role) in all {
            let of = |id: &str| -> Option<&ServerView> {
                let is_meant = |view: &&ServerView| {
                    view.series == id && view.gpu.as_ref() == Some(gpu) && view.role.as_deref() == role
                };
                point.server.iter().find(is_meant)
            };
            let (busy, power) = (of("gpu-utilisation"), of("gpu-power"));
            let mut row = vec![
                place(point, sweep),
                gpu.node.clone().unwrap_or_else(|| "-".to_owned()),
                gpu.number.clone(),
                role.unwrap_or("-").to_owned(),
                gpu.pod.clone().unwrap_or_else(|| "-".to_owned()),
            ];
            row.extend([busy.map(|view| view.mean), busy.map(|view| view.max)].map(text));
            row.push(text(of("gpu-memory-used").map(|view| view.max)));
            row.extend([power.map(|view| view.mean), power.map(|view| view.max)].map(text));
            rows.push(row);
        }
    }
    lines(&rows, 5)
}

/// The table, unless it has no line but its head; the first columns are words.
fn lines(rows: &[Vec<String>], words: usize) -> String {
    if rows.len() == 1 {
        return String::new();
    }
    let align: Vec<_> = (0..rows[0].len()).map(|at| if at < words { Align::Left } else { Align::Right }).collect();
    columns(rows, &align, 2, 2)
}
