//! `inputs.json`: the bodies of all requests, in the layout that GenAI-Perf 0.0.16 hands to perf_analyzer.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::stream::Streamed;
use super::table::{ExportInput, RawExchange};

#[derive(Serialize)]
struct Inputs<D> {
    data: D,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
}

#[derive(Serialize)]
struct Entry {
    payload: [Value; 1],
}

/// Writes the file; without kept exchanges an empty list.
pub(super) fn write(input: &ExportInput<'_>, file: &mut dyn Write) -> io::Result<()> {
    let exchanges = input.raw.map(|raw| raw.exchanges()).transpose()?;
    let entry = |exchange: RawExchange| Ok(Entry { payload: [serde_json::from_str(&exchange.payload)?] });
    let data = Streamed::new(exchanges.into_iter().flatten(), entry);
    Ok(serde_json::to_writer_pretty(file, &Inputs { data, simulated: input.summary.meta.simulated })?)
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{Held, real, written};
    use super::*;
    use crate::measure::sample::{Shape, point};

    fn held(payloads: Vec<String>) -> Held {
        let exchange = |payload| RawExchange { timestamp_ns: 1, payload, responses: Vec::new() };
        Held(payloads.into_iter().map(exchange).collect(), false)
    }

    #[test]
    fn payloads_of_the_real_file_are_written_byte_for_byte() {
        let theirs = real("inputs.json");
        let parsed: Value = serde_json::from_str(&theirs).unwrap();
        let payloads: Vec<_> =
            parsed["data"].as_array().unwrap().iter().map(|entry| entry["payload"][0].to_string()).collect();
        assert!(payloads.len() > 1);
        let ours = written(write, &point(Shape::default()), &[], Some(&held(payloads)));
        assert_eq!(ours, theirs.trim_end());
    }

    #[test]
    fn a_payload_that_is_no_json_fails_the_export() {
        let data = point(Shape::default());
        let summary = crate::measure::PointSummary::of(&data);
        let settings = super::super::table::tests::settings();
        let held = held(vec!["{".to_owned()]);
        let input = ExportInput {
            summary: &summary,
            records: &data.records,
            objectives: &[],
            settings: &settings,
            raw: Some(&held),
        };
        assert!(write(&input, &mut Vec::new()).is_err());
    }
}
