//! `profile_export_aiperf.json`.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::blocks::{Block, HEAD, Numbers, TAIL};
use crate::base::Timestamp;
use crate::measure::{Distribution, Level, PERCENTILES, metric, request_bounds};
use crate::report::exports::table::ExportInput;

/// The version of AIPerf whose layout this is: its readers ask for it.
const AIPERF: &str = "0.13.0";
/// The version of the layout.
const SCHEMA: &str = "1.4";

/// Writes the file.
pub(in crate::report::exports) fn write(input: &ExportInput<'_>, file: &mut dyn Write) -> io::Result<()> {
    let meta = &input.summary.meta;
    let mut all = Map::new();
    let id = format!("{}-{}", meta.run, input.settings.artifact_directory.replace('/', "-"));
    all.insert("schema_version".to_owned(), SCHEMA.into());
    all.insert("aiperf_version".to_owned(), AIPERF.into());
    all.insert("benchmark_id".to_owned(), id.clone().into());
    // A key that AIPerf does not have: nobody should take the file for one of its own measurements.
    all.insert("written_by".to_owned(), concat!("dynbench ", env!("CARGO_PKG_VERSION")).into());
    insert(&mut all, HEAD, input);
    all.insert("input_config".to_owned(), input_config(input));
    all.insert("run_info".to_owned(), json!({"benchmark_id": id, "random_seed": meta.seed, "trial": meta.repeat - 1}));
    all.insert("was_cancelled".to_owned(), (input.summary.counts.cancelled > 0).into());
    all.insert("is_complete".to_owned(), true.into());
    let errors = input.summary.failures.iter().map(|failure| {
        let details = json!({"code": null, "type": failure.class.as_str(), "message": failure.example});
        json!({"error_details": details, "count": failure.count})
    });
    all.insert("error_summary".to_owned(), errors.collect());
    let at = |ns: Option<u64>| time(Timestamp(meta.origin.0 + ns.unwrap_or(0)));
    all.insert("start_time".to_owned(), at(input.records.iter().map(|record| record.sent).min()).into());
    all.insert("end_time".to_owned(), at(input.records.iter().map(|record| record.end).max()).into());
    insert(&mut all, TAIL, input);
    Ok(serde_json::to_writer_pretty(file, &all)?)
}

fn insert(all: &mut Map<String, Value>, blocks: &[Block], input: &ExportInput<'_>) {
    for block in blocks {
        let Some(numbers) = block.numbers(input) else { continue };
        let mut fields = Map::new();
        fields.insert("unit".to_owned(), block.unit.into());
        match numbers {
            Numbers::One(value) => {
                fields.insert("avg".to_owned(), value.into());
            }
            Numbers::Many(found) => many(&mut fields, &found),
        }
        all.insert(block.key.to_owned(), Value::Object(fields));
    }
}

fn many(fields: &mut Map<String, Value>, found: &Distribution) {
    fields.insert("avg".to_owned(), found.mean.into());
    let percentiles = PERCENTILES.iter().zip(found.percentiles);
    fields.extend(percentiles.map(|(p, value)| (format!("p{p}"), value.into())));
    for (name, value) in [("min", found.min), ("max", found.max), ("std", found.std)] {
        fields.insert(name.to_owned(), value.into());
    }
    fields.insert("count".to_owned(), found.n.into());
    fields.insert("sum".to_owned(), (found.mean * found.n as f64).into());
}

/// Local time without a zone is what AIPerf writes; ours is UTC.
fn time(at: Timestamp) -> String {
    let text = at.rfc3339();
    text.trim_end_matches('Z').to_owned()
}

fn input_config(input: &ExportInput<'_>) -> Value {
    let (meta, settings) = (&input.summary.meta, input.settings);
    let mut warm_up = json!({"name": "warmup", "kind": "warmup", "type": "concurrency", "exclude_from_results": true});
    warm_up["requests"] = settings.warm_up_requests.into();
    let mut profiling = json!({"name": "profiling", "kind": "profiling", "requests": settings.requests});
    match meta.level {
        Level::Concurrency(users) => {
            profiling["type"] = "concurrency".into();
            profiling["concurrency"] = users.into();
        }
        Level::Rate(rate) => {
            profiling["type"] = "request_rate".into();
            profiling["rate"] = rate.per_second().into();
        }
    }
    let limits: Map<String, Value> =
        request_bounds(input.objectives).into_iter().map(|bound| (key_of(&bound.metric), bound.bound.into())).collect();
    let lengths = json!({
        "isl": {"mean": meta.isl, "stddev": meta.isl_std},
        "osl": {"mean": meta.osl, "stddev": meta.osl_std},
    });
    let mut config = json!({
        "models": {"items": [{"name": meta.model}]},
        "endpoint": {"urls": [meta.url], "type": meta.api, "streaming": true, "extra": settings.extra},
        "datasets": [{
            "name": "main", "type": "synthetic", "entries": settings.requests, "random_seed": meta.seed, "prompts": lengths,
        }],
        "phases": [warm_up, profiling],
        "artifacts": {"dir": settings.artifact_directory, "auto_plot": false, "plot_required": false},
        "slos": limits,
        "tokenizer": {"name": settings.tokenizer.as_deref().unwrap_or(&meta.model)},
        "gpu_telemetry": {"enabled": false},
        "server_metrics": {"enabled": false},
        "network_latency": {"enabled": false},
    });
    if meta.simulated {
        config["simulated"] = true.into();
    }
    config
}

/// AIPerf's key for one of our metrics, where it has one.
fn key_of(id: &str) -> String {
    use super::blocks::Source;
    let id = metric(id).map_or(id, |row| row.id);
    let is = |block: &&Block| matches!(block.source, Source::Metric(ours) | Source::Sent(ours, _) if ours == id);
    let known = HEAD.iter().chain(TAIL).find(is);
    known.map_or_else(|| id.replace('-', "_"), |block| block.key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::super::table::tests::{aiperf, objectives, written};
    use super::*;
    use crate::measure::PointSummary;
    use crate::measure::sample::{Shape, point};

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_block_has_the_key_unit_and_statistics_of_the_real_file() {
        let ours = parsed(&written(write, &point(Shape::default()), &objectives(), None));
        let theirs = parsed(&aiperf("profile_export_aiperf.json"));
        let mut compared = 0;
        for block in HEAD.iter().chain(TAIL) {
            let (Some(mine), Some(real)) = (ours.get(block.key), theirs.get(block.key)) else { continue };
            assert_eq!(mine["unit"], real["unit"], "{}", block.key);
            let keys = |block: &Value| block.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(mine), keys(real), "{}", block.key);
            compared += 1;
        }
        assert!(compared >= 25, "{compared}");
        // What they have before the configuration, we have in the same order.
        let before = |value: &Value| -> Vec<String> {
            value.as_object().unwrap().keys().take_while(|key| *key != "input_config").cloned().collect()
        };
        let expected: Vec<_> = before(&theirs);
        let mine: Vec<_> = before(&ours).into_iter().filter(|key| key != "written_by").collect();
        assert_eq!(mine, expected);
        for key in ["run_info", "was_cancelled", "is_complete", "error_summary", "start_time", "end_time"] {
            assert!(ours.get(key).is_some(), "{key}");
        }
        for key in ["models", "endpoint", "datasets", "phases", "artifacts", "slos", "tokenizer"] {
            assert!(ours["input_config"].get(key).is_some(), "{key}");
        }
        assert_eq!(ours["schema_version"], theirs["schema_version"]);
    }

    #[test]
    fn gaps_of_all_requests_are_one_sample_and_sums_are_sums() {
        let data = point(Shape { requests: 5, osl: 4, itl: 10.0, ..Shape::default() });
        let ours = parsed(&written(write, &data, &[], None));
        assert_eq!(ours["inter_chunk_latency"]["count"], 15);
        assert!((ours["inter_chunk_latency"]["avg"].as_f64().unwrap() - 10.0).abs() < 1e-6);
        assert_eq!(ours["output_sequence_length"]["sum"], 20.0);
        assert_eq!(ours["total_osl"]["avg"], 20.0);
        assert!(ours.get("goodput").is_none());
        assert!(ours.get("error_request_count").is_none());
    }

    #[test]
    fn an_open_loop_has_one_clock_a_key_the_send_and_the_schedule() {
        let mut data = point(Shape { requests: 5, ..Shape::default() });
        for record in &mut data.records {
            // Each waited 7 ms for its turn.
            record.sent += 7_000_000;
            for moment in [&mut record.first_text, &mut record.last_text].into_iter().flatten() {
                *moment += 7_000_000;
            }
            record.end += 7_000_000;
            record.due = Some(record.scheduled);
        }
        let ours = parsed(&written(write, &data, &objectives(), None));
        let mean = |key: &str| ours[key]["avg"].as_f64().unwrap();
        let scheduled = PointSummary::of(&data).number("time-to-first-token", "mean").unwrap();
        let waited = data.records.iter().map(|record| (record.sent - record.scheduled) as f64 / 1e6).sum::<f64>() / 5.0;
        assert!(waited >= 7.0, "{waited}");
        assert!((mean("credit_to_start_latency") - waited).abs() < 1e-6);
        assert!((mean("time_to_first_token") - (scheduled - waited)).abs() < 1e-6);
        let ends = data.records.iter().map(|record| (record.end - record.scheduled) as f64 / 1e6).sum::<f64>() / 5.0;
        assert!((mean("effective_latency") - ends).abs() < 1e-6);
        assert_eq!(ours["input_config"]["slos"]["time_to_first_token"], 150.0);
    }

    #[test]
    fn failures_are_counted_and_named() {
        let ours = parsed(&written(write, &point(Shape { fail_every: 10, ..Shape::default() }), &objectives(), None));
        assert_eq!(ours["error_request_count"]["avg"], 40.0);
        assert_eq!(ours["completed_request_count"]["avg"], 400.0);
        assert_eq!(ours["error_summary"][0]["error_details"]["type"], "timeout");
        assert_eq!(ours["input_config"]["slos"]["time_to_first_token"], 150.0);
    }
}
