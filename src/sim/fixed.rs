//! The engine of fixed times: every request on its own, first token a fixed time after its arrival, then one token
//! each fixed time. Nothing queues, nothing is batched, so that a load generator's error is all that can differ.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::config::FixedTiming;
use super::engine::Emission;
use super::sequence::RequestId;
use super::time::Nanos;

#[derive(Debug)]
pub(super) struct FixedEngine {
    ttft: Nanos,
    itl: Nanos,
    due: BinaryHeap<Reverse<(Nanos, RequestId)>>,
    left: HashMap<RequestId, u32>,
    produced: u64,
}

impl FixedEngine {
    pub(super) fn new(timing: FixedTiming) -> Self {
        Self {
            ttft: Nanos::from_millis(timing.ttft_ms),
            itl: Nanos::from_millis(timing.itl_ms),
            due: BinaryHeap::new(),
            left: HashMap::new(),
            produced: 0,
        }
    }

    pub(super) fn submit(&mut self, at: Nanos, id: RequestId, output_tokens: u32) {
        self.left.insert(id, output_tokens);
        self.due.push(Reverse((at + self.ttft, id)));
    }

    pub(super) fn cancel(&mut self, id: RequestId) {
        self.left.remove(&id);
    }

    pub(super) fn running(&self) -> usize {
        self.left.len()
    }

    pub(super) fn produced(&self) -> u64 {
        self.produced
    }

    pub(super) fn next_event(&self) -> Option<Nanos> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn advance(&mut self, now: Nanos, out: &mut Vec<Emission>) {
        while let Some(Reverse((at, id))) = self.due.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.due.pop();
            let Some(left) = self.left.get_mut(&id) else { continue };
            *left -= 1;
            self.produced += 1;
            let last = *left == 0;
            if last {
                self.left.remove(&id);
            } else {
                self.due.push(Reverse((at + self.itl, id)));
            }
            out.push(Emission { id, at, cached_tokens: 0, last });
        }
    }
}
