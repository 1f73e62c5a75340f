//! What every shape of load has in common: threads of their own with a runtime each, the moments at which a level is
//! closed and given up, and one result from what the threads bring back.
//!
//! Nothing is left behind, whatever happens, also to the caller: dropping a stage ends its threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Barrier, Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use super::error::LoadError;
use super::flag::Flag;
use super::health::{health, process_cpu_seconds};
use super::keep::Keeper;
use super::level::{EndedBy, LevelRun, LevelSpec, LiveProgress, Totals};
use super::prompt::Prompts;
use super::queue::Queue;
use super::slots::{Shared, ThreadReport};
use super::spill::Spill;
use crate::base::{Clock, SystemClock, Timestamp};
use crate::measure::{GeneratorHealth, RequestRecord};

/// How often what is known is looked at, where a level ends by precision or its time is over too early.
const LOOK: Duration = Duration::from_millis(200);

/// What one thread does, on a runtime of its own.
pub(super) type Work = Box<dyn FnOnce(Arc<Shared>) -> Pin<Box<dyn Future<Output = ThreadReport>>> + Send>;

/// A level that is about to be played.
pub(super) struct Stage {
    shared: Arc<Shared>,
    spill: Option<Spill>,
    keeper: Keeper,
    /// Values of finished requests, where a level ends by precision.
    values: Option<mpsc::UnboundedReceiver<f64>>,
    origin: Timestamp,
    cpu: f64,
    helpers: Vec<JoinHandle<()>>,
    _end: EndOnDrop,
}

impl Stage {
    /// Sets it for `threads` threads (those that wait for the common start) that take their requests from `queue`.
    pub(super) async fn set(
        spec: &LevelSpec,
        endpoint: &Endpoint,
        prompts: &Arc<Prompts>,
        progress: Arc<LiveProgress>,
        queue: &Arc<Queue>,
        threads: usize,
    ) -> Result<Self, LoadError> {
        let addresses = endpoint.addresses().await?;
        let spill = spec.spill.as_deref().map(Spill::start).transpose()?;
        let keeper = Keeper::start(spec.scratch.as_deref())?;
        let (tell, values) = mpsc::unbounded_channel();
        let values = spec.precision.is_some().then_some(values);
        let shared = Arc::new(Shared {
            spec: spec.clone(),
            endpoint: endpoint.clone(),
            addresses,
            uri: endpoint.target(prompts.shape.api.path()),
            prompts: Arc::clone(prompts),
            queue: Arc::clone(queue),
            progress,
            spill: spill.as_ref().map(|spill| spill.to.clone()),
            keeper: keeper.to.clone(),
            values: values.is_some().then_some(tell),
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
        Ok(Self {
            origin: SystemClock::default().now(),
            _end: EndOnDrop(Arc::clone(&shared)),
            shared,
            spill,
            keeper,
            values,
            cpu: process_cpu_seconds(),
            helpers: Vec::new(),
        })
    }

    /// What all threads share.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Starts a thread that helps those that send; it must end once the level is closed.
    pub(super) fn helper(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), LoadError> {
        self.helpers.push(spawn_thread(name, work)?);
        Ok(())
    }

    /// Plays the level to its end.
    pub(super) async fn play(self, works: Vec<Work>, cancel: &CancellationToken) -> Result<LevelRun, LoadError> {
        let Self { shared, spill, keeper, values, origin, cpu, helpers, _end: end } = self;
        let mut workers = Vec::with_capacity(works.len());
        let mut reports = JoinSet::new();
        for (number, work) in works.into_iter().enumerate() {
            let (tell, told) = oneshot::channel();
            let shared = Arc::clone(&shared);
            let run = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                // A caller who is gone needs no report.
                let _ = tell.send(runtime.map(|runtime| runtime.block_on(work(shared))));
            };
            workers.push(spawn_thread(&format!("load-{number}"), run)?);
            reports.spawn(told);
        }
        let gathered = supervise(&shared, &mut reports, values, cancel).await;
        drop(end);
        for worker in workers.into_iter().chain(helpers) {
            // The report has come, or the thread has panicked and said so by not reporting: nothing is waited for.
            let _ = worker.join();
        }
        let ended_by = shared.ended_by.get().copied().unwrap_or(EndedBy::Count);
        let failed = shared.failed.get().cloned();
        drop(shared);
        if let Some(spill) = spill {
            tokio::task::spawn_blocking(|| spill.finish()).await.map_err(|_| LoadError::Panicked)??;
        }
        let kept = tokio::task::spawn_blocking(|| keeper.finish()).await.map_err(|_| LoadError::Panicked)??;
        let gathered = gathered?;
        let mut run = LevelRun {
            records: kept,
            health: GeneratorHealth::default(),
            origin,
            fill_requests: gathered.iter().map(|report| report.fill_requests).sum(),
            totals: gathered.iter().fold(Totals::default(), |sum, report| sum.plus(report.totals)),
            ended_by,
            failed,
        };
        let mut thread_health = Vec::with_capacity(gathered.len());
        let mut events = 0;
        for mut report in gathered {
            events += report.events;
            join(&mut run.records, &mut report.records);
            thread_health.push(report.health);
        }
        // In place: a stable sort would take half of it once more, and no two are equal.
        run.records.sort_unstable_by_key(|record| (record.sent, record.index));
        run.health = health(&run.records, &thread_health, events, process_cpu_seconds() - cpu);
        Ok(run)
    }
}

/// Adds records to others. A list that is the first is taken as it is: a million of them are not held twice.
pub(super) fn join(all: &mut Vec<RequestRecord>, more: &mut Vec<RequestRecord>) {
    if all.is_empty() {
        std::mem::swap(all, more);
    } else {
        all.append(more);
    }
}

fn spawn_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LoadError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(LoadError::Thread)
}

type Report = Result<std::io::Result<ThreadReport>, oneshot::error::RecvError>;

/// Waits for all threads, and meanwhile ends the level when its time has come or enough is known.
async fn supervise(
    shared: &Shared,
    reports: &mut JoinSet<Report>,
    mut values: Option<mpsc::UnboundedReceiver<f64>>,
    cancel: &CancellationToken,
) -> Result<Vec<ThreadReport>, LoadError> {
    let mut gathered = Ok(Vec::new());
    let mut cancelled = false;
    let mut deadline = None;
    let mut grace = None;
    let mut known = Known::default();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
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
            () = until(deadline), if deadline.is_some() && !shared.closing.is_raised() => {
                if shared.has_least() {
                    shared.close(EndedBy::Time);
                } else {
                    deadline = later(LOOK);
                }
            }
            () = shared.closing.raised(), if grace.is_none() => grace = later(shared.spec.grace),
            () = until(grace), if grace.is_some() && !shared.abort.is_raised() => shared.abort.raise(),
            _ = looks.tick(), if values.is_some() && !shared.closing.is_raised() => {
                if known.look(shared, values.as_mut()) && shared.has_least() {
                    shared.close(EndedBy::Precision);
                }
            }
        }
    }
}

/// What is known so far of the metric that decides when a level has lasted long enough.
#[derive(Default)]
struct Known {
    values: Vec<f64>,
    /// The size of the sample at the last look.
    looked_at: u64,
}

impl Known {
    /// Takes in what has come, and says whether it is enough.
    fn look(&mut self, shared: &Shared, values: Option<&mut mpsc::UnboundedReceiver<f64>>) -> bool {
        let (Some(rule), Some(values)) = (&shared.spec.precision, values) else { return false };
        while let Ok(value) = values.try_recv() {
            self.values.push(value);
        }
        let n = self.values.len() as u64;
        if n < rule.next_look(self.looked_at) {
            return false;
        }
        self.looked_at = n;
        rule.reached(&self.values).is_some_and(|reached| rule.is_kept_by(&reached))
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
