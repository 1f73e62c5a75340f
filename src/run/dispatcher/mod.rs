//! Runs one session: the one task that owns the run's state and its journal.
//!
//! Rules it keeps:
//! - Steps run as tasks of their own and ask for everything over a channel; nothing is shared and locked.
//! - What is recorded is on the disk before anybody acts on it.
//! - A step that disturbs runs with nothing beside it; the others may run together.
//! - A step that panics has failed; a step that does not end when told to is given up after [`GRACE`].
//! - Stopping for whatever reason still runs what cleans up, with fresh tokens and a deadline, unless told twice.

mod answer;
mod core;
mod finish;
mod grow;
mod report;
mod schedule;
mod task;

pub(super) use self::core::{Dispatcher, Parts};
pub use task::GRACE;
