//! What a simulated server is: its engine, speeds, limits and faults.
//!
//! Flat and in kebab-case, so that a plan's table, a command line and a JSON file all say it in the same words. Every
//! key has a default; together they resemble a model of a few billion parameters on one modern GPU.

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// How the simulated deployment schedules its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// Workers that mix chunks of prompts and decoding in one step, behind a router that knows their caches.
    #[default]
    Aggregated,
    /// A pool that only prefills and a pool that only decodes, with a transfer of the KV cache between them.
    Disaggregated,
    /// Plain engines behind round robin: whole prompts first, decoding only when no prompt waits.
    Vanilla,
}

impl EngineKind {
    /// As written in a plan.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aggregated => "aggregated",
            Self::Disaggregated => "disaggregated",
            Self::Vanilla => "vanilla",
        }
    }
}

/// Fixed times instead of a model, for measuring a load generator: each request is timed on its own, nothing queues.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FixedTiming {
    /// Milliseconds from a request's arrival to its first token.
    pub ttft_ms: f64,
    /// Milliseconds between two tokens of a request.
    pub itl_ms: f64,
}

/// Everything that decides how a simulated server answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SimConfig {
    /// Which engine: `aggregated`, `disaggregated` or `vanilla`. Default `aggregated`.
    pub engine: EngineKind,
    /// Id of the one model that is served. Default `simulated-model`.
    pub model: String,
    /// Workers of an aggregated or vanilla engine, one GPU each. Default 1.
    pub replicas: u32,
    /// Prefill workers of a disaggregated engine, one GPU each. Default 1.
    pub prefill_replicas: u32,
    /// Decode workers of a disaggregated engine, one GPU each. Default 1.
    pub decode_replicas: u32,
    /// Prompt tokens that one worker can prefill in a second. Default 16000.
    pub prefill_tokens_per_s: f64,
    /// Fixed cost, in milliseconds, of every step that prefills anything. Default 2.
    pub prefill_step_ms: f64,
    /// Fixed cost, in milliseconds, of every step that decodes anything (reading the weights). Default 6.
    pub decode_step_ms: f64,
    /// What each decoding sequence adds to a step, in milliseconds. Default 0.03.
    pub decode_ms_per_sequence: f64,
    /// What each 1000 tokens of context of the decoding sequences add to a step, in milliseconds. Default 0.02.
    pub decode_ms_per_1k_kv: f64,
    /// Random spread of step times: standard deviation relative to the step, drawn by the seed. Default 0.02.
    pub step_jitter: f64,
    /// Most sequences that one worker holds at once, prefilling and decoding. Default 256.
    pub max_batch: u32,
    /// Most tokens of one step of one worker (the budget of chunked prefill). Default 2048.
    pub max_batched_tokens: u32,
    /// KV cache of one worker, in tokens. Default 131072.
    pub kv_tokens: u32,
    /// Tokens of one block of the KV cache. Default 16.
    pub kv_block: u32,
    /// Fixed time, in milliseconds, of one transfer of KV cache from prefill to decode. Default 5.
    pub kv_transfer_ms: f64,
    /// What each 1000 prompt tokens add to a transfer, in milliseconds. Default 5.
    pub kv_transfer_ms_per_1k: f64,
    /// Milliseconds that the HTTP server and tokenizer take before the engine sees a request. Default 1.
    pub server_ms: f64,
    /// Milliseconds that the router in front of aggregated and disaggregated engines adds to that. Default 2.
    pub router_ms: f64,
    /// Most requests that wait for a worker; one more is answered 503 with `Retry-After`. Default 4096.
    pub max_queue: u32,
    /// Whether workers keep the KV cache of prompts they have seen (`cached_tokens` in usage). Default true.
    pub prefix_cache: bool,
    /// Most tokens of a prompt and its output together; more is answered 400. Default 32768.
    pub max_model_len: u32,
    /// Tokens that the chat template adds to the words of the messages. Default 8.
    pub chat_template_tokens: u32,
    /// Output tokens of a request that does not say how many it wants at most. Default 256.
    pub default_output_tokens: u32,
    /// Tokens that a stream gathers into one event, as a server does whose front lags behind its engine. Default 1.
    pub tokens_per_chunk: u32,
    /// Milliseconds after its start during which the server has no model yet. Default 0.
    pub startup_ms: f64,
    /// Factor on every simulated duration: 1 is real time, 0.1 runs ten times as fast. Default 1.
    pub time_scale: f64,
    /// Seed of everything random: output lengths and the spread of step times. Default 0.
    pub seed: u64,
    /// Fixed times instead of the engine's model, as `{ ttft-ms = 100, itl-ms = 10 }`. Not set by default.
    pub fixed: Option<FixedTiming>,
    /// What goes wrong on purpose, for tests. None by default.
    pub faults: Vec<Fault>,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            engine: EngineKind::Aggregated,
            model: "simulated-model".to_owned(),
            replicas: 1,
            prefill_replicas: 1,
            decode_replicas: 1,
            prefill_tokens_per_s: 16_000.0,
            prefill_step_ms: 2.0,
            decode_step_ms: 6.0,
            decode_ms_per_sequence: 0.03,
            decode_ms_per_1k_kv: 0.02,
            step_jitter: 0.02,
            max_batch: 256,
            max_batched_tokens: 2048,
            kv_tokens: 131_072,
            kv_block: 16,
            kv_transfer_ms: 5.0,
            kv_transfer_ms_per_1k: 5.0,
            server_ms: 1.0,
            router_ms: 2.0,
            max_queue: 4096,
            prefix_cache: true,
            max_model_len: 32_768,
            chat_template_tokens: 8,
            default_output_tokens: 256,
            tokens_per_chunk: 1,
            startup_ms: 0.0,
            time_scale: 1.0,
            seed: 0,
            fixed: None,
            faults: Vec::new(),
        }
    }
}

/// A value that no server can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {reason}")]
pub struct ConfigProblem {
    /// The key as written in a plan.
    pub key: &'static str,
    /// The rest of a sentence that starts with the key.
    pub reason: &'static str,
}

/// Longest simulated duration that a key may name: one hour. Sums of a few of them can never overflow the clock.
const LONGEST_MS: f64 = 3_600_000.0;

impl SimConfig {
    /// An aggregated deployment of `replicas` workers, the rest default.
    pub fn aggregated(replicas: u32) -> Self {
        Self { engine: EngineKind::Aggregated, replicas, ..Self::default() }
    }

    /// A disaggregated deployment, the rest default.
    pub fn disaggregated(prefill_replicas: u32, decode_replicas: u32) -> Self {
        Self { engine: EngineKind::Disaggregated, prefill_replicas, decode_replicas, ..Self::default() }
    }

    /// A vanilla deployment of `replicas` workers, the rest default.
    pub fn vanilla(replicas: u32) -> Self {
        Self { engine: EngineKind::Vanilla, replicas, ..Self::default() }
    }

    /// The yardstick for a load generator: fixed times, each request on its own.
    pub fn fixed(ttft_ms: f64, itl_ms: f64) -> Self {
        Self { fixed: Some(FixedTiming { ttft_ms, itl_ms }), ..Self::default() }
    }

    /// How many GPUs the simulated deployment stands for: one for each worker.
    pub fn gpus(&self) -> u32 {
        match self.engine {
            EngineKind::Aggregated | EngineKind::Vanilla => self.replicas,
            EngineKind::Disaggregated => self.prefill_replicas.saturating_add(self.decode_replicas),
        }
    }

    /// Everything that is wrong with it; empty when a server can be made.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut need = |holds: bool, key, reason| {
            if !holds {
                problems.push(ConfigProblem { key, reason });
            }
        };
        need(!self.model.is_empty(), "model", "is empty");
        for (key, workers) in [
            ("replicas", self.replicas),
            ("prefill-replicas", self.prefill_replicas),
            ("decode-replicas", self.decode_replicas),
        ] {
            need((1..=1024).contains(&workers), key, "must be from 1 to 1024");
        }
        for (key, count) in [
            ("max-batch", self.max_batch),
            ("max-batched-tokens", self.max_batched_tokens),
            ("kv-block", self.kv_block),
            ("max-queue", self.max_queue),
            ("max-model-len", self.max_model_len),
            ("default-output-tokens", self.default_output_tokens),
            ("tokens-per-chunk", self.tokens_per_chunk),
        ] {
            need(count >= 1, key, "must be at least 1");
        }
        need(self.kv_tokens >= self.kv_block, "kv-tokens", "must hold at least one block (`kv-block`)");
        need(
            self.max_batched_tokens > self.max_batch,
            "max-batched-tokens",
            "must be larger than `max-batch`, or a full batch could never prefill",
        );
        need((1.0..=1e9).contains(&self.prefill_tokens_per_s), "prefill-tokens-per-s", "must be from 1 to 1e9");
        for (key, millis) in [
            ("prefill-step-ms", self.prefill_step_ms),
            ("decode-ms-per-sequence", self.decode_ms_per_sequence),
            ("decode-ms-per-1k-kv", self.decode_ms_per_1k_kv),
            ("kv-transfer-ms", self.kv_transfer_ms),
            ("kv-transfer-ms-per-1k", self.kv_transfer_ms_per_1k),
            ("server-ms", self.server_ms),
            ("router-ms", self.router_ms),
            ("startup-ms", self.startup_ms),
        ] {
            need((0.0..=LONGEST_MS).contains(&millis), key, "must be from 0 to 3600000 (one hour)");
        }
        need((0.01..=LONGEST_MS).contains(&self.decode_step_ms), "decode-step-ms", "must be from 0.01 to 3600000");
        need((0.0..=0.3).contains(&self.step_jitter), "step-jitter", "must be from 0 to 0.3");
        need((0.001..=1000.0).contains(&self.time_scale), "time-scale", "must be from 0.001 to 1000");
        if let Some(fixed) = self.fixed {
            need((0.0..=LONGEST_MS).contains(&fixed.ttft_ms), "fixed.ttft-ms", "must be from 0 to 3600000");
            need((0.01..=LONGEST_MS).contains(&fixed.itl_ms), "fixed.itl-ms", "must be from 0.01 to 3600000");
        }
        need(self.faults.iter().all(|fault| fault.every >= 1), "faults.every", "must be at least 1");
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_sound() {
        for config in [
            SimConfig::aggregated(2),
            SimConfig::disaggregated(1, 3),
            SimConfig::vanilla(1),
            SimConfig::fixed(100.0, 10.0),
        ] {
            assert_eq!(config.problems(), []);
        }
        assert_eq!(SimConfig::disaggregated(1, 3).gpus(), 4);
    }

    #[test]
    fn a_config_is_read_in_kebab_case_and_misspelt_keys_are_refused() {
        let read = |text| serde_json::from_str::<SimConfig>(text);
        let config =
            read(r#"{"engine":"disaggregated","decode-replicas":3,"fixed":{"ttft-ms":100,"itl-ms":10}}"#).unwrap();
        assert_eq!(config, SimConfig { fixed: SimConfig::fixed(100.0, 10.0).fixed, ..SimConfig::disaggregated(1, 3) });
        assert!(read(r#"{"decode_replicas":3}"#).is_err());
        assert!(read(r#"{"fixed":{"ttft-ms":1,"itl-ms":1,"x":1}}"#).is_err());
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(read(&text).unwrap(), config);
    }

    #[test]
    fn absurd_values_are_all_named() {
        let config = SimConfig {
            replicas: 0,
            decode_step_ms: 0.0,
            prefill_tokens_per_s: f64::NAN,
            time_scale: -1.0,
            kv_tokens: 3,
            ..SimConfig::default()
        };
        let keys: Vec<_> = config.problems().iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["replicas", "kv-tokens", "prefill-tokens-per-s", "decode-step-ms", "time-scale"]);
    }
}
