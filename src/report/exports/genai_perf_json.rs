//! `profile_export_genai_perf.json`: GenAI-Perf 0.0.16's keys, units and order; values by our definitions.
//!
//! All percentiles stand in it, whatever the size of the sample, because its readers expect them. Results of the
//! embedded engine carry `input_config.simulated`, a key that its readers do not ask for.

use std::io::{self, Write};

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::table::ExportInput;
use crate::measure::{Distribution, Goodput, Level, PERCENTILES, goodput, request_bounds};

/// One metric of the format.
pub(super) struct Block {
    /// Its key.
    pub(super) key: &'static str,
    /// Its unit.
    pub(super) unit: &'static str,
    /// Where its numbers come from.
    pub(super) source: Source,
}

/// Where the numbers of a block come from.
pub(super) enum Source {
    /// The distribution of our metric with this id.
    PerRequest(&'static str),
    /// That of the first id, which an open loop has: its latencies count from the send there. Else that of the second.
    Sent(&'static str, &'static str),
    /// The value of our metric with this id.
    PerPoint(&'static str),
    /// Requests per second that keep every per-request bound; only with bounds.
    Goodput,
    /// Requests that succeeded.
    Count,
}

const LATENCY: Source = Source::Sent("request-latency-from-send", "request-latency");
const TTFT: Source = Source::Sent("time-to-first-token-from-send", "time-to-first-token");

/// All blocks, in the order in which GenAI-Perf writes them.
pub(super) const BLOCKS: &[Block] = &[
    Block { key: "request_throughput", unit: "requests/sec", source: Source::PerPoint("request-throughput") },
    Block { key: "request_latency", unit: "ms", source: LATENCY },
    Block { key: "request_goodput", unit: "requests/sec", source: Source::Goodput },
    Block { key: "request_count", unit: "count", source: Source::Count },
    Block { key: "time_to_first_token", unit: "ms", source: TTFT },
    Block { key: "time_to_second_token", unit: "ms", source: Source::PerRequest("time-to-second-token") },
    Block { key: "inter_token_latency", unit: "ms", source: Source::PerRequest("inter-token-latency") },
    Block { key: "output_token_throughput", unit: "tokens/sec", source: Source::PerPoint("output-throughput") },
    Block {
        key: "output_token_throughput_per_user",
        unit: "tokens/sec/user",
        source: Source::PerRequest("output-throughput-per-user"),
    },
    Block { key: "output_sequence_length", unit: "tokens", source: Source::PerRequest("output-sequence-length") },
    Block { key: "input_sequence_length", unit: "tokens", source: Source::PerRequest("input-sequence-length") },
];

/// The numbers of one block.
pub(super) enum Numbers<'a> {
    /// A distribution.
    Many(&'a Distribution),
    /// One value.
    One(f64),
}

/// The block's numbers; `None` when there are none, and the block is left out.
pub(super) fn numbers<'a>(input: &ExportInput<'a>, block: &Block) -> Option<Numbers<'a>> {
    let summary = input.summary;
    match block.source {
        Source::PerRequest(id) => summary.distributions.get(id).map(Numbers::Many),
        Source::Sent(sent, id) => {
            summary.distributions.get(sent).or_else(|| summary.distributions.get(id)).map(Numbers::Many)
        }
        Source::PerPoint(id) => summary.values.get(id).copied().map(Numbers::One),
        Source::Count => Some(Numbers::One(summary.counts.ok as f64)),
        Source::Goodput => {
            let Goodput { good, .. } = goodput(input.records, input.objectives)?;
            (summary.duration_s > 0.0).then(|| Numbers::One(good as f64 / summary.duration_s))
        }
    }
}

/// Writes the file.
pub(super) fn write(input: &ExportInput<'_>, file: &mut dyn Write) -> io::Result<()> {
    let mut all = Map::new();
    for block in BLOCKS {
        let mut fields = Map::new();
        fields.insert("unit".to_owned(), block.unit.into());
        match numbers(input, block) {
            None => continue,
            Some(Numbers::One(value)) => {
                fields.insert("avg".to_owned(), value.into());
            }
            Some(Numbers::Many(found)) => {
                fields.insert("avg".to_owned(), found.mean.into());
                let percentiles = PERCENTILES.iter().zip(found.percentiles);
                fields.extend(percentiles.map(|(p, value)| (format!("p{p}"), value.into())));
                for (name, value) in [("min", found.min), ("max", found.max), ("std", found.std)] {
                    fields.insert(name.to_owned(), value.into());
                }
            }
        }
        all.insert(block.key.to_owned(), Value::Object(fields));
    }
    all.insert("input_config".to_owned(), input_config(input));
    Ok(serde_json::to_writer_pretty(file, &all)?)
}

/// A number without a fraction is written as GenAI-Perf does: `200`, not `200.0`.
fn plain(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { (value as i64).into() } else { value.into() }
}

/// The configuration, with the meaning that its keys have there. What does not exist here (audio, sessions, ...) has
/// GenAI-Perf's own default.
fn input_config(input: &ExportInput<'_>) -> Value {
    let (meta, settings) = (&input.summary.meta, input.settings);
    let (path, output_format) = match meta.api.as_str() {
        "completions" => ("v1/completions", "openai_completions"),
        _ => ("v1/chat/completions", "openai_chat_completions"),
    };
    let stimulus = match meta.level {
        Level::Concurrency(users) => json!({"concurrency": users}),
        Level::Rate(rate) => json!({"request_rate": rate.per_second()}),
    };
    let limits: IndexMap<_, _> = request_bounds(input.objectives)
        .into_iter()
        .map(|bound| (genai_perf_key(&bound.metric), bound.bound))
        .collect();
    let mut config = json!({
        "model_names": [meta.model],
        "subcommand": "profile",
        "verbose": false,
        "template_filename": "genai_perf_config.yaml",
        "analyze": {"sweep_parameters": {"concurrency": {"min": 1, "max": 1024}}},
        "endpoint": {
            "model_selection_strategy": "round_robin",
            "backend": "tensorrtllm",
            "custom": path,
            "type": meta.api,
            "streaming": true,
            "server_metrics_urls": ["http://localhost:9400/metrics"],
            "url": meta.url,
            "grpc_method": "",
            "service_kind": "openai",
            "output_format": output_format,
        },
        "perf_analyzer": {
            "path": "perf_analyzer",
            "verbose": false,
            "stimulus": stimulus,
            "stability_percentage": 999,
            "measurement": {"mode": "request_count", "num": settings.requests},
            "warmup_request_count": settings.warm_up_requests,
        },
        "input": {
            "batch_size": 1,
            "extra": settings.extra,
            "goodput": limits,
            "header": "",
            "file": "",
            "num_dataset_entries": settings.requests,
            "random_seed": meta.seed,
            "audio": {
                "batch_size": 1,
                "length": {"mean": 0, "stddev": 0},
                "format": "wav",
                "depths": [16],
                "sample_rates": [16],
                "num_channels": 1,
            },
            "image": {
                "width": {"mean": 0, "stddev": 0},
                "height": {"mean": 0, "stddev": 0},
                "batch_size": 1,
                "format": "png",
            },
            "output_tokens": {"mean": plain(meta.osl), "deterministic": false, "stddev": plain(meta.osl_std)},
            "synthetic_tokens": {"mean": plain(meta.isl), "stddev": plain(meta.isl_std)},
            "prefix_prompt": {"num": 0, "length": 100},
            "sessions": {
                "num": 0,
                "turns": {"mean": 1, "stddev": 0},
                "turn_delay": {"mean": 0, "ratio": 1.0, "stddev": 0},
            },
            "prompt_source": "synthetic",
            "synthetic_files": [],
            "payload_file": "",
        },
        "output": {
            "artifact_directory": settings.artifact_directory,
            "checkpoint_directory": "checkpoint",
            "profile_export_file": "profile_export.json",
            "generate_plots": false,
            "enable_checkpointing": false,
        },
        "tokenizer": {
            "name": settings.tokenizer.as_deref().unwrap_or(&meta.model),
            "revision": "main",
            "trust_remote_code": false,
            "_enable_debug_logging": true,
        },
        "process": {"input_path": "aggregated"},
    });
    if meta.simulated {
        config["simulated"] = true.into();
    }
    config
}

/// GenAI-Perf's key for one of our metrics, where it has one.
fn genai_perf_key(metric: &str) -> String {
    let id = crate::measure::metric(metric).map_or(metric, |row| row.id);
    let known = BLOCKS.iter().find(|block| matches!(block.source, Source::PerRequest(ours) if ours == id));
    known.map_or_else(|| id.replace('-', "_"), |block| block.key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{objectives, real, written};
    use super::*;
    use crate::measure::sample::{Shape, point};

    /// Paths of all keys in the order of the text, with the units; numbers and texts are left out.
    fn skeleton(value: &Value, path: &str, into: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    let path = format!("{path}.{key}");
                    match inner {
                        Value::String(unit) if key == "unit" => into.push(format!("{path} = {unit}")),
                        Value::Number(number) => {
                            into.push(format!("{path}: {}", if number.is_f64() { "float" } else { "int" }));
                        }
                        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                            into.push(path.clone());
                        }
                    }
                    skeleton(inner, &path, into);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| skeleton(item, path, into)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn keys(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        skeleton(&serde_json::from_str(text).unwrap(), "", &mut found);
        found
    }

    #[test]
    fn keys_units_number_kinds_and_order_are_those_of_the_real_file() {
        let ours = written(write, &point(Shape::default()), &objectives(), None);
        let theirs = keys(&real("profile_export_genai_perf.json"));
        assert!(theirs.len() > 200, "{}", theirs.len());
        assert_eq!(keys(&ours), theirs);
    }

    #[test]
    fn the_layout_of_the_text_is_that_of_the_real_file() {
        let ours = written(write, &point(Shape::default()), &objectives(), None);
        let blanks =
            |text: &str| -> Vec<usize> { text.lines().map(|line| line.len() - line.trim_start().len()).collect() };
        assert_eq!(blanks(&ours), blanks(&real("profile_export_genai_perf.json")));
        assert!(ours.ends_with('}'));
    }

    #[test]
    fn values_are_ours() {
        let data = point(Shape::default());
        let summary = crate::measure::PointSummary::of(&data);
        let ours: Value = serde_json::from_str(&written(write, &data, &objectives(), None)).unwrap();
        let ttft = &summary.distributions["time-to-first-token"];
        assert_eq!(ours["time_to_first_token"]["avg"], ttft.mean);
        assert_eq!(ours["time_to_first_token"]["p99"], ttft.percentile(99).unwrap());
        assert_eq!(ours["request_count"]["avg"], 400.0);
        assert_eq!(
            ours["input_config"]["input"]["goodput"],
            json!({"time_to_first_token": 150.0, "inter_token_latency": 15.0})
        );
        assert_eq!(ours["request_goodput"]["avg"], ours["request_throughput"]["avg"]);
    }

    #[test]
    fn goodput_stands_there_only_with_objectives_and_simulated_only_when_so() {
        let mut data = point(Shape::default());
        let without = keys(&written(write, &data, &[], None));
        assert!(!without.iter().any(|key| key.contains("request_goodput") || key.contains("simulated")));
        data.meta.simulated = true;
        assert!(keys(&written(write, &data, &[], None)).contains(&".input_config.simulated".to_owned()));
    }
}
