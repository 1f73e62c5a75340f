//! The load generator: requests out, time stamps in.
//!
//! One HTTP/1.1 connection a slot on hyper, over a stream that stamps every read before it is parsed; threads of their
//! own; records, not numbers, as the result. What a number means is computed in `measure`; which points are measured, and
//! when, is decided above.
//!
//! | file | purpose |
//! | --- | --- |
//! | `endpoint`, `stamped`, `connection`, `client` | where requests go, and how bytes and their moments come back |
//! | `sse`, `chunk`, `alike`, `reading` | from bytes to moments, counts and an outcome; pure |
//! | `lengths`, `words`, `ruler`, `prompt`, `request`, `queue` | what is asked: a function of seed and place |
//! | `conversation`, `spoken`, `turns` | what is asked next: the same, and what was answered |
//! | `probe`, `calibrate`, `metrics`, `counted` | what the server is, how it counts, what it counted |
//! | `worker` | all of this as orders, done here or by this program in a pod |
//! | `exposition`, `series` | the server's own view while a level runs |
//! | `level`, `stage`, `shape` | one level: what it is, its threads and its end, one call for every shape |
//! | `closed`, `slots` | the closed loop |
//! | `arrivals`, `open`, `pace` | the open loop: when, by whom, and the thread that keeps the time |
//! | `exchange`, `flag`, `spill`, `health` | one request, and what is kept of it |
//! | `ceiling`, `loopback` | how much the generator itself can read on this machine |
//!
//! A further shape of load is a further file beside `closed` and `open` that schedules the same `exchange`.

mod alike;
mod arrivals;
mod calibrate;
mod ceiling;
mod chunk;
mod client;
mod closed;
mod connection;
mod conversation;
mod counted;
mod endpoint;
mod error;
mod exchange;
mod exposition;
mod flag;
mod health;
mod keep;
mod lengths;
mod level;
mod loopback;
mod metrics;
mod open;
mod pace;
mod probe;
mod prompt;
mod queue;
mod reading;
mod request;
mod room;
mod ruler;
mod series;
mod shape;
mod slots;
mod spill;
mod spoken;
mod sse;
mod stage;
mod stamped;
mod turns;
mod words;
mod worker;

pub use arrivals::{Arrivals, Schedule};
pub use calibrate::{calibrate, template_overhead, tokenizer_error, turn_overhead};
pub use ceiling::{ceiling, ceiling_of};
pub use chunk::{Chunk, Usage, describe_error, parse as parse_chunk};
pub use client::Answer;
pub use closed::{WarmUp, run_closed, warm_up};
pub use counted::counter_checks;
pub use endpoint::{Endpoint, EndpointSpec};
pub use error::{Fault, FaultKind, LoadError};
pub use lengths::Lengths;
pub use level::{EndedBy, LevelRun, LevelSpec, LiveProgress, Pacing, Totals};
pub use metrics::{CounterSnapshot, scrape};
pub use probe::{Canary, canary, check_model, models};
pub use prompt::{Asker, Prompts};
pub use reading::{BodyEnd, MAX_EVENT_BYTES, Reading};
pub use request::{Api, Capabilities, Prepared, RequestShape};
pub use room::raise_file_limit;
pub use ruler::{Calibration, LocalTokenizer, Measured, Ruler};
pub use series::{SeriesLog, SeriesSource, parse_series, watch_series};
pub use shape::run_level;
pub use sse::{Event, SseError, SseReader};
pub use worker::{
    Adopted, Alive, Carried, ClockOffset, Done, EndpointRef, Generator, LevelOrder, Lifeline,
    Measured as MeasuredLevel, MetricsPage, OTHER_TOKENIZER_HELP, Order, Page, Place, PromptsOrder, Receipt,
    RulerOrder, Share, Status, TokenizerFile, TuneOrder, Tuning, Work, Worker, WorkerError, WorkerOptions, perform,
    serve_worker, this_machine,
};

#[cfg(test)]
mod tests;
