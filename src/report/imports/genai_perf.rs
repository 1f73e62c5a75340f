//! GenAI-Perf: `profile_export_genai_perf.json`. Its tokens are those of its own tokenizer over the answers.

use std::path::Path;

use serde_json::Value;

use super::blocks::take_over;
use super::folder::{level, read_json};
use super::table::{Asked, Imported, of_numbers};
use crate::base::Timestamp;
use crate::report::ReportError;

pub(super) fn read(path: &Path) -> Result<Option<Imported>, ReportError> {
    let all = read_json(path)?;
    let config = &all["input_config"];
    let number = |pointer: &str| config.pointer(pointer).and_then(Value::as_f64);
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let stimulus = &config["perf_analyzer"]["stimulus"];
    let Some(level) = level(stimulus["concurrency"].as_f64(), stimulus["request_rate"].as_f64()) else {
        return Ok(None);
    };
    let mean = |name: &str| number(&format!("/input/{name}/mean")).unwrap_or(0.0);
    let spread = |name: &str| number(&format!("/input/{name}/stddev")).unwrap_or(0.0);
    let asked = Asked {
        level,
        model: text("/model_names/0"),
        url: text("/endpoint/url"),
        api: text("/endpoint/type"),
        isl: (mean("synthetic_tokens"), spread("synthetic_tokens")),
        osl: (mean("output_tokens"), spread("output_tokens")),
        seed: config.pointer("/input/random_seed").and_then(Value::as_u64).unwrap_or(0),
        origin: Timestamp(0),
        simulated: config["simulated"] == true,
    };
    let tool = "GenAI-Perf, its own statistics".to_owned();
    let mut summary = of_numbers(asked.meta(&tool));
    take_over(path, &all, &mut summary)?;
    Ok(Some(Imported { tool, by: "genai-perf", summary, records: Vec::new() }))
}
