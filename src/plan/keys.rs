//! The tables of keys of a plan's own sections. Checking, suggestions, JSON Schema, help and `dynbench plan` are all
//! read from here; what a target adds stands in its own table.

use super::content_keys::{CONVERSATIONS, ISL, MIX, OSL, SHARED_PREFIX};
use super::shape::{Key, Shape};
use crate::measure::KnownStatistic;

/// A key that must be written.
pub(super) const fn required(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, about, shape, default: None, required: true }
}

/// A key that may be left out and has no fixed default.
pub(super) const fn optional(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, about, shape, default: None, required: false }
}

/// A key with a fixed default, as TOML text.
pub(super) const fn defaulted(name: &'static str, shape: Shape, default: &'static str, about: &'static str) -> Key {
    Key { name, about, shape, default: Some(default), required: false }
}

/// The one number of `schema` that this version reads.
pub(super) const SCHEMA: i64 = 1;

/// Statistics of a per-request metric that an objective may bound.
pub(super) const STATISTICS: &[&str] = &["mean", "p50", "p90", "p95", "p99"];

/// The statistic of a metric that has one value per point.
pub(super) const VALUE: &str = "value";

/// The most concurrent requests that one generator can be asked for.
pub(super) const MOST_CONCURRENT: i64 = 100_000;

const COUNT: Shape = Shape::Integer { min: 1, max: 100_000_000 };
const SHARE: Shape = Shape::Number { min: 0.0, max: 1.0 };
const LEVEL: Shape = Shape::Integer { min: 1, max: MOST_CONCURRENT };
const LEVELS: Shape = Shape::OneOf(&[Shape::List { of: &LEVEL, min: 1, unique: true }, LEVEL]);
const RATE: Shape = Shape::Number { min: 0.001, max: 100_000.0 };
const RATES: Shape = Shape::OneOf(&[Shape::List { of: &RATE, min: 1, unique: true }, RATE]);
const WORDS: Shape = Shape::List { of: &Shape::Text, min: 1, unique: false };
const AXIS: Shape = Shape::OneOf(&[Shape::Choice(&[CONCURRENCY]), Shape::Metric]);

/// The axis that is no metric.
pub(super) const CONCURRENCY: &str = "concurrency";

/// `[model]`
pub(super) const MODEL: &[Key] = &[
    required("id", Shape::Text, "the id that the server lists under /v1/models, such as \"Qwen/Qwen3-0.6B\""),
    optional("tokenizer", Shape::Path, "a local tokenizer.json, or its folder, for prompts of exact length"),
];

/// `[workload.request]`
const REQUEST: &[Key] = &[
    defaulted("api", Shape::Choice(&["chat", "completions"]), "\"chat\"", "which endpoint is measured"),
    optional("temperature", Shape::Number { min: 0.0, max: 100.0 }, "sampling temperature; not sent when left out"),
    optional("extra", Shape::Map(&Shape::Any), "further fields of the request's body, sent as they are"),
    defaulted("timeout", Shape::Duration, "\"600s\"", "limit for one whole request"),
    defaulted("idle-timeout", Shape::Duration, "\"60s\"", "limit for silence within one request"),
];

/// Fields of the body that the generator sets itself, and the key to use instead.
pub(super) const OWN_FIELDS: &[(&str, &str)] = &[
    ("model", "`model.id`, or `served-name` of the deployment"),
    ("messages", "`isl`"),
    ("prompt", "`isl`"),
    ("stream", "nothing: answers are always streamed"),
    ("stream_options", "nothing: usage is always asked for"),
    ("max_tokens", "`osl`"),
    ("max_completion_tokens", "`osl`"),
    ("min_tokens", "`osl`"),
    ("temperature", "`temperature` of the same table"),
    ("n", "`concurrency`: one answer for each request"),
];

/// `[workload.precision]`
const PRECISION: &[Key] = &[
    required("metric", Shape::Metric, "a metric that each request has, such as \"time-to-first-token\""),
    defaulted("statistic", Shape::Choice(KnownStatistic::NAMES), "\"mean\"", "which statistic of it"),
    defaulted(
        "relative",
        Shape::Number { min: 0.001, max: 0.5 },
        "0.02",
        "half the width of its confidence interval, as a share of it",
    ),
    defaulted("confidence", Shape::Number { min: 0.5, max: 0.999 }, "0.95", "confidence of that interval"),
    defaulted("min-requests", Shape::Integer { min: 40, max: 100_000_000 }, "100", "not before so many requests"),
];

/// `[workload.search]`
const SEARCH: &[Key] = &[
    required("over", Shape::Choice(&["concurrency", "request-rate"]), "what is varied"),
    defaulted("from", RATE, "1", "the first load, and the lowest"),
    defaulted("to", RATE, "1024", "the highest load"),
    defaulted(
        "resolution",
        Shape::Number { min: 0.01, max: 1.0 },
        "0.05",
        "the search ends when the loads that keep and miss the objectives are no further apart than this share",
    ),
    defaulted("max-points", Shape::Integer { min: 2, max: 100 }, "16", "at most so many loads are measured"),
];

/// `[workload]` and `[workloads.NAME]`
pub(super) const WORKLOAD: &[Key] = &[
    optional("isl", ISL, "mean length of the prompts in tokens, at least 1; left out with `mix`, `trace` or `dataset`"),
    defaulted(
        "isl-std",
        Shape::Number { min: 0.0, max: 1e7 },
        "0",
        "standard deviation of the prompts' length, tokens",
    ),
    optional("osl", OSL, "mean length of the answers in tokens, at least 1; left out with `mix` or `trace`"),
    defaulted(
        "osl-std",
        Shape::Number { min: 0.0, max: 1e6 },
        "0",
        "standard deviation of the answers' length, tokens",
    ),
    optional(
        "mix",
        Shape::List { of: &Shape::Table(MIX), min: 1, unique: false },
        "instead of `isl` and `osl`: several kinds of requests by weight, such as [{ isl = 200, osl = 50, weight = 3 }, ...]",
    ),
    optional(
        "shared-prefix",
        Shape::Table(SHARED_PREFIX),
        "the start that prompts have in common; part of their length",
    ),
    optional(
        "conversations",
        Shape::Table(CONVERSATIONS),
        "requests are turns of conversations, each with the answers that were really given before; `isl` is then each turn's \
         own text, a concurrency counts conversations, and arrivals of an open loop begin them",
    ),
    optional(
        "trace",
        Shape::Path,
        "instead of `isl` and `osl`: requests as recorded, a JSON object a line with \"input_length\", \"output_length\" and \
         \"hash_ids\" of blocks of 512 tokens (Mooncake's traces); the same file as `arrivals-file` gives their times",
    ),
    optional(
        "dataset",
        Shape::Path,
        "instead of `isl`: texts of a file, a JSON object a line with \"prompt\", \"messages\" or ShareGPT's \"conversations\", \
         and \"osl\" where `osl` does not say it",
    ),
    optional(
        "unique",
        Shape::Bool,
        "whether each prompt of a dataset begins with a few words of its own, so that no cache has met it; left out: true",
    ),
    defaulted(
        "concurrency",
        LEVELS,
        "[1, 2, 4, 8, 16, 32, 64, 128]",
        "levels of concurrent requests, such as [1, 2, 4, 8], in the order in which they are measured",
    ),
    optional(
        "concurrency-per-gpu",
        LEVELS,
        "instead of `concurrency`: levels as multiples of each deployment's GPUs, such as [1, 2, 4, 8]",
    ),
    optional(
        "request-rate",
        RATES,
        "instead of `concurrency`: arrivals per second, sent whatever the server does (open loop), such as [1, 2, 4, 8]",
    ),
    optional(
        "arrivals",
        Shape::Choice(&["constant", "poisson", "gamma"]),
        "how arrivals of an open loop are spread; left out: \"poisson\"",
    ),
    optional(
        "burstiness",
        Shape::Number { min: 0.01, max: 1000.0 },
        "shape of gamma arrivals: their gaps vary by 1 / sqrt(burstiness) of the mean; 1 is Poisson, less is burstier",
    ),
    optional(
        "arrivals-file",
        Shape::Path,
        "instead of `concurrency`: arrivals as recorded, a JSON object a line with \"timestamp\" in ms (Mooncake's traces)",
    ),
    optional(
        "max-concurrency",
        LEVEL,
        "the most requests of an open loop that are under way; later arrivals wait, and their latency counts from arrival",
    ),
    optional(
        "search",
        Shape::Table(SEARCH),
        "instead of `concurrency`: finds the highest load that keeps [objectives]",
    ),
    optional(
        "requests",
        COUNT,
        "requests of each level; left out: 10 x concurrency or a minute's arrivals, at least 400; all of a trace; two \
         conversations a user; a conversation that has begun goes on to its end",
    ),
    optional(
        "precision",
        Shape::Table(PRECISION),
        "a level ends as soon as a statistic is known so well (by batches), if its requests and time do not end it before",
    ),
    optional(
        "grace",
        Shape::Duration,
        "how long requests under way may go on after a level's end; left out: `request.timeout`, in an open loop 30s",
    ),
    defaulted(
        "duration",
        Shape::Duration,
        "\"180s\"",
        "a level ends after this time even if requests are left, a load of a search not before its objectives can be \
         judged; left out with `arrivals-file`: as long as the arrivals take",
    ),
    defaulted(
        "warm-up-requests",
        Shape::Integer { min: 0, max: 1_000_000 },
        "20",
        "requests that are sent, and not recorded, after each start of a deployment",
    ),
    defaulted(
        "repeats",
        Shape::Integer { min: 1, max: 100 },
        "1",
        "how often each level is measured, in blocks that alternate the order of the deployments",
    ),
    defaulted("seed", Shape::Integer { min: 0, max: i64::MAX }, "0", "decides lengths and prompts"),
    optional("request", Shape::Table(REQUEST), "the shape of a request"),
];

/// Keys of `[deployments.NAME]` for all kinds of targets.
pub(super) const DEPLOYMENT: &[Key] = &[
    optional("like", Shape::Text, "another deployment whose keys this one inherits; its own keys replace them"),
    optional(
        "gpus",
        Shape::Number { min: 0.01, max: 1e6 },
        "GPUs of the deployment, prefill and decode together; leave it out when there is none",
    ),
    optional("served-name", Shape::Text, "the model's id on this deployment, when it differs from model.id"),
    optional("tokenizer", Shape::Path, "a tokenizer.json, or its folder, for this deployment alone"),
    optional("target", Shape::Any, "replaces the plan's [target] for this deployment"),
];

/// `[plots]` beside the tables of the user's own plots.
pub(super) const PLOTS: &[Key] = &[optional(
    "set",
    Shape::List { of: &Shape::Text, min: 0, unique: true },
    "built-in plots by id; left out: all that the data allow",
)];

/// `[plots.NAME]`
pub(super) const PLOT: &[Key] = &[
    defaulted("x", AXIS, "\"concurrency\"", "metric on the horizontal axis, or \"concurrency\""),
    required("y", AXIS, "metric on the vertical axis"),
    defaulted(
        "statistic",
        Shape::Choice(crate::measure::STATISTICS),
        "\"mean\"",
        "which statistic of metrics that have one value per request",
    ),
    defaulted("group", Shape::Choice(&["deployment", "workload"]), "\"deployment\"", "what makes a line"),
    defaulted("scale", Shape::Choice(&["linear", "log-x", "log-y", "log"]), "\"linear\"", "scale of the axes"),
    defaulted(
        "filter",
        Shape::List { of: &Shape::Name, min: 0, unique: true },
        "[]",
        "only points of these deployments or workloads; empty: all",
    ),
    optional("title", Shape::Text, "title; left out: made from the metrics"),
];

/// `[validity]`
pub(super) const VALIDITY: &[Key] = &[
    defaulted("isl-tolerance", SHARE, "0.02", "largest relative difference of the mean ISL reached from the one asked"),
    defaulted("osl-tolerance", SHARE, "0.02", "largest relative difference of the mean OSL reached from the one asked"),
    defaulted("max-error-share", SHARE, "0.01", "largest share of requests that may fail, 0 to 1"),
    defaulted("counters", Shape::Bool, "true", "whether the server's own counters must equal ours, where it has them"),
    defaulted(
        "send-lag-ms",
        Shape::Number { min: 0.0, max: 60_000.0 },
        "1.0",
        "p99 of the generator's own delay that is always allowed, milliseconds (else 1 % of the TTFT's median)",
    ),
    defaulted("require-steady", Shape::Bool, "false", "whether a point that never becomes steady is invalid"),
];

/// `[policy]`
pub(super) const POLICY: &[Key] = &[
    defaulted(
        "teardown",
        Shape::Choice(&["always", "on-success", "never"]),
        "\"always\"",
        "whether a deployment is ended after its levels",
    ),
    defaulted(
        "on-failure",
        Shape::Choice(&["continue", "stop"]),
        "\"continue\"",
        "what a failed deployment means for the others",
    ),
    defaulted(
        "retries",
        Shape::Integer { min: 0, max: 20 },
        "1",
        "how often a step that failed by a passing fault is tried again",
    ),
    defaulted(
        "stop-after",
        Shape::Integer { min: 1, max: 1000 },
        "2",
        "after so many failed levels in a row the higher ones of that deployment are skipped",
    ),
    defaulted(
        "incarnation",
        Shape::Choice(&["warn", "same-per-sweep", "any"]),
        "\"warn\"",
        "what it means when a deployment was restarted in the middle of its levels",
    ),
    defaulted("ready-deadline", Shape::Duration, "\"30m\"", "until a deployment must be ready"),
    defaulted("teardown-deadline", Shape::Duration, "\"10m\"", "until a deployment must be gone"),
    defaulted(
        "reaper",
        Shape::Bool,
        "false",
        "whether a small Job in the cluster ends what a run leaves behind when this machine dies",
    ),
    defaulted("expires-after", Shape::Duration, "\"1h\"", "the reaper waits so long for a sign of life of the run"),
    optional("max-duration", Shape::Duration, "the whole run starts nothing new after this time"),
];

const HOOK: &[Key] = &[
    required("command", WORDS, "program and arguments as a list; no shell; JSON on stdin, numbers as JSON on stdout"),
    defaulted("deadline", Shape::Duration, "\"60s\"", "it is ended after this time"),
];

/// `[hooks]`
pub(super) const HOOKS: &[Key] = &[
    optional("after-ready", Shape::Table(HOOK), "runs after a deployment became ready"),
    optional("before-level", Shape::Table(HOOK), "runs before each level"),
    optional("after-level", Shape::Table(HOOK), "runs after each level"),
    optional("before-teardown", Shape::Table(HOOK), "runs before a deployment is ended"),
];

/// `[exports]`
pub(super) const EXPORTS: &[Key] = &[
    defaulted("raw", Shape::Bool, "true", "whether every answer is kept as it came, in profile_export.json"),
    defaulted("genai-perf", Shape::Bool, "true", "whether GenAI-Perf's four files are written for each level"),
    defaulted("aiperf", Shape::Bool, "true", "whether AIPerf's three files are written for each level"),
];

/// `[load.resources]`
const LOAD_RESOURCES: &[Key] = &[
    defaulted(
        "cpu",
        Shape::Text,
        "\"1\"",
        "processors that each worker asks for; not limited unless `cpu-limit` is set: a limit would be measured",
    ),
    optional("cpu-limit", Shape::Text, "limit of processors, for namespaces whose quota demands one"),
    defaulted("memory", Shape::Text, "\"1Gi\"", "memory that each worker asks for, and its limit"),
];

/// A value of `[load.env]`
const SECRET_KEY: &[Key] = &[
    required("secret", Shape::Text, "name of a Secret in the namespace"),
    required("key", Shape::Text, "key within it"),
];

/// `[load]`
pub(super) const LOAD: &[Key] = &[
    defaulted(
        "from",
        Shape::Choice(&["cluster", "here"]),
        "\"cluster\"",
        "who sends the load to Kubernetes deployments: a Job beside them, or this machine through a forwarded port \
         (for smoke tests: the way itself is then measured)",
    ),
    optional("image", Shape::Text, "image of the Job, with dynbench in it, such as `dynbench image` makes"),
    optional(
        "carrier",
        Shape::Text,
        "without `image`: an image that the cluster has, with a shell, into which the binary is carried; left out: the \
         deployment's own",
    ),
    optional("binary", Shape::Path, "the static binary that is carried; left out: this program itself"),
    defaulted("workers", Shape::Integer { min: 1, max: 64 }, "1", "pods that share the load of each level"),
    optional("resources", Shape::Table(LOAD_RESOURCES), "what each worker asks of its node"),
    optional("node-selector", Shape::Map(&Shape::Text), "labels of nodes that may run the workers"),
    optional("tolerations", Shape::List { of: &Shape::Any, min: 0, unique: false }, "taints that the workers bear"),
    optional("affinity", Shape::Any, "affinity of the workers; left out: away from the pods under test, if possible"),
    optional("priority-class", Shape::Text, "priority class of the workers"),
    defaulted(
        "hold",
        Shape::Duration,
        "\"12h\"",
        "how long workers hold a result that nobody fetches, and how much longer than the levels they may live",
    ),
    optional("service-account", Shape::Text, "service account of the workers; they never talk to the API server"),
    defaulted(
        "image-pull-secrets",
        Shape::List { of: &Shape::Text, min: 0, unique: true },
        "[]",
        "secrets by which the image is pulled",
    ),
    optional("labels", Shape::Map(&Shape::Text), "labels of the Job and its pods, such as a queue's name"),
    optional("annotations", Shape::Map(&Shape::Text), "annotations of the pods, such as those of a mesh"),
    optional(
        "env",
        Shape::Map(&Shape::Table(SECRET_KEY)),
        "variables of the workers, by name, out of Secrets of the namespace",
    ),
];

/// `[server-metrics]`
pub(super) const SERVER_METRICS: &[Key] = &[defaulted(
    "interval",
    Shape::OneOf(&[Shape::Duration, Shape::Integer { min: 0, max: 0 }]),
    "\"1s\"",
    "how often the server's own /metrics are read while a level runs; 0: not at all",
)];

/// `[compare]`
pub(super) const COMPARE: &[Key] = &[
    defaulted("primary", Shape::Metric, "\"output-throughput\"", "the one metric that the verdict is about"),
    optional("baseline", Shape::Name, "the deployment that others are compared with; left out: the first"),
    defaulted(
        "margin",
        Shape::Number { min: 0.0, max: 1.0 },
        "0.05",
        "relative difference below which two deployments count as equivalent",
    ),
];

/// `[engine]`
pub(super) const ENGINE: &[Key] = &[
    defaulted("args", Shape::List { of: &Shape::Text, min: 0, unique: false }, "[]", "arguments of every engine"),
    defaulted("env", Shape::Map(&Shape::Text), "{}", "environment variables of every engine"),
];

/// All of a plan. The sections that the table cannot describe alone (`target`, `deployments`, `matrix`, `plots`,
/// `objectives`) are checked by their own code and only named here.
pub(super) const TOP: &[Key] = &[
    required("schema", Shape::Integer { min: SCHEMA, max: SCHEMA }, "version of the plan's format: schema = 1"),
    optional("name", Shape::Name, "names the results' folder; left out: the name of the file"),
    optional("description", Shape::Text, "free words for people"),
    required("model", Shape::Table(MODEL), "what is served; its `id` is the one that the server lists"),
    optional(
        "engine",
        Shape::Table(ENGINE),
        "what templates give to the engines of all deployments, so that they differ in nothing else",
    ),
    optional("workload", Shape::Table(WORKLOAD), "the traffic"),
    optional("workloads", Shape::Named(WORKLOAD), "several kinds of traffic, by name, instead of [workload]"),
    optional("target", Shape::Any, "how deployments come to life, unless they say it themselves"),
    required("deployments", Shape::Any, "what is compared, by name"),
    optional("matrix", Shape::Any, "variables that multiply deployments and workloads"),
    optional("plots", Shape::Any, "pictures"),
    optional("objectives", Shape::Any, "bounds on metrics (SLO), such as time-to-first-token.p99 = 500"),
    optional("validity", Shape::Table(VALIDITY), "what makes a point valid"),
    optional("policy", Shape::Table(POLICY), "how the run behaves when something goes wrong"),
    optional("load", Shape::Table(LOAD), "where load comes from, for Kubernetes"),
    optional("hooks", Shape::Table(HOOKS), "commands of yours at fixed moments"),
    optional("exports", Shape::Table(EXPORTS), "files written for each level"),
    optional("server-metrics", Shape::Table(SERVER_METRICS), "how the server's own view is read"),
    optional("compare", Shape::Table(COMPARE), "what the verdict is about"),
];
