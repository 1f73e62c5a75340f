//! How a deployment comes to life and is reached. One file each, one line in [`TARGETS`].

mod contract;

pub use contract::{BoxFuture, Deployed, Endpoint, Ledger, Live, Ready, Target, TargetError};
