//! The one integration-test binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod floors;
mod kills;
mod plans;
mod readme;
