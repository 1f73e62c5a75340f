//! What the threads of a level share; and the slots of a closed loop: each has a connection of its own and sends its next request
//! when the last has ended. A slot is a user: of conversations it holds one after the other, and is idle while it thinks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::Uri;
use tokio::sync::{Barrier, Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::connection::Connection;
use super::endpoint::Endpoint;
use super::exchange::{Exchanged, RawBody, Route, blank, exchange};
use super::flag::Flag;
use super::health::{Clocks, ThreadHealth, watch_loop};
use super::keep::{Held, ToKeeper};
use super::level::{EndedBy, LevelSpec, LiveProgress, Totals};
use super::prompt::Prompts;
use super::queue::Queue;
use super::reading::shorten;
use super::request::Prepared;
use super::room;
use super::spill::{Kept, ToDisk};
use super::stage::join;
use super::stamped::nanos_since;
use super::turns::{Next, Turns};
use crate::measure::{FailureClass, Outcome, RequestRecord};

/// Wait after a slot's first failure; doubled with each further one in a row.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Failures in a row, over all slots, that end a level.
const FAILURES_IN_A_ROW: u32 = 20;
/// Requests from which on the share of failures counts, and the share that ends a level: more than 1 / this.
const SHARE_FROM: u64 = 50;
const SHARE_ONE_IN: u64 = 10;
/// Between the sending of two requests of the fill wave: all at once would wait for one another in the event loops of both
/// sides. The timer's grain makes it about ten in a millisecond. It is far below any request's length, so that no slot is idle
/// for long, and therefore no cure for users in step: with answers of one length those who were served together ask
/// together again, as the README says.
const FILL_GAP: Duration = Duration::from_micros(100);
/// Multiples of it lie evenly between two whole numbers, however many there are.
const GOLDEN: f64 = 0.618_033_988_749_894_9;
/// Connections that one thread opens at a time: more overflow a server's listen queue, and a lost SYN costs a second.
const OPENING_AT_ONCE: usize = 32;

/// What all slots of a level share. Written once a request at most.
pub(super) struct Shared {
    pub(super) spec: LevelSpec,
    pub(super) endpoint: Endpoint,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) uri: Uri,
    pub(super) prompts: Arc<Prompts>,
    pub(super) queue: Arc<Queue>,
    pub(super) progress: Arc<LiveProgress>,
    pub(super) spill: Option<ToDisk>,
    pub(super) keeper: ToKeeper,
    /// Takes the value of a finished request, where the level ends by precision.
    pub(super) values: Option<mpsc::UnboundedSender<f64>>,
    /// Time zero of all stamps.
    pub(super) origin: Instant,
    /// Nothing is sent before it, where several generators begin together.
    pub(super) start: Option<tokio::time::Instant>,
    /// All threads have opened their connections.
    pub(super) go: Barrier,
    /// The first measured request is about to be sent.
    pub(super) started: Notify,
    /// No further request is started.
    pub(super) closing: Flag,
    /// Requests under way are given up.
    pub(super) abort: Flag,
    pub(super) ended_by: OnceLock<EndedBy>,
    pub(super) failed: OnceLock<String>,
    pub(super) failures_in_a_row: AtomicU32,
    pub(super) done: AtomicU64,
    pub(super) failures: AtomicU64,
}

impl Shared {
    /// No further request is started, for this reason; the first reason stays.
    pub(super) fn close(&self, reason: EndedBy) {
        // A second reason is none: the level is closing already.
        let _ = self.ended_by.set(reason);
        self.closing.raise();
        self.queue.close();
    }

    /// Takes in a measured request that has ended: what is watched, judged and kept of it once, and never per token.
    pub(super) async fn took(&self, record: &RequestRecord, body: bytes::Bytes, raw: RawBody) {
        self.judge(record, true);
        self.progress.add(record);
        if let (Some(values), Some(rule)) = (&self.values, &self.spec.precision)
            && let Some(value) = rule.value(record)
        {
            // Whoever looks is gone only when the level is over.
            let _ = values.send(value);
        }
        if let Some(spill) = &self.spill {
            let (index, sent, id) = (record.index, record.sent, record.id.clone());
            if !spill.send(Kept { index, sent, id, request: body, raw }).await {
                self.storage_failed();
            }
        }
    }

    /// Hands records on to be kept, if it is time for it.
    pub(super) async fn keep(&self, pack: Option<Vec<RequestRecord>>) {
        let Some(pack) = pack else { return };
        if !self.keeper.send(pack).await {
            self.storage_failed();
        }
    }

    fn storage_failed(&self) {
        self.close(EndedBy::Storage);
        self.abort.raise();
    }

    /// The way of a request.
    pub(super) fn route(&self) -> Route<'_> {
        Route {
            endpoint: &self.endpoint,
            uri: &self.uri,
            timeout: self.spec.timeout,
            idle_timeout: self.spec.idle_timeout,
            abort: &self.abort,
            overhead: self.prompts.ruler.overhead(),
            turn_overhead: self.prompts.turn_overhead,
            keep_raw: self.spill.is_some(),
        }
    }

    /// Whether so many requests have succeeded that time, or enough being known, may end the level.
    pub(super) fn has_least(&self) -> bool {
        let done = self.done.load(Ordering::Relaxed);
        done.saturating_sub(self.failures.load(Ordering::Relaxed)) >= self.spec.least
    }

    fn fail(&self, why: String) {
        // As above: the first one is the reason.
        let _ = self.failed.set(why);
        self.close(EndedBy::Failures);
        self.abort.raise();
    }

    /// Applies the rules by which failures end a level.
    pub(super) fn judge(&self, record: &RequestRecord, measured: bool) {
        let Outcome::Failed { class, detail } = &record.outcome else {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
            if measured {
                self.done.fetch_add(1, Ordering::Relaxed);
            }
            return;
        };
        if class.is_ours() {
            return;
        }
        let in_a_row = self.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row >= FAILURES_IN_A_ROW {
            return self.fail(format!("{in_a_row} requests in a row failed, the last by {class}: {detail}"));
        }
        if measured {
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
            if done >= SHARE_FROM && failures * SHARE_ONE_IN > done {
                self.fail(format!("{failures} of {done} requests failed, the last by {class}: {detail}"));
            }
        }
    }
}

/// What one thread brings back.
#[derive(Default)]
pub(super) struct ThreadReport {
    /// Those that the keeper has not.
    pub(super) records: Vec<RequestRecord>,
    pub(super) totals: Totals,
    pub(super) fill_requests: u64,
    /// Events of all its requests, those of the wave included.
    pub(super) events: u64,
    pub(super) health: ThreadHealth,
}

/// Runs some of a level's slots on this thread's runtime, to the end of the level.
pub(super) async fn run_slots(
    shared: Arc<Shared>,
    slots: Vec<(u32, Option<Prepared>)>,
    turns: Option<Turns>,
) -> ThreadReport {
    let connections = open_all(&shared, slots.len()).await;
    tokio::select! {
        _ = shared.go.wait() => {}
        // A thread that never comes is no reason to wait for ever.
        () = shared.abort.raised() => {}
    }
    if let Some(start) = shared.start {
        tokio::select! {
            () = tokio::time::sleep_until(start) => {}
            () = shared.abort.raised() => {}
        }
    }
    let clocks = Clocks::now();
    let mut tasks = JoinSet::new();
    for ((slot, fill), connection) in slots.into_iter().zip(connections) {
        let (shared, turns) = (Arc::clone(&shared), turns.clone());
        let (held, report) = (Held::default(), ThreadReport::default());
        let slot = Slot { shared, turns, slot, connection, failures: 0, held, report };
        tasks.spawn(slot.run(fill));
    }
    drop(turns);
    let mut report = ThreadReport::default();
    let mut lateness = Vec::with_capacity(16_384);
    let all = async {
        while let Some(joined) = tasks.join_next().await {
            match joined {
                Ok(mut slot) => {
                    join(&mut report.records, &mut slot.records);
                    report.totals = report.totals.plus(slot.totals);
                    report.fill_requests += slot.fill_requests;
                    report.events += slot.events;
                }
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    };
    tokio::select! {
        () = all => {}
        () = watch_loop(&mut lateness) => {}
    }
    report.health = clocks.until_now(lateness);
    report
}

/// Opens one connection a slot. One that cannot be opened is tried again by its first request, which has the failure.
async fn open_all(shared: &Arc<Shared>, count: usize) -> Vec<Option<Connection>> {
    let at_once = Arc::new(Semaphore::new(OPENING_AT_ONCE));
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (shared, at_once) = (Arc::clone(shared), Arc::clone(&at_once));
        tasks.spawn(async move {
            let _permit = at_once.acquire().await.expect("the semaphore is never closed");
            Connection::open(&shared.endpoint, &shared.addresses, shared.origin).await.ok()
        });
    }
    tasks.join_all().await
}

struct Slot {
    shared: Arc<Shared>,
    turns: Option<Turns>,
    slot: u32,
    connection: Option<Connection>,
    /// In a row, of this slot.
    failures: u32,
    held: Held,
    report: ThreadReport,
}

impl Slot {
    async fn run(mut self, fill: Option<Prepared>) -> ThreadReport {
        let shared = Arc::clone(&self.shared);
        let mut free = nanos_since(shared.origin);
        if let Some(prepared) = fill {
            tokio::time::sleep(FILL_GAP * self.slot).await;
            free = self.fill(&shared, &prepared, nanos_since(shared.origin)).await;
            free = self.spread(&shared, free).await;
        }
        while !shared.closing.is_raised() {
            let Some(prepared) = shared.queue.take().await else {
                // Conversations that others have begun go on to their end.
                if self.turns.is_none() {
                    shared.close(EndedBy::Count);
                }
                break;
            };
            let mut turn = Some((prepared, free));
            while let Some((prepared, since)) = turn {
                let next;
                (next, free) = self.measure(&shared, prepared, since).await;
                turn = match next {
                    Some(next) => think(&shared, next, free).await,
                    None => None,
                };
            }
        }
        self.report.records = self.held.rest();
        self.report
    }

    /// Sends one request and keeps what came of it. Returns the turn that follows, and when the slot became free.
    async fn measure(&mut self, shared: &Shared, mut prepared: Prepared, free: u64) -> (Option<Next>, u64) {
        shared.started.notify_one();
        let (record, raw, wait) = self.send(shared, &prepared, free).await;
        let next = self.turns.as_ref().and_then(|turns| turns.after(&mut prepared, true, &record, &raw));
        shared.took(&record, prepared.body, raw).await;
        let free = record.end.max(record.sent);
        self.report.totals.add(&record);
        self.report.events += u64::from(record.events);
        shared.keep(self.held.push(record)).await;
        (next, self.pause(shared, wait, free).await)
    }

    /// The slot's part of the unrecorded wave. Returns when the slot became free.
    async fn fill(&mut self, shared: &Shared, prepared: &Prepared, free: u64) -> u64 {
        let (record, _, wait) = self.send(shared, prepared, free).await;
        shared.judge(&record, false);
        shared.progress.filled.fetch_add(1, Ordering::Relaxed);
        self.report.totals.add(&record);
        self.report.events += u64::from(record.events);
        self.report.fill_requests += 1;
        self.pause(shared, wait, record.end.max(record.sent)).await
    }

    /// Users who think do not all begin at one moment: each waits for its own part of a user's time to think.
    async fn spread(&self, shared: &Shared, free: u64) -> u64 {
        let delay = shared.prompts.content.conversations.map_or(0.0, |found| found.delay_s);
        let part = (shared.spec.share.place(u64::from(self.slot)) as f64 * GOLDEN).fract();
        if delay * part == 0.0 {
            return free;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs_f64(delay * part)) => {}
            () = shared.closing.raised() => {}
        }
        nanos_since(shared.origin)
    }

    /// Sends one request; also tells how long to wait before the next.
    async fn send(
        &mut self,
        shared: &Shared,
        prepared: &Prepared,
        free: u64,
    ) -> (RequestRecord, RawBody, Option<Duration>) {
        let mut connect = None;
        let mut connection = self.connection.take();
        if let Some(open) = &mut connection
            && !open.is_open().await
        {
            connection = None;
        }
        if connection.is_none() {
            let opened = tokio::select! {
                opened = Connection::open(&shared.endpoint, &shared.addresses, shared.origin) => opened,
                () = shared.abort.raised() => Err(std::io::Error::from(std::io::ErrorKind::Interrupted)),
            };
            match opened {
                Ok(opened) => {
                    connect = Some(opened.connect);
                    connection = Some(opened);
                }
                Err(error) => {
                    return (self.unconnected(shared, prepared, free, &error), RawBody::default(), self.failed(None));
                }
            }
        }
        let mut connection = connection.expect("it was opened just now");
        let route = shared.route();
        let Exchanged { mut record, reusable, retry_after, raw } =
            exchange(&mut connection, &route, prepared, self.slot, free).await;
        record.connect = connect;
        self.connection = (reusable && shared.prompts.capabilities.keep_alive).then_some(connection);
        let wait = if record.is_ok() {
            self.failures = 0;
            None
        } else {
            self.failed(retry_after)
        };
        (record, raw, wait)
    }

    fn unconnected(&self, shared: &Shared, prepared: &Prepared, free: u64, error: &std::io::Error) -> RequestRecord {
        let now = nanos_since(shared.origin);
        let mut record = blank(prepared, self.slot, free, now);
        let class = if shared.abort.is_raised() { FailureClass::Cancelled } else { room::class_of(error) };
        record.outcome = Outcome::Failed { class, detail: shorten(&error.to_string()) };
        record
    }

    /// How long to wait after a failure.
    fn failed(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        let doubled = FIRST_WAIT.saturating_mul(1_u32 << self.failures.min(16)).min(LONGEST_WAIT);
        self.failures += 1;
        Some(retry_after.map_or(doubled, |asked| asked.max(doubled)))
    }

    /// Waits if something failed; returns when the slot is free.
    async fn pause(&mut self, shared: &Shared, wait: Option<Duration>, free: u64) -> u64 {
        let Some(wait) = wait.filter(|_| !shared.queue.is_used_up()) else { return free };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.closing.raised() => {}
        }
        nanos_since(shared.origin)
    }
}

/// The user's time between an answer's end and the next turn; `None` when the level was closed meanwhile. The turn's own
/// schedule is the end of that time as this thread's timer saw it: in a closed loop nothing counts from it.
async fn think(shared: &Shared, next: Next, ended: u64) -> Option<(Prepared, u64)> {
    let mut free = ended;
    let left = next.delay.saturating_sub(Duration::from_nanos(nanos_since(shared.origin).saturating_sub(ended)));
    if !next.delay.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(left) => {}
            () = shared.closing.raised() => return None,
        }
        free = nanos_since(shared.origin);
    }
    let prepared = next.made().await?;
    (!shared.closing.is_raised()).then_some((prepared, free))
}
