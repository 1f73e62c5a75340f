//! What single keys cannot show: values that do not go together.

use super::build::Fields;
use super::catalog::Catalog;
use super::fit::{HOOK_PREFIX, near};
use super::judgeable::check_objectives;
use super::keys::{MOST_CONCURRENT, OWN_FIELDS};
use super::model::{Comparison, Deployment, Plan, Values, Workload};
use super::shapes::{self, SearchOver};
use crate::base::{Diagnostic, Problems, Span, format_duration};
use crate::measure::{Better, metric};

/// The metric that needs the number of GPUs.
const PER_GPU: &str = "output-throughput-per-gpu";

/// More points than this cannot be meant: at three minutes each they take a month.
const MOST_POINTS: usize = 20_000;

/// Rules between keys of one workload that hold whatever else is wrong with it.
pub(super) fn check_lengths(values: &Values, problems: &mut Problems) {
    for (mean_key, std_key) in [("isl", "isl-std"), ("osl", "osl-std")] {
        let fields = Fields(&values.json);
        if let (Some(mean), Some(std)) = (fields.number(mean_key), fields.number(std_key))
            && std > mean
        {
            problems.push(
                Diagnostic::error(format!("`{std_key}` ({std}) is larger than `{mean_key}` ({mean})"))
                    .at(values.span(std_key).or_else(|| values.span(mean_key)).cloned())
                    .help("lengths below 1 are drawn again, so the mean would not be reached: lower the deviation"),
            );
        }
    }
}

/// Rules within one workload.
pub(super) fn check_workload(workload: &Workload, values: &Values, problems: &mut Problems) {
    let place = |key: &str| values.span(key).cloned();
    if workload.request.idle_timeout > workload.request.timeout {
        problems.push(
            Diagnostic::warning(format!(
                "`idle-timeout` ({}) is longer than `timeout` ({}) and never acts",
                format_duration(workload.request.idle_timeout),
                format_duration(workload.request.timeout)
            ))
            .at(place("request.idle-timeout").or_else(|| place("request.timeout"))),
        );
    }
    shapes::check(workload, values, problems);
    let searched = workload.shape.search.as_ref().filter(|search| search.over == SearchOver::Concurrency);
    let levels = workload.concurrency.iter().copied().chain(searched.map(|search| search.to as u32));
    refuse_few_requests(workload, levels, "the largest concurrency", place("requests"), problems);
    for (field, instead) in OWN_FIELDS {
        if workload.request.extra.contains_key(*field) {
            problems.push(
                Diagnostic::error(format!("`{field}` is set by the load generator"))
                    .at(place(&format!("request.extra.{field}")))
                    .help(format!("use {instead}")),
            );
        }
    }
}

/// Refuses fewer requests than are to be under way at one time.
fn refuse_few_requests(
    workload: &Workload,
    mut levels: impl Iterator<Item = u32>,
    largest: &str,
    place: Option<Span>,
    problems: &mut Problems,
) {
    let turns = workload.content.mean_turns();
    if let Some(requests) = workload.requests
        && let Some(level) = levels.find(|level| f64::from(*level) * turns > requests as f64)
    {
        let what = match workload.content.conversations {
            Some(_) => format!("{level} conversations of {} at a time", turns_of(turns)),
            None => format!("{level} at a time"),
        };
        problems.push(
            Diagnostic::error(format!("{requests} requests never make {what}"))
                .at(place)
                .help(format!("ask for at least ten times {largest}, or leave `requests` out")),
        );
    }
}

/// Levels that each deployment has by its own number of GPUs.
fn check_levels_per_gpu(plan: &Plan, catalog: &Catalog, values: &Values, problems: &mut Problems) {
    for (name, workload) in &plan.workloads {
        let place = |key: &str| values.span(&format!("workloads.{name}.{key}")).cloned();
        for deployment in plan.deployments.values() {
            let Some(gpus) = gpus_of(plan, deployment, catalog) else { continue };
            let users = workload.shape.concurrency_per_gpu.iter().map(|users| f64::from(*users) * gpus);
            if let Some(users) = users.clone().find(|users| *users > MOST_CONCURRENT as f64) {
                problems.push(
                    Diagnostic::error(format!(
                        "on the {gpus} GPUs of `{}` that is {users} requests at a time: at most {MOST_CONCURRENT} fit",
                        deployment.name
                    ))
                    .at(place("concurrency-per-gpu")),
                );
                continue;
            }
            let largest = format!("the largest level of `{}` ({gpus} GPUs)", deployment.name);
            let users = users.map(|users| users.round() as u32);
            refuse_few_requests(workload, users, &largest, place("requests"), problems);
        }
    }
}

/// `5 turns`, `2.5 turns`
fn turns_of(turns: f64) -> String {
    let turns = (turns * 10.0).round() / 10.0;
    format!("{turns} {}", if turns == 1.0 { "turn" } else { "turns" })
}

/// `[compare]` against the names of the deployments.
pub(super) fn check_comparison(
    comparison: &Comparison,
    deployments: &[&str],
    place: impl Fn(&str) -> Option<Span>,
    problems: &mut Problems,
) {
    if let Some(baseline) = &comparison.baseline
        && !deployments.contains(&baseline.as_str())
    {
        let problem = Diagnostic::error(format!("`{baseline}` is no deployment")).at(place("baseline"));
        problems.push(match near(baseline.as_str(), deployments.iter().copied()) {
            Some(near) => problem.suggest(Some(near)),
            None => problem.help(format!("there are {}", deployments.join(", "))),
        });
    }
    let neutral = metric(&comparison.primary).is_some_and(|row| row.better == Better::Neutral);
    if neutral || comparison.primary.starts_with(HOOK_PREFIX) {
        problems.push(
            Diagnostic::error(format!("no direction of `{}` is the better one", comparison.primary))
                .at(place("primary"))
                .help("a verdict needs a metric such as output-throughput or time-to-first-token"),
        );
    }
}

/// Rules that need the whole plan, which has no error so far.
pub(super) fn check_whole(plan: &Plan, catalog: &Catalog, values: &Values, problems: &mut Problems) {
    let points: usize = plan
        .workloads
        .values()
        .map(|workload| workload.most_levels() * workload.repeats as usize * plan.deployments.len())
        .sum();
    if points > MOST_POINTS {
        problems.push(
            Diagnostic::error(format!("the plan has {points} points: at most {MOST_POINTS} fit"))
                .at(plan.workloads.values().next().and_then(|workload| workload.span.clone()))
                .help("take out levels, repeats or deployments, or split the plan"),
        );
        return;
    }
    for workload in plan.workloads.values().filter(|workload| workload.shape.search.is_some()) {
        if plan.objectives.is_empty() {
            problems.push(
                Diagnostic::error("a search looks for the highest load that keeps the objectives, and there are none")
                    .at(values.span(&format!("workloads.{}.search", workload.name)).cloned())
                    .help("add [objectives], such as time-to-first-token.p99 = 500"),
            );
        }
    }
    check_objectives(plan, values, problems);
    let tokenizers = std::iter::once((&plan.model.tokenizer, "model.tokenizer".to_owned())).chain(
        plan.deployments
            .values()
            .map(|deployment| (&deployment.tokenizer, format!("deployments.{}.tokenizer", deployment.name))),
    );
    for (path, key) in tokenizers {
        if let Some(path) = path.as_ref().filter(|path| !path.exists()) {
            problems.push(
                Diagnostic::error(format!("there is no file {}", path.display()))
                    .at(values.span(&key).cloned())
                    .help("relative paths start at the folder of the plan"),
            );
        }
    }
    for deployment in plan.deployments.values() {
        if let Some(target) = catalog.target(&deployment.target.kind) {
            target.check(plan, deployment, problems);
        }
    }
    if !problems.has_errors() {
        check_gpus(plan, catalog, values, problems);
        check_levels_per_gpu(plan, catalog, values, problems);
    }
}

/// GPUs of a deployment: as the plan says, or as its target can tell without asking anybody.
pub(super) fn gpus_of(plan: &Plan, deployment: &Deployment, catalog: &Catalog) -> Option<f64> {
    deployment.gpus.or_else(|| catalog.target(&deployment.target.kind)?.gpus(plan, deployment))
}

/// Whatever was asked for by name must have its GPUs; built-in plots that were not are left out with a note.
fn check_gpus(plan: &Plan, catalog: &Catalog, values: &Values, problems: &mut Problems) {
    let unknown: Vec<&str> = plan
        .deployments
        .values()
        .filter(|deployment| gpus_of(plan, deployment, catalog).is_none())
        .map(|deployment| deployment.name.as_str())
        .collect();
    let Some(first) = unknown.first() else { return };
    let why = |name: &&str| {
        let deployment = plan.deployments.values().find(|deployment| deployment.name.as_str() == *name)?;
        catalog.target(&deployment.target.kind)?.gpus_unknown(plan, deployment)
    };
    let reasons: Vec<_> = unknown.iter().filter_map(why).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
    let which = format!("the GPUs of `{}` are not known{reasons}", unknown.join("`, `"));
    let help = format!("add gpus = N to [deployments.{first}]");

    for (name, workload) in &plan.workloads {
        if !workload.shape.concurrency_per_gpu.is_empty() {
            let place = values.span(&format!("workloads.{name}.concurrency-per-gpu"));
            let message = format!("concurrency-per-gpu needs GPUs, and {which}");
            problems.push(Diagnostic::error(message).at(place.cloned()).help(help.as_str()));
        }
    }
    let needy = |id: &str| catalog.plots.iter().any(|row| row.needs_gpus && row.id == id);
    let mut refuse = |what: String, place: Option<&Span>| {
        problems
            .push(Diagnostic::error(format!("{what} needs GPUs, and {which}")).at(place.cloned()).help(help.as_str()));
    };
    for (index, id) in plan.plots.set.iter().flatten().enumerate().filter(|(_, id)| needy(id)) {
        refuse(format!("plot `{id}`"), values.span(&format!("plots.set.{index}")));
    }
    for (name, plot) in &plan.plots.custom {
        for (key, axis) in [("x", &plot.x), ("y", &plot.y)] {
            if axis == PER_GPU {
                refuse(format!("plot `{name}`"), values.span(&format!("plots.{name}.{key}")));
            }
        }
    }
    if plan.objectives.iter().any(|objective| objective.metric == PER_GPU) {
        refuse("this objective".to_owned(), values.span(&format!("objectives.{PER_GPU}")));
    }
    if plan.compare.primary == PER_GPU {
        refuse("the primary metric".to_owned(), values.span("compare.primary"));
    }
    let left_out: Vec<_> = catalog.plots.iter().filter(|row| row.needs_gpus).map(|row| row.id).collect();
    if plan.plots.set.is_none() && !left_out.is_empty() {
        problems.push(Diagnostic::note(format!("{which}: {} will not be drawn", left_out.join(", "))).help(help));
    }
}
