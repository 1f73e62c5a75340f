//! The table of formats that can be read, and what each reader gives.

use std::path::Path;

use super::{aiperf, genai_perf, vllm_bench};
use crate::base::{Name, Timestamp};
use crate::measure::{Facts, GeneratorHealth, Level, PointMeta, PointSummary, RequestRecord, Series};
use crate::report::ReportError;

/// One format.
pub struct Import {
    /// Whose it is.
    pub tool: &'static str,
    /// What the reader looks at, for the help.
    pub about: &'static str,
    /// Whether a file of this name is the one that the reader starts from.
    pub starts_from: fn(&str) -> bool,
    /// Whether such a name says by itself whose file it is: a damaged one is then an error, and else something of others.
    pub sure: bool,
    /// Reads the result that begins with this file; `None`: the file is something else after all.
    pub read: fn(&Path) -> Result<Option<Imported>, ReportError>,
}

/// All formats. The first that takes a folder's file has it: AIPerf's come first, because we write both kinds.
pub const IMPORTS: &[Import] = &[
    Import {
        tool: "AIPerf",
        about: "profile_export_aiperf.json and, for every request, profile_export.jsonl beside it",
        starts_from: |name| name == "profile_export_aiperf.json",
        sure: true,
        read: aiperf::read,
    },
    Import {
        tool: "GenAI-Perf",
        about: "profile_export_genai_perf.json, or what was asked for before `_genai_perf.json` (statistics)",
        starts_from: |name| name.ends_with("_genai_perf.json"),
        sure: true,
        read: genai_perf::read,
    },
    Import {
        tool: "vLLM bench",
        about: "the JSON file of `vllm bench serve --save-result` (statistics)",
        starts_from: |name| Path::new(name).extension().is_some_and(|extension| extension == "json"),
        sure: false,
        read: vllm_bench::read,
    },
];

/// One point of another tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The tool with its version, and what was taken over: `AIPerf 0.13.0, requests`.
    pub tool: String,
    /// Who measured, as part of a deployment's name: points of two never share a curve.
    pub by: &'static str,
    /// The point in numbers. Deployment and repeat are set by the caller.
    pub summary: PointSummary,
    /// Its requests, where they were kept.
    pub records: Vec<RequestRecord>,
}

impl Imported {
    /// What points of one curve have in common: who measured, and the model.
    pub fn curve(&self) -> (&'static str, &str) {
        (self.by, &self.summary.meta.model)
    }
}

/// What a tool told of how it asked.
pub(super) struct Asked {
    pub(super) level: Level,
    pub(super) model: String,
    pub(super) url: String,
    pub(super) api: String,
    pub(super) isl: (f64, f64),
    pub(super) osl: (f64, f64),
    pub(super) seed: u64,
    pub(super) origin: Timestamp,
    /// Whether the file says that it is of an embedded engine: only our own exports do.
    pub(super) simulated: bool,
}

impl Asked {
    /// The head of a point. What only we know of our own points is unknown.
    pub(super) fn meta(self, tool: &str) -> PointMeta {
        let name = |text: &str| Name::new(text).expect("a word of small letters is a name");
        PointMeta {
            deployment: name("imported"),
            workload: name("default"),
            level: self.level,
            repeat: 1,
            attempt: 1,
            run: "imported".to_owned(),
            origin: self.origin,
            model: self.model,
            url: self.url,
            api: self.api,
            simulated: self.simulated,
            transport: "unknown".to_owned(),
            gpus: None,
            isl: self.isl.0,
            isl_std: self.isl.1,
            osl: self.osl.0,
            osl_std: self.osl.1,
            content: None,
            alike: false,
            template_overhead: None,
            isl_method: "unknown".to_owned(),
            measured_by: Some(tool.to_owned()),
            seed: self.seed,
            incarnation: "unknown".to_owned(),
            series: Series::default(),
            facts: Facts::new(),
        }
    }
}

/// A point of which only numbers are known.
pub(super) fn of_numbers(meta: PointMeta) -> PointSummary {
    PointSummary::of(&crate::measure::PointData {
        meta,
        records: Vec::new(),
        health: GeneratorHealth::default(),
        extra: std::collections::BTreeMap::new(),
        objectives: Vec::new(),
    })
}
