//! What a sweep through `apply` costs beside its requests.
//!
//! The measure is the server's: time in which it had no request at all. A level's own time goes from the arrival of its first
//! request (of the fill wave) to the last token of its last one; what lies between the levels is added by dynbench. So is what
//! lies before the first and after the last, but once a run and not once a level: it is told apart.

use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use dynbench::sim::TruthRecord;

use super::process::watch;
use super::server::{Server, Timing};

/// Users of the levels.
pub(crate) const LEVELS: [u32; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
/// Seconds of each: five requests a user.
const LEVEL_S: u32 = 4;

/// Seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep {
    /// The whole process.
    pub(crate) wall_s: f64,
    /// The server had a request of a level.
    pub(crate) requests_s: f64,
    /// From the start of the process to the first level's first request: questions, warm-up, and the time that the server
    /// took for those.
    pub(crate) before_s: f64,
    /// Between two levels, summed over all.
    pub(crate) between_s: f64,
    /// From the last level's last token to the end of the process: its files, the summary and all pictures.
    pub(crate) after_s: f64,
}

impl Sweep {
    /// Of one `dynbench apply`.
    pub(crate) fn measure() -> Self {
        let server = Server::start(Timing::PACED);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("plan.toml"), plan(&server.url)).unwrap();
        let begun = epoch_s(SystemTime::now());
        let apply = Command::new(env!("CARGO_BIN_EXE_dynbench"))
            .args(["apply", "plan.toml", "--json"])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let cost = watch(apply);
        let ended = epoch_s(SystemTime::now());
        // A level that something else on the machine has spoilt costs as much as a good one.
        assert!([0, 3].contains(&cost.code), "{}", cost.stdout);
        let truth = server.stop();
        let spans: Vec<(f64, f64)> = LEVELS.iter().map(|users| span(&truth, *users)).collect();
        let (first, last) = (spans[0], spans[spans.len() - 1]);
        Self {
            wall_s: ended - begun,
            requests_s: spans.iter().map(|(from, to)| to - from).sum(),
            before_s: first.0 - begun,
            between_s: spans.windows(2).map(|pair| pair[1].0 - pair[0].1).sum(),
            after_s: ended - last.1,
        }
    }
}

fn plan(url: &str) -> String {
    format!(
        r#"schema = 1
name = "sweep"
model.id = "simulated-model"

[workload]
isl = 200
osl = 64
concurrency = {LEVELS:?}
duration = "{LEVEL_S}s"

[target]
kind = "endpoint"

# A busy machine must not end the sweep early: its points count for nothing here.
[validity]
send-lag-ms = 10000.0

[deployments.served]
url = "{url}"
"#
    )
}

/// From the first arrival to the last token of a level, seconds since the epoch.
fn span(truth: &[TruthRecord], users: u32) -> (f64, f64) {
    let level = format!("-c{users}-");
    let own: Vec<&TruthRecord> = truth.iter().filter(|record| record.id.contains(&level)).collect();
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let from = own.iter().map(|record| seconds(record.arrival_epoch_ns)).fold(f64::INFINITY, f64::min);
    let to = own
        .iter()
        .map(|record| seconds(record.arrival_epoch_ns) + seconds(record.token_ns.last().copied().unwrap_or(0)))
        .fold(0.0, f64::max);
    assert!(from < to, "no request of the level of {users}");
    (from, to)
}

fn epoch_s(moment: SystemTime) -> f64 {
    moment.duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}
