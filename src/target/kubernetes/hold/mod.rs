//! What a run holds in a cluster while it lives: a Lease of its own, its pool of GPUs, a namespace that it made.
//!
//! | file | purpose |
//! | --- | --- |
//! | `rule` | when a Lease may be taken: pure |
//! | `lease` | a Lease taken, renewed by a task of its own, given back |
//! | `begin` | takes all of it, before anything is deployed |
//! | `finish` | gives all of it back: at the end of a run, or from a handle in another process |
//! | `namespace` | a namespace made and deleted |
//!
//! The Lease of a run stays as long as anything of the run may be in the cluster. When it is not renewed any more,
//! others may end what is left: `dynbench cleanup --expired`, or the reaper.

mod begin;
mod finish;
mod lease;
mod namespace;
mod rule;

pub(super) use begin::{HeldHandle, begin, lost};
pub(super) use finish::{finish, finish_handle};
pub(super) use lease::{free_pools, lease_of, leases, run_lease_name, sign};
pub(super) use namespace::delete_if_ours as delete_namespace;
pub(super) use rule::{Health, Sign, Watcher};
