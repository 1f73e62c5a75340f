//! The terminal: arguments, progress, the one place that prints and gives an exit code.
//!
//! stdout is data, stderr is talk. Nothing is decided here that a program could want to decide: that is `app`.

mod args;
mod ask;
mod cluster;
mod display;
mod engine;
mod look;
mod main;
mod once;
mod print;
mod running;
mod worker;

pub use main::main;
