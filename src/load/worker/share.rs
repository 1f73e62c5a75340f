//! One level in exact shares: what several generators send together is what one would have sent alone.

use serde::{Deserialize, Serialize};

/// One of several equal parts. Part `p` of `n` has the places `p`, `p + n`, `p + 2n` ... of every sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Which, from 0.
    pub part: u32,
    /// Of so many.
    pub of: u32,
}

impl Default for Share {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl Share {
    /// All of it.
    pub const WHOLE: Self = Self { part: 0, of: 1 };

    /// Its share of `total`; the shares of all parts add up to it.
    pub fn of_total(self, total: u64) -> u64 {
        let of = u64::from(self.of.max(1));
        total / of + u64::from(u64::from(self.part) < total % of)
    }

    /// The place in the whole sequence of its own place `index`.
    pub fn place(self, index: u64) -> u64 {
        index * u64::from(self.of.max(1)) + u64::from(self.part)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn shares_add_up_and_cover_every_place_once() {
        for of in 1..9_u32 {
            for total in 0..40_u64 {
                let shares: Vec<_> = (0..of).map(|part| Share { part, of }).collect();
                assert_eq!(shares.iter().map(|share| share.of_total(total)).sum::<u64>(), total);
                let places: BTreeSet<_> = shares
                    .iter()
                    .flat_map(|share| (0..share.of_total(total)).map(|index| share.place(index)))
                    .collect();
                assert_eq!(places, (0..total).collect());
            }
        }
    }
}
