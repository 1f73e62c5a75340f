//! The checked plan: every value resolved, nothing "maybe valid".

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::shapes::LoadShape;
use crate::base::{Digest, Name, Span};
use crate::measure::{Content, smallest_sample};

/// A plan with all defaults filled in, `like` inherited, the matrix expanded and `--set` applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Names the results' folder.
    pub name: Name,
    /// Free words for people.
    pub description: Option<String>,
    /// Folder of the plan file: relative paths in it start here.
    pub dir: PathBuf,
    /// What is served.
    pub model: Model,
    /// What every engine of the plan gets.
    #[serde(default)]
    pub engine: Engine,
    /// Traffic, by name, in the order of the file.
    pub workloads: IndexMap<Name, Workload>,
    /// What is compared, by name, in the order of the file.
    pub deployments: IndexMap<Name, Deployment>,
    /// Pictures.
    pub plots: PlotChoice,
    /// Bounds on metrics (SLO).
    pub objectives: Vec<Objective>,
    /// What makes a point valid.
    pub validity: Validity,
    /// How the run behaves when something goes wrong.
    pub policy: Policy,
    /// Where load comes from.
    #[serde(default)]
    pub load: LoadSource,
    /// Commands of the user at fixed moments.
    pub hooks: Hooks,
    /// Files written per point.
    pub exports: Exports,
    /// What the verdict is about.
    pub compare: Comparison,
    /// How the server's own view is read.
    #[serde(default)]
    pub server_metrics: ServerMetrics,
    /// SHA-256 of each tokenizer that is named, by its path.
    #[serde(default)]
    pub tokenizers: BTreeMap<PathBuf, Digest>,
}

/// `[model]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The id that `/v1/models` must list.
    pub id: String,
    /// A local `tokenizer.json` (or the folder that holds it).
    pub tokenizer: Option<PathBuf>,
    /// Where `id` stands in the plan.
    pub span: Option<Span>,
}

/// `[engine]`: arguments and environment that templates of every deployment give to their engine, before its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    /// Arguments.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: IndexMap<String, String>,
}

/// `[workload]` (named `default`) or `[workloads.NAME]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Its name.
    pub name: Name,
    /// Mean prompt length, tokens.
    pub isl: u32,
    /// Standard deviation of the prompt length, tokens.
    pub isl_std: f64,
    /// Mean output length, tokens.
    pub osl: u32,
    /// Standard deviation of the output length, tokens.
    pub osl_std: f64,
    /// What requests hold.
    #[serde(default)]
    pub content: Content,
    /// Closed-loop levels, in the order in which they are measured.
    pub concurrency: Vec<u32>,
    /// Levels of other kinds, and how each level begins and ends.
    #[serde(default)]
    pub shape: LoadShape,
    /// Requests per level; `None`: see [`Workload::requests_at`].
    pub requests: Option<u64>,
    /// A level ends after this time even if requests are left.
    pub duration: Duration,
    /// Warm-up requests, once per incarnation.
    pub warm_up_requests: u64,
    /// How often each level is measured, in blocks that interleave the deployments.
    pub repeats: u32,
    /// Seed of lengths and prompts.
    pub seed: u64,
    /// The request's shape.
    pub request: Request,
    /// Where the workload stands in the plan.
    pub span: Option<Span>,
}

/// `[workload.request]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Which endpoint.
    pub api: Api,
    /// Sampling temperature, if it is to be sent.
    pub temperature: Option<f64>,
    /// Further fields of the body, as they are.
    pub extra: Map<String, Value>,
    /// Limit for one whole request.
    pub timeout: Duration,
    /// Limit for silence within one request.
    pub idle_timeout: Duration,
}

/// The endpoint that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
}

/// `[deployments.NAME]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its name.
    pub name: Name,
    /// How it comes to life.
    pub target: TargetChoice,
    /// The keys of its kind, checked against the kind's table, defaults filled in.
    pub values: Values,
    /// GPUs, when the plan says so.
    pub gpus: Option<f64>,
    /// The model's id on this deployment, when it differs.
    pub served_name: Option<String>,
    /// A tokenizer for this deployment alone.
    pub tokenizer: Option<PathBuf>,
    /// Where it stands in the plan.
    pub span: Option<Span>,
}

/// `[target]` or `[deployments.NAME.target]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetChoice {
    /// `kubernetes`, `process`, `endpoint` or `simulated`.
    pub kind: String,
    /// The keys of that kind, checked, defaults filled in.
    pub values: Values,
}

/// Checked values of a table whose keys this floor does not know, with the places where they were written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Values {
    /// The values, by their kebab-case keys.
    pub json: Map<String, Value>,
    /// Where each value stands, by its path (`commands.0.env.FOO`).
    pub spans: BTreeMap<String, Span>,
}

impl Values {
    /// Reads the values into the kind's own struct.
    ///
    /// # Errors
    /// When they do not fit: the kind's key table and its struct have gone apart, which its tests must show.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_value(Value::Object(self.json.clone()))
    }

    /// Where the value at a path (or the nearest thing around it) was written.
    pub fn span(&self, path: &str) -> Option<&Span> {
        let mut path = path;
        loop {
            if let Some(span) = self.spans.get(path) {
                return Some(span);
            }
            path = &path[..path.rfind('.')?];
        }
    }
}

/// `[plots]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlotChoice {
    /// Built-in plots asked for by name; `None`: all that the data allow.
    pub set: Option<Vec<String>>,
    /// The user's own, `[plots.NAME]`.
    pub custom: IndexMap<Name, Custom>,
}

/// `[plots.NAME]`: any metric against any other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Custom {
    /// Metric on the horizontal axis, or `concurrency`.
    pub x: String,
    /// Metric on the vertical axis.
    pub y: String,
    /// Which statistic of both, where they have several (`mean`, `p50`, ...).
    pub statistic: String,
    /// What makes a line: `deployment` or `workload`.
    pub group: String,
    /// `linear`, `log-x`, `log-y` or `log`.
    pub scale: String,
    /// Only points of these deployments or workloads; empty: all.
    pub filter: Vec<String>,
    /// Title; empty: made from the metrics.
    pub title: String,
}

/// One bound of `[objectives]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The metric's id.
    pub metric: String,
    /// `mean`, `p50`, `p90`, `p95`, `p99`, or `value` for metrics of the whole point.
    pub statistic: String,
    /// The bound, in the metric's unit: an upper one where lower is better, else a lower one.
    pub bound: f64,
}

impl Objective {
    /// Requests from which on its statistic can be told.
    pub(super) fn least_requests(&self) -> u64 {
        let percentile = self.statistic.strip_prefix('p').and_then(|p| p.parse().ok());
        percentile.map_or(0, smallest_sample)
    }
}

/// `[validity]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validity {
    /// Largest relative difference of the mean ISL achieved from the one asked.
    pub isl_tolerance: f64,
    /// The same for OSL.
    pub osl_tolerance: f64,
    /// Largest share of requests that may fail.
    pub max_error_share: f64,
    /// Whether the server's own request and token counters must equal ours, where it has them.
    pub counters: bool,
    /// Send lag p99 that is always allowed, milliseconds; the limit is the larger of this and 1 % of the TTFT's median.
    pub send_lag_ms: f64,
    /// Whether a point that never becomes steady is invalid.
    pub require_steady: bool,
}

/// `[server-metrics]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerMetrics {
    /// How often `/metrics` is read while a level runs; `None`: not at all.
    pub interval: Option<Duration>,
}

impl Default for ServerMetrics {
    fn default() -> Self {
        Self { interval: Some(Duration::from_secs(1)) }
    }
}

/// `[policy]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Whether a deployment is ended after its levels.
    pub teardown: Teardown,
    /// What a failed deployment means for the others.
    pub on_failure: OnFailure,
    /// How often a step that failed by a passing fault is tried again.
    pub retries: u32,
    /// After so many failed points in a row the higher levels of that deployment are skipped.
    pub stop_after: u32,
    /// What a new incarnation in the middle of a sweep means.
    pub incarnation: IncarnationPolicy,
    /// Until a deployment must be ready.
    pub ready_deadline: Duration,
    /// Until a deployment must be gone.
    pub teardown_deadline: Duration,
    /// Whether a Job in the cluster ends what the run leaves behind.
    #[serde(default)]
    pub reaper: bool,
    /// How long that Job waits for a sign of life.
    #[serde(default)]
    pub expires_after: Duration,
    /// The whole run stops starting steps after this time.
    pub max_duration: Option<Duration>,
}

/// `policy.teardown`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Teardown {
    /// Whatever happened.
    Always,
    /// Only if nothing of the deployment failed.
    OnSuccess,
    /// Never: obligations stay open until `dynbench cleanup`.
    Never,
}

/// `policy.on-failure`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Other deployments go on.
    Continue,
    /// Nothing new is started.
    Stop,
}

/// `policy.incarnation`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncarnationPolicy {
    /// Points of several incarnations stand together, and the summary says so.
    Warn,
    /// All points of a sweep come from one incarnation: a new one makes earlier points due again.
    SamePerSweep,
    /// Not worth a word.
    Any,
}

/// `[load]`: who sends load to Kubernetes deployments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadSource {
    /// A Job beside them, or this process.
    pub from: LoadFrom,
    /// The Job's image, with this program in it.
    pub image: Option<String>,
    /// Without one: an image with a shell that the binary is carried into; `None`: the deployment's own.
    pub carrier: Option<String>,
    /// The binary that is carried; `None`: this program's own.
    pub binary: Option<PathBuf>,
    /// Pods that share the load.
    pub workers: u32,
    /// Processors that each asks for, as Kubernetes writes them.
    pub cpu: String,
    /// Limit of processors; `None`: none.
    pub cpu_limit: Option<String>,
    /// Memory that each asks for and is limited to.
    pub memory: String,
    /// Labels of nodes that may run them.
    pub node_selector: Map<String, Value>,
    /// Kubernetes' own objects.
    pub tolerations: Vec<Value>,
    /// Kubernetes' own object; `None`: away from the pods under test, if possible.
    pub affinity: Option<Value>,
    /// Priority class.
    pub priority_class: Option<String>,
    /// How long a result is held that nobody fetches.
    pub hold: Duration,
    /// Service account.
    pub service_account: Option<String>,
    /// Secrets by which the image is pulled.
    pub image_pull_secrets: Vec<String>,
    /// Labels of the Job and its pods.
    pub labels: Map<String, Value>,
    /// Annotations of the pods.
    pub annotations: Map<String, Value>,
    /// Variables by name, out of Secrets.
    pub env: IndexMap<String, SecretKey>,
}

impl Default for LoadSource {
    /// What a plan without `[load]` means.
    fn default() -> Self {
        Self {
            from: LoadFrom::Cluster,
            image: None,
            carrier: None,
            binary: None,
            workers: 1,
            cpu: "1".to_owned(),
            cpu_limit: None,
            memory: "1Gi".to_owned(),
            node_selector: Map::new(),
            tolerations: Vec::new(),
            affinity: None,
            priority_class: None,
            hold: Duration::from_secs(12 * 3600),
            service_account: None,
            image_pull_secrets: Vec::new(),
            labels: Map::new(),
            annotations: Map::new(),
            env: IndexMap::new(),
        }
    }
}

/// `load.from`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadFrom {
    /// A Job in the cluster.
    Cluster,
    /// This process.
    Here,
}

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretKey {
    /// The Secret's name.
    pub secret: String,
    /// The key.
    pub key: String,
}

/// `[hooks]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hooks {
    /// After a deployment became ready.
    pub after_ready: Option<Hook>,
    /// Before each point.
    pub before_level: Option<Hook>,
    /// After each point.
    pub after_level: Option<Hook>,
    /// Before a deployment is ended.
    pub before_teardown: Option<Hook>,
}

/// A command of the user: JSON on stdin, numbers as JSON on stdout, a deadline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hook {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// It is ended after this time.
    pub deadline: Duration,
    /// Where it stands in the plan.
    pub span: Option<Span>,
}

/// `[exports]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exports {
    /// Whether every response is kept as it came, in `profile_export.json`.
    pub raw: bool,
    /// GenAI-Perf's four files.
    pub genai_perf: bool,
    /// AIPerf's three files.
    #[serde(default)]
    pub aiperf: bool,
}

/// `[compare]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The one metric that the verdict is about.
    pub primary: String,
    /// The deployment that others are compared with; `None`: the first.
    pub baseline: Option<Name>,
    /// Relative difference below which two deployments count as equivalent.
    pub margin: f64,
}
