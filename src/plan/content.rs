//! What the requests of a workload hold: `mix`, `shared-prefix`, `trace` and `dataset` beside the plain lengths.

use std::path::Path;

use serde_json::Value;

use super::build::Fields;
use super::model::Values;
use super::requests::{self, RequestsFault};
use crate::base::{Diagnostic, Problems, Span};
use crate::measure::{Content, Dataset, MixPart, PrefixScope, SharedPrefix, Source};

/// The keys that say lengths in another way than `isl` and `osl`.
const SOURCES: [&str; 3] = ["mix", "trace", "dataset"];
/// Lengths, and what a source says instead of them.
const LENGTHS: [&str; 4] = ["isl", "isl-std", "osl", "osl-std"];

/// Asks for lengths where nothing else says them, and takes out defaults where something does. Reports keys that do not go
/// together.
pub(super) fn settle(values: &mut Values, title: &str, place: &Span, partial: bool, problems: &mut Problems) {
    let written: Vec<&str> = SOURCES.into_iter().filter(|key| values.spans.contains_key(*key)).collect();
    if let [first, second, ..] = written[..] {
        problems.push(
            Diagnostic::error(format!("requests come from `{first}` or from `{second}`, not from both"))
                .at(values.span(second).cloned())
                .help("make two workloads of it: [workloads.ONE] and [workloads.OTHER]"),
        );
    }
    let source = written.first().copied();
    for key in LENGTHS {
        let needed = matches!((key, source), ("isl", None) | ("osl", None));
        if needed && !partial && !values.spans.contains_key(key) {
            let what = if key == "isl" { "prompts" } else { "answers" };
            problems.push(
                Diagnostic::error(format!("{title} needs `{key}`"))
                    .at(place.clone())
                    .help(format!("{key}: mean length of the {what} in tokens, at least 1")),
            );
        }
        let Some(source) = source else { continue };
        // Answers of a dataset whose file does not tell them.
        if source == "dataset" && key == "osl" {
            continue;
        }
        values.json.shift_remove(key);
        if let Some(span) = values.span(key).cloned().filter(|_| !is_zero_deviation(key, values)) {
            problems.push(
                Diagnostic::error(format!("`{key}` is of no use: `{source}` says how long requests are"))
                    .at(Some(span))
                    .help("take one of them out"),
            );
        }
    }
    for (key, needs) in [("unique", "dataset")] {
        if values.spans.contains_key(key) && source != Some(needs) {
            problems.push(
                Diagnostic::error(format!("`{key}` is of a `{needs}`, and this workload has none"))
                    .at(values.span(key).cloned())
                    .help("made-up prompts are always unique: take it out"),
            );
        }
    }
    if let (Some(span), Some(source @ ("trace" | "dataset"))) = (values.span("shared-prefix").cloned(), source) {
        problems.push(
            Diagnostic::error(format!("`shared-prefix` is of made-up prompts, and `{source}` says what is sent"))
                .at(Some(span))
                .help("take one of them out"),
        );
    }
}

/// A resolved plan may say a deviation of nothing; it says no more than leaving it out.
fn is_zero_deviation(key: &str, values: &Values) -> bool {
    key.ends_with("-std") && values.json.get(key).and_then(Value::as_f64) == Some(0.0)
}

/// The content that a workload's table says; files are read here, so that a broken one is found before anything runs.
pub(super) fn build(values: &Values, problems: &mut Problems) -> Option<Content> {
    let fields = Fields(&values.json);
    let source = if let Some(path) = fields.path("trace") {
        let read = requests::read_trace(&path);
        Source::Trace(told(read, "trace", &path, values, problems)?)
    } else if let Some(path) = fields.path("dataset") {
        let read = requests::read_dataset(&path, fields.whole("osl"));
        let requests = told(read, "dataset", &path, values, problems)?;
        Source::Dataset(Dataset { unique: fields.flag("unique").unwrap_or(true), requests })
    } else {
        Source::Synthetic
    };
    let mix = match values.json.get("mix").and_then(Value::as_array) {
        Some(items) => items.iter().map(part).collect::<Option<Vec<_>>>()?,
        None => Vec::new(),
    };
    let prefix = match fields.table("shared-prefix").filter(|table| table.0.contains_key("tokens")) {
        Some(table) => Some(SharedPrefix {
            tokens: table.whole("tokens")?,
            groups: table.whole("groups")?,
            per: if table.text("per").as_deref() == Some("run") { PrefixScope::Run } else { PrefixScope::Level },
        }),
        None => None,
    };
    let content = Content { mix, prefix, source };
    check(&content, fields, values, problems);
    Some(content)
}

fn part(item: &Value) -> Option<MixPart> {
    let fields = Fields(item.as_object()?);
    Some(MixPart {
        isl: fields.whole("isl")?,
        isl_std: fields.number("isl-std")?,
        osl: fields.whole("osl")?,
        osl_std: fields.number("osl-std")?,
        weight: fields.number("weight")?,
    })
}

/// Rules between keys of one content.
fn check(content: &Content, fields: Fields<'_>, values: &Values, problems: &mut Problems) {
    for (index, part) in content.mix.iter().enumerate() {
        for (key, mean, std) in [("isl", part.isl, part.isl_std), ("osl", part.osl, part.osl_std)] {
            if std > f64::from(mean) {
                let place = format!("mix.{index}.{key}-std");
                problems.push(
                    Diagnostic::error(format!("`{key}-std` ({std}) is larger than `{key}` ({mean})"))
                        .at(values.span(&place).or_else(|| values.span("mix")).cloned())
                        .help("lengths below 1 are drawn again, so the mean would not be reached: lower the deviation"),
                );
            }
        }
    }
    let Some(prefix) = content.prefix else { return };
    let shortest = content.mix.iter().map(|part| part.isl).min().or(fields.whole("isl"));
    if let Some(shortest) = shortest
        && prefix.tokens >= shortest
    {
        problems.push(
            Diagnostic::error(format!(
                "a shared prefix of {} tokens leaves nothing of an ISL of {shortest}",
                prefix.tokens
            ))
            .at(values.span("shared-prefix.tokens").or_else(|| values.span("shared-prefix")).cloned())
            .help("the prefix is part of the prompt: lower `tokens`, or raise `isl`"),
        );
    }
}

fn told<T>(
    read: Result<T, RequestsFault>,
    key: &str,
    path: &Path,
    values: &Values,
    problems: &mut Problems,
) -> Option<T> {
    match read {
        Ok(found) => Some(found),
        Err(fault) => {
            let help = match key {
                "trace" => "one JSON object a line with \"input_length\", \"output_length\" and \"hash_ids\"",
                _ => "one JSON object a line with \"prompt\", \"messages\" or \"conversations\"",
            };
            let why = match &fault {
                RequestsFault::Read(error) => format!("{fault}: {error}"),
                RequestsFault::Encoding { .. }
                | RequestsFault::Json { .. }
                | RequestsFault::Entry { .. }
                | RequestsFault::Empty
                | RequestsFault::Long => fault.to_string(),
            };
            problems
                .push(Diagnostic::error(format!("{}: {why}", path.display())).at(values.span(key).cloned()).help(help));
            None
        }
    }
}
