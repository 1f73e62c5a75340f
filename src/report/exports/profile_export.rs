//! `profile_export.json`: every request and every piece of its response with time stamps, as perf_analyzer writes them.

use std::io::{self, Write};

use serde::Serialize;

use super::stream::Streamed;
use super::table::{ExportInput, RawExchange};
use crate::measure::Level;

#[derive(Serialize)]
struct File<R> {
    experiments: [Experiment<R>; 1],
    version: &'static str,
    service_kind: &'static str,
    endpoint: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
}

#[derive(Serialize)]
struct Experiment<R> {
    experiment: Stimulus,
    requests: R,
    window_boundaries: [u64; 2],
}

#[derive(Serialize)]
struct Stimulus {
    mode: &'static str,
    value: serde_json::Number,
}

#[derive(Serialize)]
struct Request {
    timestamp: u64,
    request_inputs: Inputs,
    response_timestamps: Vec<u64>,
    response_outputs: Vec<Output>,
}

#[derive(Serialize)]
struct Inputs {
    payload: String,
}

#[derive(Serialize)]
struct Output {
    response: String,
}

/// Whether GenAI-Perf's reader can take this event. It looks at the first of `choices` without asking whether there is
/// one, so the chunk that carries only usage (which GenAI-Perf itself never asks for) is left out; its counts stand in
/// `requests.jsonl`. Within a JSON text the quotes would be escaped, so no output of a model is taken for it.
fn is_readable(response: &str) -> bool {
    !["\"choices\":[]", "\"choices\": []"].iter().any(|empty| response.contains(empty))
}

fn request(exchange: RawExchange) -> io::Result<Request> {
    let responses = exchange.responses.into_iter().filter(|(_, response)| is_readable(response));
    let (response_timestamps, response_outputs) = responses.map(|(read, response)| (read, Output { response })).unzip();
    Ok(Request {
        timestamp: exchange.timestamp_ns,
        request_inputs: Inputs { payload: exchange.payload },
        response_timestamps,
        response_outputs,
    })
}

/// Writes the file; without kept exchanges an empty list of requests.
pub(super) fn write(input: &ExportInput<'_>, file: &mut dyn Write) -> io::Result<()> {
    let meta = &input.summary.meta;
    let exchanges = input.raw.map(|raw| raw.exchanges()).transpose()?;
    let first = input.records.iter().map(|record| record.sent).min().unwrap_or(0);
    let last = input.records.iter().map(|record| record.end).max().unwrap_or(0);
    let (mode, value) = match meta.level {
        Level::Concurrency(users) => ("concurrency", users.into()),
        Level::Rate(rate) => {
            ("request_rate", serde_json::Number::from_f64(rate.per_second()).expect("a rate is a finite number"))
        }
    };
    let content = File {
        experiments: [Experiment {
            experiment: Stimulus { mode, value },
            requests: Streamed::new(exchanges.into_iter().flatten(), request),
            window_boundaries: [first, last].map(|time| meta.origin.0 + time),
        }],
        version: "0.0.0",
        service_kind: "openai",
        endpoint: if meta.api == "completions" { "v1/completions" } else { "v1/chat/completions" },
        simulated: meta.simulated,
    };
    Ok(serde_json::to_writer(file, &content)?)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::table::tests::{Held, real, written};
    use super::*;
    use crate::base::Timestamp;
    use crate::measure::sample::{Shape, point};

    #[test]
    fn a_chunk_with_usage_alone_is_left_out_and_nothing_else_is() {
        assert!(!is_readable("data: {\"choices\":[],\"usage\":{\"completion_tokens\":2}}\n\n"));
        assert!(!is_readable("data: {\"choices\": [], \"usage\": {}}\n\n"));
        assert!(is_readable("data: {\"choices\":[{\"delta\":{\"content\":\"\\\"choices\\\":[]\"}}]}\n\n"));
        assert!(is_readable("data: [DONE]\n\n"));
    }

    #[test]
    fn exchanges_of_the_real_file_are_written_byte_for_byte() {
        let theirs = real("profile_export.json");
        let parsed: Value = serde_json::from_str(&theirs).unwrap();
        let experiment = &parsed["experiments"][0];
        let exchanges = experiment["requests"].as_array().unwrap().iter().map(|request| RawExchange {
            timestamp_ns: request["timestamp"].as_u64().unwrap(),
            payload: request["request_inputs"]["payload"].as_str().unwrap().to_owned(),
            responses: request["response_timestamps"]
                .as_array()
                .unwrap()
                .iter()
                .zip(request["response_outputs"].as_array().unwrap())
                .map(|(time, output)| (time.as_u64().unwrap(), output["response"].as_str().unwrap().to_owned()))
                .collect(),
        });
        let held = Held(exchanges.collect(), true);
        assert!(held.0.len() > 1);
        // One request that fills the window of the real run.
        let window = [0, 1].map(|at| experiment["window_boundaries"][at].as_u64().unwrap());
        let mut data = point(Shape { requests: 1, ..Shape::default() });
        data.meta.origin = Timestamp(window[0]);
        data.records[0].end = window[1] - window[0];
        let ours = written(write, &data, &[], Some(&held));
        assert_eq!(ours, theirs.trim_end());
    }
}
