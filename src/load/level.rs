//! What a level is asked to be, how it is watched, and what came of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::arrivals::Arrivals;
use super::worker::Share;
use crate::base::Timestamp;
use crate::measure::{FailureClass, GeneratorHealth, Outcome, PrecisionRule, RequestRecord};

/// One level: a closed loop at one concurrency, or an open loop at one rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelSpec {
    /// Requests under way at any moment; in an open loop the most of them, [`LevelSpec::UNLIMITED`] without a cap.
    pub concurrency: u32,
    /// What decides when a request is sent.
    #[serde(default)]
    pub pacing: Pacing,
    /// The level ends as soon as this is known so well, if it is asked.
    #[serde(default)]
    pub precision: Option<PrecisionRule>,
    /// Measured requests after which none is started any more.
    pub requests: u64,
    /// Time since the first measured request after which none is started any more.
    pub duration: Duration,
    /// Successful measured requests before which that time does not end it.
    #[serde(default)]
    pub least: u64,
    /// How long requests under way may go on after that, before they are given up.
    pub grace: Duration,
    /// Limit for one whole request.
    pub timeout: Duration,
    /// Limit for silence within one request.
    pub idle_timeout: Duration,
    /// Whether the level begins with an unrecorded wave (see [`super::run_closed`]).
    pub fill: bool,
    /// Threads of the generator; `None`: one for 64 slots, at most one a core.
    pub threads: Option<usize>,
    /// File that gets every measured response as it came; a matter of whoever measures.
    #[serde(skip)]
    pub spill: Option<PathBuf>,
    /// Folder for what the measurement itself writes down and needs no longer than it lasts; `None`: that of temporary files.
    #[serde(skip)]
    pub scratch: Option<PathBuf>,
    /// Which part of the whole level's requests this generator sends. `concurrency` and `requests` are its own; of
    /// conversations `requests` are the whole level's.
    pub share: Share,
    /// Nothing is sent before this moment of this machine's clock: several generators begin together.
    pub start: Option<Timestamp>,
}

impl LevelSpec {
    /// No cap on the requests of an open loop.
    pub const UNLIMITED: u32 = u32::MAX;

    /// A level with the limits of the design: 600 s a request, 60 s of silence.
    pub fn new(concurrency: u32, requests: u64, duration: Duration) -> Self {
        let timeout = Duration::from_secs(600);
        Self {
            concurrency,
            pacing: Pacing::Closed,
            precision: None,
            requests,
            duration,
            least: 0,
            grace: timeout,
            timeout,
            idle_timeout: Duration::from_secs(60),
            fill: true,
            threads: None,
            spill: None,
            scratch: None,
            share: Share::WHOLE,
            start: None,
        }
    }

    /// Threads for so many slots on so many cores.
    pub(super) fn thread_count(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = self.concurrency.max(1) as usize;
        self.threads.unwrap_or_else(|| slots.div_ceil(64).min(cores)).clamp(1, slots)
    }
}

/// What decides when a request is sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pacing {
    /// The end of an earlier one.
    #[default]
    Closed,
    /// Its time of arrival, whatever the server does.
    Open {
        /// Mean rate of arrivals, per second.
        rate: f64,
        /// How they are spread.
        arrivals: Arrivals,
    },
}

/// Why a level took no more requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndedBy {
    /// All requests were sent.
    Count,
    /// The time was over.
    Time,
    /// What was to be known is known well enough.
    Precision,
    /// Too many failures.
    Failures,
    /// The caller cancelled it.
    Cancelled,
    /// Raw responses could not be kept.
    Storage,
}

/// What came of a level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelRun {
    /// Every measured request, in order of sending.
    pub records: Vec<RequestRecord>,
    /// How the generator did.
    pub health: GeneratorHealth,
    /// Wall-clock time of the records' time zero.
    pub origin: Timestamp,
    /// Requests of the unrecorded wave.
    pub fill_requests: u64,
    /// What all requests, those of the wave included, asked of the server: to be compared with its counters.
    pub totals: Totals,
    /// Why no more requests were sent.
    pub ended_by: EndedBy,
    /// Why the level must count as failed, in words.
    pub failed: Option<String>,
}

/// Sums over all requests of a level, recorded or not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Requests that succeeded.
    pub ok: u64,
    /// Prompt tokens of these, by the server's usage.
    pub prompt_tokens: u64,
    /// Output tokens of these, by the server's usage.
    pub output_tokens: u64,
    /// Requests that did not succeed: the server may have counted them or not.
    pub other: u64,
}

impl Totals {
    pub(super) fn add(&mut self, record: &RequestRecord) {
        if record.is_ok() {
            self.ok += 1;
            self.prompt_tokens += u64::from(record.prompt_tokens.unwrap_or(0));
            self.output_tokens += u64::from(record.output_tokens.unwrap_or(0));
        } else if !matches!(record.outcome, Outcome::Failed { class: FailureClass::Unsent | FailureClass::NoRoom, .. })
        {
            self.other += 1;
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            ok: self.ok + other.ok,
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            output_tokens: self.output_tokens + other.output_tokens,
            other: self.other + other.other,
        }
    }
}

/// A running level as its caller may look at it, at any moment and from any thread. Written once a request.
#[derive(Debug, Default)]
pub struct LiveProgress {
    /// Requests of the fill wave that have ended.
    pub filled: AtomicU64,
    /// Measured requests that have ended.
    pub done: AtomicU64,
    /// Of these, those that failed.
    pub failed: AtomicU64,
    /// Output tokens of measured requests that have ended.
    pub tokens: AtomicU64,
    /// Sum of their TTFT, microseconds.
    pub ttft_sum_us: AtomicU64,
    /// How many of them had one.
    pub ttft_count: AtomicU64,
    /// For how many seconds the worker that does it has been out of reach; 0: it is not.
    pub away_s: AtomicU64,
}

impl LiveProgress {
    pub(super) fn add(&self, record: &RequestRecord) {
        self.done.fetch_add(1, Ordering::Relaxed);
        if !record.is_ok() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        self.tokens.fetch_add(u64::from(record.output_tokens.unwrap_or(0)), Ordering::Relaxed);
        if let Some(first) = record.first_text {
            self.ttft_sum_us.fetch_add(first.saturating_sub(record.begun()) / 1000, Ordering::Relaxed);
            self.ttft_count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
