//! The embedded serving engine.
mod config;
mod engine;
mod fault;
mod fixed;
mod prefix;
mod sequence;
mod time;
mod worker;

pub use config::{ConfigProblem, EngineKind, FixedTiming, SimConfig};
pub use engine::{Emission, Engine, Refused, WorkerView, simulate};
pub use fault::{Fault, FaultKind};
pub use sequence::{Job, RequestId};
pub use time::Nanos;
pub use worker::{Role, WorkDone};
