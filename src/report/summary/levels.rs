//! The table of each deployment and workload: one line for each level.
//!
//! With several repeats a line is the mean over the valid ones. A percentile whose sample is too small is `-`; a level
//! without a valid repeat is marked with `!`, and why stands below the table.

use crate::base::fact::METRICS_UNREAD;
use crate::base::{Name, format_quantity};
use crate::measure::{Level, LevelKind, PointSummary, TokenSource, mix, smallest_sample};
use crate::report::caveats;
use crate::report::text::{Align, columns, widths, wrapped};
use crate::report::{RunResults, transports};

/// One number column: title, metric, statistic.
type Column = (&'static str, &'static str, &'static str);

/// Columns by group; a group's title stands above them.
const GROUPS: &[(&str, &[Column])] = &[
    ("TTFT ms", &percentiles("time-to-first-token")),
    ("ITL ms", &percentiles("inter-token-latency")),
    ("latency ms", &percentiles("request-latency")),
    ("", &[("req/s", "request-throughput", "value")]),
    (
        "output tok/s",
        &[
            ("all", "output-throughput", "value"),
            ("steady", "output-throughput-steady", "value"),
            ("/user", "output-throughput-per-user", "mean"),
            ("/GPU", "output-throughput-per-gpu", "value"),
        ],
    ),
];

const fn percentiles(metric: &'static str) -> [Column; 3] {
    [("p50", metric, "p50"), ("p90", metric, "p90"), ("p99", metric, "p99")]
}

/// Ids of the metrics that are printed here.
pub(super) fn printed_metrics() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|(_, group)| group.iter().map(|(_, metric, _)| *metric))
}

/// Above this share of its cores a generator may hide the server's limits.
const BUSY_GENERATOR: f64 = 0.8;
/// `ended_by` of a level that sent all its requests: not worth a word.
const ALL_REQUESTS: &str = "requests";
const INDENT: usize = 2;

/// All repeats of one level.
struct Line<'a> {
    level: Level,
    all: Vec<&'a PointSummary>,
    /// The valid ones, or all when there is none.
    used: Vec<&'a PointSummary>,
}

impl Line<'_> {
    fn is_valid(&self) -> bool {
        self.used.iter().all(|point| point.is_valid())
    }

    /// Mean over the repeats in use, if all of them have the number.
    fn number(&self, metric: &str, statistic: &str) -> Option<f64> {
        let numbers: Option<Vec<_>> = self.used.iter().map(|point| point.number(metric, statistic)).collect();
        numbers.map(|numbers| numbers.iter().sum::<f64>() / numbers.len() as f64)
    }
}

pub(super) fn section(results: &RunResults) -> String {
    let mut out = String::new();
    for (title, sweep) in sweeps(results) {
        out.push_str(&format!("\n{title}\n"));
        out.push_str(&table(&sweep));
        out.push_str(&remarks(&sweep));
    }
    if out.is_empty() {
        return out;
    }
    let notes = notes(results);
    let gap = if notes.is_empty() { "" } else { "\n" };
    format!("LEVELS\n{out}{gap}{notes}")
}

/// The points of each deployment and workload that has some, with the title of their table.
pub(super) fn sweeps(results: &RunResults) -> impl Iterator<Item = (String, Vec<&PointSummary>)> {
    let workloads = results.workloads();
    let several = workloads.len() > 1;
    let all = workloads.into_iter().flat_map(move |workload| {
        results.deployments().into_iter().map(move |deployment| {
            let sweep = results.sweep(&deployment, &workload);
            let of = if several { format!(", {workload}") } else { String::new() };
            let mark = caveats::mark(&sweep.iter().map(|point| &point.meta).collect::<Vec<_>>());
            (format!("{deployment}{of}{mark}"), sweep)
        })
    });
    all.filter(|(_, sweep)| !sweep.is_empty())
}

fn lines<'a>(sweep: &[&'a PointSummary]) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    for point in sweep {
        match lines.last_mut() {
            Some(line) if line.level == point.meta.level => line.all.push(point),
            Some(_) | None => lines.push(Line { level: point.meta.level, all: vec![point], used: Vec::new() }),
        }
    }
    for line in &mut lines {
        line.used = line.all.iter().copied().filter(|point| point.is_valid()).collect();
        if line.used.is_empty() {
            line.used.clone_from(&line.all);
        }
    }
    lines
}

fn table(sweep: &[&PointSummary]) -> String {
    let lines = lines(sweep);
    let repeated = lines.iter().any(|line| line.all.len() > 1);
    let mut head = vec!["".to_owned(), "level".to_owned()];
    if repeated {
        head.push("runs".to_owned());
    }
    head.extend(["ok", "fail"].map(str::to_owned));
    let mut spans = Vec::new();
    for (title, group) in GROUPS {
        // An empty column sets the groups apart.
        head.push(String::new());
        spans.push((head.len(), group.len(), *title));
        head.extend(group.iter().map(|(title, _, _)| (*title).to_owned()));
    }
    let mut rows = vec![head];
    for line in &lines {
        let count = |of: fn(&PointSummary) -> u64| line.used.iter().map(|point| of(point)).sum::<u64>().to_string();
        let mark = if line.is_valid() { "" } else { "!" };
        let mut row = vec![mark.to_owned(), line.level.to_string()];
        if repeated {
            let valid = line.all.iter().filter(|point| point.is_valid()).count();
            row.push(format!("{valid}/{}", line.all.len()));
        }
        row.extend([count(|point| point.counts.ok), count(|point| point.counts.failed)]);
        for (_, group) in GROUPS {
            row.push(String::new());
            row.extend(group.iter().map(|(_, metric, statistic)| {
                line.number(metric, statistic).map_or_else(|| "-".to_owned(), format_quantity)
            }));
        }
        rows.push(row);
    }
    let align: Vec<_> = (0..rows[0].len()).map(|column| if column < 2 { Align::Left } else { Align::Right }).collect();
    group_line(&widths(&rows), &spans) + &columns(&rows, &align, INDENT, 1)
}

/// The titles of the groups, centred between dashes above their columns.
fn group_line(widths: &[usize], spans: &[(usize, usize, &str)]) -> String {
    let mut line = String::new();
    for (start, count, title) in spans.iter().filter(|(_, _, title)| !title.is_empty()) {
        let from = INDENT + widths[..*start].iter().sum::<usize>() + start;
        let width = widths[*start..start + count].iter().sum::<usize>() + count - 1;
        line.push_str(&" ".repeat(from.saturating_sub(line.chars().count())));
        let around = width.saturating_sub(title.len() + 2);
        let (left, right) = (around / 2, around - around / 2);
        line.push_str(&format!("{} {title} {}", "-".repeat(left), "-".repeat(right)));
    }
    format!("{}\n", line.trim_end())
}

/// What stands below a table: broken rules, the work that was done, how the generator did.
fn remarks(sweep: &[&PointSummary]) -> String {
    let mut out = String::new();
    for point in sweep {
        for breach in &point.invalid {
            let again = if breach.momentary { " (of the moment: a resume measures it again)" } else { "" };
            let words = format!("not valid ({}): {}{again}", breach.rule, breach.reason);
            out.push_str(&wrapped(&format!("  ! {} ", place(point, sweep)), &words));
        }
    }
    for point in sweep {
        let early = point.ended_by.as_deref().filter(|ended_by| *ended_by != ALL_REQUESTS);
        let given_up = Some(point.counts.cancelled).filter(|count| *count > 0);
        let unsent = Some(point.counts.unsent).filter(|count| *count > 0);
        let connected = Some(point.waited_for_connection).filter(|count| *count > 0);
        let words: Vec<_> = early
            .map(|ended_by| format!("ended by {ended_by}"))
            .into_iter()
            .chain(given_up.map(|count| format!("{count} requests given up by us")))
            .chain(unsent.map(|count| format!("{count} arrivals never sent")))
            .chain(connected.map(|count| format!("{count} requests waited for a connection, in their latency too")))
            .collect();
        if !words.is_empty() {
            out.push_str(&wrapped("  ", &format!("{}: {}", place(point, sweep), words.join(", "))));
        }
    }
    out.push_str(&wrapped("  work: ", &work(sweep)));
    out.push_str(&conversations(sweep));
    out.push_str(&wrapped("  generator: ", &generator(sweep)));
    out
}

/// How conversations ended, where requests are turns of some.
fn conversations(sweep: &[&PointSummary]) -> String {
    let levels = sweep.iter().filter_map(|point| Some(format!("{}: {}", place(point, sweep), point.conversations?)));
    let levels: Vec<_> = levels.collect();
    if levels.is_empty() {
        return String::new();
    }
    let level = match sweep.iter().any(|point| point.meta.level.kind() == LevelKind::Rate) {
        true => "rates are of conversations that begin, each later turn arrives when its user has thought",
        false => "concurrency counts conversations, those whose users think among them",
    };
    wrapped("  conversations: ", &format!("{level}. {}", levels.join(". ")))
}

/// `c64`, or `c64/r2` where levels are repeated.
pub(super) fn place(point: &PointSummary, sweep: &[&PointSummary]) -> String {
    let repeated = sweep.iter().any(|other| other.meta.repeat > 1);
    if repeated { format!("{}/r{}", point.meta.level, point.meta.repeat) } else { point.meta.level.to_string() }
}

/// Whether the deployment did what was asked: lengths, finish reasons, cache, how tokens were counted.
fn work(sweep: &[&PointSummary]) -> String {
    let mut parts = Vec::new();
    for (name, metric, asked) in [
        ("ISL", "input-sequence-length", (|point| point.asked.isl) as fn(&PointSummary) -> Option<f64>),
        ("OSL", "output-sequence-length", |point| point.asked.osl),
    ] {
        let achieved: Vec<_> = sweep.iter().filter_map(|point| point.number(metric, "mean")).collect();
        let asked: Vec<_> = sweep.iter().filter_map(|point| asked(point)).collect();
        match (range(&achieved, 1), range(&asked, 1)) {
            (Some(achieved), Some(asked)) => parts.push(format!("mean {name} {achieved} of {asked} asked")),
            (Some(achieved), None) => parts.push(format!("mean {name} {achieved}")),
            (None, _) => parts.push(format!("{name} not told by the server")),
        }
    }
    let mut reasons = std::collections::BTreeMap::new();
    let mut sources = std::collections::BTreeSet::new();
    for point in sweep {
        sources.extend(point.token_sources.keys().copied());
        for (reason, count) in &point.finish_reasons {
            *reasons.entry(reason.clone()).or_insert(0) += count;
        }
    }
    parts.push(format!("finish reasons {}", mix(&reasons)));
    let cached: Vec<_> = sweep.iter().filter_map(|point| point.cached_share.map(|share| 100.0 * share)).collect();
    if let Some(cached) = range(&cached, 1) {
        parts.push(format!("prompt tokens from cache {cached} %"));
    }
    let sources: Vec<_> = sources
        .into_iter()
        .map(|source| match source {
            TokenSource::Usage => "the server's usage",
            TokenSource::Tokenizer => "the local tokenizer",
            TokenSource::Chunks => "counting chunks (a lower bound)",
            TokenSource::None => "nothing",
        })
        .collect();
    if !sources.is_empty() {
        parts.push(format!("output tokens from {}", sources.join(" and ")));
    }
    parts.extend(merging(sweep));
    parts.push(counters(sweep));
    parts.join("; ")
}

/// Whether tokens came several to a chunk, and what the inter-token latency is worth then.
fn merging(sweep: &[&PointSummary]) -> Option<String> {
    let per_chunk: Vec<_> = sweep.iter().filter_map(|point| point.number("tokens-per-chunk", "mean")).collect();
    let tokens = range(&per_chunk, 2)?;
    if sweep.iter().all(|point| point.chunk_tokens_told == point.counts.ok) {
        return Some(format!("{tokens} tokens a chunk, told by the server with each (continuous usage)"));
    }
    let short = sweep.iter().filter_map(|point| point.itl_shortfall()).reduce(f64::max)?;
    Some(format!(
        "{tokens} TOKENS A CHUNK AND NOT TOLD HOW MANY THE FIRST HOLDS: the ITL takes it for one and is too low by up to \
         {:.1} %",
        100.0 * short
    ))
}

/// Whether the server's own counters bear ours out.
fn counters(sweep: &[&PointSummary]) -> String {
    let checks: Vec<_> = sweep.iter().flat_map(|point| &point.server_counters).collect();
    let without = sweep.iter().filter(|point| point.server_counters.is_empty()).count();
    let differing = checks.iter().filter(|check| !check.agrees()).count();
    let failed: u64 = sweep.iter().filter_map(|point| point.server_counters.first()).map(|check| check.failed).sum();
    let what: std::collections::BTreeSet<_> = checks.iter().map(|check| check.what.as_str()).collect();
    let what = what.into_iter().collect::<Vec<_>>().join(", ");
    let what = match failed {
        0 => what,
        failed => format!("{what}; not exactly: {failed} requests failed or were given up"),
    };
    match (checks.len(), differing, without) {
        (0, _, _) => {
            let unread = sweep.iter().rev().find_map(|point| point.meta.facts.get(METRICS_UNREAD));
            let why = unread.map_or_else(String::new, |unread| format!(": {unread}"));
            format!("no counters of the server to check against{why}")
        }
        (_, 0, 0) => format!("the server's own counters agree ({what})"),
        (_, 0, without) => {
            format!("the server's own counters agree ({what}) where it has them, {without} levels without")
        }
        (all, differing, _) => format!("{differing} of {all} counters of the server differ from ours"),
    }
}

fn generator(sweep: &[&PointSummary]) -> String {
    if let Some(tool) = sweep.iter().find_map(|point| point.meta.measured_by.as_deref()) {
        return format!("{tool}; how it did itself is not known");
    }
    let largest = |of: fn(&PointSummary) -> f64| sweep.iter().map(|point| of(point)).fold(0.0, f64::max);
    let busiest = largest(|point| point.health.cpu_share);
    let watch = if busiest > BUSY_GENERATOR { " - NEAR ITS OWN LIMIT: high levels may be the generator's" } else { "" };
    let workers = sweep.iter().map(|point| point.health.workers).max().unwrap_or(0);
    let shared = if workers > 1 {
        let doubt = largest(|point| point.health.clock_uncertainty_ms);
        format!("; {workers} generators, clocks equal within {doubt:.2} ms")
    } else {
        String::new()
    };
    format!(
        "send lag p99 at most {:.2} ms, event loop late by p99 at most {:.2} ms, CPU at most {:.0} % of its cores, \
         at most {:.2} SSE events a read; transport {}{shared}{watch}",
        largest(|point| point.health.send_lag_p99_ms),
        largest(|point| point.health.loop_lag_p99_ms),
        100.0 * busiest,
        largest(|point| point.health.events_per_read),
        transports(sweep.iter().copied())
    )
}

/// `200.0` or `199.8..200.3`
fn range(values: &[f64], decimals: usize) -> Option<String> {
    let low = values.iter().copied().reduce(f64::min)?;
    let high = values.iter().copied().reduce(f64::max)?;
    let (low, high) = (format!("{low:.decimals$}"), format!("{high:.decimals$}"));
    Some(if low == high { low } else { format!("{low}..{high}") })
}

/// What the marks of the tables mean; only those that are used.
fn notes(results: &RunResults) -> String {
    let points = || results.points.iter().map(|point| &point.summary);
    let mut out = String::new();
    if points().any(|point| !point.is_valid()) {
        out.push_str(&wrapped("! ", "not valid: never drawn, compared or named best; shown for diagnosis only"));
    }
    let small = |p: u8| points().any(|point| point.counts.ok > 0 && point.counts.ok < smallest_sample(p));
    if small(99) {
        out.push_str(&wrapped(
            "- ",
            &format!(
                "not told: a percentile is printed only from so many successful requests on: p50 {}, p90 {}, p99 {}",
                smallest_sample(50),
                smallest_sample(90),
                smallest_sample(99)
            ),
        ));
    }
    let unknown: Vec<Name> = results.deployments().into_iter().filter(|name| lacks_gpus(results, name)).collect();
    if !unknown.is_empty() {
        let names: Vec<_> = unknown.iter().map(Name::as_str).collect();
        let words = format!("/GPU: the number of GPUs of {} is not known (`gpus = N` in the plan)", names.join(", "));
        out.push_str(&wrapped("- ", &words));
    }
    if points().any(|point| point.meta.repeat > 1) {
        out.push_str("Levels are means over the valid repeats; ok and fail are their sums.\n");
    }
    out
}

fn lacks_gpus(results: &RunResults, name: &Name) -> bool {
    let mut own = results.points.iter().filter(|point| point.summary.meta.deployment == *name).peekable();
    own.peek().is_some() && own.all(|point| point.summary.meta.gpus.is_none())
}
