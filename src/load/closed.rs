//! The closed loop: so many requests under way at any moment, for so many requests or so long.
//!
//! # How a level goes
//!
//! 1. Bodies are made and connections opened; then the clock starts.
//! 2. Every slot sends one whole request of the fill wave, which is not recorded. It takes the burst of the start: the
//!    server answers it at its own pace, and the slots leave it as far apart as that pace puts them, as they will stay.
//! 3. A slot's further requests are measured, from the moment its own part of the wave has ended. Nothing is drained in
//!    between: slots change over one by one, and the first measured request meets a server that has all others at work.
//! 4. When the requests are used up or the time is over, none is started any more; those under way end and count, or
//!    are given up after the grace period. Cancelling gives them up at once. What was given up is recorded as such.
//!
//! The time limit counts from the first measured request. A short run is thus no less right than a long one, only less
//! certain: it costs one request's length more than its requests.
//!
//! The wave is not spread by asking for outputs of different lengths. That would put the slots one whole request apart, and
//! throughput, which counts from the first send to the last end, would lose that much at both ends: with ten requests a
//! slot a server would look 9 % slower than it is.
//!
//! # Threads
//!
//! Slots run on threads of their own, each with its own single-threaded runtime: a slot's connection, timer and memory
//! are never touched by another thread, and the caller's runtime may be as busy as it likes.

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Barrier, Notify, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use super::error::LoadError;
use super::flag::Flag;
use super::health::{health, process_cpu_seconds};
use super::level::{EndedBy, LevelRun, LevelSpec, LiveProgress, Totals};
use super::prompt::Prompts;
use super::queue::Queue;
use super::request::Prepared;
use super::slots::{Shared, ThreadReport, run_slots};
use super::spill::Spill;
use crate::base::{Clock, SystemClock, Timestamp};
use crate::measure::{Outcome, RequestRecord};

/// Runs one level. See the module for what happens when.
///
/// # Errors
/// When the host has no address, raw responses cannot be written, or a thread cannot be started or panics. A server
/// that fails is no error: its failures are records, and `failed` says that they were too many.
pub async fn run_closed(
    spec: &LevelSpec,
    endpoint: &Endpoint,
    prompts: Arc<Prompts>,
    cancel: &CancellationToken,
    progress: Arc<LiveProgress>,
) -> Result<LevelRun, LoadError> {
    let addresses = endpoint.addresses().await?;
    let slots = spec.concurrency.max(1);
    let threads = spec.thread_count();
    let queue = Arc::new(Queue::new(slots as usize));
    let spill = spec.spill.as_deref().map(Spill::start).transpose()?;
    let shared = Arc::new(Shared {
        spec: spec.clone(),
        endpoint: endpoint.clone(),
        addresses,
        uri: endpoint.target(prompts.shape.api.path()),
        prompts: Arc::clone(&prompts),
        queue: Arc::clone(&queue),
        progress,
        spill: spill.as_ref().map(|spill| spill.sender.clone()),
        origin: Instant::now(),
        start: spec.start.map(moment),
        go: Barrier::new(threads),
        started: Notify::new(),
        closing: Flag::default(),
        abort: Flag::default(),
        ended_by: OnceLock::new(),
        failed: OnceLock::new(),
        failures_in_a_row: AtomicU32::new(0),
        done: AtomicU64::new(0),
        failures: AtomicU64::new(0),
    });
    let origin = SystemClock::default().now();
    // Whatever happens from here on, also to the caller, no thread is left behind.
    let end = EndOnDrop(Arc::clone(&shared));
    let cpu = process_cpu_seconds();
    let began = Instant::now();

    let maker = {
        let (queue, prompts, count, share) = (Arc::clone(&queue), Arc::clone(&prompts), spec.requests, spec.share);
        spawn_thread("prompts", move || queue.make(&prompts, count, share))?
    };
    let mut fills = fill_wave(spec, &prompts, slots).into_iter();
    tokio::select! {
        () = queue.filled() => {}
        () = cancel.cancelled() => {}
    }
    let mut shares: Vec<Vec<(u32, Option<Prepared>)>> = (0..threads).map(|_| Vec::new()).collect();
    for slot in 0..slots {
        shares[slot as usize % threads].push((slot, fills.next()));
    }
    let mut workers = Vec::with_capacity(threads);
    let mut reports = JoinSet::new();
    for (number, share) in shares.into_iter().enumerate() {
        let (tell, told) = oneshot::channel();
        let shared = Arc::clone(&shared);
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // A caller who is gone needs no report.
            let _ = tell.send(runtime.map(|runtime| runtime.block_on(run_slots(shared, share))));
        };
        workers.push(spawn_thread(&format!("load-{number}"), work)?);
        reports.spawn(told);
    }

    let gathered = supervise(&shared, &mut reports, cancel).await;
    drop(end);
    for worker in workers {
        // The report has come, or the thread has panicked and said so by not reporting: nothing is waited for.
        let _ = worker.join();
    }
    let _ = maker.join();
    let ended_by = shared.ended_by.get().copied().unwrap_or(EndedBy::Count);
    let failed = shared.failed.get().cloned();
    drop(shared);
    if let Some(spill) = spill {
        tokio::task::spawn_blocking(|| spill.finish()).await.map_err(|_| LoadError::Panicked)??;
    }
    let gathered = gathered?;
    let mut run = LevelRun {
        records: Vec::with_capacity(gathered.iter().map(|report| report.records.len()).sum()),
        health: crate::measure::GeneratorHealth::default(),
        origin,
        fill_requests: gathered.iter().map(|report| report.fill_requests).sum(),
        totals: gathered.iter().fold(Totals::default(), |sum, report| sum.plus(report.totals)),
        ended_by,
        failed,
    };
    let mut thread_health = Vec::with_capacity(gathered.len());
    for report in gathered {
        run.records.extend(report.records);
        thread_health.push(report.health);
    }
    run.records.sort_by_key(|record| (record.sent, record.index));
    let wall = began.elapsed().as_secs_f64();
    run.health = health(&run.records, &thread_health, process_cpu_seconds() - cpu, wall);
    Ok(run)
}

/// What a warm-up came to. Its requests are in no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUp {
    /// Requests that succeeded.
    pub ok: u64,
    /// Requests that failed.
    pub failed: u64,
    /// One of the failures, in words.
    pub example: Option<String>,
    /// What the requests asked of the server.
    pub totals: Totals,
}

/// Sends `spec.requests` requests at `spec.concurrency`, measures nothing, and waits for their end.
///
/// # Errors
/// As [`run_closed`].
pub async fn warm_up(
    spec: &LevelSpec,
    endpoint: &Endpoint,
    prompts: Arc<Prompts>,
    cancel: &CancellationToken,
    progress: Arc<LiveProgress>,
) -> Result<WarmUp, LoadError> {
    let spec = LevelSpec { fill: false, spill: None, ..spec.clone() };
    let run = run_closed(&spec, endpoint, prompts, cancel, progress).await?;
    let failure = |record: &RequestRecord| match &record.outcome {
        Outcome::Failed { class, detail } => Some(format!("{class}: {detail}")),
        Outcome::Ok => None,
    };
    Ok(WarmUp {
        ok: run.totals.ok,
        failed: run.totals.other,
        example: run.failed.or_else(|| run.records.iter().find_map(failure)),
        totals: run.totals,
    })
}

/// The first requests of all slots; empty without a fill wave.
fn fill_wave(spec: &LevelSpec, prompts: &Prompts, slots: u32) -> Vec<Prepared> {
    let wave = 0..if spec.fill { slots } else { 0 };
    wave.map(|slot| prompts.fill(spec.share.place(u64::from(slot)))).collect()
}

fn spawn_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LoadError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(LoadError::Thread)
}

type Report = Result<std::io::Result<ThreadReport>, oneshot::error::RecvError>;

/// Waits for all threads, and meanwhile ends the level when its time has come.
async fn supervise(
    shared: &Shared,
    reports: &mut JoinSet<Report>,
    cancel: &CancellationToken,
) -> Result<Vec<ThreadReport>, LoadError> {
    let mut gathered = Ok(Vec::new());
    let mut cancelled = false;
    let mut deadline = None;
    let mut grace = None;
    loop {
        tokio::select! {
            joined = reports.join_next() => {
                let Some(joined) = joined else { return gathered };
                let report = match joined {
                    Ok(Ok(report)) => report.map_err(LoadError::Thread),
                    Ok(Err(_)) | Err(_) => Err(LoadError::Panicked),
                };
                match (report, &mut gathered) {
                    (Ok(report), Ok(all)) => all.push(report),
                    (Ok(_), Err(_)) => {}
                    (Err(error), _) => {
                        gathered = Err(error);
                        shared.close(EndedBy::Cancelled);
                        shared.abort.raise();
                    }
                }
            }
            () = cancel.cancelled(), if !cancelled => {
                cancelled = true;
                shared.close(EndedBy::Cancelled);
                shared.abort.raise();
            }
            () = shared.started.notified(), if deadline.is_none() => deadline = later(shared.spec.duration),
            () = until(deadline), if deadline.is_some() && !shared.closing.is_raised() => shared.close(EndedBy::Time),
            () = shared.closing.raised(), if grace.is_none() => grace = later(shared.spec.grace),
            () = until(grace), if grace.is_some() && !shared.abort.is_raised() => shared.abort.raise(),
        }
    }
}

/// A moment of the wall clock on the clock that never goes back; one that has passed is now.
fn moment(at: Timestamp) -> tokio::time::Instant {
    let now = SystemClock::default().now();
    tokio::time::Instant::now() + Duration::from_nanos(at.0.saturating_sub(now.0))
}

/// A moment that far away; the longest span that a clock can hold for one that is too far.
fn later(span: Duration) -> Option<tokio::time::Instant> {
    let now = tokio::time::Instant::now();
    Some(now.checked_add(span).unwrap_or(now + Duration::from_secs(86_400 * 365)))
}

async fn until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.closing.raise();
        self.0.abort.raise();
        self.0.queue.close();
    }
}
