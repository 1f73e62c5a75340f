//! When an object of a kind is ready, as far as its own status tells. One file a kind, one line in [`KINDS`].
//!
//! Pods are judged apart, by [`super::pods`]: a status can lag behind them, be frozen, or never speak of them.

mod claim;
mod conditions;
mod daemon_set;
mod deployment;
mod graph;
mod job;
mod leader_worker_set;
mod pod;
mod service;
mod stateful_set;
mod table;

pub(super) use graph::Graph;
pub(super) use table::{of_kubernetes, status_of};
