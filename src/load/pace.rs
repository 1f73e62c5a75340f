//! The thread that keeps the time of an open loop.
//!
//! It sleeps until the next arrival and hands the request, made before, to one of the threads that send. It does nothing
//! else: a runtime's timer rings up to a millisecond late and waits for whatever else its thread does; this one is late
//! by what the system needs to wake it.
//!
//! The level begins with arrivals at the same rate that are not recorded, until the first of them has been answered (at
//! most [`LONGEST_LEAD`]): the server then has as much at work as it will have. The first measured arrival takes the place
//! of the next unrecorded one, nothing is drained in between. Several generators that share a level
//! cannot know when that is for all of them: they change over at one moment that follows from their common start and the
//! length of the answers (see [`agreed_lead`]), so that their arrivals together are the schedule.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedSender;

use super::arrivals::Schedule;
use super::flag::Flag;
use super::level::EndedBy;
use super::queue::Queue;
use super::request::Prepared;
use super::slots::Shared;
use super::stamped::nanos_since;
use super::worker::Share;

/// Longest time of unrecorded arrivals.
pub(super) const LONGEST_LEAD: Duration = Duration::from_secs(60);
/// Between looks at whether the level is over.
const NAP: Duration = Duration::from_millis(20);

/// A request whose time has come.
pub(super) struct Arrival {
    pub(super) prepared: Prepared,
    /// When it was to be sent, nanoseconds since the level's origin.
    pub(super) scheduled: u64,
    /// Whether it is recorded.
    pub(super) measured: bool,
}

/// What comes back from a thread that has served an arrival, where requests are turns of conversations.
pub(super) enum Return {
    /// The next turn.
    Next(Arrival),
    /// There is none: the conversation is over.
    Ended,
}

/// Turns whose time has not come yet.
pub(super) struct LaterTurns {
    returns: Receiver<Return>,
    /// By their schedule; the number keeps equal ones apart.
    waiting: BTreeMap<(u64, u64), Arrival>,
    number: u64,
    /// Conversations that have begun and are not over.
    open: u64,
}

impl LaterTurns {
    pub(super) fn of(returns: Receiver<Return>) -> Self {
        Self { returns, waiting: BTreeMap::new(), number: 0, open: 0 }
    }

    /// Waits for so long, or until something comes back.
    fn wait(&mut self, span: Duration) {
        match self.returns.recv_timeout(span) {
            Ok(Return::Next(arrival)) => {
                self.number += 1;
                self.waiting.insert((arrival.scheduled, self.number), arrival);
            }
            Ok(Return::Ended) => self.open = self.open.saturating_sub(1),
            Err(RecvTimeoutError::Timeout) => {}
            // Those that send are gone, and the level with them.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(span),
        }
    }

    /// When the next turn is due.
    fn next(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|((scheduled, _), _)| *scheduled)
    }
}

/// What the thread needs.
pub(super) struct Pacer {
    pub(super) shared: Arc<Shared>,
    /// Unrecorded arrivals and their requests; `None`: the first arrival is measured.
    pub(super) lead: Option<(Schedule, Arc<Queue>)>,
    pub(super) schedule: Schedule,
    /// The threads that send, in turn.
    pub(super) to: Vec<UnboundedSender<Arrival>>,
    /// An unrecorded request has been answered.
    pub(super) answered: Arc<Flag>,
    /// Later turns, where requests are turns of conversations.
    pub(super) later: Option<LaterTurns>,
    pub(super) runtime: Runtime,
}

/// For how long several generators send arrivals that are not recorded: twice what a request takes of a mid-size model, so
/// that the first has most likely been answered. `None` for one alone.
fn agreed_lead(shared: &Shared) -> Option<Duration> {
    let answer = Duration::from_millis(500) + Duration::from_millis(20) * shared.prompts.lengths.osl;
    (shared.spec.share.of > 1).then(|| (2 * answer).min(LONGEST_LEAD))
}

impl Pacer {
    /// Keeps the time until the level is closed, or all its arrivals are over: then it closes it.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        self.runtime.block_on(async {
            tokio::select! {
                _ = shared.go.wait() => {}
                () = shared.abort.raised() => {}
            }
            if let Some(start) = shared.start {
                tokio::select! {
                    () = tokio::time::sleep_until(start) => {}
                    () = shared.abort.raised() => {}
                }
            }
        });
        let mut turn = 0;
        let mut zero = Instant::now();
        if let Some((schedule, queue)) = self.lead.take() {
            let agreed = agreed_lead(&shared);
            if let (Some(_), Some(start)) = (agreed, shared.start) {
                zero = start.into_std();
            }
            let begun = zero;
            for offset in self.own(schedule) {
                if agreed.is_some_and(|agreed| Duration::from_nanos(offset) >= agreed) {
                    break;
                }
                zero = begun + Duration::from_nanos(offset);
                if !self.sleep_until(zero, &mut turn) {
                    return;
                }
                if agreed.is_none() && (self.answered.is_raised() || begun.elapsed() > LONGEST_LEAD) {
                    break;
                }
                let Some(prepared) = self.runtime.block_on(queue.take()) else { break };
                self.begin(prepared, zero, false, &mut turn);
            }
            queue.close();
            if let Some(agreed) = agreed {
                zero = begun + agreed;
            }
        }
        let schedule = self.own(self.schedule.clone());
        for offset in schedule {
            let due = zero + Duration::from_nanos(offset);
            if !self.sleep_until(due, &mut turn) {
                return;
            }
            let Some(prepared) = self.runtime.block_on(shared.queue.take()) else { break };
            shared.started.notify_one();
            self.begin(prepared, due, true, &mut turn);
        }
        // Conversations that have begun go on to their end.
        while self.later.as_ref().is_some_and(|later| later.open > 0) {
            if !self.sleep_until(Instant::now() + NAP, &mut turn) {
                return;
            }
        }
        shared.close(EndedBy::Count);
    }

    /// This generator's part of a sequence.
    fn own(&self, schedule: Schedule) -> impl Iterator<Item = u64> + use<> {
        let Share { part, of } = self.shared.spec.share;
        schedule.skip(part as usize).step_by(of.max(1) as usize)
    }

    /// Returns whether the level still takes arrivals then. Turns that are due before it are handed over meanwhile.
    fn sleep_until(&mut self, moment: Instant, turn: &mut usize) -> bool {
        loop {
            if self.shared.closing.is_raised() {
                return false;
            }
            self.hand_over_due(turn);
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let nap = left.min(NAP);
            match &mut self.later {
                None => std::thread::sleep(nap),
                Some(later) => {
                    let now = nanos_since(self.shared.origin);
                    let until = later.next().map_or(nap, |due| nap.min(Duration::from_nanos(due.saturating_sub(now))));
                    later.wait(until);
                }
            }
        }
    }

    /// Hands over the turns whose time has come.
    fn hand_over_due(&mut self, turn: &mut usize) {
        let Some(later) = &mut self.later else { return };
        let now = nanos_since(self.shared.origin);
        while let Some(due) = later.waiting.first_entry().filter(|due| due.key().0 <= now) {
            hand_over(&self.to, due.remove(), turn);
        }
    }

    /// Hands over an arrival that nothing went before.
    fn begin(&mut self, prepared: Prepared, due: Instant, measured: bool, turn: &mut usize) {
        let scheduled = due.saturating_duration_since(self.shared.origin).as_nanos();
        let scheduled = u64::try_from(scheduled).unwrap_or(u64::MAX);
        if let Some(later) = &mut self.later {
            later.open += 1;
        }
        hand_over(&self.to, Arrival { prepared, scheduled, measured }, turn);
    }
}

fn hand_over(to: &[UnboundedSender<Arrival>], arrival: Arrival, turn: &mut usize) {
    // A thread that is gone has panicked: the level ends with that.
    let _ = to[*turn % to.len()].send(arrival);
    *turn += 1;
}
