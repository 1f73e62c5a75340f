//! How a deployment comes to life and is reached. One file each, one line in [`TARGETS`].

mod contract;
mod endpoint;
#[cfg(test)]
mod fixtures;
mod http_probe;
mod kubernetes;
mod probe;
mod process;
mod ready;
mod simulated;
mod table;

pub use contract::{BoxFuture, Deployed, Endpoint, Ledger, Live, Passage, Ready, Target, TargetError, Way};
pub use endpoint::Existing;
pub use http_probe::{HTTP_PROBER, HttpProber};
pub use kubernetes::Kubernetes;
pub use probe::{Listing, ProbeFault, Prober};
pub use process::{HoldError, Launcher, Process, Shim, hold};
pub use simulated::Simulated;
pub use table::TARGETS;

use ready::served_model;
