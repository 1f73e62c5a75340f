//! What became of the conversations of a point, where its requests are turns of some.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::record::{RequestRecord, Turn};
use super::summary::is_cancelled;
use crate::base::format_quantity;

/// Conversations by how they ended, and how long users waited in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConversationCounts {
    /// Conversations of which at least one turn was measured.
    pub begun: u64,
    /// Those whose every turn was answered.
    pub whole: u64,
    /// Those that a failed turn ended: nobody can go on from an answer that never came.
    pub broken: u64,
    /// Those that were under way when the level ended.
    pub cut: u64,
    /// Mean TTFT of first turns, milliseconds.
    pub first_turn_ttft_ms: Option<f64>,
    /// The same of later turns, whose history the server may have in its cache.
    pub later_turn_ttft_ms: Option<f64>,
}

/// `80 begun, 76 whole, 1 ended by a failed turn, 3 cut by the level's end; mean TTFT 55 ms in first turns, 30 ms in later
/// ones`
impl fmt::Display for ConversationCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} begun, {} whole", self.begun, self.whole)?;
        if self.broken > 0 {
            write!(f, ", {} ended by a failed turn", self.broken)?;
        }
        if self.cut > 0 {
            write!(f, ", {} cut by the level's end", self.cut)?;
        }
        match (self.first_turn_ttft_ms, self.later_turn_ttft_ms) {
            (Some(first), Some(later)) => write!(
                f,
                "; mean TTFT {} ms in first turns, {} ms in later ones",
                format_quantity(first),
                format_quantity(later)
            ),
            (Some(_) | None, _) => Ok(()),
        }
    }
}

impl ConversationCounts {
    /// Of all records of a point, in any order; `None` where no request is a turn.
    pub(super) fn of(records: &[RequestRecord]) -> Option<Self> {
        let turns = || records.iter().filter_map(|record| Some((record, record.turn?)));
        let mut ends = BTreeMap::new();
        for (record, turn) in turns() {
            let end = ends.entry(turn.conversation).or_insert(End::Cut);
            *end = (*end).max(End::by(record, turn));
        }
        let count = |wanted: End| ends.values().filter(|end| **end == wanted).count() as u64;
        let ttft = |wanted: fn(Turn) -> bool| {
            let values: Vec<f64> = turns()
                .filter(|(record, turn)| record.is_ok() && wanted(*turn))
                .filter_map(|(record, _)| Some(record.first_text?.saturating_sub(record.begun()) as f64 / 1e6))
                .collect();
            Some(values.iter().sum::<f64>() / values.len() as f64).filter(|mean| mean.is_finite())
        };
        (!ends.is_empty()).then(|| Self {
            begun: ends.len() as u64,
            whole: count(End::Whole),
            broken: count(End::Broken),
            cut: count(End::Cut),
            first_turn_ttft_ms: ttft(|turn| turn.turn == 1),
            later_turn_ttft_ms: ttft(|turn| turn.turn > 1),
        })
    }
}

/// How a conversation ended, as far as one of its turns tells: the largest of all its turns holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Cut,
    Whole,
    Broken,
}

impl End {
    fn by(record: &RequestRecord, turn: Turn) -> Self {
        match (record.is_ok(), is_cancelled(record)) {
            (true, _) if turn.turn == turn.of => Self::Whole,
            (true, _) | (false, true) => Self::Cut,
            (false, false) => Self::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::sample::{Shape, point};
    use crate::measure::{FailureClass, Outcome};

    #[test]
    fn conversations_are_whole_broken_by_a_failure_or_cut_by_the_end() {
        let mut records = point(Shape { requests: 8, users: 1, ..Shape::default() }).records;
        // Three turns, two of which the second fails, one that was given up, two of three.
        let turns = [(0, 1, 3), (0, 2, 3), (0, 3, 3), (1, 1, 3), (1, 2, 3), (2, 1, 1), (3, 1, 3), (3, 2, 3)];
        for (record, (conversation, turn, of)) in records.iter_mut().zip(turns) {
            record.turn = Some(Turn { conversation, turn, of });
        }
        let failed = |class| Outcome::Failed { class, detail: String::new() };
        records[4].outcome = failed(FailureClass::Timeout);
        records[5].outcome = failed(FailureClass::Cancelled);
        let found = ConversationCounts::of(&records).unwrap();
        assert_eq!((found.begun, found.whole, found.broken, found.cut), (4, 1, 1, 2));
        let ttft = |at: &[usize]| {
            at.iter().map(|at| (records[*at].first_text.unwrap() - records[*at].sent) as f64 / 1e6).sum::<f64>()
                / at.len() as f64
        };
        assert!((found.first_turn_ttft_ms.unwrap() - ttft(&[0, 3, 6])).abs() < 1e-9);
        assert!((found.later_turn_ttft_ms.unwrap() - ttft(&[1, 2, 7])).abs() < 1e-9);
    }

    #[test]
    fn requests_that_stand_alone_are_no_conversations() {
        assert_eq!(ConversationCounts::of(&point(Shape::default()).records), None);
    }
}
