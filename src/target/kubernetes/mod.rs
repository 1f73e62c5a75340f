//! `kind = "kubernetes"`: deployments as objects in a namespace of a cluster.
//!
//! | file | purpose |
//! | --- | --- |
//! | `kind` | what a plan needs to know of it: keys, checks, fingerprint |
//! | `life` | what a run needs of it: which file does which step |
//! | `client`, `fault`, `forward` | the way to the API server: connection, errors in words, a port carried to a pod |
//! | `resource`, `discover` | what the cluster serves, and how kinds are addressed |
//! | `own`, `stamp` | labels, annotations and names by which objects of ours are known, and where they are put |
//! | `handle` | what the journal keeps of a deployment |
//! | `apply` | objects are sent; nothing that others made is touched |
//! | `family` | who belongs to whom: pods below an object |
//! | `seen` | one look at a deployment, as data for the rules |
//! | `end` | everything is deleted, and its absence verified |
//!
//! Nothing here trusts that a call returns: every one goes through [`client::Cluster::call`], which has a limit.

mod apply;
mod client;
mod discover;
mod end;
mod family;
mod fault;
mod forward;
mod handle;
mod kind;
mod life;
mod own;
mod resource;
mod seen;
mod stamp;

pub use kind::Kubernetes;
