//! The one integration-test binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

#[cfg(target_os = "linux")]
mod accuracy;
mod floors;
mod plans;
mod readme;
