//! Simulated time, and how it maps to real time.

use std::ops::Add;
use std::time::Duration;

/// A moment or span of simulated time, in nanoseconds; moments count from the server's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// From milliseconds; what is negative or not a number counts as nothing.
    pub fn from_millis(millis: f64) -> Self {
        Self((millis * 1e6).round() as u64)
    }

    /// In milliseconds.
    pub fn millis(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Add for Nanos {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// The factor between simulated and real durations.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeScale(pub f64);

impl TimeScale {
    /// How long a simulated span really takes.
    pub(super) fn real(self, simulated: Nanos) -> Duration {
        Duration::from_nanos(if self.0 == 1.0 { simulated.0 } else { (simulated.0 as f64 * self.0) as u64 })
    }

    /// How much simulated time a real span is.
    pub(super) fn simulated(self, real: Duration) -> Nanos {
        let nanos = u64::try_from(real.as_nanos()).unwrap_or(u64::MAX);
        Nanos(if self.0 == 1.0 { nanos } else { (nanos as f64 / self.0) as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_scale_runs_fast() {
        let scale = TimeScale(0.1);
        assert_eq!(scale.real(Nanos::from_millis(50.0)), Duration::from_millis(5));
        assert_eq!(scale.simulated(Duration::from_millis(5)), Nanos::from_millis(50.0));
    }

    #[test]
    fn real_time_is_exact() {
        let odd = Nanos(987_654_321_987_654_321);
        assert_eq!(TimeScale(1.0).simulated(TimeScale(1.0).real(odd)), odd);
    }
}
