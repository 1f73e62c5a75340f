//! One point: what was asked, and all that was recorded.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::objective::Bound;
use super::rate::Rate;
use super::record::{FailureClass, RequestRecord};
use super::series::{Facts, Series};
use crate::base::{Name, Timestamp};

/// A load intensity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Closed loop: so many requests under way at any moment.
    Concurrency(u32),
    /// Open loop: so many arrivals per second, whatever the server does.
    Rate(Rate),
}

impl Level {
    /// The number on a plot's axis.
    pub fn value(self) -> f64 {
        match self {
            Self::Concurrency(users) => f64::from(users),
            Self::Rate(rate) => rate.per_second(),
        }
    }
}

/// What the levels of a set are, for axes and titles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LevelKind {
    /// Requests under way.
    Concurrency,
    /// Arrivals per second.
    Rate,
}

impl Level {
    /// What it is.
    pub fn kind(self) -> LevelKind {
        match self {
            Self::Concurrency(_) => LevelKind::Concurrency,
            Self::Rate(_) => LevelKind::Rate,
        }
    }

    /// `concurrency 8` or `8 requests/s`, for titles.
    pub fn words(self) -> String {
        match self {
            Self::Concurrency(users) => format!("concurrency {users}"),
            Self::Rate(rate) => format!("{rate} requests/s"),
        }
    }
}

/// `c64` or `r0.5`: the name of the level's folder and the end of its address.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Concurrency(users) => write!(f, "c{users}"),
            Self::Rate(rate) => write!(f, "r{rate}"),
        }
    }
}

/// What a point is: enough to read its records without the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointMeta {
    /// The deployment measured.
    pub deployment: Name,
    /// The workload sent.
    pub workload: Name,
    /// At this intensity.
    pub level: Level,
    /// Which repeat, from 1.
    pub repeat: u32,
    /// Which attempt at it, from 1.
    pub attempt: u32,
    /// The id of the run.
    pub run: String,
    /// Wall-clock time of the records' time zero.
    pub origin: Timestamp,
    /// The model's id as it was asked for.
    pub model: String,
    /// Base URL of the server.
    pub url: String,
    /// `chat` or `completions`.
    pub api: String,
    /// Whether the server was the embedded engine: then no number here says anything about hardware.
    pub simulated: bool,
    /// How requests reached the server, such as `direct`.
    pub transport: String,
    /// GPUs of the deployment, prefill and decode both; `None` when unknown.
    pub gpus: Option<f64>,
    /// Prompt tokens asked, mean and standard deviation.
    pub isl: f64,
    /// See `isl`.
    pub isl_std: f64,
    /// Output tokens asked, mean and standard deviation.
    pub osl: f64,
    /// See `osl`.
    pub osl_std: f64,
    /// What requests hold beside that, in words; absent for plain ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Whether prompts begin alike because that was asked: then what a server takes from its cache is a result of its own,
    /// and no difference of the work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alike: bool,
    /// Tokens that the chat template adds to each prompt, as probed; `None` when it could not be told.
    pub template_overhead: Option<f64>,
    /// How prompt lengths were reached: `tokenizer`, `calibrated`, `words` or, by another tool, `unknown`.
    pub isl_method: String,
    /// The tool that measured it, when it was not dynbench.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_by: Option<String>,
    /// The seed of the workload.
    pub seed: u64,
    /// Digest of the incarnation that answered.
    pub incarnation: String,
    /// Where it was measured.
    #[serde(default, skip_serializing_if = "Series::is_unknown")]
    pub series: Series,
    /// What was found out about the deployment when it was ready.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub facts: Facts,
}

/// How the generator itself did during a point.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneratorHealth {
    /// 99th percentile of (sent - scheduled), in milliseconds.
    pub send_lag_p99_ms: f64,
    /// Largest (sent - scheduled), in milliseconds.
    pub send_lag_max_ms: f64,
    /// Lateness of the event loop's own timer over time, mean, in milliseconds; the timer's grain, about 1 ms, is in it.
    pub loop_lag_mean_ms: f64,
    /// The same, 99th percentile.
    pub loop_lag_p99_ms: f64,
    /// CPU seconds that the whole process used during the point.
    pub cpu_seconds: f64,
    /// Share of its time of sending and reading that the busiest of the generator's threads computed, 0 to 1.
    pub cpu_share: f64,
    /// Share of that time in which the thread that waited most for a core was ready to run and had none, 0 to 1;
    /// 0 where the system does not tell it.
    pub cpu_wait_share: f64,
    /// Threads that read and wrote.
    pub threads: u32,
    /// SSE events per second, from the first request (of the unrecorded ones) to the end of the last.
    pub events_per_s: f64,
    /// SSE events per second that so many threads of this machine can read at most, by its own measurement against a
    /// loopback server; `None` where they idled so much that they were far from it.
    pub ceiling_events_per_s: Option<f64>,
    /// SSE events divided by socket reads.
    pub events_per_read: f64,
    /// Generators that shared the load; 0 and 1: one.
    pub workers: u32,
    /// How far the clocks of several generators may be apart, in milliseconds: what sums over all of them is uncertain by
    /// it, nothing within one request is.
    pub clock_uncertainty_ms: f64,
}

/// All that was recorded at one point.
#[derive(Debug, Clone, PartialEq)]
pub struct PointData {
    /// What it is.
    pub meta: PointMeta,
    /// Every measured request, in order of sending; the fill wave is not among them.
    pub records: Vec<RequestRecord>,
    /// How the generator did.
    pub health: GeneratorHealth,
    /// Numbers that hooks printed, by name.
    pub extra: BTreeMap<String, f64>,
    /// Bounds on metrics, for goodput.
    pub objectives: Vec<Bound>,
}

/// Requests of a point by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// All that were scheduled.
    pub sent: u64,
    /// Those that did what was asked.
    pub ok: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were given up by us; in no rate and no error share.
    pub cancelled: u64,
    /// Arrivals of an open loop that were never sent, because the level ended before their turn came.
    #[serde(default)]
    pub unsent: u64,
}

/// Failures of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureCount {
    /// The class.
    pub class: FailureClass,
    /// How many.
    pub count: u64,
    /// One of them, in words.
    pub example: String,
}
