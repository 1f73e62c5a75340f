//! How the generator itself did: whether a number says something about the server or about us.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::time::Instant;

use crate::measure::{GeneratorHealth, RequestRecord, percentile};

/// How often an event loop looks at itself.
const INTERVAL: Duration = Duration::from_millis(20);

/// CPU time of this process so far, seconds.
pub(super) fn process_cpu_seconds() -> f64 {
    seconds(clock_gettime(ClockId::ProcessCPUTime))
}

/// CPU time of this thread so far, seconds.
pub(super) fn thread_cpu_seconds() -> f64 {
    seconds(clock_gettime(ClockId::ThreadCPUTime))
}

fn seconds(time: Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Seconds that this thread was ready to run and had no core; 0 where the system does not tell it.
pub(super) fn thread_wait_seconds() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited: Option<f64> = told.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    waited.unwrap_or(0.0) / 1e9
}

/// Notes for ever how late this thread's timer is, in milliseconds; never ends by itself. A timer of the runtime rings
/// up to 1 ms late by its own grain, so values up to that are no lag.
pub(super) async fn watch_loop(into: &mut Vec<f64>) {
    loop {
        let due = Instant::now() + INTERVAL;
        tokio::time::sleep_until(due).await;
        into.push(due.elapsed().as_secs_f64() * 1e3);
    }
}

/// What one thread knows of itself.
#[derive(Debug, Default)]
pub(super) struct ThreadHealth {
    pub(super) lateness_ms: Vec<f64>,
    /// How late it sent each request by its own fault, where that is not the time since the request's schedule.
    pub(super) lags_ms: Option<Vec<f64>>,
    pub(super) cpu_seconds: f64,
    pub(super) wait_seconds: f64,
}

/// All of it together, over `wall` seconds.
pub(super) fn health(
    records: &[RequestRecord],
    threads: &[ThreadHealth],
    cpu_seconds: f64,
    wall: f64,
) -> GeneratorHealth {
    // Opening a connection anew lies between the two moments and is no fault of the generator.
    let lag = |record: &RequestRecord| {
        let late = record.sent.saturating_sub(record.scheduled).saturating_sub(record.connect.unwrap_or(0));
        late as f64 / 1e6
    };
    let own: Option<Vec<f64>> =
        threads.iter().map(|thread| thread.lags_ms.clone()).collect::<Option<Vec<_>>>().map(|all| all.concat());
    let mut lags = own.unwrap_or_else(|| records.iter().map(lag).collect());
    lags.sort_by(f64::total_cmp);
    let mut lateness: Vec<f64> = threads.iter().flat_map(|thread| thread.lateness_ms.iter().copied()).collect();
    lateness.sort_by(f64::total_cmp);
    let p99 = |sorted: &[f64]| if sorted.is_empty() { 0.0 } else { percentile(sorted, 0.99) };
    let reads: u64 = records.iter().map(|record| u64::from(record.reads)).sum();
    let events: u64 = records.iter().map(|record| u64::from(record.events)).sum();
    let busiest = threads.iter().map(|thread| thread.cpu_seconds).fold(0.0, f64::max);
    let hungriest = threads.iter().map(|thread| thread.wait_seconds).fold(0.0, f64::max);
    let share = |seconds: f64| if wall > 0.0 { (seconds / wall).min(1.0) } else { 0.0 };
    GeneratorHealth {
        send_lag_p99_ms: p99(&lags),
        send_lag_max_ms: lags.last().copied().unwrap_or(0.0),
        loop_lag_p99_ms: p99(&lateness),
        cpu_seconds,
        cpu_share: share(busiest),
        cpu_wait_share: share(hungriest),
        threads: u32::try_from(threads.len()).unwrap_or(u32::MAX),
        events_per_s: if wall > 0.0 { events as f64 / wall } else { 0.0 },
        ceiling_events_per_s: None,
        events_per_read: if reads > 0 { events as f64 / reads as f64 } else { 0.0 },
        workers: 1,
        clock_uncertainty_ms: 0.0,
    }
}
