//! When the requests of an open loop arrive: a pure function of seed and place, endless, never scaled after it was
//! drawn.
//!
//! A sequence of drawn gaps has a mean of its own; stretching it to the mean that was asked would take away the very
//! variance that a Poisson process has. The rate achieved is therefore near the one asked, and both are shown.

use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp, Gamma};
use serde::{Deserialize, Serialize};

use super::lengths::rng_of;
use super::prompt::Asker;

/// How arrivals are spread. Every gap is drawn alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// As independent users come: exponential gaps, coefficient of variation 1.
    Poisson,
    /// Gamma gaps of shape `burstiness`: coefficient of variation 1 / sqrt(burstiness); 1 is Poisson, below it comes in
    /// bursts.
    Gamma {
        /// The shape, above 0.
        burstiness: f64,
    },
    /// At these moments, nanoseconds after the first, ascending.
    At(Vec<u64>),
}

/// Arrivals as nanoseconds after the first, which is at 0.
#[derive(Debug, Clone)]
pub struct Schedule {
    gaps: Gaps,
    rng: ChaCha8Rng,
    index: u64,
    seconds: f64,
}

#[derive(Debug, Clone)]
enum Gaps {
    Even(f64),
    Exponential(Exp<f64>),
    Gamma(Gamma<f64>),
    At(std::vec::IntoIter<u64>),
}

impl Schedule {
    /// The arrivals at `rate` per second that this asker has: the same in every attempt and on every deployment, others
    /// for each level and repeat. `purpose` keeps sequences of one asker apart.
    ///
    /// # Panics
    /// When the rate or the burstiness is not a positive number.
    pub fn new(arrivals: &Arrivals, rate: f64, asker: &Asker, purpose: &str) -> Self {
        let (seed, repeat) = (asker.seed.to_le_bytes(), asker.repeat.to_le_bytes());
        let rng = rng_of(&[&seed, asker.level.as_bytes(), &repeat, b"arrivals", purpose.as_bytes()]);
        assert!(rate > 0.0 && rate.is_finite(), "a rate of {rate} was refused with the plan");
        let gaps = match arrivals {
            Arrivals::Constant => Gaps::Even(rate),
            Arrivals::Poisson => Gaps::Exponential(Exp::new(rate).expect("the rate is positive")),
            Arrivals::Gamma { burstiness } => {
                let gamma = Gamma::new(*burstiness, 1.0 / (rate * burstiness));
                Gaps::Gamma(gamma.expect("a burstiness that is not positive was refused with the plan"))
            }
            Arrivals::At(moments) => Gaps::At(moments.clone().into_iter()),
        };
        Self { gaps, rng, index: 0, seconds: 0.0 }
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let index = self.index;
        self.index += 1;
        let gap = match &mut self.gaps {
            // Not added up: an even sequence must not drift.
            Gaps::Even(rate) => return Some((index as f64 / *rate * 1e9).round() as u64),
            Gaps::At(moments) => return moments.next(),
            Gaps::Exponential(_) | Gaps::Gamma(_) if index == 0 => return Some(0),
            Gaps::Exponential(exponential) => exponential.sample(&mut self.rng),
            Gaps::Gamma(gamma) => gamma.sample(&mut self.rng),
        };
        self.seconds += gap;
        Some((self.seconds * 1e9) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker() -> Asker {
        Asker { seed: 7, nonce: "n".to_owned(), level: "default-r8".to_owned(), repeat: 1, attempt: 1 }
    }

    fn moments(arrivals: &Arrivals, rate: f64, asker: &Asker, count: usize) -> Vec<u64> {
        Schedule::new(arrivals, rate, asker, "measured").take(count).collect()
    }

    /// Mean rate and coefficient of variation of the gaps.
    fn rate_and_cv(moments: &[u64]) -> (f64, f64) {
        let gaps: Vec<f64> = moments.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e9).collect();
        let found = crate::measure::Distribution::of(gaps).unwrap();
        (1.0 / found.mean, found.std / found.mean)
    }

    #[test]
    fn even_arrivals_never_drift() {
        let all = moments(&Arrivals::Constant, 3.0, &asker(), 3_000_001);
        assert_eq!((all[0], all[1], all[3], all[3_000_000]), (0, 333_333_333, 1_000_000_000, 1_000_000_000_000_000));
    }

    #[test]
    fn gaps_have_the_rate_and_the_variation_that_were_asked() {
        for (arrivals, cv) in [
            (Arrivals::Poisson, 1.0),
            (Arrivals::Gamma { burstiness: 0.25 }, 2.0),
            (Arrivals::Gamma { burstiness: 1.0 }, 1.0),
            (Arrivals::Gamma { burstiness: 4.0 }, 0.5),
        ] {
            let (rate, found) = rate_and_cv(&moments(&arrivals, 8.0, &asker(), 40_000));
            assert!((rate / 8.0 - 1.0).abs() < 0.03, "{arrivals:?} {rate}");
            assert!((found / cv - 1.0).abs() < 0.03, "{arrivals:?} {found}");
        }
    }

    #[test]
    fn few_arrivals_keep_the_rate_that_they_were_drawn_with() {
        let rates: Vec<f64> = (1..40)
            .map(|repeat| rate_and_cv(&moments(&Arrivals::Poisson, 8.0, &Asker { repeat, ..asker() }, 20)).0)
            .collect();
        let off = rates.iter().filter(|rate| (*rate / 8.0 - 1.0).abs() > 0.1).count();
        assert!(off > 10, "drawn gaps were scaled: {rates:?}");
    }

    #[test]
    fn a_seed_gives_the_same_arrivals_in_every_attempt_and_others_elsewhere() {
        let of = |asker: &Asker| moments(&Arrivals::Poisson, 8.0, asker, 50);
        let own = of(&asker());
        assert_eq!(own, of(&Asker { attempt: 2, nonce: "other".to_owned(), ..asker() }));
        for other in [
            Asker { seed: 8, ..asker() },
            Asker { repeat: 2, ..asker() },
            Asker { level: "default-r16".to_owned(), ..asker() },
        ] {
            assert_ne!(own, of(&other));
        }
        let lead: Vec<u64> = Schedule::new(&Arrivals::Poisson, 8.0, &asker(), "fill").take(50).collect();
        assert_ne!(own, lead);
    }

    #[test]
    fn a_trace_is_followed_to_the_letter() {
        let trace = Arrivals::At(vec![0, 5, 5, 70]);
        assert_eq!(moments(&trace, 1.0, &asker(), 10), [0, 5, 5, 70]);
    }
}
