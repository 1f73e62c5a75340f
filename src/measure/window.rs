//! A piece of a point's time, and what was done within it.

use std::collections::BTreeMap;

use super::record::RequestRecord;
use super::summary::is_cancelled;

/// From one moment to another, both on the records' clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// The time in which every user was busy with a recorded request: from the last user's first send to the last send of
/// all (or the first send of a request that was given up). Neither the fill wave nor the drain is in it. `None` when it
/// is empty.
pub(super) fn busy_window(records: &[RequestRecord]) -> Option<Window> {
    let counted = || records.iter().filter(|record| !is_cancelled(record));
    let mut first_sends = BTreeMap::new();
    for record in counted() {
        let first = first_sends.entry(record.slot).or_insert(record.sent);
        *first = record.sent.min(*first);
    }
    // Arrivals of an open loop wait for nobody: its window begins with the first of them.
    let open = counted().any(|record| record.due.is_some());
    let from = if open { first_sends.into_values().min()? } else { first_sends.into_values().max()? };
    let given_up = records.iter().filter(|record| is_cancelled(record)).map(|record| record.sent).min();
    let to = counted().map(|record| record.sent).max()?;
    let to = given_up.map_or(to, |given_up| to.min(given_up));
    (from < to).then_some(Window { from, to })
}

impl Window {
    pub(super) fn seconds(&self) -> f64 {
        (self.to - self.from) as f64 / 1e9
    }

    /// Whether a request was sent within it.
    pub(super) fn has_sent(&self, record: &RequestRecord) -> bool {
        (self.from..=self.to).contains(&record.sent)
    }

    /// Output tokens of successful requests that came within it. Where the tokens of each chunk are not known, a request's
    /// tokens are spread evenly over its chunks.
    pub(super) fn tokens(&self, records: &[RequestRecord]) -> f64 {
        let within = |record: &RequestRecord| {
            let (mut came, mut all) = (0_u64, 0_u64);
            for chunk in record.chunks.iter() {
                let tokens = u64::from(chunk.tokens);
                all += tokens;
                if (self.from..self.to).contains(&(record.sent + chunk.at)) {
                    came += tokens;
                }
            }
            came as f64 / all.max(1) as f64 * f64::from(record.output_tokens.unwrap_or(0))
        };
        records.iter().filter(|record| record.is_ok()).map(within).sum()
    }

    /// Seconds that requests were under way within it, all of them together, failed ones too.
    pub(super) fn under_way(&self, records: &[RequestRecord]) -> f64 {
        let inside = |record: &RequestRecord| record.end.min(self.to).saturating_sub(record.sent.max(self.from));
        records.iter().filter(|record| !is_cancelled(record)).map(|record| inside(record) as f64 / 1e9).sum()
    }

    /// Successful requests that were done within it, each by the share of its time that lies inside.
    pub(super) fn requests(&self, records: &[RequestRecord]) -> f64 {
        let within = |record: &RequestRecord| {
            let inside = record.end.min(self.to).saturating_sub(record.sent.max(self.from));
            inside as f64 / record.end.saturating_sub(record.sent).max(1) as f64
        };
        records.iter().filter(|record| record.is_ok()).map(within).sum()
    }
}
