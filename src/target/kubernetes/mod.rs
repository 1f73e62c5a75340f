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
//! | `again` | whether what an earlier session applied can be used again |
//! | `family` | who belongs to whom: pods below an object |
//! | `seen` | one look at a deployment, as data for the rules |
//! | `load` | where load comes from: a Job, a forwarded port, a URL |
//! | `registry` | container registries, with the user's own logins |
//! | `look` | takes that look |
//! | `rules` | when it is ready, and when it never will be |
//! | `wait` | the layers of being ready: the rules, then what serves is asked |
//! | `service`, `through` | where the model answers, and asking it through a forwarded port |
//! | `incarnation`, `disaggregated` | what is known of a deployment that is ready |
//! | `pages` | where its parts tell their own view |
//! | `logs` | logs of containers |
//! | `collect`, `beside` | what is kept of it before it is torn down, and of what stands beside it |
//! | `end` | everything is deleted, and its absence verified |
//! | `settings`, `objects`, `quantity` | `[target]` typed; the objects as the plan alone gives them; `1500m`, `2Gi` |
//! | `mentions`, `machines` | what objects refer to by name; what the nodes are |
//! | `preflight`, `registry`, `rbac` | what would fail later; registries and logins; the rights that a plan needs |
//! | `hold`, `secrets`, `cache` | what a run holds while it lives: Leases, a namespace, Secrets; the volume with the model |
//! | `sweep` | cleaning up from labels alone, and the reaper |
//!
//! Nothing here trusts that a call returns: every one goes through [`client::Cluster::call`], which has a limit.

mod again;
mod apply;
mod beside;
mod cache;
mod client;
mod collect;
mod disaggregated;
mod discover;
mod end;
mod exporter;
mod family;
mod fault;
mod forward;
mod handle;
mod hold;
mod incarnation;
mod kind;
mod life;
mod load;
mod logs;
mod look;
mod machines;
mod mentions;
mod objects;
mod own;
mod pages;
mod preflight;
mod quantity;
mod rbac;
mod registry;
mod resource;
mod rules;
mod secrets;
mod seen;
mod service;
mod settings;
mod stamp;
mod sweep;
mod through;
mod wait;

pub use kind::Kubernetes;
pub use load::{Permission, permissions};
pub use machines::{Machines, machines};
pub use preflight::{ObjectOutlook, ServerView, server_view};
pub use rbac::rbac;
pub use registry::push_image;
pub use sweep::{FoundRun, Reaping, Sweep, SweepScope, Swept, reap, sweep};
