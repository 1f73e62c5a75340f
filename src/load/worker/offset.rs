//! How far a worker's clock is from ours, and how sure that is.

use serde::{Deserialize, Serialize};

use crate::base::Timestamp;

/// A worker's clock less ours, in nanoseconds. The truth lies within `uncertainty_ns` of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOffset {
    /// Worker's clock less ours.
    pub offset_ns: i64,
    /// Half of the round trip that measured it.
    pub uncertainty_ns: u64,
}

/// One question for the time: when it was sent, what the worker's clock said, when the answer was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) sent: Timestamp,
    pub(super) told: Timestamp,
    pub(super) received: Timestamp,
}

impl ClockOffset {
    /// From several exchanges, the one with the shortest round trip: the worker looked at its clock at some moment of
    /// it, taken for the middle, so that the error is at most half of the trip however uneven the ways were.
    pub(super) fn of(exchanges: &[Exchange]) -> Option<Self> {
        let shortest = exchanges.iter().min_by_key(|exchange| exchange.trip())?;
        let middle = i128::from(shortest.sent.0) + i128::from(shortest.trip() / 2);
        let offset = i128::from(shortest.told.0) - middle;
        Some(Self { offset_ns: i64::try_from(offset).ok()?, uncertainty_ns: shortest.trip().div_ceil(2) })
    }

    /// A moment of our clock as the worker's clock shows it.
    pub(super) fn to_worker(self, ours: Timestamp) -> Timestamp {
        Timestamp(ours.0.saturating_add_signed(self.offset_ns))
    }

    /// A moment of the worker's clock as ours shows it.
    pub(super) fn to_ours(self, workers: Timestamp) -> Timestamp {
        Timestamp(workers.0.saturating_add_signed(self.offset_ns.saturating_neg()))
    }
}

impl Exchange {
    fn trip(&self) -> u64 {
        self.received.0.saturating_sub(self.sent.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(sent: u64, told: u64, received: u64) -> Exchange {
        Exchange { sent: Timestamp(sent), told: Timestamp(told), received: Timestamp(received) }
    }

    #[test]
    fn the_shortest_round_trip_counts_and_bounds_the_error() {
        // The worker is 1000 ahead; the first trip is slow and uneven, the second short.
        let found = ClockOffset::of(&[exchange(0, 1900, 1000), exchange(5000, 6004, 5010)]).unwrap();
        assert_eq!(found, ClockOffset { offset_ns: 999, uncertainty_ns: 5 });
        assert_eq!(found.to_worker(Timestamp(10_000)), Timestamp(10_999));
        assert_eq!(found.to_ours(Timestamp(10_999)), Timestamp(10_000));
        assert_eq!(ClockOffset::of(&[]), None);
    }

    #[test]
    fn a_worker_may_be_behind() {
        let found = ClockOffset::of(&[exchange(10_000, 4_000, 10_010)]).unwrap();
        assert_eq!(found.offset_ns, -6005);
        assert_eq!(found.to_ours(found.to_worker(Timestamp(77_000))), Timestamp(77_000));
    }
}
