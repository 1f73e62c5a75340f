//! The table of exports, and what each of them is given.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value};

use super::{aiperf, genai_perf_csv, genai_perf_json, inputs, profile_export};
use crate::base::{FileError, write_atomic_with};
use crate::measure::{Bound, PointSummary, RequestRecord};

/// Whose format a file has: what a plan switches on and off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `exports.genai-perf`
    GenAiPerf,
    /// `exports.aiperf`
    AiPerf,
}

/// One file.
pub struct Export {
    /// Whose format it is.
    pub family: Family,
    /// Its name in the point's folder.
    pub file: &'static str,
    /// One sentence: who reads it.
    pub about: &'static str,
    /// What must be there for it to be written.
    pub needs: Needs,
    /// Writes it.
    pub write: fn(&ExportInput<'_>, &mut dyn Write) -> io::Result<()>,
}

/// What an export is made of beside the point itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// The bodies of the requests.
    Payloads,
    /// The bodies of the requests and the responses as they came (`exports.raw`).
    Responses,
}

/// All exports.
pub const EXPORTS: &[Export] = &[
    Export {
        family: Family::GenAiPerf,
        file: "profile_export_genai_perf.json",
        about: "statistics and configuration, as GenAI-Perf 0.0.16 writes them",
        needs: Needs::Nothing,
        write: genai_perf_json::write,
    },
    Export {
        family: Family::GenAiPerf,
        file: "profile_export_genai_perf.csv",
        about: "statistics as a table, as GenAI-Perf 0.0.16 writes them",
        needs: Needs::Nothing,
        write: genai_perf_csv::write,
    },
    Export {
        family: Family::GenAiPerf,
        file: "profile_export.json",
        about: "every request and response with its time stamps, as perf_analyzer writes them",
        needs: Needs::Responses,
        write: profile_export::write,
    },
    Export {
        family: Family::GenAiPerf,
        file: "inputs.json",
        about: "the bodies of all requests, as GenAI-Perf 0.0.16 writes them",
        needs: Needs::Payloads,
        write: inputs::write,
    },
    Export {
        family: Family::AiPerf,
        file: "profile_export_aiperf.json",
        about: "statistics and configuration, as AIPerf 0.13 writes them",
        needs: Needs::Nothing,
        write: aiperf::write_json,
    },
    Export {
        family: Family::AiPerf,
        file: "profile_export_aiperf.csv",
        about: "statistics as a table, as AIPerf 0.13 writes them",
        needs: Needs::Nothing,
        write: aiperf::write_csv,
    },
    Export {
        family: Family::AiPerf,
        file: "profile_export.jsonl",
        about: "every request with its metrics, as AIPerf 0.13 writes them",
        needs: Needs::Nothing,
        write: aiperf::write_lines,
    },
];

/// What an export is given.
#[derive(Clone, Copy)]
pub struct ExportInput<'a> {
    /// The point in numbers.
    pub summary: &'a PointSummary,
    /// Its requests.
    pub records: &'a [RequestRecord],
    /// Bounds of the plan: those on per-request metrics make the goodput.
    pub objectives: &'a [Bound],
    /// How it was asked.
    pub settings: &'a ExportSettings,
    /// What went over the wire, if it was kept.
    pub raw: Option<&'a dyn RawSource>,
}

/// How a point was asked, as far as only the plan knows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExportSettings {
    /// Fields of the body beside model, messages, stream and the token limit.
    pub extra: Map<String, Value>,
    /// Requests of the level, as planned.
    pub requests: u64,
    /// Warm-up requests.
    pub warm_up_requests: u64,
    /// The tokenizer's path, if there is one.
    pub tokenizer: Option<String>,
    /// Folder of the point, relative to the run's.
    pub artifact_directory: String,
}

/// One request as it went out, and what came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawExchange {
    /// When it was sent, nanoseconds since the Unix epoch.
    pub timestamp_ns: u64,
    /// Its body: JSON.
    pub payload: String,
    /// Pieces of the response (`data: ...` with the blank line) and when each was read, nanoseconds since the Unix
    /// epoch.
    pub responses: Vec<(u64, String)>,
}

/// Exchanges that are read again from where they were spilled: a level's bodies are never held in memory at once.
pub trait RawSource {
    /// Whether the responses were kept too.
    fn has_responses(&self) -> bool;
    /// All exchanges of the point, in order of sending.
    ///
    /// # Errors
    /// When the spill cannot be opened; later errors come with the items.
    fn exchanges(&self) -> io::Result<Box<dyn Iterator<Item = io::Result<RawExchange>> + '_>>;
}

impl ExportInput<'_> {
    fn has(&self, needs: Needs) -> bool {
        match needs {
            Needs::Nothing => true,
            Needs::Payloads => self.raw.is_some(),
            Needs::Responses => self.raw.is_some_and(RawSource::has_responses),
        }
    }
}

/// Writes every export of these families whose needs are met into a point's folder; returns the files' names.
///
/// # Errors
/// When a file cannot be written, or the spill cannot be read.
pub fn write_exports(dir: &Path, input: &ExportInput<'_>, families: &[Family]) -> Result<Vec<&'static str>, FileError> {
    let mut written = Vec::new();
    for export in EXPORTS.iter().filter(|export| families.contains(&export.family) && input.has(export.needs)) {
        write_atomic_with(&dir.join(export.file), |file| (export.write)(input, file))?;
        written.push(export.file);
    }
    Ok(written)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::measure::PointData;
    use crate::measure::sample::{Shape, point};

    /// Exchanges held in memory.
    pub(in crate::report::exports) struct Held(
        pub(in crate::report::exports) Vec<RawExchange>,
        pub(in crate::report::exports) bool,
    );

    impl RawSource for Held {
        fn has_responses(&self) -> bool {
            self.1
        }

        fn exchanges(&self) -> io::Result<Box<dyn Iterator<Item = io::Result<RawExchange>> + '_>> {
            Ok(Box::new(self.0.iter().cloned().map(Ok)))
        }
    }

    pub(in crate::report::exports) fn settings() -> ExportSettings {
        let extra = serde_json::json!({"min_tokens": 32, "ignore_eos": true});
        ExportSettings {
            extra: extra.as_object().unwrap().clone(),
            requests: 40,
            warm_up_requests: 4,
            tokenizer: None,
            artifact_directory: "agg/c4".to_owned(),
        }
    }

    pub(in crate::report::exports) fn objectives() -> Vec<Bound> {
        [("time-to-first-token", 150.0), ("inter-token-latency", 15.0)]
            .map(|(metric, bound)| Bound { metric: metric.to_owned(), statistic: "p99".to_owned(), bound })
            .to_vec()
    }

    /// What one export writes.
    pub(in crate::report::exports) fn written(
        write: fn(&ExportInput<'_>, &mut dyn Write) -> io::Result<()>,
        data: &PointData,
        objectives: &[Bound],
        raw: Option<&dyn RawSource>,
    ) -> String {
        let summary = PointSummary::of(data);
        let settings = settings();
        let input = ExportInput { summary: &summary, records: &data.records, objectives, settings: &settings, raw };
        let mut bytes = Vec::new();
        write(&input, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// A real file of the peer, as it was written.
    pub(in crate::report::exports) fn real(file: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats/genai-perf-0.0.16").join(file);
        crate::base::read_text(&path).unwrap()
    }

    /// A real file of AIPerf, as it was written.
    pub(in crate::report::exports) fn aiperf(file: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats/aiperf-0.13.0").join(file);
        crate::base::read_text(&path).unwrap()
    }

    #[test]
    fn what_was_not_kept_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let data = point(Shape { requests: 5, ..Shape::default() });
        let summary = PointSummary::of(&data);
        let settings = settings();
        let write = |raw: Option<&dyn RawSource>, families: &[Family]| {
            let input =
                ExportInput { summary: &summary, records: &data.records, objectives: &[], settings: &settings, raw };
            write_exports(dir.path(), &input, families).unwrap()
        };
        let all: Vec<_> = EXPORTS.iter().map(|export| export.file).collect();
        let genai_perf = &[Family::GenAiPerf][..];
        assert_eq!(write(None, genai_perf), all[..2]);
        assert_eq!(write(Some(&Held(Vec::new(), false)), genai_perf), [all[0], all[1], all[3]]);
        assert_eq!(write(Some(&Held(Vec::new(), true)), genai_perf), all[..4]);
        assert_eq!(crate::base::list_dir(dir.path()).unwrap().len(), 4);
        assert_eq!(write(None, &[Family::AiPerf]), all[4..]);
    }
}
