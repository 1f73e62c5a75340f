//! Load from elsewhere: what talks to a server under test, as orders that may be done here or by workers.
//!
//! Everything that is sent to a server under test during warm-up and measurement is an [`Order`]. [`perform`] does one,
//! in this process or in a worker: the numbers come out of the same lines either way. A worker is this program in a pod
//! beside the server; it holds results until they are acknowledged, so that a client which dies, or is cut off, loses
//! nothing.
//!
//! | file | purpose |
//! | --- | --- |
//! | `order` | what can be ordered, and what comes of it; all of it is data |
//! | `perform` | does one order |
//! | `share`, `merge`, `offset` | one level by several workers: exact shares, one start, one result |
//! | `shelf`, `serve` | the worker: its orders and results, its HTTP interface, when it ends by itself |
//! | `line`, `client` | the way to a worker: questions that are asked again, files that are fetched in parts |
//! | `generator` | the one seam: here, or by workers |
//!
//! # Promises
//!
//! - An order has a key, the digest of everything that decides what its result means. An order that runs or is done under
//!   the same key is adopted, never sent twice.
//! - A result is used only if every byte has the digest that the worker told.
//! - A worker ends by itself when nobody has asked for anything for long enough.

mod client;
mod generator;
mod line;
mod merge;
mod offset;
mod order;
mod perform;
mod serve;
mod share;
mod shelf;

pub use client::{Alive, Lifeline, Worker};
pub use generator::{Adopted, Carried, Generator, Receipt, this_machine};
pub use offset::ClockOffset;
pub use order::{
    Done, EndpointRef, LevelOrder, Measured, MetricsPage, OTHER_TOKENIZER_HELP, Order, Page, PromptsOrder, RulerOrder,
    TokenizerFile, TuneOrder, Tuning, Work,
};
pub use perform::{Place, perform};
pub use serve::{WorkerError, WorkerOptions, serve_worker};
pub use share::Share;
pub use shelf::Status;

#[cfg(test)]
mod tests;
