//! The journal: the truth about a run, from which everything else can be derived.

mod event;
#[cfg(test)]
mod fuzz;
mod line;
mod read;
mod write;

pub use event::Event;
pub use line::{FORMAT, Line};
pub use read::{Replay, Torn, read};
pub(super) use write::cut;
pub use write::{Journal, JournalFile};
