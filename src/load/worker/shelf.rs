//! A worker's orders and what came of them, and the rules by which it may go.
//!
//! One order runs at a time. A result stays until it is acknowledged, which discards it: whoever acknowledges has it
//! safe. When nobody has asked for anything for `hold`, or for `idle` while nothing is held, the worker's life is over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::super::error::Fault;
use super::super::level::LiveProgress;
use super::order::Order;
use crate::base::{Digest, Timestamp};

/// Version of everything that goes between client and worker. 1: the first.
pub(super) const PROTOCOL: u32 = 1;

/// What a worker tells of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Version of the protocol that it speaks.
    pub protocol: u32,
    /// Version of the program.
    pub version: String,
    /// SHA-256 of its executable.
    pub binary: Digest,
    /// Orders that it knows, by id.
    pub orders: BTreeMap<String, OrderStatus>,
}

/// How one order stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OrderStatus {
    /// Its key.
    pub key: Digest,
    /// Its attempt.
    pub attempt: u32,
    /// Whether it runs, or what came of it.
    pub state: OrderState,
    /// How far it is.
    pub progress: Counted,
}

/// Whether an order runs, or what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderState {
    /// It is being done.
    Running,
    /// It is done: these files are its result.
    Done(Vec<Part>),
    /// It could not be done.
    Failed(Fault),
}

/// One file of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// [`LiveProgress`] as numbers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Counted {
    filled: u64,
    done: u64,
    failed: u64,
    tokens: u64,
    ttft_sum_us: u64,
    ttft_count: u64,
}

impl Counted {
    fn of(live: &LiveProgress) -> Self {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            filled: read(&live.filled),
            done: read(&live.done),
            failed: read(&live.failed),
            tokens: read(&live.tokens),
            ttft_sum_us: read(&live.ttft_sum_us),
            ttft_count: read(&live.ttft_count),
        }
    }

    /// The sum over several workers.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            filled: self.filled + other.filled,
            done: self.done + other.done,
            failed: self.failed + other.failed,
            tokens: self.tokens + other.tokens,
            ttft_sum_us: self.ttft_sum_us + other.ttft_sum_us,
            ttft_count: self.ttft_count + other.ttft_count,
        }
    }

    /// Shows it as if it had happened here.
    pub(super) fn show(self, live: &LiveProgress) {
        live.filled.store(self.filled, Ordering::Relaxed);
        live.done.store(self.done, Ordering::Relaxed);
        live.failed.store(self.failed, Ordering::Relaxed);
        live.tokens.store(self.tokens, Ordering::Relaxed);
        live.ttft_sum_us.store(self.ttft_sum_us, Ordering::Relaxed);
        live.ttft_count.store(self.ttft_count, Ordering::Relaxed);
    }
}

/// When a worker may go by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// While a result is held.
    pub(super) hold: Duration,
    /// While none is.
    pub(super) idle: Duration,
}

/// What an order is to be run with.
pub(super) struct Begun {
    pub(super) cancel: CancellationToken,
    pub(super) live: Arc<LiveProgress>,
    pub(super) dir: PathBuf,
}

/// Why an order is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Another one runs.
    Busy(String),
    /// The id was used for something else.
    Other,
}

struct Entry {
    order: Order,
    state: OrderState,
    cancel: CancellationToken,
    live: Arc<LiveProgress>,
}

/// See the module.
pub(super) struct Shelf {
    dir: PathBuf,
    patience: Patience,
    entries: BTreeMap<String, Entry>,
    last_asked: Timestamp,
}

impl Shelf {
    pub(super) fn new(dir: &Path, patience: Patience, now: Timestamp) -> Self {
        Self { dir: dir.to_owned(), patience, entries: BTreeMap::new(), last_asked: now }
    }

    /// Somebody asked for something.
    pub(super) fn asked(&mut self, now: Timestamp) {
        self.last_asked = now;
    }

    /// Whether nobody will come any more.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        let running = self.entries.values().any(|entry| entry.state == OrderState::Running);
        let held = self.entries.values().any(|entry| matches!(entry.state, OrderState::Done(_)));
        let limit = if held { self.patience.hold } else { self.patience.idle };
        !running && Duration::from_nanos(now.0.saturating_sub(self.last_asked.0)) >= limit
    }

    /// Takes an order; `None` when it was taken before.
    pub(super) fn begin(&mut self, id: &str, order: &Order) -> Result<Option<Begun>, Refusal> {
        if let Some(entry) = self.entries.get(id) {
            return if entry.order == *order { Ok(None) } else { Err(Refusal::Other) };
        }
        if let Some((other, _)) = self.entries.iter().find(|(_, entry)| entry.state == OrderState::Running) {
            return Err(Refusal::Busy(other.clone()));
        }
        let entry = Entry {
            order: order.clone(),
            state: OrderState::Running,
            cancel: CancellationToken::new(),
            live: Arc::default(),
        };
        let begun = Begun {
            cancel: entry.cancel.clone(),
            live: Arc::clone(&entry.live),
            dir: self.dir.join("results").join(id),
        };
        self.entries.insert(id.to_owned(), entry);
        Ok(Some(begun))
    }

    /// What came of an order; one that was discarded meanwhile stays so.
    pub(super) fn ended(&mut self, id: &str, state: OrderState) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.state = state;
        }
    }

    /// The result is not needed here any more, or the order not at all: it is ended and forgotten.
    pub(super) fn discard(&mut self, id: &str) -> bool {
        let Some(entry) = self.entries.remove(id) else { return false };
        entry.cancel.cancel();
        // The folder is only litter from here on, and the next result under this id makes it anew.
        drop(crate::base::remove_dir(&self.dir.join("results").join(id)));
        true
    }

    /// The place of a result's file, if there is such a file.
    pub(super) fn file(&self, id: &str, name: &str) -> Option<PathBuf> {
        let OrderState::Done(parts) = &self.entries.get(id)?.state else { return None };
        let part = parts.iter().find(|part| part.name == name)?;
        Some(self.dir.join("results").join(id).join(&part.name))
    }

    /// Ends everything.
    pub(super) fn cancel_all(&self) {
        for entry in self.entries.values() {
            entry.cancel.cancel();
        }
    }

    pub(super) fn statuses(&self) -> BTreeMap<String, OrderStatus> {
        let status = |entry: &Entry| OrderStatus {
            key: entry.order.key.clone(),
            attempt: entry.order.attempt,
            state: entry.state.clone(),
            progress: Counted::of(&entry.live),
        };
        self.entries.iter().map(|(id, entry)| (id.clone(), status(entry))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::{EndpointRef, Work};
    use super::*;

    fn order(key: &str) -> Order {
        let endpoint = EndpointRef { url: "http://h".to_owned(), ..EndpointRef::default() };
        Order { key: Digest::of(key.as_bytes()), attempt: 1, endpoint, work: Work::Scrape }
    }

    const fn seconds(count: u64) -> Timestamp {
        Timestamp(count * 1_000_000_000)
    }

    fn shelf() -> Shelf {
        let patience = Patience { hold: Duration::from_secs(100), idle: Duration::from_secs(10) };
        Shelf::new(Path::new("/nowhere"), patience, seconds(0))
    }

    #[test]
    fn a_worker_goes_when_nobody_asks_and_later_when_it_holds_a_result() {
        let mut shelf = shelf();
        assert!(!shelf.is_over(seconds(9)) && shelf.is_over(seconds(10)));
        shelf.asked(seconds(5));
        assert!(!shelf.is_over(seconds(14)));
        shelf.begin("a", &order("a")).unwrap();
        assert!(!shelf.is_over(seconds(1_000_000)), "a running order is never left");
        shelf.ended("a", OrderState::Done(Vec::new()));
        assert!(!shelf.is_over(seconds(104)) && shelf.is_over(seconds(105)));
        shelf.discard("a");
        assert!(shelf.is_over(seconds(15)));
    }

    #[test]
    fn an_order_is_taken_once_and_one_at_a_time() {
        let mut shelf = shelf();
        assert!(shelf.begin("a", &order("a")).unwrap().is_some());
        assert!(shelf.begin("a", &order("a")).unwrap().is_none());
        assert_eq!(shelf.begin("a", &order("b")).err(), Some(Refusal::Other));
        assert_eq!(shelf.begin("b", &order("b")).err(), Some(Refusal::Busy("a".to_owned())));
    }

    #[test]
    fn an_order_that_is_discarded_is_cancelled_and_its_late_end_is_nothing() {
        let mut shelf = shelf();
        let begun = shelf.begin("a", &order("a")).unwrap().unwrap();
        assert!(shelf.discard("a") && begun.cancel.is_cancelled());
        shelf.ended("a", OrderState::Done(Vec::new()));
        assert!(shelf.statuses().is_empty() && !shelf.discard("a"));
    }
}
