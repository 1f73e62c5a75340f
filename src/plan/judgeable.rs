//! Objectives that no level could ever be judged by: said when the plan is checked, not after hours of measuring.

use super::model::{Objective, Plan, Values, Workload};
use super::shapes::SearchOver;
use crate::base::{Diagnostic, Problems, Span};
use crate::measure::{Better, Formula, metric};

/// Metrics that count from an arrival, which a closed loop does not have.
const OF_OPEN_LOOPS: [&str; 3] = ["send-delay", "time-to-first-token-from-send", "request-latency-from-send"];
/// Metrics that rise as the load does, as long as the server keeps up.
const RISING: [&str; 6] = [
    "request-throughput",
    "output-throughput",
    "output-throughput-per-gpu",
    "output-throughput-steady",
    "total-throughput",
    "goodput",
];

/// Tells all of them.
pub(super) fn check_objectives(plan: &Plan, values: &Values, problems: &mut Problems) {
    let of_requests = |objective: &Objective| {
        metric(&objective.metric).is_some_and(|row| matches!(row.formula, Formula::PerRequest(_)))
    };
    for objective in &plan.objectives {
        let Some(row) = metric(&objective.metric) else { continue };
        let name = row.id;
        let place = || place_of(objective, values);
        if ["goodput", "goodput-share"].contains(&name) && !plan.objectives.iter().any(of_requests) {
            problems.push(
                Diagnostic::error(format!(
                    "`{name}` counts requests that keep objectives, and there is none on a metric of single requests"
                ))
                .at(place())
                .help("add one, such as time-to-first-token.p99 = 500"),
            );
        }
        if row.unit == "%" && row.better == Better::Higher && objective.bound > 100.0 {
            problems.push(
                Diagnostic::error(format!("`{name}` is a share in percent: {} is never reached", objective.bound))
                    .at(place())
                    .help("at most 100"),
            );
        }
        if OF_OPEN_LOOPS.contains(&name) && !plan.workloads.values().any(is_open) {
            problems.push(
                Diagnostic::error(format!("`{name}` counts from arrivals, and no workload has any"))
                    .at(place())
                    .help("a closed loop sends when the last answer has come; give a workload a `request-rate`"),
            );
        }
        if RISING.contains(&name) && plan.workloads.values().any(|workload| workload.shape.search.is_some()) {
            problems.push(
                Diagnostic::error(format!(
                    "a search goes up until an objective is missed, and `{name}` rises with the load: its lowest load \
                     would be the answer"
                ))
                .at(place())
                .help("bound latencies or output-throughput-per-user: the search tells how much load they bear"),
            );
        }
    }
    for workload in plan.workloads.values() {
        few_requests(plan, workload, values, problems);
    }
}

/// A count of requests that is too small for a percentile of the objectives. A search has an error of its own.
fn few_requests(plan: &Plan, workload: &Workload, values: &Values, problems: &mut Problems) {
    let Some(requests) = workload.requests.filter(|_| workload.shape.search.is_none()) else { return };
    for objective in &plan.objectives {
        let least = objective.least_requests();
        if requests < least {
            problems.push(
                Diagnostic::warning(format!(
                    "{}.{} cannot be told of workload {}: it takes {least} requests, and a level has {requests}",
                    objective.metric, objective.statistic, workload.name
                ))
                .at(place_of(objective, values))
                .help("leave `requests` out, raise it, or bound a lower percentile"),
            );
        }
    }
}

/// Whether a metric that ends its levels is one that a closed loop does not have.
pub(super) fn is_never_known(workload: &Workload) -> Option<&str> {
    let rule = workload.shape.precision.as_ref()?;
    (OF_OPEN_LOOPS.contains(&rule.metric.as_str()) && !is_open(workload)).then_some(&rule.metric)
}

fn is_open(workload: &Workload) -> bool {
    let shape = &workload.shape;
    let searched = shape.search.as_ref().is_some_and(|search| search.over == SearchOver::RequestRate);
    searched || shape.trace.is_some() || !shape.request_rate.is_empty()
}

fn place_of(objective: &Objective, values: &Values) -> Option<Span> {
    values.span(&format!("objectives.{}.{}", objective.metric, objective.statistic)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::sample::{Shape, point};
    use crate::measure::{METRICS, PointSummary};

    #[test]
    fn metrics_of_open_loops_are_those_that_a_closed_one_does_not_have() {
        let mut data = point(Shape::default());
        let of = |data: &crate::measure::PointData| PointSummary::of(data).distributions;
        let closed = of(&data);
        data.records.iter_mut().for_each(|record| record.due = Some(record.sent));
        let open = of(&data);
        let only: Vec<&str> =
            METRICS.iter().map(|row| row.id).filter(|id| open.contains_key(*id) && !closed.contains_key(*id)).collect();
        let mut expected = OF_OPEN_LOOPS.to_vec();
        expected.sort_by_key(|id| METRICS.iter().position(|row| row.id == *id));
        assert_eq!(only, expected);
    }

    #[test]
    fn rising_metrics_are_rows_of_the_table_and_better_when_higher() {
        assert!(RISING.iter().all(|id| metric(id).is_some_and(|row| row.better == Better::Higher)));
    }
}
