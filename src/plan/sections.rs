//! The sections of a plan whose keys are data: `[objectives]`, `[plots]`, names that people choose.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::build;
use super::catalog::Catalog;
use super::document::{Entry, Table, Tree};
use super::fit::{HOOK_PREFIX, Setting, fit_table, fitting_name, near, shown};
use super::keys::{CONCURRENCY, PLOT, PLOTS, STATISTICS, VALUE};
use super::model::{Custom, Objective, PlotChoice, Values};
use super::shape::Key;
use crate::base::{Diagnostic, Name, Problems};
use crate::measure::{Better, Formula, METRICS, metric};

/// The table behind a section; anything else is reported and taken as nothing.
pub(super) fn table_of<'a>(title: &str, entry: &'a Entry, problems: &mut Problems) -> Option<&'a Table> {
    match &entry.node.tree {
        Tree::Table(table) => Some(table),
        Tree::Unreadable => None,
        other @ (Tree::Bool(_) | Tree::Integer(_) | Tree::Float(_) | Tree::Text(_) | Tree::List(_)) => {
            problems.push(
                Diagnostic::error(format!("{title} must be a table, not {}", other.kind()))
                    .at(entry.place().clone())
                    .help(format!("write its keys under a line {title}")),
            );
            None
        }
    }
}

/// Checks names that become files, objects and addresses. `reserved` says what a name would clash with.
pub(super) fn check_names(
    members: &Table,
    what: &str,
    reserved: impl Fn(&str) -> Option<String>,
    problems: &mut Problems,
) {
    let mut by_lower: BTreeMap<String, &str> = BTreeMap::new();
    for (name, entry) in members {
        let at = |diagnostic: Diagnostic| diagnostic.at(entry.key.clone());
        if let Some(twin) = by_lower.insert(name.to_lowercase(), name) {
            problems.push(at(Diagnostic::error(format!(
                "{what}s `{twin}` and `{name}` differ only in upper and lower case"
            ))
            .help("many file systems hold them for one: rename one of them")));
        } else if let Err(error) = Name::new(name) {
            let message = format!("the name of {what} `{}` {}", shown(name), error.reason);
            problems.push(at(Diagnostic::error(message).help(fitting_name(name))));
        } else if let Some(clash) = reserved(name) {
            problems.push(at(Diagnostic::error(format!("no {what} can be called `{name}`: {clash}"))
                .help(format!("rename it, for example `{name}-1`"))));
        }
    }
}

/// `[objectives]`, and the same as checked JSON.
pub(super) fn objectives(table: &Table, values: &mut Values, problems: &mut Problems) -> Vec<Objective> {
    let mut found = Vec::new();
    let mut json = Map::new();
    for (name, entry) in table {
        let Some(row) = metric(name) else {
            problems.push(unknown_objective(name, entry));
            continue;
        };
        if row.better == Better::Neutral {
            problems.push(
                Diagnostic::error(format!("`{name}` is neither better when lower nor when higher"))
                    .at(entry.key.clone())
                    .help("bounds on lengths belong to [validity]: isl-tolerance, osl-tolerance"),
            );
            continue;
        }
        let statistics: &[&str] = match row.formula {
            Formula::PerRequest(_) | Formula::Pooled(_) => STATISTICS,
            Formula::PerPoint(_) => &[VALUE],
        };
        let bounds: Vec<(&str, &Entry)> = match (&entry.node.tree, row.formula) {
            (Tree::Table(bounds), _) => bounds.iter().map(|(name, entry)| (name.as_str(), entry)).collect(),
            (_, Formula::PerPoint(_)) => vec![(VALUE, entry)],
            (_, Formula::PerRequest(_) | Formula::Pooled(_)) => {
                problems.push(
                    Diagnostic::error(format!("`{name}` has one value per request: say which statistic is bounded"))
                        .at(entry.key.clone())
                        .help(format!("write {name}.p99 = ...; there are {}", STATISTICS.join(", "))),
                );
                continue;
            }
        };
        let mut checked = Map::new();
        for (statistic, entry) in bounds {
            if !statistics.contains(&statistic) {
                let problem = Diagnostic::error(format!("`{name}` has no statistic `{}`", shown(statistic)))
                    .at(entry.key.clone());
                problems.push(match (row.formula, near(statistic, statistics.iter().copied())) {
                    (Formula::PerPoint(_), _) => problem.help(format!("it has one value per level: {name} = ...")),
                    (Formula::PerRequest(_) | Formula::Pooled(_), Some(near)) => problem.suggest(Some(near)),
                    (Formula::PerRequest(_) | Formula::Pooled(_), None) => {
                        problem.help(format!("it has {}", statistics.join(", ")))
                    }
                });
                continue;
            }
            let Some(bound) = bound(name, row.unit, entry, problems) else { continue };
            let same = |other: &&Objective| other.metric == row.id && other.statistic == statistic;
            if let Some(other) = found.iter().find(same) {
                problems.push(
                    Diagnostic::error(format!("`{}` is bounded twice, by {} and by {bound}", row.id, other.bound))
                        .at(entry.key.clone())
                        .help(format!("`{name}` is another name of the same metric: keep one of them")),
                );
                continue;
            }
            values.spans.insert(format!("objectives.{}.{statistic}", row.id), entry.place().clone());
            checked.insert(statistic.to_owned(), Value::from(bound));
            found.push(Objective { metric: row.id.to_owned(), statistic: statistic.to_owned(), bound });
        }
        values.spans.insert(format!("objectives.{}", row.id), entry.key.clone());
        json.insert(row.id.to_owned(), Value::Object(checked));
    }
    values.json.insert("objectives".to_owned(), Value::Object(json));
    found
}

fn unknown_objective(name: &str, entry: &Entry) -> Diagnostic {
    let known = METRICS.iter().filter(|row| row.better != Better::Neutral).map(|row| row.id);
    let (problem, first) = (Diagnostic::error(format!("there is no metric `{}`", shown(name))), name.split_once('.'));
    let problem = problem.at(entry.key.clone());
    match (first, near(name, known.clone())) {
        _ if HOOK_PREFIX.trim_end_matches('.') == name => {
            problem.help("numbers of hooks have no direction that is better: they cannot be bounded")
        }
        (Some((first, rest)), _) if metric(first).is_some() => {
            problem.help(format!("write it without quotation marks: {first}.{rest} = ..."))
        }
        (_, Some(near)) => problem.suggest(Some(near)),
        (_, None) => problem.help(format!("one of {}", known.collect::<Vec<_>>().join(", "))),
    }
}

fn bound(name: &str, unit: &str, entry: &Entry, problems: &mut Problems) -> Option<f64> {
    let number = match entry.node.tree {
        Tree::Integer(value) => value as f64,
        Tree::Float(value) => value,
        Tree::Unreadable => return None,
        Tree::Bool(_) | Tree::Text(_) | Tree::List(_) | Tree::Table(_) => f64::NAN,
    };
    if number.is_finite() && number >= 0.0 {
        return Some(number);
    }
    problems.push(
        Diagnostic::error(format!("a bound on `{name}` is a number, not below zero"))
            .at(entry.place().clone())
            .help(format!("write the number alone, in {unit}")),
    );
    None
}

/// `[plots]`, and the same as checked JSON. `known` are the names that filters may use.
pub(super) fn plots(
    section: &Entry,
    catalog: &Catalog,
    known: &[&str],
    setting: Setting<'_>,
    values: &mut Values,
    problems: &mut Problems,
) -> PlotChoice {
    let Some(table) = table_of("[plots]", section, problems) else { return PlotChoice::default() };
    let is_custom = |(name, entry): &(&String, &Entry)| {
        matches!(entry.node.tree, Tree::Table(_)) && PLOTS.iter().all(|key| key.name != name.as_str())
    };
    let fixed: Table =
        table.iter().filter(|pair| !is_custom(pair)).map(|(name, entry)| (name.clone(), entry.clone())).collect();
    let own: Table = table.iter().filter(is_custom).map(|(name, entry)| (name.clone(), entry.clone())).collect();

    let keys: Vec<&Key> = PLOTS.iter().collect();
    let fitted = fit_table(&fixed, &section.key, "[plots]", &keys, &|_| None, setting, problems);
    let set = build::Fields(&fitted.json).texts("set");
    for (index, id) in set.iter().flatten().enumerate() {
        if catalog.plots.iter().any(|row| row.id == id) {
            continue;
        }
        let ids = catalog.plots.iter().map(|row| row.id);
        let place = fitted.span(&format!("set.{index}")).cloned();
        let problem = Diagnostic::error(format!("there is no built-in plot `{}`", shown(id))).at(place);
        problems.push(match near(id, ids.clone()) {
            _ if own.contains_key(id.as_str()) => {
                problem.help(format!("[plots.{id}] is drawn anyway: take it out of `set`"))
            }
            Some(near) => problem.suggest(Some(near)),
            None => problem.help(format!("there are {}", ids.collect::<Vec<_>>().join(", "))),
        });
    }
    absorb(values, "plots", fitted);

    let clash =
        |name: &str| catalog.plots.iter().any(|row| row.id == name).then(|| "a built-in plot has that name".to_owned());
    check_names(&own, "plot", clash, problems);
    let mut custom = IndexMap::new();
    for (name, entry) in &own {
        let Some(plot) = custom_plot(name, entry, known, setting, values, problems) else { continue };
        custom.extend(Name::new(name).ok().map(|name| (name, plot)));
    }
    PlotChoice { set, custom }
}

fn custom_plot(
    name: &str,
    entry: &Entry,
    known: &[&str],
    setting: Setting<'_>,
    values: &mut Values,
    problems: &mut Problems,
) -> Option<Custom> {
    let title = format!("[plots.{name}]");
    let table = table_of(&title, entry, problems)?;
    let keys: Vec<&Key> = PLOT.iter().collect();
    let fitted = fit_table(table, &entry.key, &title, &keys, &|_| None, setting, problems);
    let plot = build::custom_plot(build::Fields(&fitted.json));
    if let Some(plot) = &plot {
        for (index, wanted) in plot.filter.iter().enumerate().filter(|(_, wanted)| !known.contains(&wanted.as_str())) {
            problems.push(
                Diagnostic::error(format!("there is no deployment or workload `{wanted}`"))
                    .at(fitted.span(&format!("filter.{index}")).cloned())
                    .suggest(near(wanted, known.iter().copied())),
            );
        }
        if plot.x == plot.y {
            let message = format!("both axes show {}", if plot.x == CONCURRENCY { CONCURRENCY } else { &plot.x });
            problems.push(Diagnostic::error(message).at(fitted.span("y").cloned()).help("choose another x or y"));
        }
    }
    values.spans.insert(format!("plots.{name}"), entry.key.clone());
    absorb(values, &format!("plots.{name}"), fitted);
    plot
}

/// Puts a fitted table into a larger one, at a dotted path of names.
pub(super) fn absorb(into: &mut Values, path: &str, fitted: Values) {
    let mut map = &mut into.json;
    for segment in path.split('.') {
        let inner = map.entry(segment.to_owned()).or_insert_with(|| Value::Object(Map::new()));
        if !inner.is_object() {
            *inner = Value::Object(Map::new());
        }
        let Value::Object(next) = inner else { unreachable!("made an object just above") };
        map = next;
    }
    map.extend(fitted.json);
    into.spans.extend(fitted.spans.into_iter().map(|(inner, span)| (format!("{path}.{inner}"), span)));
}
