//! Time as an argument: nothing outside this file and the load generator asks the machine what time it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment of wall-clock time, in nanoseconds since the Unix epoch (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// `2026-11-24T22:10:03.250Z`: RFC 3339 in UTC, to the millisecond.
    pub fn rfc3339(self) -> String {
        let whole = jiff::Timestamp::from_nanosecond(i128::from(self.0 - self.0 % 1_000_000))
            .expect("nanoseconds in a u64 end before the year 2555, which jiff can hold");
        format!("{whole:.3}")
    }

    /// What [`Timestamp::rfc3339`] wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let moment: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(moment.as_nanosecond()).ok().map(Self)
    }

    /// The time from this moment to a later one; none when the clock was set back in between.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }

    /// What [`Timestamp::compact`] wrote; `None` for anything else.
    pub fn parse_compact(text: &str) -> Option<Self> {
        let moment = jiff::civil::DateTime::strptime("%Y%m%d-%H%M%S", text).ok()?;
        let moment = jiff::tz::TimeZone::UTC.to_timestamp(moment).ok()?;
        u64::try_from(moment.as_nanosecond()).ok().map(Self)
    }

    /// `20261124-221003`: for run ids and file names.
    pub fn compact(self) -> String {
        let whole = jiff::Timestamp::from_nanosecond(i128::from(self.0))
            .expect("nanoseconds in a u64 end before the year 2555, which jiff can hold");
        whole.strftime("%Y%m%d-%H%M%S").to_string()
    }
}

/// The two clocks of a program: one for people, one for arithmetic.
pub trait Clock: Send + Sync {
    /// Wall-clock time: for people and files. It may jump.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment: for durations. It never goes back.
    fn elapsed(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that a test sets by hand; both clocks move together.
#[derive(Debug, Default)]
pub struct ManualClock {
    nanos: AtomicU64,
}

impl ManualClock {
    /// Starts at `start`.
    pub fn at(start: Timestamp) -> Self {
        Self { nanos: AtomicU64::new(start.0) }
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        self.nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.nanos.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_as_utc() {
        let moment = Timestamp(1_795_558_203_250_999_999);
        assert_eq!(moment.rfc3339(), "2026-11-24T22:10:03.250Z");
        assert_eq!(moment.compact(), "20261124-221003");
        assert_eq!(Timestamp::parse("2026-11-24T22:10:03.250Z"), Some(Timestamp(1_795_558_203_250_000_000)));
        assert_eq!(Timestamp::parse("yesterday"), None);
        assert_eq!(Timestamp::parse_compact("20261124-221003"), Some(Timestamp(1_795_558_203_000_000_000)));
        assert_eq!(Timestamp::parse_compact("20261124"), None);
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = ManualClock::at(Timestamp(5));
        clock.advance(Duration::from_nanos(7));
        assert_eq!(clock.now(), Timestamp(12));
        assert_eq!(clock.elapsed(), Duration::from_nanos(12));
    }
}
