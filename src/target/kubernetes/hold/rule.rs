//! When a Lease may be taken.
//!
//! Clocks of different machines are never compared. A holder is alive when its Lease was seen to change; it is dead when
//! the Lease was seen unchanged for its whole duration, by the observer's own monotonic clock. The same run takes its own
//! Lease over at once: two processes cannot have one run, and a killed one cannot give anything back.

use std::time::Duration;

/// What one look at a Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Sign {
    /// Id of the run that holds it; empty: nobody does.
    pub(in super::super) run: String,
    /// Which process of that run.
    pub(in super::super) session: String,
    /// What changes with every sign of life.
    pub(in super::super) version: String,
    /// How long it is valid without one.
    pub(in super::super) duration: Duration,
}

/// What an observer knows of the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Health {
    /// It gave a sign of life while it was observed.
    Alive,
    /// Not observed for long enough; it is dead after this time without a sign.
    Unknown(Duration),
    /// No sign for the whole duration.
    Dead,
}

/// One observer of one Lease.
#[derive(Debug, Default)]
pub(in super::super) struct Watcher {
    last: Option<(Sign, Duration)>,
    moved: bool,
}

impl Watcher {
    /// Takes in one look at `now` of the observer's own clock.
    pub(in super::super) fn look(&mut self, sign: &Sign, now: Duration) -> Health {
        let same = |last: &Sign| last.version == sign.version && last.session == sign.session && last.run == sign.run;
        match &self.last {
            Some((last, since)) if same(last) => {
                let unchanged = now.saturating_sub(*since);
                match sign.duration.checked_sub(unchanged) {
                    None | Some(Duration::ZERO) => Health::Dead,
                    Some(_) if self.moved => Health::Alive,
                    Some(left) => Health::Unknown(left),
                }
            }
            last => {
                // The same holder at another version has renewed it; another holder is as good a sign.
                self.moved = last.is_some();
                self.last = Some((sign.clone(), now));
                if self.moved { Health::Alive } else { Health::Unknown(sign.duration) }
            }
        }
    }
}

/// What to do about a Lease that a run wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// It is not there.
    Create,
    /// It is free, the run's own, or its holder is dead.
    Take,
    /// Whether the holder lives is not known yet.
    Observe,
    /// Another run has it.
    Taken,
}

/// Decides, for `run`.
pub(super) fn decide(sign: Option<&Sign>, run: &str, watcher: &mut Watcher, now: Duration) -> Move {
    let Some(sign) = sign else { return Move::Create };
    if sign.run.is_empty() || sign.run == run {
        return Move::Take;
    }
    match watcher.look(sign, now) {
        Health::Dead => Move::Take,
        Health::Unknown(_) => Move::Observe,
        Health::Alive => Move::Taken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sign(run: &str, version: &str) -> Sign {
        Sign { run: run.to_owned(), session: "a".to_owned(), version: version.to_owned(), duration: 60 * SECOND }
    }

    #[test]
    fn a_holder_is_dead_only_after_its_whole_duration_by_our_own_clock() {
        let mut watcher = Watcher::default();
        let mut at = |version, seconds| decide(Some(&sign("other", version)), "mine", &mut watcher, seconds * SECOND);
        // Our clock started long after the Lease was last renewed: that proves nothing.
        assert_eq!(at("1", 1000), Move::Observe);
        assert_eq!(at("1", 1059), Move::Observe);
        assert_eq!(at("1", 1060), Move::Take);
    }

    #[test]
    fn a_renewal_proves_life_and_starts_the_time_anew() {
        let mut watcher = Watcher::default();
        let mut at = |version, seconds| decide(Some(&sign("other", version)), "mine", &mut watcher, seconds * SECOND);
        assert_eq!(at("1", 0), Move::Observe);
        assert_eq!(at("2", 10), Move::Taken);
        assert_eq!(at("2", 69), Move::Taken);
        assert_eq!(at("2", 70), Move::Take);
    }

    #[test]
    fn the_same_run_takes_its_own_over_at_once_and_a_free_one_is_anybodys() {
        let mut watcher = Watcher::default();
        assert_eq!(decide(None, "mine", &mut watcher, SECOND), Move::Create);
        assert_eq!(decide(Some(&sign("mine", "1")), "mine", &mut watcher, SECOND), Move::Take);
        assert_eq!(decide(Some(&sign("", "1")), "mine", &mut watcher, SECOND), Move::Take);
    }

    #[test]
    fn another_process_or_another_run_in_between_is_a_sign_of_life_too() {
        let mut watcher = Watcher::default();
        assert_eq!(watcher.look(&sign("a", "1"), SECOND), Health::Unknown(60 * SECOND));
        assert_eq!(watcher.look(&Sign { session: "b".to_owned(), ..sign("a", "1") }, 2 * SECOND), Health::Alive);
        assert_eq!(watcher.look(&Sign { session: "b".to_owned(), ..sign("a", "1") }, 62 * SECOND), Health::Dead);
    }
}
