//! From the start of a process to its first requests, by the server's clock.

use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use super::median;
use super::process::watch;
use super::server::{Server, Timing};

/// Starts of the process; the median counts.
const STARTS: usize = 5;

/// Medians, milliseconds since just before the process was started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartUp {
    /// A completion request has arrived at the server: the canary. A question for the list of models went before it.
    pub(crate) first_ms: f64,
    /// The first request of the level has arrived: after the canary, and after some forty questions for how the server counts
    /// tokens, which a tokenizer would make unnecessary.
    pub(crate) level_ms: f64,
}

impl StartUp {
    /// Of `dynbench load` without a warm-up, against a server that answers at once.
    pub(crate) fn measure() -> Self {
        let starts: Vec<(f64, f64)> = (0..STARTS).map(|_| start()).collect();
        Self {
            first_ms: median(starts.iter().map(|start| start.0)),
            level_ms: median(starts.iter().map(|start| start.1)),
        }
    }
}

fn start() -> (f64, f64) {
    let server = Server::start(Timing::UNTHROTTLED);
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as f64;
    let load = Command::new(env!("CARGO_BIN_EXE_dynbench"))
        .args(["load", &server.url, "--concurrency", "1", "--requests", "1", "--warm-up", "0", "--osl", "4", "--json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(watch(load).code, 0);
    let truth = server.stop();
    let first = |of_level: bool| {
        // Questions before the level carry no id of ours.
        let own = truth.iter().filter(|record| !of_level || !record.id.starts_with("sim-"));
        let arrival = own.map(|record| record.arrival_epoch_ns).min().unwrap();
        (arrival as f64 - begun) / 1e6
    };
    (first(false), first(true))
}
