//! Shapes of load: which levels a workload has, and what decides when a request of theirs is sent and when a level ends.
//!
//! A workload has one kind of levels: `concurrency`, `concurrency-per-gpu`, `request-rate`, `arrivals-file` or `search`.

use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::build::Fields;
use super::judgeable::is_never_known;
use super::model::{Objective, Values, Workload};
use super::trace::{self, Trace};
use crate::base::{Diagnostic, Name, Problems, format_duration};
use crate::measure::{Formula, Level, PrecisionRule, Rate, metric};

/// The keys of which a workload has one.
const KINDS: [&str; 5] = ["concurrency", "concurrency-per-gpu", "request-rate", "arrivals-file", "search"];

/// What a workload says about its load beside a list of concurrencies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadShape {
    /// Closed-loop levels as multiples of each deployment's GPUs.
    pub concurrency_per_gpu: Vec<u32>,
    /// Open-loop levels, requests per second.
    pub request_rate: Vec<Rate>,
    /// How arrivals of an open loop are spread.
    pub arrivals: Spread,
    /// Arrivals that were recorded elsewhere: one level of its own.
    pub trace: Option<Trace>,
    /// The most requests of an open loop that are under way.
    pub max_concurrency: Option<u32>,
    /// How long requests under way may go on after the end of a level; `None`: see [`Workload::grace`].
    pub grace: Option<Duration>,
    /// A level ends as soon as a mean is known so well.
    pub precision: Option<PrecisionRule>,
    /// Levels are found, not listed.
    pub search: Option<Search>,
}

/// How arrivals are spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// Evenly.
    Constant,
    /// As independent users come.
    #[default]
    Poisson,
    /// Gamma gaps: coefficient of variation 1 / sqrt(burstiness).
    Gamma {
        /// The shape of the gamma distribution.
        burstiness: f64,
    },
}

/// `[workload.search]`: the highest load that keeps the objectives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// What is varied.
    pub over: SearchOver,
    /// The first load tried, and the lowest.
    pub from: f64,
    /// The highest.
    pub to: f64,
    /// The answer lies between two loads that are not further apart than this share.
    pub resolution: f64,
    /// At most so many levels are measured.
    pub max_points: u32,
    /// Successful requests below which a load cannot be judged: what the percentiles of the objectives need.
    #[serde(default)]
    pub least: u64,
}

/// What a search varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SearchOver {
    /// Requests under way.
    Concurrency,
    /// Arrivals per second.
    RequestRate,
}

impl Workload {
    /// The levels that the plan lists for a deployment with so many GPUs; the first one of a search.
    pub fn levels(&self, gpus: Option<f64>) -> Vec<Level> {
        let shape = &self.shape;
        let per_gpu = |users: &u32| gpus.map(|gpus| ((f64::from(*users) * gpus).round() as u32).max(1));
        let mut levels: Vec<Level> = self.concurrency.iter().copied().map(Level::Concurrency).collect();
        levels.extend(shape.concurrency_per_gpu.iter().filter_map(per_gpu).map(Level::Concurrency));
        levels.extend(shape.request_rate.iter().copied().map(Level::Rate));
        levels.extend(shape.trace.as_ref().map(|trace| Level::Rate(trace.rate())));
        levels.extend(shape.search.as_ref().and_then(Search::first));
        let mut seen = std::collections::HashSet::new();
        levels.retain(|level| seen.insert(*level));
        levels
    }

    /// At most so many levels will be measured on one deployment in one block.
    pub fn most_levels(&self) -> usize {
        let shape = &self.shape;
        let listed = self.concurrency.len() + shape.concurrency_per_gpu.len() + shape.request_rate.len();
        listed
            + usize::from(shape.trace.is_some())
            + shape.search.as_ref().map_or(0, |search| search.max_points as usize)
    }

    /// Requests under way in the warm-up: as many as in the highest level, and a few where levels are rates.
    pub fn warm_up_concurrency(&self) -> u32 {
        let users = |level: Level| match level {
            Level::Concurrency(users) => users,
            Level::Rate(_) => 8,
        };
        // Without a number of GPUs a level for each of them is one for all.
        self.levels(Some(1.0)).into_iter().map(users).max().unwrap_or(1).max(1)
    }

    /// Requests of a level: as asked; else the larger of 10 x concurrency and 400, of a minute's arrivals and 400, or all of
    /// a trace. Of conversations at least two for each user, and a trace and a minute have as many of them as arrivals.
    pub fn requests_at(&self, level: Level) -> u64 {
        let turns = self.content.mean_turns();
        let of = |conversations: f64| (turns * conversations).ceil() as u64;
        let trace = self.shape.trace.as_ref().map(|trace| of(trace.moments_us.len() as f64));
        let usual = match level {
            Level::Concurrency(users) => of(2.0 * f64::from(users)).max(10 * u64::from(users)).max(400),
            Level::Rate(rate) => trace.unwrap_or(of(60.0 * rate.per_second()).max(400)),
        };
        let asked = self.requests.unwrap_or(usual.max(self.least()));
        trace.map_or(asked, |all| asked.min(all))
    }

    /// Successful requests before which time does not end a level: a load of a search that is too small a sample for its
    /// objectives would never be measured again, and the search would not go on.
    pub fn least(&self) -> u64 {
        self.shape.search.as_ref().map_or(0, |search| search.least)
    }

    /// How long requests under way may go on after the end of a level: as the plan says; else as long as one request in a
    /// closed loop, and 30 s in an open one, whose backlog may be without end.
    pub fn grace(&self, level: Level) -> Duration {
        let usual = match level {
            Level::Concurrency(_) => self.request.timeout,
            Level::Rate(_) => Duration::from_secs(30).min(self.request.timeout),
        };
        self.shape.grace.unwrap_or(usual)
    }

    /// What decides about a level's load beside its requests and its time, for its key. Empty for a plain closed loop.
    pub(super) fn shape_at(&self, level: Level) -> serde_json::Map<String, Value> {
        let shape = &self.shape;
        let mut fields = serde_json::Map::new();
        match level {
            Level::Concurrency(_) => {}
            Level::Rate(_) => {
                let arrivals = match &shape.trace {
                    Some(trace) => json!({ "trace": crate::base::digest_json(&json!(trace.moments_us)) }),
                    None => json!(shape.arrivals),
                };
                fields.insert("arrivals".to_owned(), arrivals);
                fields.insert("max-concurrency".to_owned(), json!(shape.max_concurrency));
            }
        }
        if matches!(level, Level::Rate(_)) || shape.grace.is_some() {
            fields.insert("grace-s".to_owned(), json!(self.grace(level).as_secs_f64()));
        }
        fields.extend(shape.precision.as_ref().map(|rule| ("precision".to_owned(), json!(rule))));
        if self.least() > 0 {
            fields.insert("least-requests".to_owned(), json!(self.least()));
        }
        fields
    }

    /// `8 requests/s (poisson)`
    pub(super) fn describe(&self, level: Level) -> String {
        let conversations = self.content.conversations.is_some();
        match level {
            Level::Concurrency(1) if conversations => "1 conversation at a time".to_owned(),
            Level::Concurrency(users) if conversations => format!("{users} conversations at a time"),
            Level::Concurrency(1) => "1 concurrent request".to_owned(),
            Level::Concurrency(users) => format!("{users} concurrent requests"),
            Level::Rate(rate) => {
                let spread = match (&self.shape.trace, self.shape.arrivals) {
                    (Some(_), _) => "as recorded".to_owned(),
                    (None, Spread::Constant) => "constant".to_owned(),
                    (None, Spread::Poisson) => "poisson".to_owned(),
                    (None, Spread::Gamma { burstiness }) => format!("gamma, burstiness {burstiness}"),
                };
                let of = if conversations { " of conversations" } else { "" };
                let arrivals = if rate.per_second() == 1.0 { "arrival" } else { "arrivals" };
                format!("{rate} {arrivals}{of} a second ({spread})")
            }
        }
    }
}

/// Takes out the default of `concurrency` where the workload has levels of another kind, and fills in what such levels
/// have by default. Reports kinds that do not go together.
pub(super) fn settle(values: &mut Values, problems: &mut Problems) {
    let written = |values: &Values, key: &str| values.spans.keys().any(|path| path == key || within(path, key));
    let kinds: Vec<&str> = KINDS.into_iter().filter(|key| written(values, key)).collect();
    if let [first, second, ..] = kinds[..] {
        problems.push(
            Diagnostic::error(format!("a workload has one kind of levels: `{first}` or `{second}`, not both"))
                .at(values.span(second).cloned())
                .help("make two workloads of it: [workloads.ONE] and [workloads.OTHER]"),
        );
        return;
    }
    let Some(kind) = kinds.first().copied().filter(|kind| *kind != "concurrency") else {
        refuse_of_open_loops(values, problems);
        return;
    };
    values.json.shift_remove("concurrency");
    let over_rates = values.json.get("search").and_then(|search| search["over"].as_str()) == Some("request-rate");
    if kind != "request-rate" && kind != "arrivals-file" && !over_rates {
        refuse_of_open_loops(values, problems);
        return;
    }
    if kind == "arrivals-file" {
        for key in ["arrivals", "burstiness"] {
            if written(values, key) {
                problems.push(
                    Diagnostic::error(format!("`{key}` is of no use: `arrivals-file` says when requests arrive"))
                        .at(values.span(key).cloned())
                        .help("take one of them out"),
                );
            }
        }
        return;
    }
    values.json.entry("arrivals".to_owned()).or_insert_with(|| json!("poisson"));
    let gamma = values.json["arrivals"] == "gamma";
    // One that was written and does not fit has been reported.
    if gamma != written(values, "burstiness") {
        let (key, help) = if gamma {
            ("arrivals", "add burstiness = 0.5: below 1 requests come in bursts, above 1 more evenly than Poisson's")
        } else {
            ("burstiness", "write arrivals = \"gamma\", or take it out")
        };
        let message = if gamma { "gamma arrivals need `burstiness`" } else { "`burstiness` is of gamma arrivals only" };
        problems.push(Diagnostic::error(message).at(values.span(key).cloned()).help(help));
    }
}

fn within(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'))
}

fn refuse_of_open_loops(values: &Values, problems: &mut Problems) {
    for key in ["arrivals", "burstiness", "max-concurrency"] {
        if values.spans.contains_key(key) {
            problems.push(
                Diagnostic::error(format!("`{key}` is of an open loop, and this workload has a closed one"))
                    .at(values.span(key).cloned())
                    .help("write request-rate = [1, 2, 4] instead of a concurrency, or take it out"),
            );
        }
    }
}

/// The shape that a workload's table says.
pub(super) fn build(values: &Values, problems: &mut Problems) -> Option<LoadShape> {
    let fields = Fields(&values.json);
    let numbers = |key: &str| match values.json.get(key) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_f64).collect(),
        Some(one) => one.as_f64().into_iter().collect(),
        None => Vec::new(),
    };
    let whole = |numbers: Vec<f64>| numbers.into_iter().map(|number| number as u32).collect();
    let burstiness = fields.number("burstiness").unwrap_or(1.0);
    let trace = match fields.path("arrivals-file") {
        Some(path) => Some(read_trace(path, values, problems)?),
        None => None,
    };
    let precision = fields.table("precision").filter(|table| table.text("metric").is_some());
    let search = fields.table("search").filter(|table| table.text("over").is_some());
    Some(LoadShape {
        concurrency_per_gpu: whole(numbers("concurrency-per-gpu")),
        request_rate: numbers("request-rate").into_iter().filter_map(Rate::new).collect(),
        arrivals: match fields.text("arrivals").as_deref() {
            Some("constant") => Spread::Constant,
            Some("gamma") => Spread::Gamma { burstiness },
            Some(_) | None => Spread::Poisson,
        },
        trace,
        max_concurrency: fields.whole("max-concurrency"),
        grace: fields.duration("grace"),
        precision: match precision {
            Some(table) => Some(PrecisionRule {
                metric: metric(&table.text("metric")?)?.id.to_owned(),
                statistic: table.choice("statistic")?,
                relative: table.number("relative")?,
                confidence: table.number("confidence")?,
                min_requests: table.whole("min-requests")?,
            }),
            None => None,
        },
        search: match search {
            Some(table) => Some(Search {
                over: table.choice("over")?,
                from: table.number("from")?,
                to: table.number("to")?,
                resolution: table.number("resolution")?,
                max_points: table.whole("max-points")?,
                least: 0,
            }),
            None => None,
        },
    })
}

fn read_trace(path: PathBuf, values: &Values, problems: &mut Problems) -> Option<Trace> {
    match trace::read(&path) {
        Ok(trace) => Some(trace),
        Err(fault) => {
            problems.push(
                Diagnostic::error(format!("{}: {fault}", path.display()))
                    .at(values.span("arrivals-file").cloned())
                    .help("one JSON object a line with \"timestamp\" in milliseconds, ascending"),
            );
            None
        }
    }
}

/// Tells searches how many requests their objectives need, and refuses those that have fewer.
pub(super) fn judge_searches(
    workloads: &mut IndexMap<Name, Workload>,
    objectives: &[Objective],
    values: &Values,
    problems: &mut Problems,
) {
    let Some(objective) = objectives.iter().max_by_key(|objective| objective.least_requests()) else { return };
    let least = objective.least_requests();
    for (name, workload) in workloads {
        let Some(search) = &mut workload.shape.search else { continue };
        search.least = least;
        if let Some(requests) = workload.requests.filter(|requests| *requests < least) {
            problems.push(
                Diagnostic::error(format!(
                    "no load of the search could be judged: {} of {} needs {least} requests, and each load has {requests}",
                    objective.statistic, objective.metric
                ))
                .at(values.span(&format!("workloads.{name}.requests")).cloned())
                .help(format!("leave `requests` out, or ask for a tenth more than {least}: some may fail")),
            );
        }
    }
}

/// Gives a trace the time that it takes, where the plan does not say how long; warns where arrivals will be left out.
pub(super) fn settle_duration(workload: &mut Workload, values: &mut Values, problems: &mut Problems) {
    let written = values.spans.contains_key("duration");
    if let Some(trace) = &workload.shape.trace {
        let last = (workload.requests.unwrap_or(u64::MAX).max(1) - 1).min(trace.moments_us.len() as u64 - 1);
        let needed = Duration::from_micros(trace.moments_us[last as usize]);
        if !written {
            // The last arrival and the end must not meet.
            workload.duration = Duration::from_secs(needed.as_secs() + 2);
            values.json.insert("duration".to_owned(), json!(format!("{}s", workload.duration.as_secs())));
        } else if needed > workload.duration {
            let sent = trace.moments_us.iter().filter(|us| Duration::from_micros(**us) <= workload.duration).count();
            problems.push(
                Diagnostic::warning(format!(
                    "`duration` ends the level after {}: {sent} of {} arrivals come by then, the last after {}",
                    format_duration(workload.duration),
                    last + 1,
                    format_duration(needed)
                ))
                .at(values.span("duration").cloned())
                .help("leave `duration` out to send them all"),
            );
        }
    }
    // Arrivals begin conversations, each of several requests.
    let turns = workload.content.mean_turns();
    let too_slow = |rate: &&Rate| {
        let sent = turns * rate.per_second() * workload.duration.as_secs_f64();
        workload.requests.is_some_and(|requests| sent < requests as f64)
    };
    if let (Some(requests), Some(rate)) = (workload.requests, workload.shape.request_rate.iter().find(too_slow)) {
        problems.push(
            Diagnostic::warning(format!(
                "at {rate} a second {requests} requests take {}, and `duration` ends the level after {}",
                format_duration(Duration::from_secs_f64(requests as f64 / turns / rate.per_second())),
                format_duration(workload.duration)
            ))
            .at(values.span("requests").cloned())
            .help("raise `duration`, or ask for fewer requests"),
        );
    }
}

/// Rules between keys of one shape.
pub(super) fn check(workload: &Workload, values: &Values, problems: &mut Problems) {
    let place = |key: &str| values.span(key).cloned();
    let shape = &workload.shape;
    if let Some(rule) = &shape.precision
        && metric(&rule.metric).is_some_and(|row| !matches!(row.formula, Formula::PerRequest(_)))
    {
        problems.push(
            Diagnostic::error(format!("`{}` has no value for a single request", rule.metric))
                .at(place("precision.metric"))
                .help("choose a metric such as time-to-first-token or request-latency"),
        );
    }
    if let Some(never) = is_never_known(workload) {
        problems.push(
            Diagnostic::error(format!("`{never}` counts from arrivals, and a closed loop has none"))
                .at(place("precision.metric"))
                .help("choose a metric such as time-to-first-token, or give the workload a `request-rate`"),
        );
    }
    let Some(search) = &shape.search else { return };
    if search.from >= search.to {
        problems.push(
            Diagnostic::error(format!(
                "a search goes upwards, and `from` ({}) is not below `to` ({})",
                search.from, search.to
            ))
            .at(place("search.from").or_else(|| place("search"))),
        );
    }
    if search.over == SearchOver::Concurrency {
        for (key, value) in [("from", search.from), ("to", search.to)] {
            if value.fract() != 0.0 || value < 1.0 {
                problems.push(
                    Diagnostic::error(format!("`{key}` is a concurrency, and {value} is no whole number of requests"))
                        .at(place(&format!("search.{key}")).or_else(|| place("search"))),
                );
            }
        }
    }
    if workload.repeats > 1 {
        problems.push(
            Diagnostic::error("a search measures each load once, and `repeats` asks for more")
                .at(place("repeats"))
                .help("leave `repeats` out; measure the load found with repeats in a second plan"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(shape: LoadShape) -> Workload {
        serde_json::from_value(json!({
            "name": "default", "isl": 10, "isl_std": 0.0, "osl": 10, "osl_std": 0.0, "concurrency": [], "shape": shape,
            "requests": null, "duration": {"secs": 180, "nanos": 0}, "warm_up_requests": 0, "repeats": 1, "seed": 0,
            "request": {
                "api": "chat", "temperature": null, "extra": {},
                "timeout": {"secs": 600, "nanos": 0}, "idle_timeout": {"secs": 60, "nanos": 0},
            },
            "span": null,
        }))
        .unwrap()
    }

    #[test]
    fn levels_per_gpu_are_rounded_to_whole_users_and_each_is_measured_once() {
        let per_gpu = workload(LoadShape { concurrency_per_gpu: vec![1, 2, 3, 8], ..LoadShape::default() });
        let users = |gpus| per_gpu.levels(gpus).into_iter().map(Level::value).collect::<Vec<_>>();
        assert_eq!(users(Some(2.0)), [2.0, 4.0, 6.0, 16.0]);
        assert_eq!(users(Some(1.5)), [2.0, 3.0, 5.0, 12.0]);
        assert_eq!(users(Some(0.25)), [1.0, 2.0]);
        assert_eq!(users(None), [] as [f64; 0]);
    }

    #[test]
    fn a_trace_lasts_as_long_as_its_arrivals_unless_the_plan_says_how_long() {
        let trace = Trace { moments_us: vec![0, 1_000_000, 600_000_000] };
        let shape = LoadShape { trace: Some(trace), ..LoadShape::default() };
        let lasts = |requests: Option<u64>| {
            let (mut workload, mut values) = (workload(shape.clone()), Values::default());
            workload.requests = requests;
            settle_duration(&mut workload, &mut values, &mut Problems::default());
            assert_eq!(values.json["duration"], json!(format!("{}s", workload.duration.as_secs())));
            workload.duration.as_secs()
        };
        assert_eq!((lasts(None), lasts(Some(2))), (602, 3));
    }
}
