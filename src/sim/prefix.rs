//! The prefix cache of one worker: which blocks of prompts it has seen and still has room for.
//!
//! A block is known by a hash over all tokens up to its end, so that equal hashes mean equal prefixes. Blocks are kept
//! only in room that running sequences leave free, and go in the order in which they came. Prompts are kept from the end of
//! their prefill, outputs from the end of the request, where the same worker does both. A hit saves prefill, not
//! room: a sequence's own blocks are counted whole (real servers share them; the model errs on the full side).

use std::collections::{HashSet, VecDeque};

#[derive(Debug, Default)]
pub(super) struct PrefixCache {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl PrefixCache {
    /// How many of the leading blocks are known.
    pub(super) fn hits(&self, blocks: &[u64]) -> usize {
        blocks.iter().take_while(|block| self.known.contains(block)).count()
    }

    /// Remembers blocks, and forgets the oldest beyond `room` blocks.
    pub(super) fn insert(&mut self, blocks: &[u64], room: usize) {
        for block in blocks {
            if self.known.insert(*block) {
                self.order.push_back(*block);
            }
        }
        while self.order.len() > room {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_leading_blocks_count() {
        let mut cache = PrefixCache::default();
        cache.insert(&[1, 2, 3], 10);
        assert_eq!(cache.hits(&[1, 2, 9, 3]), 2);
        assert_eq!(cache.hits(&[9, 1]), 0);
    }

    #[test]
    fn the_oldest_blocks_go_when_room_is_short() {
        let mut cache = PrefixCache::default();
        cache.insert(&[1, 2], 3);
        cache.insert(&[3, 4], 3);
        assert_eq!(cache.hits(&[1]), 0);
        assert_eq!(cache.hits(&[2]), 1);
    }
}
