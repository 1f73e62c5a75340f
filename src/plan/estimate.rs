//! How long it may take. Rough on purpose, and the same for every deployment: 0.5 s to the first token and 20 ms for
//! each further one, as a mid-size model on one GPU under moderate load has; a level takes its requests divided by its
//! concurrency, plus the wave that fills it, and no longer than its limit. Starting and ending a deployment is not in it.

use std::time::Duration;

use super::catalog::Catalog;
use super::model::{Plan, Workload};
use super::rules::gpus_of;
use super::steps::StepSpec;
use crate::measure::Level;

const FIRST_TOKEN_S: f64 = 0.5;
const FURTHER_TOKEN_S: f64 = 0.02;

/// An estimate of a whole run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Warm-up and load of all deployments, one after another.
    pub duration: Duration,
    /// GPU hours that these take; `None` when some deployment's GPUs are not known.
    pub gpu_hours: Option<f64>,
}

/// Adds up the estimates of all steps.
pub fn estimate(plan: &Plan, steps: &[StepSpec], catalog: &Catalog) -> Estimate {
    let duration = steps.iter().filter_map(|step| step.estimate).sum();
    Estimate { duration, gpu_hours: gpu_hours(plan, steps, catalog) }
}

/// GPU hours of the steps given: each step's estimate times the GPUs of its deployment.
pub fn gpu_hours(plan: &Plan, steps: &[StepSpec], catalog: &Catalog) -> Option<f64> {
    steps
        .iter()
        .filter_map(|step| Some((step.deployment.as_ref()?, step.estimate?)))
        .map(|(name, span)| {
            let gpus = gpus_of(plan, plan.deployments.get(name)?, catalog)?;
            Some(span.as_secs_f64() / 3600.0 * gpus)
        })
        // Not `sum`: of nothing it is -0.0, and is printed so.
        .try_fold(0.0, |sum, hours| Some(sum + hours?))
}

fn latency_s(workload: &Workload) -> f64 {
    FIRST_TOKEN_S + FURTHER_TOKEN_S * f64::from(workload.osl.saturating_sub(1))
}

/// One level: its own wave, then its requests in waves or as they arrive, at most its duration for these.
pub(super) fn point(workload: &Workload, level: Level) -> Duration {
    let latency = latency_s(workload);
    // Users think before each turn but the first.
    let turns = workload.content.mean_turns();
    let delay = workload.content.conversations.map_or(0.0, |found| found.delay_s * (turns - 1.0));
    let requests = workload.requests_at(level) as f64;
    let needed = match level {
        Level::Concurrency(users) => (requests / f64::from(users.max(1))).ceil() * (latency + delay / turns),
        Level::Rate(rate) => requests / turns / rate.per_second() + turns * latency + delay,
    };
    // Time does not end a load of a search that cannot be judged yet.
    let judged = needed * (workload.least() as f64 / requests.max(1.0)).min(1.0);
    let measured = needed.min(workload.duration.as_secs_f64().max(judged));
    Duration::try_from_secs_f64(latency + measured).unwrap_or(workload.duration)
}

/// Warm-up: its requests at the largest concurrency.
pub(super) fn warm_up(workload: &Workload) -> Duration {
    let waves = (workload.warm_up_requests as f64 / f64::from(workload.warm_up_concurrency())).ceil();
    Duration::try_from_secs_f64(waves * latency_s(workload)).unwrap_or(Duration::MAX)
}
