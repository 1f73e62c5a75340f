//! Where load comes from, for a deployment in a cluster.
//!
//! | file | purpose |
//! | --- | --- |
//! | `reach` | which way: workers in the cluster, a forwarded port, a URL as declared |
//! | `job` | the Job of the workers, as an object: pure |
//! | `workers` | the Job found again or made, the ports to its pods |
//! | `pods` | the pods of a Job of ours come up, or it is said why not |
//! | `foreseen` | what it will need, before anything is deployed |
//! | `carry` | the binary brought into an image that does not have it |
//! | `needs` | what all of this may do, for the Role that a plan needs |
//!
//! # Promises
//!
//! - A Job is announced in the journal before it is made, carries our labels, and ends by itself: when nobody asks, at
//!   its deadline, after its time to live.
//! - It is found again by its name and labels on any machine: an order that went on meanwhile is not lost.
//! - Workers listen on loopback only. The way to them is a forwarded port, so that nobody else in the cluster can order
//!   load.

mod carry;
mod foreseen;
mod job;
mod needs;
mod pods;
mod reach;
mod workers;

pub(super) use foreseen::{Foreseen, foreseen};
pub(super) use job::ROLE as LOAD;
pub(super) use needs::carried_program;
pub use needs::{Permission, permissions};
pub(super) use pods::{Awaited, pods_up};
pub(super) use reach::{reach, source, transport};
