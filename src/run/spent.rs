//! Where the time of a run went: the journal's own times, added up by kind of step.
//!
//! An attempt lasts from its start to its result. One that died with its process lasts to the last thing that its session
//! wrote down: how long nobody ran it is no time of the run. Steps that ran side by side count each.

use std::collections::BTreeMap;
use std::time::Duration;

use indexmap::IndexMap;

use super::journal::{Event, Line};
use crate::base::Timestamp;
use crate::plan::{Address, StepSpec};

/// What all attempts at the steps of a kind took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The kind: `load`, `wait`, ...
    pub kind: String,
    /// Attempts, successful or not.
    pub attempts: u32,
    /// Together.
    pub time: Duration,
}

/// What a run took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimeSpent {
    /// All sessions, each from its first line to its last.
    pub sessions: Duration,
    /// By kind, in the order of the steps.
    pub kinds: Vec<Spent>,
}

/// Adds up what the lines of a journal tell.
pub fn time_spent(lines: &[Line], steps: &[StepSpec]) -> TimeSpent {
    let kind_of: BTreeMap<&Address, &str> = steps.iter().map(|step| (&step.address, step.kind.as_str())).collect();
    let mut kinds: IndexMap<&str, (u32, Duration)> = IndexMap::new();
    for step in steps {
        kinds.entry(&step.kind).or_default();
    }
    let mut sessions: BTreeMap<u32, (Timestamp, Timestamp)> = BTreeMap::new();
    let mut begun: BTreeMap<&Address, (u32, Timestamp)> = BTreeMap::new();
    let mut add = |address: &Address, time: Duration| {
        if let Some((attempts, sum)) = kind_of.get(address).and_then(|kind| kinds.get_mut(*kind)) {
            *attempts += 1;
            *sum += time;
        }
    };
    for line in lines {
        let Some(now) = Timestamp::parse(&line.time) else { continue };
        match &line.event {
            Event::StepStarted { address, .. } => {
                begun.insert(address, (line.session, now));
            }
            Event::StepSucceeded { address, .. }
            | Event::StepFailed { address, .. }
            | Event::StepInterrupted { address, .. } => {
                if let Some((session, start)) = begun.remove(address) {
                    let end = if session == line.session { now } else { last_of(&sessions, session, start) };
                    add(address, start.until(end));
                }
            }
            Event::RunCreated { .. }
            | Event::SessionStarted { .. }
            | Event::SessionEnded { .. }
            | Event::StepSkipped { .. }
            | Event::StepVoided { .. }
            | Event::ObligationOpened { .. }
            | Event::ObligationClosed { .. }
            | Event::IncarnationRecorded { .. }
            | Event::PlanAmended { .. }
            | Event::Note { .. } => {}
        }
        let (_, last) = sessions.entry(line.session).or_insert((now, now));
        *last = now;
    }
    for (address, (session, start)) in begun {
        add(address, start.until(last_of(&sessions, session, start)));
    }
    let kinds = kinds.into_iter().filter(|(_, (attempts, _))| *attempts > 0);
    TimeSpent {
        sessions: sessions.values().map(|(first, last)| first.until(*last)).sum(),
        kinds: kinds.map(|(kind, (attempts, time))| Spent { kind: kind.to_owned(), attempts, time }).collect(),
    }
}

fn last_of(sessions: &BTreeMap<u32, (Timestamp, Timestamp)>, session: u32, start: Timestamp) -> Timestamp {
    sessions.get(&session).map_or(start, |(_, last)| *last)
}

#[cfg(test)]
mod tests {
    use super::super::step::StepOutcome;
    use super::super::tests::world::{address, steps};
    use super::*;
    use crate::base::Digest;

    fn line(session: u32, second: u64, event: Event) -> Line {
        Line { seq: 1, time: Timestamp((1_000_000 + second) * 1_000_000_000).rfc3339(), session, event }
    }

    fn started(at: &str) -> Event {
        let (attempt, key) = (1, Digest::of(b"k"));
        Event::StepStarted { address: address(at), attempt, key, inputs: None, incarnation: None }
    }

    fn interrupted(at: &str) -> Event {
        Event::StepInterrupted { address: address(at), attempt: 1, reason: "its process ended".to_owned() }
    }

    fn succeeded(at: &str) -> Event {
        Event::StepSucceeded {
            address: address(at),
            attempt: 1,
            outcome: StepOutcome::ok(serde_json::Value::Null),
            manifest: None,
            place: None,
            adopted: false,
        }
    }

    #[test]
    fn the_time_between_two_sessions_is_no_time_of_the_run() {
        let lines = [
            line(1, 0, started("a/deploy")),
            line(1, 10, succeeded("a/deploy")),
            line(1, 10, started("a/default/load/c1")),
            line(1, 25, Event::Note { address: None, text: "half way".to_owned() }),
            // The laptop slept for a day.
            line(2, 86_400, interrupted("a/default/load/c1")),
            line(2, 86_401, started("a/default/load/c1")),
            line(2, 86_431, succeeded("a/default/load/c1")),
        ];
        let spent = time_spent(&lines, &steps(&["a"], &[1], 1));
        let of = |kind: &str, attempts, seconds| Spent {
            kind: kind.to_owned(),
            attempts,
            time: Duration::from_secs(seconds),
        };
        assert_eq!(spent.sessions, Duration::from_secs(25 + 31));
        assert_eq!(spent.kinds, [of("deploy", 1, 10), of("load", 2, 15 + 30)]);
    }

    #[test]
    fn a_step_that_runs_now_counts_up_to_the_last_line() {
        let lines = [line(1, 0, started("a/wait")), line(1, 4, Event::Note { address: None, text: String::new() })];
        assert_eq!(time_spent(&lines, &steps(&["a"], &[1], 1)).kinds[0].time, Duration::from_secs(4));
    }
}
