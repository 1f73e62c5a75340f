//! A small catalog with targets, steps and plots like the real ones.

use std::collections::BTreeMap;

use dynbench::base::{Diagnostic, Problems};
use dynbench::plan::{
    Catalog, Deployment, Key, NeedMode, NeedRule, Plan, PlotRow, Reach, Scope, Shape, StepClass, StepRow, TargetKind,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// The tables that plans are tested against.
pub(crate) const CATALOG: Catalog = Catalog { targets: &[&Simulated, &Endpoint, &Process], steps: STEPS, plots: PLOTS };

const fn key(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, about, shape, default: None, required: false }
}

struct Simulated;

impl TargetKind for Simulated {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn about(&self) -> &'static str {
        "the embedded engine"
    }

    fn target_keys(&self) -> &'static [Key] {
        const KEYS: &[Key] = &[Key {
            name: "time-scale",
            about: "simulated seconds per second",
            shape: Shape::Number { min: 0.1, max: 100.0 },
            default: Some("1.0"),
            required: false,
        }];
        KEYS
    }

    fn deployment_keys(&self) -> &'static [Key] {
        const TIMING: &[Key] = &[Key {
            name: "prefill-tokens-per-s",
            about: "prefill rate of one replica",
            shape: Shape::Number { min: 1.0, max: 1e9 },
            default: Some("20000"),
            required: false,
        }];
        const KEYS: &[Key] = &[
            Key {
                name: "engine",
                about: "how the engine serves",
                shape: Shape::Choice(&["aggregated", "disaggregated", "vanilla"]),
                default: None,
                required: true,
            },
            key("timing", Shape::Table(TIMING), "speed of the simulated GPU"),
        ];
        KEYS
    }

    fn check(&self, _plan: &Plan, _deployment: &Deployment, _problems: &mut Problems) {}

    fn fingerprint(&self, _plan: &Plan, deployment: &Deployment) -> Value {
        Value::Object(deployment.values.json.clone())
    }

    fn gpus(&self, _plan: &Plan, _deployment: &Deployment) -> Option<f64> {
        Some(2.0)
    }

    fn describe(&self, _plan: &Plan, deployment: &Deployment) -> String {
        format!("starts the embedded engine, {}", deployment.values.json["engine"].as_str().unwrap_or("?"))
    }

    fn simulated(&self) -> bool {
        true
    }

    fn transport(&self) -> &'static str {
        "loopback"
    }
}

struct Endpoint;

impl TargetKind for Endpoint {
    fn kind(&self) -> &'static str {
        "endpoint"
    }

    fn about(&self) -> &'static str {
        "a server that is there already"
    }

    fn target_keys(&self) -> &'static [Key] {
        &[]
    }

    fn deployment_keys(&self) -> &'static [Key] {
        const KEYS: &[Key] = &[
            Key {
                name: "url",
                about: "base URL without /v1, such as http://host:8000",
                shape: Shape::Text,
                default: None,
                required: true,
            },
            key("headers-env", Shape::Map(&Shape::Text), "headers, each with the NAME of an environment variable"),
            key("api-key-env", Shape::Text, "NAME of the environment variable that holds the API key"),
            key("ca-file", Shape::Path, "certificates to trust"),
        ];
        KEYS
    }

    fn check(&self, _plan: &Plan, deployment: &Deployment, problems: &mut Problems) {
        let values = &deployment.values;
        if values.json["url"].as_str().is_some_and(|url| !url.starts_with("http")) {
            problems
                .push(Diagnostic::error("`url` must start with http:// or https://").at(values.span("url").cloned()));
        }
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        if let Some(name) = values.json.get("api-key-env").and_then(Value::as_str).filter(|name| !is_name(name)) {
            let message = format!("`api-key-env` takes the name of an environment variable, not `{}...`", &name[..2]);
            problems.push(Diagnostic::error(message).at(values.span("api-key-env").cloned()));
        }
    }

    fn fingerprint(&self, _plan: &Plan, deployment: &Deployment) -> Value {
        json!({ "url": deployment.values.json["url"] })
    }

    fn gpus(&self, _plan: &Plan, _deployment: &Deployment) -> Option<f64> {
        None
    }

    fn describe(&self, _plan: &Plan, deployment: &Deployment) -> String {
        format!("uses {}", deployment.values.json["url"].as_str().unwrap_or("?"))
    }

    fn simulated(&self) -> bool {
        false
    }

    fn transport(&self) -> &'static str {
        "direct"
    }
}

struct Process;

/// What a real target would read its values into.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ProcessValues {
    pub(crate) commands: Vec<Command>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Command {
    pub(crate) command: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    #[serde(with = "dynbench::plan::duration_text")]
    pub(crate) stop_timeout: std::time::Duration,
    #[serde(default)]
    pub(crate) cwd: Option<std::path::PathBuf>,
}

impl TargetKind for Process {
    fn kind(&self) -> &'static str {
        "process"
    }

    fn about(&self) -> &'static str {
        "commands started by the runner"
    }

    fn target_keys(&self) -> &'static [Key] {
        &[]
    }

    fn deployment_keys(&self) -> &'static [Key] {
        const COMMAND: &[Key] = &[
            Key {
                name: "command",
                about: "program and arguments",
                shape: Shape::List { of: &Shape::Text, min: 1, unique: false },
                default: None,
                required: true,
            },
            key("env", Shape::Map(&Shape::Text), "environment"),
            key("cwd", Shape::Path, "working directory"),
            Key {
                name: "stop-timeout",
                about: "until it is killed",
                shape: Shape::Duration,
                default: Some("\"10s\""),
                required: false,
            },
        ];
        const KEYS: &[Key] = &[Key {
            name: "commands",
            about: "what is started, in order",
            shape: Shape::List { of: &Shape::Table(COMMAND), min: 1, unique: false },
            default: None,
            required: true,
        }];
        KEYS
    }

    fn check(&self, _plan: &Plan, _deployment: &Deployment, _problems: &mut Problems) {}

    fn fingerprint(&self, _plan: &Plan, deployment: &Deployment) -> Value {
        let values: ProcessValues = deployment.values.decode().unwrap();
        json!(values.commands.iter().map(|command| &command.command).collect::<Vec<_>>())
    }

    fn gpus(&self, _plan: &Plan, _deployment: &Deployment) -> Option<f64> {
        None
    }

    fn describe(&self, _plan: &Plan, deployment: &Deployment) -> String {
        let values: ProcessValues = deployment.values.decode().unwrap();
        format!("starts {}", values.commands.iter().map(|c| c.command[0].as_str()).collect::<Vec<_>>().join(", "))
    }

    fn simulated(&self) -> bool {
        false
    }

    fn transport(&self) -> &'static str {
        "loopback"
    }
}

const fn need(kind: &'static str, reach: Reach, mode: NeedMode) -> NeedRule {
    NeedRule { kind, reach, mode }
}

const fn row(
    kind: &'static str,
    about: &'static str,
    class: StepClass,
    scope: Scope,
    needs: &'static [NeedRule],
) -> StepRow {
    StepRow { kind, about, class, scope, version: 1, needs, overlaps: false }
}

const STEPS: &[StepRow] = &[
    row("discover", "asks what the target offers", StepClass::Effect, Scope::Deployment, &[]),
    row(
        "render",
        "writes what will be started",
        StepClass::Pure,
        Scope::Deployment,
        &[need("discover", Reach::Own, NeedMode::Succeeded)],
    ),
    row(
        "preflight",
        "finds what would fail later",
        StepClass::Effect,
        Scope::Deployment,
        &[need("render", Reach::Own, NeedMode::Succeeded)],
    ),
    row(
        "deploy",
        "starts the deployment",
        StepClass::Effect,
        Scope::Block,
        &[need("preflight", Reach::All, NeedMode::Succeeded), need("teardown", Reach::Previous, NeedMode::Ended)],
    ),
    row(
        "wait",
        "waits until the model answers",
        StepClass::Effect,
        Scope::Block,
        &[need("deploy", Reach::Own, NeedMode::Succeeded)],
    ),
    row(
        "warm-up",
        "warms up",
        StepClass::Measurement,
        Scope::Workload,
        &[need("wait", Reach::Own, NeedMode::Succeeded), need("load", Reach::Previous, NeedMode::Ended)],
    ),
    row(
        "load",
        "measures a level",
        StepClass::Measurement,
        Scope::Point,
        &[need("warm-up", Reach::Own, NeedMode::Succeeded), need("load", Reach::Previous, NeedMode::Ended)],
    ),
    row(
        "collect",
        "copies logs and states",
        StepClass::Effect,
        Scope::Block,
        &[need("load", Reach::Own, NeedMode::Ended)],
    ),
    row(
        "teardown",
        "ends the deployment",
        StepClass::Obligation,
        Scope::Block,
        &[need("collect", Reach::Own, NeedMode::Ended)],
    ),
    row(
        "summarize",
        "writes SUMMARY.txt",
        StepClass::Pure,
        Scope::Run,
        &[need("teardown", Reach::All, NeedMode::Ended)],
    ),
    row("plot", "draws", StepClass::Pure, Scope::Plot, &[need("summarize", Reach::All, NeedMode::Succeeded)]),
];

const PLOTS: &[PlotRow] = &[
    PlotRow { id: "avg-time-to-first-token-vs-concurrency", about: "mean TTFT against concurrency", needs_gpus: false },
    PlotRow { id: "output-throughput-vs-concurrency", about: "throughput against concurrency", needs_gpus: false },
    PlotRow { id: "pareto", about: "tokens/s/user against tokens/s/GPU with the frontier", needs_gpus: true },
];
