//! `kind = "kubernetes"`: deployments as objects in a namespace of a cluster.
//!
//! | file | purpose |
//! | --- | --- |
//! | `kind` | what a plan needs to know of it: keys, checks, fingerprint |
//! | `client`, `fault`, `forward` | the way to the API server: connection, errors in words, a port carried to a pod |
//! | `own` | labels, annotations and names by which objects of ours are known |
//! | `seen` | one look at a deployment, as data for the rules |
//! | `rules` | when it is ready, and when it never will be |
//!
//! Nothing here trusts that a call returns: every one goes through [`client::Cluster::call`], which has a limit.

mod client;
mod fault;
mod forward;
mod kind;
mod own;
mod rules;
mod seen;

pub use kind::Kubernetes;
