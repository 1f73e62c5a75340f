//! Since when something has been seen without a break, by our own clock of the wait. Never compared with the cluster's.

use std::collections::BTreeMap;
use std::time::Duration;

/// What was seen at earlier looks of one wait.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct History {
    signs: BTreeMap<String, Sign>,
    look: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sign {
    since: Duration,
    look: u64,
}

impl History {
    /// Notes a sign at this look and returns how long it has been there: zero at its first sight.
    pub(super) fn held(&mut self, sign: String, elapsed: Duration) -> Duration {
        let look = self.look;
        let entry = self.signs.entry(sign).or_insert(Sign { since: elapsed, look });
        entry.look = look;
        elapsed.saturating_sub(entry.since)
    }

    /// Ends a look: what was not noted in it is forgotten, and begins anew when it comes back.
    pub(super) fn end_look(&mut self) {
        let look = self.look;
        self.signs.retain(|_, sign| sign.look == look);
        self.look += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_that_goes_away_begins_anew() {
        let seconds = Duration::from_secs;
        let mut history = History::default();
        assert_eq!(history.held("a".to_owned(), seconds(3)), seconds(0));
        history.end_look();
        assert_eq!(history.held("a".to_owned(), seconds(8)), seconds(5));
        history.end_look();
        history.end_look();
        assert_eq!(history.held("a".to_owned(), seconds(20)), seconds(0));
    }
}
