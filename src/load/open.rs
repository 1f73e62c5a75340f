//! The open loop: requests are sent when they arrive, whatever the server does.
//!
//! # How a level goes
//!
//! 1. Bodies are made and connections opened; then the clock starts, kept by a thread of its own (see `pace`).
//! 2. Arrivals that are not recorded bring the server to its state under this load; the measured ones follow without a
//!    gap.
//! 3. Every measured arrival has a record, with the moment for which it was scheduled and the moment at which it was sent. One
//!    that must wait, because the plan caps the requests under way, is sent late and not later scheduled: its latencies
//!    count from its arrival (`due`).
//! 4. When all requests have arrived, the time is over or enough is known, none arrives any more. Those that have are sent
//!    and answered within the grace period. What was not is recorded: given up (`cancelled`), or never sent (`unsent`).
//!
//! A server that cannot keep up meets ever more requests, as it would in production. Failures are never waited out; too many
//! of them end the level, as in a closed loop.
//!
//! Of conversations the arrivals begin them. Each later turn arrives by itself, at the end of the answer before it and what its
//! user thinks: it has a schedule of its own and goes through the same hands. The time before lasts until the first of its
//! conversations has ended. Those that have begun go on when all have arrived; when the time is over, no further turn is
//! sent.
//!
//! Connections are opened ahead of need, also where the server closes each after its answer. One that is opened for a request,
//! because more are needed at once than were in reserve, has its time in the record (`connect`): the request waited for it, and
//! its latency counts from its arrival.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use super::arrivals::{Arrivals, Schedule};
use super::connection::Connection;
use super::endpoint::Endpoint;
use super::error::LoadError;
use super::exchange::{Exchanged, RawBody, blank, exchange};
use super::flag::Flag;
use super::health::{Clocks, ThreadHealth, watch_loop};
use super::keep::Held;
use super::level::{LevelRun, LevelSpec, LiveProgress};
use super::pace::{Arrival, LONGEST_LEAD, LaterTurns, Pacer, Return};
use super::prompt::Prompts;
use super::queue::Queue;
use super::reading::shorten;
use super::request::Prepared;
use super::room;
use super::slots::{Shared, ThreadReport};
use super::stage::{Stage, Work};
use super::stamped::nanos_since;
use super::turns::Turns;
use crate::measure::{FailureClass, Outcome, RequestRecord};

/// Connections that are opened before the clock starts, over all threads: as many as a second has arrivals, within these.
const FEWEST_OPEN: usize = 4;
const MOST_OPEN: usize = 256;
/// Idle connections that a thread keeps in reserve, besides those for the arrivals of [`RESERVE_SPAN`]: with fewer it opens
/// one more beside the requests.
const RESERVE: usize = 2;
/// Longer than it takes to open a connection, by a wide margin.
const RESERVE_SPAN: Duration = Duration::from_millis(50);

/// Runs one level. See the module for what happens when.
///
/// # Errors
/// As [`super::run_closed`].
pub(super) async fn run_open(
    (spec, rate, arrivals): (&LevelSpec, f64, &Arrivals),
    endpoint: &Endpoint,
    prompts: Arc<Prompts>,
    cancel: &CancellationToken,
    progress: Arc<LiveProgress>,
) -> Result<LevelRun, LoadError> {
    if spec.concurrency != LevelSpec::UNLIMITED {
        room::must_hold(spec.concurrency)?;
    }
    let per_second = rate.ceil() as usize;
    let queue = Arc::new(Queue::new(per_second.clamp(16, 4096)));
    let threads = spec.thread_count();
    // Those that send, and the one that keeps the time.
    let mut stage = Stage::set(spec, endpoint, &prompts, progress, &queue, threads + 1).await?;
    {
        let (queue, prompts, count, share) = (Arc::clone(&queue), Arc::clone(&prompts), spec.requests, spec.share);
        stage.helper("prompts", move || queue.make(prompts.sequence(true, share, count)))?;
    }
    let lead = spec.fill.then(|| Arc::new(Queue::new(per_second.clamp(16, 4096))));
    if let Some(lead) = &lead {
        let (lead, prompts, share) = (Arc::clone(lead), Arc::clone(&prompts), spec.share);
        let most = (rate * LONGEST_LEAD.as_secs_f64()).ceil() as u64 + 1;
        let closing = Arc::clone(stage.shared());
        stage.helper("lead", move || {
            // No more than can arrive; of conversations, whose number is not known, without end.
            let count = if prompts.content.conversations.is_some() { u64::MAX } else { most };
            let requests = prompts.sequence(false, share, count);
            lead.make(requests.take_while(|_| !closing.closing.is_raised()));
        })?;
    }
    for queue in lead.iter().chain([&queue]) {
        tokio::select! {
            () = queue.filled() => {}
            () = cancel.cancelled() => {}
        }
    }
    let answered = Arc::new(Flag::default());
    let turns = Turns::start(&mut stage, &prompts)?;
    let (back, returns) = std::sync::mpsc::channel();
    let permits = Arc::new(Semaphore::new(most_under_way(spec)));
    let open = per_second.clamp(FEWEST_OPEN, MOST_OPEN).min(spec.concurrency as usize).div_ceil(threads);
    let reserve = (rate * RESERVE_SPAN.as_secs_f64()).ceil() as usize;
    let reserve = reserve.min(MOST_OPEN).min(spec.concurrency as usize).div_ceil(threads) + RESERVE;
    let (mut to, mut works) = (Vec::with_capacity(threads), Vec::<Work>::with_capacity(threads));
    for number in 0..threads {
        let (hand, inbox) = unbounded_channel();
        to.push(hand);
        let (permits, answered) = (Arc::clone(&permits), Arc::clone(&answered));
        let turns = turns.clone().map(|turns| (turns, back.clone()));
        works.push(Box::new(move |shared| {
            let lane = Lane {
                shared,
                permits,
                answered,
                turns,
                number: number as u32,
                reserve,
                opening: Cell::new(0),
                idle: RefCell::default(),
                held: RefCell::default(),
            };
            Box::pin(lane.run(inbox, open))
        }));
    }
    // The threads alone hold them now.
    drop((turns, back));
    let of = |purpose: &str| Schedule::new(arrivals, rate, &prompts.asker, purpose);
    // A trace has no arrivals before its first: they come evenly at its mean rate.
    let before = match arrivals {
        Arrivals::At(_) => Schedule::new(&Arrivals::Constant, rate, &prompts.asker, "fill"),
        Arrivals::Constant | Arrivals::Poisson | Arrivals::Gamma { .. } => of("fill"),
    };
    let pacer = Pacer {
        shared: Arc::clone(stage.shared()),
        lead: lead.map(|queue| (before, queue)),
        schedule: of("measured"),
        to,
        answered,
        later: prompts.content.conversations.is_some().then(|| LaterTurns::of(returns)),
        runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(LoadError::Thread)?,
    };
    stage.helper("pace", move || pacer.run())?;
    stage.play(works, cancel).await
}

/// Requests under way at most: as the plan says, and no more than this process may have files.
fn most_under_way(spec: &LevelSpec) -> usize {
    let asked = u64::from(spec.concurrency.max(1));
    usize::try_from(asked.min(room::connections())).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS)
}

/// One thread that sends.
struct Lane {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    answered: Arc<Flag>,
    /// Who makes later turns of conversations, and where they go then.
    turns: Option<(Turns, Sender<Return>)>,
    number: u32,
    /// Idle connections that it wants to have, and those that are being opened for it.
    reserve: usize,
    opening: Cell<usize>,
    /// Connections that nobody uses.
    idle: RefCell<Vec<Connection>>,
    held: RefCell<Held>,
}

/// What came of one arrival.
struct Served {
    /// Whether it is recorded.
    measured: bool,
    totals: super::level::Totals,
    events: u32,
    /// How late it was sent by our own fault, if it was.
    lag_ms: Option<f64>,
}

impl Lane {
    async fn run(self, mut inbox: UnboundedReceiver<Arrival>, open: usize) -> ThreadReport {
        let lane = Rc::new(self);
        lane.open_ahead(open).await;
        tokio::select! {
            _ = lane.shared.go.wait() => {}
            () = lane.shared.abort.raised() => {}
        }
        let clocks = Clocks::now();
        let mut report = ThreadReport::default();
        let mut lags = Vec::new();
        let mut lateness = Vec::with_capacity(16_384);
        let local = LocalSet::new();
        let mut tasks = JoinSet::new();
        let mut take = |served: Served| {
            report.totals = report.totals.plus(served.totals);
            report.events += u64::from(served.events);
            lags.extend(served.lag_ms);
            report.fill_requests += u64::from(!served.measured);
        };
        let all = async {
            loop {
                tokio::select! {
                    biased;
                    arrival = inbox.recv() => match arrival {
                        Some(arrival) => {
                            tasks.spawn_local_on(Rc::clone(&lane).serve(arrival), &local);
                        }
                        // The time keeper is gone: nothing more arrives.
                        None => break,
                    },
                    Some(joined) = tasks.join_next() => take(done(joined)),
                }
            }
            while let Some(joined) = tasks.join_next().await {
                take(done(joined));
            }
        };
        tokio::select! {
            () = local.run_until(all) => {}
            () = watch_loop(&mut lateness) => {}
        }
        report.records = lane.held.borrow_mut().rest();
        report.health = ThreadHealth { lags_ms: Some(lags), ..clocks.until_now(lateness) };
        report
    }

    /// Opens connections before they are needed. One that cannot be opened is opened by a request, which has the failure.
    async fn open_ahead(&self, count: usize) {
        for _ in 0..count {
            let opened = Connection::open(&self.shared.endpoint, &self.shared.addresses, self.shared.origin).await;
            match opened {
                Ok(connection) => self.idle.borrow_mut().push(connection),
                Err(_) => return,
            }
        }
    }

    async fn serve(self: Rc<Self>, arrival: Arrival) -> Served {
        let shared = &self.shared;
        let Arrival { mut prepared, scheduled, measured } = arrival;
        let (permit, since) = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => (Some(permit), scheduled),
            Err(_) => tokio::select! {
                biased;
                () = shared.abort.raised() => (None, scheduled),
                permit = Arc::clone(&self.permits).acquire_owned() => {
                    let asked_for = shared.spec.concurrency != LevelSpec::UNLIMITED;
                    // Waiting that nobody asked for is ours.
                    (permit.ok(), if asked_for { nanos_since(shared.origin) } else { scheduled })
                }
            },
        };
        let (mut record, raw) = match permit {
            Some(_) => self.send(&prepared, scheduled).await,
            None => {
                let mut record = blank(&prepared, self.number, scheduled, nanos_since(shared.origin));
                let detail = "the level ended before its turn came".to_owned();
                record.outcome = Outcome::Failed { class: FailureClass::Unsent, detail };
                (record, RawBody::default())
            }
        };
        record.due = Some(scheduled);
        let late = record.sent.saturating_sub(since).saturating_sub(record.connect.unwrap_or(0));
        let was_sent = permit.is_some();
        drop(permit);
        let mut totals = super::level::Totals::default();
        totals.add(&record);
        let events = record.events;
        let goes_on = self.go_on(&mut prepared, measured, &record, &raw).await;
        if measured {
            shared.took(&record, prepared.body, raw).await;
            let pack = self.held.borrow_mut().push(record);
            shared.keep(pack).await;
        } else {
            shared.judge(&record, false);
            self.shared.progress.filled.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if !goes_on {
                self.answered.raise();
            }
        }
        let lag_ms = (measured && was_sent).then_some(late as f64 / 1e6);
        Served { measured, totals, events, lag_ms }
    }

    /// Has the next turn of a conversation made and gives it to the time keeper. Whether there is one.
    async fn go_on(&self, prepared: &mut Prepared, measured: bool, record: &RequestRecord, raw: &RawBody) -> bool {
        let Some((turns, back)) = &self.turns else { return false };
        let mut following = None;
        if !self.shared.closing.is_raised()
            && let Some(next) = turns.after(prepared, measured, record, raw)
        {
            let delay = u64::try_from(next.delay.as_nanos()).unwrap_or(u64::MAX);
            let scheduled = record.end.saturating_add(delay);
            following = next.made().await.map(|prepared| Arrival { prepared, scheduled, measured });
        }
        let goes_on = following.is_some();
        // A time keeper that is gone has closed the level: nothing follows any more.
        let _ = back.send(following.map_or(Return::Ended, Return::Next));
        goes_on
    }

    async fn send(self: &Rc<Self>, prepared: &Prepared, scheduled: u64) -> (RequestRecord, RawBody) {
        let shared = &self.shared;
        let mut connect = None;
        let mut connection = None;
        while connection.is_none() {
            let Some(mut idle) = self.idle.borrow_mut().pop() else { break };
            if idle.is_open().await {
                connection = Some(idle);
            }
        }
        // Whatever the server makes of used ones: the next arrivals need connections too.
        for _ in self.idle.borrow().len() + self.opening.get()..self.reserve {
            let lane = Rc::clone(self);
            lane.opening.set(lane.opening.get() + 1);
            tokio::task::spawn_local(async move {
                lane.open_ahead(1).await;
                lane.opening.set(lane.opening.get() - 1);
            });
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
                    let mut record = blank(prepared, self.number, scheduled, nanos_since(shared.origin));
                    let given_up = shared.abort.is_raised();
                    let class = if given_up { FailureClass::Cancelled } else { room::class_of(&error) };
                    record.outcome = Outcome::Failed { class, detail: shorten(&error.to_string()) };
                    return (record, RawBody::default());
                }
            }
        }
        let mut connection = connection.expect("it was opened just now");
        let Exchanged { mut record, reusable, retry_after: _, raw } =
            exchange(&mut connection, &shared.route(), prepared, self.number, scheduled).await;
        record.connect = connect;
        if reusable && shared.prompts.capabilities.keep_alive {
            self.idle.borrow_mut().push(connection);
        }
        (record, raw)
    }
}

fn done(joined: Result<Served, tokio::task::JoinError>) -> Served {
    joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
