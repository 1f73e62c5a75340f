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
//! # Conversations
//!
//! A slot is a user who holds one conversation at a time: it sends a turn, waits for its answer, thinks, and sends the next,
//! which holds the answer. Its part of the wave is one first turn; where users think, each waits for its own part of that
//! time before its first conversation, so that they do not all begin in one moment. The level's requests are counted turn
//! by turn; a conversation is begun as long as fewer have been begun, and goes on to its end, if time and failures let it.
//!
//! # Threads
//!
//! Slots run on threads of their own, each with its own single-threaded runtime: a slot's connection, timer and memory
//! are never touched by another thread, and the caller's runtime may be as busy as it likes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use super::error::LoadError;
use super::level::{LevelRun, LevelSpec, LiveProgress, Totals};
use super::prompt::Prompts;
use super::queue::Queue;
use super::request::Prepared;
use super::room;
use super::slots::run_slots;
use super::stage::{Stage, Work};
use super::turns::Turns;
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
    let slots = spec.concurrency.max(1);
    room::must_hold(slots)?;
    let threads = spec.thread_count();
    let queue = Arc::new(Queue::new(slots as usize));
    let mut stage = Stage::set(spec, endpoint, &prompts, progress, &queue, threads).await?;
    {
        let (queue, prompts, count, share) = (Arc::clone(&queue), Arc::clone(&prompts), spec.requests, spec.share);
        stage.helper("prompts", move || queue.make(prompts.sequence(true, share, count)))?;
    }
    let turns = Turns::start(&mut stage, &prompts)?;
    let mut fills = fill_wave(spec, &prompts, slots).into_iter();
    tokio::select! {
        () = queue.filled() => {}
        () = cancel.cancelled() => {}
    }
    let mut shares: Vec<Vec<(u32, Option<Prepared>)>> = (0..threads).map(|_| Vec::new()).collect();
    for slot in 0..slots {
        shares[slot as usize % threads].push((slot, fills.next()));
    }
    let works = shares.into_iter().map(|share| {
        let turns = turns.clone();
        let work: Work = Box::new(|shared| Box::pin(run_slots(shared, share, turns)));
        work
    });
    let works = works.collect();
    // The threads alone hold it now: it ends with them.
    drop(turns);
    stage.play(works, cancel).await
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
