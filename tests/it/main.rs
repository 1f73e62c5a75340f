//! The one integration-test binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

#[cfg(target_os = "linux")]
mod accuracy;
mod applying;
mod cli;
mod cluster;
mod drift;
mod faults;
mod floors;
mod killed;
mod kills;
mod merged;
mod operator;
mod plans;
mod readme;
#[cfg(target_os = "linux")]
mod starved;
mod workloads;
mod world;
#[cfg(target_os = "linux")]
mod yardstick;
