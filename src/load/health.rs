//! How the generator itself did: whether a number says something about the server or about us.
//!
//! # How late a token is read
//!
//! A token that has arrived waits until its thread's event loop looks at the socket: because the loop is busy with others,
//! or because the thread has no core. That wait is the error of every time stamp, and the system does not tell it. So each loop
//! has a timer of its own that rings each [`INTERVAL`]; how late it rings is how late a token would have been read.

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
fn thread_cpu_seconds() -> f64 {
    seconds(clock_gettime(ClockId::ThreadCPUTime))
}

fn seconds(time: Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Seconds that this thread was ready to run and had no core; 0 where the system does not tell it.
fn thread_wait_seconds() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited: Option<f64> = told.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    waited.unwrap_or(0.0) / 1e9
}

/// Notes for ever how late this thread's timer rings, in milliseconds; never ends by itself. A timer of the runtime counts whole
/// milliseconds: one that is set right after it has rung, as here, rings 1 ms late and no more when nothing holds it up.
pub(super) async fn watch_loop(into: &mut Vec<f64>) {
    loop {
        let due = Instant::now() + INTERVAL;
        tokio::time::sleep_until(due).await;
        into.extend(looks_ms(due.elapsed()));
    }
}

/// Lateness of every look that a ring so late stands for: its own, and those of the looks that were due while the loop did not
/// turn. What arrives in the middle of a long delay waits too, and with one value for each delay the long ones would be as
/// rare as the short ones.
fn looks_ms(late: Duration) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(late), |late| late.checked_sub(INTERVAL)).map(|late| late.as_secs_f64() * 1e3)
}

/// What a thread's clocks say when it begins to send: bodies are made and connections opened before, and other threads may
/// go on when it has ended. None of that must dilute its shares.
pub(super) struct Clocks {
    began: Instant,
    cpu_seconds: f64,
    wait_seconds: f64,
}

impl Clocks {
    pub(super) fn now() -> Self {
        Self { began: Instant::now(), cpu_seconds: thread_cpu_seconds(), wait_seconds: thread_wait_seconds() }
    }

    /// What this thread did since then.
    pub(super) fn until_now(&self, lateness_ms: Vec<f64>) -> ThreadHealth {
        ThreadHealth {
            lateness_ms,
            lags_ms: None,
            seconds: self.began.elapsed().as_secs_f64(),
            cpu_seconds: thread_cpu_seconds() - self.cpu_seconds,
            wait_seconds: thread_wait_seconds() - self.wait_seconds,
        }
    }
}

/// What one thread knows of itself.
#[derive(Debug, Default)]
pub(super) struct ThreadHealth {
    /// Of its event loop at all looks.
    pub(super) lateness_ms: Vec<f64>,
    /// How late it sent each request by its own fault, where that is not the time since the request's schedule.
    pub(super) lags_ms: Option<Vec<f64>>,
    /// From its first request to its last.
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) wait_seconds: f64,
}

/// All of it together. `events` are those of all requests, recorded or not; `cpu_seconds` are the whole process's.
pub(super) fn health(
    records: &[RequestRecord],
    threads: &[ThreadHealth],
    events: u64,
    cpu_seconds: f64,
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
    let sum = |of: fn(&RequestRecord) -> u32| records.iter().map(|record| u64::from(of(record))).sum::<u64>();
    let (reads, recorded) = (sum(|record| record.reads), sum(|record| record.events));
    let longest = threads.iter().map(|thread| thread.seconds).fold(0.0, f64::max);
    let largest_share = |of: fn(&ThreadHealth) -> f64| {
        let shares = threads.iter().filter(|thread| thread.seconds > 0.0).map(|thread| of(thread) / thread.seconds);
        shares.fold(0.0, f64::max).min(1.0)
    };
    GeneratorHealth {
        send_lag_p99_ms: p99(&lags),
        send_lag_max_ms: lags.last().copied().unwrap_or(0.0),
        loop_lag_mean_ms: lateness.iter().sum::<f64>() / lateness.len().max(1) as f64,
        loop_lag_p99_ms: p99(&lateness),
        cpu_seconds,
        cpu_share: largest_share(|thread| thread.cpu_seconds),
        cpu_wait_share: largest_share(|thread| thread.wait_seconds),
        threads: u32::try_from(threads.len()).unwrap_or(u32::MAX),
        events_per_s: if longest > 0.0 { events as f64 / longest } else { 0.0 },
        ceiling_events_per_s: None,
        events_per_read: if reads > 0 { recorded as f64 / reads as f64 } else { 0.0 },
        workers: 1,
        clock_uncertainty_ms: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_time_of_each_thread_and_the_largest_counts() {
        let thread = |seconds, cpu_seconds, wait_seconds| ThreadHealth {
            seconds,
            cpu_seconds,
            wait_seconds,
            ..ThreadHealth::default()
        };
        let found = health(&[], &[thread(10.0, 2.0, 1.0), thread(4.0, 3.0, 0.0)], 5000, 9.0);
        assert_eq!((found.cpu_share, found.cpu_wait_share), (0.75, 0.1));
        assert_eq!((found.events_per_s, found.cpu_seconds, found.threads), (500.0, 9.0, 2));
    }

    #[test]
    fn a_long_delay_counts_for_every_look_that_it_delayed() {
        let looks = |ms| looks_ms(Duration::from_millis(ms)).collect::<Vec<_>>();
        assert_eq!(looks(50), [50.0, 30.0, 10.0]);
        assert_eq!(looks(20), [20.0, 0.0]);
        assert_eq!(looks(1), [1.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_loop_is_looked_at_each_interval() {
        let mut looks = Vec::new();
        let watched = tokio::time::timeout(INTERVAL * 5 + INTERVAL / 2, watch_loop(&mut looks)).await;
        assert!(watched.is_err() && looks.len() == 5, "{looks:?}");
    }

    #[test]
    fn without_threads_there_is_no_share() {
        assert_eq!(health(&[], &[], 0, 0.0), GeneratorHealth { workers: 1, ..GeneratorHealth::default() });
    }
}
