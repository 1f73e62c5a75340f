//! Cleaning up from labels alone: what carries a run's label is found, deleted and seen to be gone, on any machine and
//! without a journal.
//!
//! | file | purpose |
//! | --- | --- |
//! | `kinds` | every kind that can be listed and deleted |
//! | `find` | objects by label |
//! | `clean` | deletes them in a right order and verifies that they are gone |
//! | `runs` | runs of a namespace, and which of them are dead |
//! | `reaper` | the small Job that does it when nobody else can |

mod clean;
mod find;
mod kinds;
mod reaper;
mod runs;

pub use clean::Swept;
pub(super) use clean::{clean_run, is_bare};
pub(super) use kinds::listable;
pub(super) use reaper::start_reaper;
pub use reaper::{Reaping, reap};
pub use runs::{FoundRun, Sweep, SweepScope, sweep};
