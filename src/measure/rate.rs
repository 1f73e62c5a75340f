//! A rate of requests: a number that can be a name, a key of a map and an axis.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Requests per second, in whole millionths: two rates that look alike are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

impl Rate {
    /// The lowest rate, requests per second: one in a thousand seconds.
    pub const LOWEST: f64 = 0.001;
    /// The highest rate, requests per second: far beyond what one machine can send.
    pub const HIGHEST: f64 = 100_000.0;

    /// A rate in requests per second, rounded to a millionth; `None` outside of [`Self::LOWEST`] to [`Self::HIGHEST`].
    pub fn new(per_second: f64) -> Option<Self> {
        let within = (Self::LOWEST..=Self::HIGHEST).contains(&per_second);
        within.then(|| Self((per_second * 1e6).round() as u64))
    }

    /// Requests per second.
    pub fn per_second(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

/// The shortest decimal: `8`, `0.5`, `12.25`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.per_second())
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // `8`, not `8.0`: a key's digest must not depend on how a number is written.
        if self.0.is_multiple_of(1_000_000) {
            serializer.serialize_u64(self.0 / 1_000_000)
        } else {
            serializer.serialize_f64(self.per_second())
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        Self::new(number).ok_or_else(|| serde::de::Error::custom(format!("{number} is no rate of requests")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_named_by_its_shortest_decimal() {
        for (number, name) in [(8.0, "8"), (0.5, "0.5"), (12.250_000_4, "12.25"), (0.1 + 0.2, "0.3")] {
            let rate = Rate::new(number).unwrap();
            assert_eq!(rate.to_string(), name);
            let json = serde_json::to_string(&rate).unwrap();
            assert_eq!(json, name);
            assert_eq!(serde_json::from_str::<Rate>(&json).unwrap(), rate);
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for number in [0.0, -1.0, 1e12, f64::NAN, f64::INFINITY, 1e-9] {
            assert_eq!(Rate::new(number), None, "{number}");
        }
        assert!(serde_json::from_str::<Rate>("0").is_err());
    }
}
