//! What run this is, and whether its numbers are of real hardware.

use std::collections::BTreeSet;

use crate::measure::{PointSummary, Series};
use crate::report::RunResults;
use crate::report::caveats::{about_deployment, points_of};
use crate::report::text::{Align, columns, wrapped};

pub(super) fn section(results: &RunResults) -> String {
    let info = &results.info;
    let mut rows = vec![
        cells("plan", info.plan.clone()),
        cells("run", format!("{}, started {}", info.run, info.started.rfc3339())),
        cells("model", info.model.clone()),
    ];
    for name in results.workloads() {
        let first = results.points.iter().map(|point| &point.summary).find(|point| point.meta.workload == name);
        rows.push(cells("workload", format!("{name}{}", first.map(traffic).unwrap_or_default())));
    }
    for name in results.deployments() {
        let about = match results.info.deployment(&name) {
            Some(deployment) => {
                let scale = deployment.time_scale.filter(|scale| *scale != 1.0);
                let scale = scale.map(|scale| format!(", time-scale {scale}")).unwrap_or_default();
                format!("{name} ({}{scale}, {})", deployment.target, gpus(deployment.gpus))
            }
            None => format!("{name} (not in the plan any more)"),
        };
        rows.push(cells("deployment", about));
        let found = about_deployment(&points_of(results, &name));
        rows.extend(found.into_iter().map(|line| cells("", format!("  {line}"))));
    }
    rows.extend(measured_on(results).map(|places| cells("measured on", places)));
    rows.push(cells("measured by", format!("dynbench {}", info.tool_version)));
    let mut out = columns(&rows, &[Align::Left, Align::Left], 0, 2);
    if results.is_simulated() {
        out.push('\n');
        out.push_str(&wrapped("*** ", &banner(results)));
    }
    out
}

/// `cluster u1; GPUs H100; load from node-2`, as far as it is known.
fn measured_on(results: &RunResults) -> Option<String> {
    let known = |side: fn(&Series) -> Option<&String>| -> Option<String> {
        let all: BTreeSet<&str> =
            results.points.iter().filter_map(|point| side(&point.summary.meta.series)).map(String::as_str).collect();
        Some(all.into_iter().collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
    };
    let parts = [
        known(|series| series.cluster.as_ref()).map(|text| format!("cluster {text}")),
        known(|series| series.gpus.as_ref()).map(|text| format!("GPUs {text}")),
        known(|series| series.generator.as_ref()).map(|text| format!("load from {text}")),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What must be known before any simulated number is read.
fn banner(results: &RunResults) -> String {
    let deployments = &results.info.deployments;
    let (names, scales): (Vec<_>, Vec<_>) =
        deployments.iter().filter_map(|found| Some((found.name.as_str(), found.time_scale?))).unzip();
    // Beside real servers it must be clear which one is none.
    let who = match names.len() {
        0 => String::new(),
        count if count == deployments.len() => String::new(),
        1 => format!("{} is ", names[0]),
        _ => format!("{} are ", names.join(", ")),
    };
    let mut words = format!(
        "SIMULATED: {who}served by the embedded engine. These numbers come from a timing model and say nothing about any \
         hardware."
    );
    match scales.first() {
        Some(first) if scales.iter().any(|scale| scale != first) => {
            words.push_str(" The deployments ran at different time-scales: compare nothing between them.");
        }
        Some(scale) if *scale != 1.0 => {
            words.push_str(&format!(" Time-scale {scale}: every duration is {scale} times that of the model."));
        }
        Some(_) | None => {}
    }
    words + " ***"
}

fn cells(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

/// `: ISL 200 std 10, OSL 200, chat`
fn traffic(point: &PointSummary) -> String {
    let meta = &point.meta;
    let spread = |std: f64| if std > 0.0 { format!(" std {std}") } else { String::new() };
    format!(
        ": ISL {}{}, OSL {}{}, {}, prompt lengths {}{}",
        meta.isl,
        spread(meta.isl_std),
        meta.osl,
        spread(meta.osl_std),
        meta.api,
        meta.isl_method,
        meta.content.as_ref().map(|content| format!(" ({content})")).unwrap_or_default()
    )
}

fn gpus(gpus: Option<f64>) -> String {
    match gpus {
        Some(1.0) => "1 GPU".to_owned(),
        Some(gpus) => format!("{gpus} GPUs"),
        None => "GPUs unknown: nothing per GPU".to_owned(),
    }
}
