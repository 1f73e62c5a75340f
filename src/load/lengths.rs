//! How long each prompt and each output is to be: drawn, and the same in every attempt and on every deployment.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Mean and standard deviation of prompt and output lengths, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    /// Prompt tokens, mean.
    pub isl: u32,
    /// Prompt tokens, standard deviation.
    pub isl_std: f64,
    /// Output tokens, mean.
    pub osl: u32,
    /// Output tokens, standard deviation.
    pub osl_std: f64,
}

impl Lengths {
    /// Prompt and output length of one request, both at least 1: normal, rounded, redrawn below 1.
    pub(super) fn draw(&self, mut rng: ChaCha8Rng) -> (u32, u32) {
        (drawn(self.isl, self.isl_std, &mut rng), drawn(self.osl, self.osl_std, &mut rng))
    }
}

/// Redraws before giving up: with a mean of at least 1 each draw is good with a probability of nearly one half or more.
const MOST_DRAWS: usize = 200;

/// A whole number of at least 1.
pub(super) fn drawn(mean: u32, std: f64, rng: &mut ChaCha8Rng) -> u32 {
    let mean = mean.max(1);
    let Ok(normal) = Normal::new(f64::from(mean), std) else { return mean };
    if std == 0.0 {
        return mean;
    }
    (0..MOST_DRAWS).map(|_| normal.sample(rng).round()).find(|drawn| *drawn >= 1.0).map_or(mean, |drawn| drawn as u32)
}

/// A number of seconds, never below zero.
pub(super) fn drawn_time(mean: f64, std: f64, rng: &mut ChaCha8Rng) -> f64 {
    match Normal::new(mean, std) {
        Ok(normal) if std > 0.0 => {
            (0..MOST_DRAWS).map(|_| normal.sample(rng)).find(|drawn| *drawn >= 0.0).unwrap_or(mean)
        }
        Ok(_) | Err(_) => mean,
    }
}

/// A generator for one purpose, seeded by everything that decides it.
pub(super) fn rng_of(parts: &[&[u8]]) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    ChaCha8Rng::from_seed(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_mean_and_spread_asked_and_are_never_below_one() {
        let lengths = Lengths { isl: 200, isl_std: 10.0, osl: 3, osl_std: 5.0 };
        let drawn: Vec<_> = (0..4000_u32).map(|index| lengths.draw(rng_of(&[&index.to_le_bytes()]))).collect();
        let isl: Vec<f64> = drawn.iter().map(|(isl, _)| f64::from(*isl)).collect();
        let found = crate::measure::Distribution::of(isl).unwrap();
        assert!((found.mean - 200.0).abs() < 1.0 && (found.std - 10.0).abs() < 0.5, "{found:?}");
        assert!(drawn.iter().all(|(_, osl)| *osl >= 1));
    }

    #[test]
    fn without_spread_every_length_is_the_mean() {
        let lengths = Lengths { isl: 7, isl_std: 0.0, osl: 9, osl_std: 0.0 };
        assert!((0..9_u32).all(|index| lengths.draw(rng_of(&[&index.to_le_bytes()])) == (7, 9)));
    }

    #[test]
    fn a_part_cannot_be_taken_for_its_neighbour() {
        let lengths = Lengths { isl: 1000, isl_std: 300.0, osl: 1000, osl_std: 300.0 };
        assert_ne!(lengths.draw(rng_of(&[b"ab", b"c"])), lengths.draw(rng_of(&[b"a", b"bc"])));
    }
}
