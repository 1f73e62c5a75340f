//! Whole levels and probes against scripted servers on loopback: counts, classes and order, never durations.

mod conversations;
mod floods;
mod keep;
mod levels;
mod open;
mod probes;
pub(super) mod server;
mod workloads;
