//! What the requests of a workload hold: `mix`, `shared-prefix`, `trace`, `dataset` and `conversations` beside the plain
//! lengths.

use std::path::Path;

use serde_json::Value;

use super::build::Fields;
use super::content_keys::ALL_TURNS;
use super::model::Values;
use super::requests::{self, RequestsFault};
use crate::base::{Diagnostic, Problems, Span};
use crate::measure::{Content, Conversations, Dataset, MixPart, PrefixScope, SharedPrefix, Source};

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
    settle_turns(values, source, problems);
}

/// Who says how many turns conversations have: the plan, or the file.
fn settle_turns(values: &Values, source: Option<&str>, problems: &mut Problems) {
    let Some(place) = values.span("conversations") else { return };
    let Some(found) = Fields(&values.json).table("conversations") else { return };
    let at = |key: &str| values.span(&format!("conversations.{key}")).or(Some(place)).cloned();
    let all = found.text("turns").as_deref() == Some(ALL_TURNS);
    let problem = match source {
        Some("trace") => Diagnostic::error("`trace` says what is sent, and it knows no conversations")
            .at(Some(place.clone()))
            .help("take one of them out; conversations are made up, or come from a `dataset`"),
        Some("dataset") if !all && found.0.contains_key("turns") => {
            Diagnostic::error("the `dataset` says how many turns a conversation has")
                .at(at("turns"))
                .help(format!("write turns = \"{ALL_TURNS}\""))
        }
        Some("dataset") if found.number("turns-std").is_some_and(|std| std > 0.0) => {
            Diagnostic::error("`turns-std` is of no use: the `dataset` says how many turns a conversation has")
                .at(at("turns-std"))
                .help("take it out")
        }
        Some("mix") | None if all => {
            Diagnostic::error(format!("`turns = \"{ALL_TURNS}\"` is of a `dataset`, and this workload has none"))
                .at(at("turns"))
                .help("write how many turns a conversation has on average, such as turns = 5")
        }
        Some(_) | None => return,
    };
    problems.push(problem);
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
        let conversations = fields.table("conversations").is_some();
        let read = requests::read_dataset(&path, fields.whole("osl"), conversations);
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
    let conversations = match fields.table("conversations").filter(|table| table.0.contains_key("turns")) {
        Some(table) => Some(conversations(table)?),
        None => None,
    };
    let content = Content { mix, prefix, source, conversations };
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

fn conversations(table: Fields<'_>) -> Option<Conversations> {
    // A whole number is the 0 that stands for no time at all.
    let seconds = |key: &str| table.duration(key).map_or(0.0, |span| span.as_secs_f64());
    Some(Conversations {
        turns: table.whole("turns"),
        turns_std: table.number("turns-std")?,
        delay_s: seconds("delay"),
        delay_std_s: seconds("delay-std"),
    })
}

/// Rules within a workload's conversations.
fn check_conversations(found: &Conversations, fields: Fields<'_>, values: &Values, problems: &mut Problems) {
    let place = |key: &str| values.span(&format!("conversations.{key}")).cloned();
    let turns = found.turns.filter(|turns| found.turns_std > f64::from(*turns));
    if let Some(turns) = turns {
        problems.push(
            Diagnostic::error(format!("`turns-std` ({}) is larger than `turns` ({turns})", found.turns_std))
                .at(place("turns-std"))
                .help("numbers below 1 are drawn again, so the mean would not be reached: lower the deviation"),
        );
    }
    if found.delay_std_s > found.delay_s {
        problems.push(
            Diagnostic::error("`delay-std` is larger than `delay`")
                .at(place("delay-std"))
                .help("times below zero are drawn again, so the mean would not be reached: lower the deviation"),
        );
    }
    let api = fields.table("request").and_then(|request| request.text("api"));
    if api.as_deref() == Some("completions") {
        problems.push(
            Diagnostic::error("a conversation is made of messages, and `api = \"completions\"` knows none")
                .at(values.span("request.api").or_else(|| values.span("conversations")).cloned())
                .help("leave `api` out, or take `conversations` out"),
        );
    }
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
    if let Some(found) = &content.conversations {
        check_conversations(found, fields, values, problems);
        // A shared start stands before the first turn, beside its own text.
        return;
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
            let help = if matches!(fault, RequestsFault::List) {
                "write one object a line, for example with jq -c '.[]' FILE"
            } else {
                help
            };
            let why = match &fault {
                RequestsFault::Read(error) => format!("{fault}: {error}"),
                RequestsFault::Encoding { .. }
                | RequestsFault::Json { .. }
                | RequestsFault::Entry { .. }
                | RequestsFault::Empty
                | RequestsFault::List
                | RequestsFault::Long => fault.to_string(),
            };
            problems
                .push(Diagnostic::error(format!("{}: {why}", path.display())).at(values.span(key).cloned()).help(help));
            None
        }
    }
}
