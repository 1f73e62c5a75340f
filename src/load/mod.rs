//! The load generator: requests out, time stamps in.
//!
//! One HTTP/1.1 connection a slot on hyper, over a stream that stamps every read before it is parsed; threads of their
//! own; records, not numbers, as the result. What a number means is computed in `measure`; which points are measured, and
//! when, is decided above.
//!
//! | file | purpose |
//! | --- | --- |
//! | `endpoint`, `stamped`, `connection`, `client` | where requests go, and how bytes and their moments come back |
//! | `sse`, `chunk`, `reading` | from bytes to moments, counts and an outcome; pure |
//! | `lengths`, `words`, `ruler`, `prompt`, `request`, `queue` | what is asked: a function of seed and place |
//! | `probe`, `calibrate`, `metrics`, `counted` | what the server is, how it counts, what it counted |
//! | `worker` | all of this as orders, done here or by this program in a pod |
//! | `level`, `closed`, `slots`, `exchange`, `flag`, `spill`, `health` | one level: its life, its slots, one request |
//!
//! A further shape of load is a further file beside `closed` that schedules the same `exchange`.

mod calibrate;
mod chunk;
mod client;
mod closed;
mod connection;
mod counted;
mod endpoint;
mod error;
mod exchange;
mod flag;
mod health;
mod lengths;
mod level;
mod metrics;
mod probe;
mod prompt;
mod queue;
mod reading;
mod request;
mod ruler;
mod slots;
mod spill;
mod sse;
mod stamped;
mod words;
mod worker;

pub use calibrate::{calibrate, template_overhead};
pub use chunk::{Chunk, Usage, describe_error, parse as parse_chunk};
pub use client::Answer;
pub use closed::{WarmUp, run_closed, warm_up};
pub use counted::counter_checks;
pub use endpoint::{Endpoint, EndpointSpec};
pub use error::{Fault, FaultKind, LoadError};
pub use lengths::Lengths;
pub use level::{EndedBy, LevelRun, LevelSpec, LiveProgress, Totals};
pub use metrics::{CounterSnapshot, scrape};
pub use probe::{Canary, canary, check_model, models};
pub use prompt::{Asker, Prompts};
pub use reading::{BodyEnd, MAX_EVENT_BYTES, Reading};
pub use request::{Api, Capabilities, Prepared, RequestShape};
pub use ruler::{Calibration, LocalTokenizer, Measured, Ruler};
pub use sse::{Event, SseError, SseReader};
pub use worker::{
    Carried, ClockOffset, Done, EndpointRef, Generator, LevelOrder, Lifeline, Measured as MeasuredLevel, Order, Page, Place,
    PromptsOrder, Receipt, RulerOrder, Share, Status, TokenizerFile, TuneOrder, Tuning, Work, Worker, WorkerError,
    WorkerOptions, perform, serve_worker,
};

#[cfg(test)]
mod tests;
