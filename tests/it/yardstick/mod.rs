//! What the slow checks of the load generator share: a simulated server with its log of the truth, a process whose cost is
//! known when it has ended, the two sides of each request joined by id, and a client that does nothing with what it reads.
//!
//! All of it is about time, so nothing of it is used by an ordinary test.

mod bare;
mod joined;
mod process;
mod server;
mod start_up;
mod sweep;

pub(crate) use bare::read_and_throw_away;
pub(crate) use joined::Joined;
pub(crate) use process::{Cost, watch};
pub(crate) use server::{Server, Timing};
pub(crate) use start_up::StartUp;
pub(crate) use sweep::Sweep;

/// The middle one.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    dynbench::measure::percentile(&values, 0.5)
}

/// Prints what a check is run for.
#[expect(clippy::print_stdout, reason = "the figures are what this is run for")]
pub(crate) fn print(text: &str) {
    println!("{text}");
}
