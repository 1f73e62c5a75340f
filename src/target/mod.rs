//! How a deployment comes to life and is reached. One file each, one line in [`TARGETS`].

mod contract;
mod endpoint;
#[cfg(test)]
mod fixtures;
mod http_probe;
mod image;
mod kubernetes;
mod probe;
mod process;
mod ready;
mod simulated;
mod table;

pub use contract::{
    Again, BoxFuture, Deployed, Endpoint, Ledger, Left, Live, MetricsUrl, NOT_CHECKED, Passage, Ready, Target,
    TargetError, Unheld, Way,
};
pub use endpoint::Existing;
pub use http_probe::{HTTP_PROBER, HttpProber};
pub use image::{Architecture, Blob, Image, NotStatic, Program};
pub use kubernetes::{
    FoundRun, Kubernetes, Machines, ObjectOutlook, Permission, Reaping, ServerView, Sweep, SweepScope, Swept, machines,
    permissions, push_image, rbac, reap, server_view, sweep,
};
pub use probe::{Listing, ProbeFault, Prober, Workers};
pub use process::{HoldError, Launcher, Process, Shim, hold};
pub use simulated::Simulated;
pub use table::TARGETS;

use ready::served_model;
