//! Signs that a deployment will never be ready. One file a sign, one line in [`table::SIGNS`]; each with its own grade:
//! at once for what cannot heal, after a while for what may.

mod create;
mod config;
mod ended;
mod evicted;
mod graph;
mod image;
mod mount;
mod schedule;
mod storage;
mod table;

pub(super) use table::first;
