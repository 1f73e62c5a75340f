//! `profile_export.jsonl`: one line for each measured request. Warm-up requests are in none of our files.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::blocks::{HEAD, TAIL, gaps};
use crate::measure::{Outcome, RequestRecord};
use crate::report::exports::table::ExportInput;

/// Writes the file.
pub(in crate::report::exports) fn write(input: &ExportInput<'_>, file: &mut dyn Write) -> io::Result<()> {
    for (number, record) in input.records.iter().enumerate() {
        serde_json::to_writer(&mut *file, &line(input, number, record))?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

fn line(input: &ExportInput<'_>, number: usize, record: &RequestRecord) -> Value {
    let origin = input.summary.meta.origin.0;
    let at = |ns: u64| origin + ns;
    let cancelled = is_cancelled(record);
    let (conversation, turn) = record.turn.map_or((number as u64, 0), |turn| (turn.conversation, turn.turn - 1));
    let mut metadata = json!({
        "session_num": number,
        "x_request_id": record.id,
        "x_correlation_id": record.id,
        "conversation_id": format!("session_{conversation:06}"),
        "turn_index": turn,
        "credit_issued_ns": at(record.scheduled),
        "request_start_ns": at(record.sent),
        "request_ack_ns": record.headers.map(at),
        "request_end_ns": at(record.end),
        "worker_id": format!("slot_{}", record.slot),
        "record_processor_id": "dynbench",
        "benchmark_phase": "profiling",
        "phase_index": 1,
        "profiling_index": 0,
        "phase_name": "profiling",
        "phase_kind": "profiling",
        "was_cancelled": cancelled,
        "context_overflow_skip": false,
        "agent_depth": 0,
        "root_correlation_id": record.id,
    });
    if cancelled {
        metadata["cancellation_time_ns"] = at(record.end).into();
    }
    let mut metrics = Map::new();
    if record.is_ok() {
        for block in HEAD.iter().chain(TAIL) {
            if let Some(value) = block.of_request(record) {
                metrics.insert(block.key.to_owned(), json!({"value": value, "unit": block.unit}));
            }
        }
        metrics.insert("inter_chunk_latency".to_owned(), json!({"value": gaps(record), "unit": "ms"}));
    }
    let mut all = json!({"metadata": metadata, "metrics": metrics});
    if let Outcome::Failed { class, detail } = &record.outcome {
        all["error"] = json!({"code": record.status, "type": class.as_str(), "message": detail});
    }
    all
}

fn is_cancelled(record: &RequestRecord) -> bool {
    matches!(&record.outcome, Outcome::Failed { class: crate::measure::FailureClass::Cancelled, .. })
}

#[cfg(test)]
mod tests {
    use super::super::super::table::tests::{aiperf, written};
    use super::*;
    use crate::measure::sample::{Shape, point};

    fn lines(text: &str) -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_the_metadata_and_units_of_a_real_one() {
        let ours = lines(&written(write, &point(Shape { requests: 3, ..Shape::default() }), &[], None));
        let theirs = lines(&aiperf("profile_export.jsonl"));
        let real = theirs.last().unwrap();
        let keys = |line: &Value| line["metadata"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&ours[0]), keys(real));
        for (key, metric) in ours[0]["metrics"].as_object().unwrap() {
            if let Some(known) = real["metrics"].get(key) {
                assert_eq!(metric["unit"], known["unit"], "{key}");
            }
        }
        assert_eq!(ours[0]["metrics"]["inter_chunk_latency"]["value"].as_array().unwrap().len(), 19);
        assert!(ours[0].get("error").is_none());
    }

    #[test]
    fn a_failed_request_has_an_error_and_no_metrics() {
        let ours = lines(&written(write, &point(Shape { requests: 2, fail_every: 2, ..Shape::default() }), &[], None));
        assert_eq!(ours[1]["error"]["type"], "timeout");
        assert_eq!(ours[1]["metrics"], json!({}));
    }
}
