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

/// The file in `{{ dir }}` that tells the engine what to be.
const CONFIG: &str = "engine.json";

const fn number(name: &'static str, about: &'static str) -> Key {
    Key { name, about, shape: Shape::Number { min: 0.0, max: 1e12 }, default: None, required: false }
}

const fn count(name: &'static str, about: &'static str) -> Key {
    Key { name, about, shape: Shape::Integer { min: 1, max: 1_000_000_000 }, default: None, required: false }
}

/// The engine's parameters; what is left out has the engine's own default.
const KEYS: &[Key] = &[
    Key {
        name: "engine",
        about: "Which kind of serving is simulated.",
        shape: Shape::Choice(&["aggregated", "disaggregated", "vanilla"]),
        default: None,
        required: true,
    },
    Key {
        name: "time-scale",
        about: "How many simulated seconds pass in one real second.",
        shape: Shape::Number { min: 1e-3, max: 1e3 },
        default: None,
        required: false,
    },
    Key {
        name: "seed",
        about: "Fixes all decisions of the engine.",
        shape: Shape::Integer { min: 0, max: i64::MAX },
        default: None,
        required: false,
    },
    number("prefill-tokens-per-second", "Prompt tokens that one GPU works through in a second."),
    number("prefill-step-ms", "Fixed part of a step with prefill."),
    number("decode-step-ms", "Fixed part of a decode step."),
    number("decode-step-ms-per-sequence", "What each sequence of the batch adds to a decode step."),
    number("decode-step-ms-per-1k-kv-tokens", "What each 1000 tokens of KV cache in use add to a decode step."),
    count("max-batch", "Most sequences in one batch."),
    count("max-batched-tokens", "Most tokens in one step."),
    count("kv-capacity-tokens", "Tokens that the KV cache holds."),
    count("kv-block-tokens", "Tokens of one block of the KV cache."),
    number("kv-transfer-ms", "Fixed part of a transfer of KV cache from prefill to decode."),
    number("kv-transfer-ms-per-token", "What each token adds to a transfer."),
    count("replicas", "Engines, where prefill and decode share them."),
    count("prefill-replicas", "Prefill engines of a disaggregated deployment."),
    count("decode-replicas", "Decode engines of a disaggregated deployment."),
    number("frontend-ms", "What the frontend and its router add to each request."),
    count("max-queue", "Requests that may wait; beyond, the answer is 429."),
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

    fn check(&self, _plan: &Plan, deployment: &Deployment, problems: &mut Problems) {
        let values = &deployment.values;
        let disaggregated = values.json.get("engine").and_then(Value::as_str) == Some("disaggregated");
        let (wrong, help): (&[&str], _) = if disaggregated {
            (&["replicas"], "a disaggregated engine has `prefill-replicas` and `decode-replicas`")
        } else {
            let transfer = "only `engine = \"disaggregated\"` has separate prefill and decode";
            (&["prefill-replicas", "decode-replicas", "kv-transfer-ms", "kv-transfer-ms-per-token"], transfer)
        };
        for key in wrong.iter().filter(|key| values.json.contains_key(**key)) {
            let place = values.span(key).or(deployment.span.as_ref()).cloned();
            let message = format!("`{key}` has no meaning for this engine");
            problems.push(Diagnostic::error(message).at(place).help(help));
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

    fn simulated(&self) -> bool {
        true
    }

    fn transport(&self) -> &'static str {
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
    fn gpus_are_the_replicas_and_parameters_of_another_engine_are_refused() {
        let target = Simulated::new();
        for (keys, gpus, refused) in [
            (json!({"engine": "vanilla"}), 1.0, ""),
            (json!({"engine": "aggregated", "replicas": 3}), 3.0, ""),
            (json!({"engine": "disaggregated", "prefill-replicas": 2}), 3.0, ""),
            (json!({"engine": "disaggregated", "replicas": 2}), 2.0, "`replicas` has no meaning"),
            (json!({"engine": "vanilla", "kv-transfer-ms": 2}), 1.0, "`kv-transfer-ms` has no meaning"),
        ] {
            live_and(keys, |live| {
                let mut problems = Problems::default();
                target.check(live.plan, live.deployment, &mut problems);
                let said = problems.render(&SourceMap::default(), false);
                assert_eq!(said.is_empty(), refused.is_empty(), "{said}");
                assert!(said.contains(refused), "{said}");
                assert_eq!(target.gpus(live.plan, live.deployment), Some(gpus));
            });
        }
    }
}
