//! The whole floor at work in a fake world that outlives its runners.

mod again;
mod crash;
mod edits;
mod faults;
mod oracle;
mod policies;
mod search;
mod shelf;
mod stage;
mod stopping;
pub(super) mod world;
