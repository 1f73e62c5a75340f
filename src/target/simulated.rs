//! `kind = "simulated"`: the embedded engine, started as a process of its own like any other server.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::contract::{BoxFuture, Deployed, Ledger, Live, Ready, Target, TargetError};
use super::http_probe::HTTP_PROBER;
use super::process::{Command, Given, Launcher, Resolved, Shim, own_binary};
use super::ready::served_model;
use crate::base::{Diagnostic, Problems};
use crate::plan::{Deployment, Key, Plan, Shape, TargetKind};
use crate::sim::SimConfig;

/// The file in `{{ dir }}` that tells the engine what to be.
const CONFIG: &str = "engine.json";

const fn key(name: &'static str, shape: Shape, default: &'static str, about: &'static str) -> Key {
    Key { name, about, shape, default: Some(default), required: false }
}

const fn number(name: &'static str, default: &'static str, about: &'static str) -> Key {
    key(name, Shape::Number { min: 0.0, max: 1e12 }, default, about)
}

const fn whole(name: &'static str, default: &'static str, about: &'static str) -> Key {
    key(name, Shape::Integer { min: 0, max: 1_000_000_000 }, default, about)
}

const fn count(name: &'static str, default: &'static str, about: &'static str) -> Key {
    key(name, Shape::Integer { min: 1, max: 1_000_000_000 }, default, about)
}

const fn free(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, about, shape, default: None, required: false }
}

const fn required(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, about, shape, default: None, required: true }
}

const MILLIS: Shape = Shape::Number { min: 0.0, max: 3_600_000.0 };

/// What goes wrong on purpose; the words are those of [`crate::sim::Fault`].
const FAULT: &[Key] = &[
    required(
        "kind",
        Shape::Choice(&[
            "cut-stream",
            "error-event",
            "stall",
            "malformed-sse",
            "zero-tokens",
            "endless",
            "no-usage",
            "too-many-requests",
            "unavailable",
            "server-error",
            "reject-extras",
            "reject-continuous-usage",
            "no-continuous-usage",
            "html",
            "never-ready",
            "wrong-model",
            "no-model",
            "exit-after",
        ]),
        "What happens.",
    ),
    count("every", "1", "To each so-manieth request."),
    whole("after", "0", "After so many tokens, or requests for `exit-after`."),
];

/// The engine's parameters: those of [`SimConfig`], with its defaults.
const KEYS: &[Key] = &[
    required(
        "engine",
        Shape::Choice(&["aggregated", "disaggregated", "vanilla"]),
        "Which kind of serving is simulated.",
    ),
    count("replicas", "1", "Workers of an aggregated or vanilla engine, one GPU each."),
    count("prefill-replicas", "1", "Prefill workers of a disaggregated engine, one GPU each."),
    count("decode-replicas", "1", "Decode workers of a disaggregated engine, one GPU each."),
    number("prefill-tokens-per-s", "16000.0", "Prompt tokens that one worker can prefill in a second."),
    number("prefill-step-ms", "2.0", "Fixed cost of every step that prefills anything, milliseconds."),
    number(
        "decode-step-ms",
        "6.0",
        "Fixed cost of every step that decodes anything (reading the weights), milliseconds.",
    ),
    number("decode-ms-per-sequence", "0.03", "What each decoding sequence adds to a step, milliseconds."),
    number(
        "decode-ms-per-1k-kv",
        "0.02",
        "What each 1000 tokens of context of the decoding sequences add to a step, milliseconds.",
    ),
    number(
        "step-jitter",
        "0.02",
        "Random spread of step times: standard deviation relative to the step, drawn by the seed.",
    ),
    count("max-batch", "256", "Most sequences that one worker holds at once, prefilling and decoding."),
    count("max-batched-tokens", "2048", "Most tokens of one step of one worker (the budget of chunked prefill)."),
    count("kv-tokens", "131072", "KV cache of one worker, in tokens."),
    count("kv-block", "16", "Tokens of one block of the KV cache."),
    number("kv-transfer-ms", "5.0", "Fixed time of one transfer of KV cache from prefill to decode, milliseconds."),
    number("kv-transfer-ms-per-1k", "5.0", "What each 1000 prompt tokens add to a transfer, milliseconds."),
    number("server-ms", "1.0", "What HTTP server and tokenizer take before the engine sees a request, milliseconds."),
    number(
        "router-ms",
        "2.0",
        "What the router in front of aggregated and disaggregated engines adds to that, milliseconds.",
    ),
    count("max-queue", "4096", "Most requests that wait for a worker; one more is answered 503."),
    count("max-model-len", "32768", "Most tokens of a prompt and its output together; more is answered 400."),
    whole("chat-template-tokens", "8", "Tokens that the chat template adds to the words of the messages."),
    count("default-output-tokens", "256", "Output tokens of a request that does not say how many it wants at most."),
    number("startup-ms", "0.0", "Time after its start during which the server has no model yet, milliseconds."),
    number("time-scale", "1.0", "Factor on every simulated duration: 1 is real time, 0.1 runs ten times as fast."),
    whole("seed", "0", "Fixes everything random: output lengths and the spread of step times."),
    free(
        "tokens-per-chunk",
        Shape::Integer { min: 1, max: 1_000_000 },
        "Tokens that a stream gathers into one event, as a server does whose front lags behind its engine; 1 by default.",
    ),
    key("prefix-cache", Shape::Bool, "true", "Whether workers keep the KV cache of prompts they have seen."),
    free(
        "fixed",
        Shape::Table(&[
            required("ttft-ms", MILLIS, "From a request's arrival to its first token, milliseconds."),
            required("itl-ms", MILLIS, "Between two tokens of a request, milliseconds."),
        ]),
        "Fixed times instead of the engine's model: each request is timed on its own, nothing queues.",
    ),
    free(
        "faults",
        Shape::List { of: &Shape::Table(FAULT), min: 1, unique: false },
        "What goes wrong on purpose, to see what a benchmark makes of it.",
    ),
];

/// The target that starts the embedded engine.
#[derive(Debug)]
pub struct Simulated {
    launcher: Launcher,
}

impl Simulated {
    /// With this binary as shim and as engine.
    pub const fn new() -> Self {
        Self::with_launcher(Launcher::new(Shim::Own, HTTP_PROBER))
    }

    /// With another launcher, for tests.
    pub const fn with_launcher(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

impl Default for Simulated {
    fn default() -> Self {
        Self::new()
    }
}

/// All parameters as one JSON object, the model among them.
fn config(plan: &Plan, deployment: &Deployment) -> Value {
    let mut config: Map<_, _> = deployment.values.json.clone();
    config.insert("model".to_owned(), json!(served_model(plan, deployment)));
    Value::Object(config)
}

fn resolve(live: Live<'_>, given: &Given) -> Result<Resolved, TargetError> {
    let program = own_binary().map_err(|error| TargetError::new(format!("cannot find this binary: {error}")))?;
    let file = Path::new(given.dir.as_str().unwrap_or_default()).join(CONFIG);
    let port = given.port.to_string();
    let argv = [&*program.to_string_lossy(), "simulate", "--port", &port, "--config", &*file.to_string_lossy()];
    let url = format!("http://127.0.0.1:{port}");
    let command = Command {
        name: "engine".to_owned(),
        argv: argv.into_iter().map(str::to_owned).collect(),
        env: BTreeMap::new(),
        env_from: BTreeMap::new(),
        dir: live.plan.dir.clone(),
        key: "engine".to_owned(),
    };
    Ok(Resolved {
        commands: vec![command],
        files: BTreeMap::from([(CONFIG.to_owned(), config(live.plan, live.deployment).to_string())]),
        metrics_urls: vec![url.clone()],
        url,
    })
}

impl TargetKind for Simulated {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn about(&self) -> &'static str {
        "The embedded serving engine: real HTTP, simulated GPUs. Needs nothing but this binary."
    }

    fn target_keys(&self) -> &'static [Key] {
        &[]
    }

    fn deployment_keys(&self) -> &'static [Key] {
        KEYS
    }

    fn check(&self, plan: &Plan, deployment: &Deployment, problems: &mut Problems) {
        let values = &deployment.values;
        let place = |key: &str| values.span(key).or(deployment.span.as_ref()).cloned();
        match serde_json::from_value::<SimConfig>(config(plan, deployment)) {
            Ok(config) => {
                for problem in config.problems() {
                    problems.push(Diagnostic::error(problem.to_string()).at(place(problem.key)));
                }
            }
            Err(error) => {
                problems.push(Diagnostic::error(format!("the engine does not take this: {error}")).at(place("")))
            }
        }
        let disaggregated = values.json.get("engine").and_then(Value::as_str) == Some("disaggregated");
        let (wrong, help): (&[&str], _) = if disaggregated {
            (&["replicas"], "a disaggregated engine has `prefill-replicas` and `decode-replicas`")
        } else {
            let transfer = "only `engine = \"disaggregated\"` has separate prefill and decode";
            (&["prefill-replicas", "decode-replicas", "kv-transfer-ms", "kv-transfer-ms-per-1k"], transfer)
        };
        // Written with its default it changes nothing, and a plan printed with every value has them all.
        let default = |name: &str| KEYS.iter().find(|key| key.name == name)?.default?.parse::<f64>().ok();
        let other = |key: &&&str| values.json.get(**key).and_then(Value::as_f64) != default(key);
        for key in wrong.iter().filter(|key| values.spans.contains_key(**key)).filter(other) {
            let message = format!("`{key}` has no meaning for this engine");
            problems.push(Diagnostic::error(message).at(place(key)).help(help));
        }
    }

    fn fingerprint(&self, plan: &Plan, deployment: &Deployment) -> Value {
        config(plan, deployment)
    }

    fn gpus(&self, _plan: &Plan, deployment: &Deployment) -> Option<f64> {
        let values = &deployment.values.json;
        let replicas = |key: &str| values.get(key).and_then(Value::as_f64).unwrap_or(1.0);
        Some(match values.get("engine").and_then(Value::as_str) {
            Some("disaggregated") => replicas("prefill-replicas") + replicas("decode-replicas"),
            Some(_) | None => replicas("replicas"),
        })
    }

    fn describe(&self, _plan: &Plan, deployment: &Deployment) -> String {
        let engine = deployment.values.json.get("engine").and_then(Value::as_str).unwrap_or_default();
        format!("start the embedded engine, {engine} (simulated)")
    }

    fn simulated(&self, _deployment: &Deployment) -> bool {
        true
    }

    fn transport(&self, _plan: &Plan, _deployment: &Deployment) -> &'static str {
        "loopback"
    }
}

impl Target for Simulated {
    fn discover<'a>(&'a self, _live: Live<'a>) -> BoxFuture<'a, Result<Value, TargetError>> {
        Box::pin(async { Ok(Value::Null) })
    }

    fn preflight<'a>(&'a self, _live: Live<'a>) -> BoxFuture<'a, Result<Vec<String>, TargetError>> {
        Box::pin(async { Ok(vec!["the embedded engine needs nothing".to_owned()]) })
    }

    fn deploy<'a>(&'a self, live: Live<'a>, ledger: &'a dyn Ledger) -> BoxFuture<'a, Result<Deployed, TargetError>> {
        Box::pin(async move { self.launcher.start(live, ledger, &[], &|given| resolve(live, given)).await })
    }

    fn wait<'a>(
        &'a self,
        live: Live<'a>,
        deployed: &'a Deployed,
        ledger: &'a dyn Ledger,
    ) -> BoxFuture<'a, Result<Ready, TargetError>> {
        Box::pin(self.launcher.wait(live, deployed, ledger))
    }

    fn incarnation<'a>(&'a self, _live: Live<'a>, deployed: &'a Deployed) -> BoxFuture<'a, Result<Value, TargetError>> {
        Box::pin(async { self.launcher.incarnation(deployed) })
    }

    fn collect<'a>(
        &'a self,
        live: Live<'a>,
        _deployed: &'a Deployed,
        into: &'a Path,
    ) -> BoxFuture<'a, Result<Vec<String>, TargetError>> {
        Box::pin(async move { self.launcher.collect(live, into) })
    }

    fn end<'a>(&'a self, handle: &'a Value, cancel: &'a CancellationToken) -> BoxFuture<'a, Result<(), TargetError>> {
        Box::pin(self.launcher.end(handle, cancel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SourceMap;
    use crate::target::fixtures;

    fn live_and(keys: Value, test: impl FnOnce(Live<'_>)) {
        let deployment = fixtures::deployment(keys);
        let plan = fixtures::plan(Path::new("/plans"));
        let cancel = CancellationToken::new();
        test(Live { plan: &plan, deployment: &deployment, run: "r", dir: Path::new("/live"), cancel: &cancel });
    }

    #[test]
    fn the_engine_is_told_its_port_and_all_its_parameters() {
        let given = Given { port: json!(8000), ports: BTreeMap::new(), dir: json!("/live/work") };
        live_and(json!({"engine": "aggregated", "max-batch": 8}), |live| {
            let resolved = resolve(live, &given).unwrap();
            assert_eq!(
                resolved.commands[0].argv[1..],
                ["simulate", "--port", "8000", "--config", "/live/work/engine.json"]
            );
            let config: Value = serde_json::from_str(&resolved.files[CONFIG]).unwrap();
            assert_eq!(config, json!({"engine": "aggregated", "max-batch": 8, "model": "Qwen/Qwen3-0.6B"}));
            assert_eq!(resolved.url, "http://127.0.0.1:8000");
            assert_eq!(Simulated::new().fingerprint(live.plan, live.deployment), config);
        });
    }

    #[test]
    fn the_keys_defaults_are_those_of_the_engine() {
        let defaults = KEYS.iter().filter_map(|key| {
            let table: toml::Table = format!("value = {}", key.default?).parse().unwrap();
            Some((key.name.to_owned(), serde_json::to_value(&table["value"]).unwrap()))
        });
        let given: SimConfig = serde_json::from_value(defaults.collect::<Map<_, _>>().into()).unwrap();
        assert_eq!(given, SimConfig::default());
        let known = serde_json::to_value(SimConfig::default()).unwrap();
        let known: Vec<_> = known.as_object().unwrap().keys().filter(|key| *key != "model").collect();
        assert!(known.iter().all(|name| KEYS.iter().any(|key| key.name == **name)), "{known:?}");
        assert_eq!(known.len(), KEYS.len());
    }

    #[test]
    fn gpus_are_the_replicas_and_parameters_of_another_engine_are_refused() {
        let target = Simulated::new();
        for (keys, gpus, written, refused) in [
            (json!({"engine": "vanilla"}), 1.0, "", ""),
            (json!({"engine": "aggregated", "replicas": 3}), 3.0, "replicas", ""),
            (json!({"engine": "disaggregated", "prefill-replicas": 2}), 3.0, "prefill-replicas", ""),
            (json!({"engine": "disaggregated", "replicas": 2}), 2.0, "replicas", "`replicas` has no meaning"),
            (json!({"engine": "vanilla", "kv-transfer-ms": 2}), 1.0, "kv-transfer-ms", "has no meaning"),
            (json!({"engine": "vanilla", "decode-step-ms": 0}), 1.0, "decode-step-ms", "must be from 0.01"),
        ] {
            let deployment = fixtures::with_places(fixtures::deployment(keys), written, &[(written, written)]);
            let plan = fixtures::plan(Path::new("/plans"));
            let mut problems = Problems::default();
            target.check(&plan, &deployment, &mut problems);
            let said = problems.render(&SourceMap::default(), false);
            assert_eq!(said.is_empty(), refused.is_empty(), "{said}");
            assert!(said.contains(refused), "{said}");
            assert_eq!(target.gpus(&plan, &deployment), Some(gpus));
        }
    }
}
