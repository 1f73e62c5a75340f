//! The embedded serving engine: a real HTTP server over a timing model of continuous batching.
//!
//! It is the quick start, the rehearsal before GPUs are paid for, the test double and, with its log of the truth, the
//! yardstick of the load generator. What is simulated is when tokens come; HTTP, streams, errors and counters are real.
//!
//! | file | purpose |
//! | --- | --- |
//! | `config`, `fault` | what a server is, and what goes wrong with it on purpose |
//! | `engine`, `worker`, `sequence`, `prefix`, `fixed`, `time` | the model: pure, over simulated time (its formulas: `engine`) |
//! | `driver`, `timer` | the one task that lets the engine run in real time |
//! | `request`, `chunks`, `body`, `routes`, `metrics` | what is asked and answered |
//! | `trace`, `truth` | what the server itself knows of each request |
//! | `server` | all of it together, from start to end |

mod body;
mod chunks;
mod config;
mod driver;
mod engine;
mod fault;
mod fixed;
pub mod metrics;
mod prefix;
mod request;
mod routes;
mod sequence;
mod server;
mod time;
mod timer;
mod trace;
mod truth;
mod worker;

pub use config::{ConfigProblem, EngineKind, FixedTiming, SimConfig};
pub use engine::{Emission, Engine, Refused, WorkerView, simulate};
pub use fault::{Fault, FaultKind};
pub use routes::BODY_LIMIT;
pub use sequence::{Job, RequestId};
pub use server::{SimError, serve};
pub use time::Nanos;
pub use truth::{Ending, TRUTH_FORMAT, TruthError, TruthRecord, read_truth};
pub use worker::{Role, WorkDone};
