//! The whole walk: document -> `like` -> matrix -> shapes -> plan. Gathers every problem; gives a plan only when
//! there is no error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::build::{self, Fields};
use super::catalog::Catalog;
use super::content;
use super::document::{Entry, Table, Tree};
use super::fit::{Setting, fit_table, near, shown};
use super::keys::{SCHEMA, TOP, WORKLOAD};
use super::like;
use super::matrix::{Matrix, refuse_expressions};
use super::model::{Comparison, Deployment, Hooks, Objective, Plan, PlotChoice, Values, Workload};
use super::rules;
use super::sections::{absorb, check_names, objectives, plots, table_of};
use super::serving::{self, Served};
use super::shape::Key;
use super::shapes;
use crate::base::{Diagnostic, Digest, Name, Problems, SourceId, SourceMap, Span, digest_file, slug};

/// Sections that have code of their own here.
const OWN_CODE: &[&str] = &["workload", "workloads", "target", "deployments", "matrix", "plots", "objectives"];

/// More members than this in one table are a mistake or an attack.
const MOST_MEMBERS: usize = 200;

/// What a plan needs to know of its file.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'a> {
    /// Its folder, absolute.
    pub(super) dir: &'a Path,
    /// Its name without extension.
    pub(super) stem: &'a str,
}

/// Checks a document. The second half of the result is the plan as a document again, for `dynbench plan`.
pub(super) fn check(
    mut root: Table,
    file: File<'_>,
    catalog: &Catalog,
    sources: &SourceMap,
    problems: &mut Problems,
) -> Option<(Plan, Values)> {
    check_schema(&root, problems)?;
    let hooks = root.get("hooks").is_some_and(|hooks| hooks.node.tree != Tree::Table(Table::new()));
    let setting = Setting { dir: file.dir, hooks, partial: false };
    let start = Span { source: SourceId(0), range: 0..0 };
    let mut own: BTreeMap<&str, Entry> =
        OWN_CODE.iter().filter_map(|name| Some((*name, root.shift_remove(*name)?))).collect();

    for (section, entry) in &mut root {
        refuse_expressions(section, &mut entry.node, sources, problems);
    }
    for section in ["plots", "objectives"] {
        if let Some(entry) = own.get_mut(section) {
            refuse_expressions(section, &mut entry.node, sources, problems);
        }
    }
    let keys: Vec<&Key> = TOP.iter().filter(|key| !OWN_CODE.contains(&key.name)).collect();
    let explain = |name: &str| Some(unknown_section(name));
    let mut values = fit_table(&root, &start, "a plan", &keys, &explain, setting, problems);

    let mut matrix = match own.get("matrix") {
        Some(entry) => {
            table_of("[matrix]", entry, problems).map(|table| Matrix::read(table, problems)).unwrap_or_default()
        }
        None => Matrix::default(),
    };
    let workloads = raw_workloads(own.get("workload"), own.get("workloads"), &start, problems);
    let workloads = matrix.expand(workloads, "workload", sources, problems);
    let deployments = raw_deployments(own.get("deployments"), own.get("target"), &start, problems);
    let deployments = matrix.expand(deployments, "deployment", sources, problems);
    matrix.warn_of_unused(problems);
    for (members, what) in [(&workloads, "workload"), (&deployments, "deployment")] {
        if members.len() > MOST_MEMBERS {
            problems.push(
                Diagnostic::error(format!("the matrix makes {} {what}s: at most {MOST_MEMBERS} fit", members.len()))
                    .at(own.get("matrix").map(|entry| entry.key.clone()))
                    .help("take out values, or exclude combinations"),
            );
            return None;
        }
    }

    let workloads = checked_workloads(&workloads, catalog, setting, &mut values, problems);
    if let Some(target) = own.get("target") {
        serving::check_unused_target(target, &deployments, catalog, setting, problems);
    }
    check_names(&deployments, "deployment", |name| serving::reserved(name, catalog), problems);
    let served: Vec<_> =
        deployments.iter().map(|(name, entry)| serving::fit(name, entry, catalog, setting, problems)).collect();
    let names: Vec<&str> = deployments.keys().map(String::as_str).chain(workloads.keys().map(Name::as_str)).collect();

    let plots = match own.get("plots") {
        Some(section) => plots(section, catalog, &names, setting, &mut values, problems),
        None => PlotChoice::default(),
    };
    let objectives = match own.get("objectives").map(|entry| table_of("[objectives]", entry, problems)) {
        Some(Some(table)) => objectives(table, &mut values, problems),
        Some(None) | None => Vec::new(),
    };
    let deployments = checked_deployments(served, &mut values);
    let name = plan_name(&mut values, file.stem, problems);
    let comparison = build::section(&values, "compare").and_then(build::comparison);
    if let Some(comparison) = &comparison {
        let place = |key: &str| values.span(&format!("compare.{key}")).cloned();
        rules::check_comparison(comparison, &names[..deployments.len()], place, problems);
    }
    let mut workloads = workloads;
    shapes::judge_searches(&mut workloads, &objectives, &values, problems);
    let plan = assemble(name, file.dir, &values, workloads, deployments, plots, objectives, comparison);
    if problems.has_errors() {
        return None;
    }
    let mut plan = plan?;
    rules::check_whole(&plan, catalog, &values, problems);
    plan.tokenizers = digests_of_tokenizers(&plan);
    (!problems.has_errors()).then(|| (plan, in_order(values)))
}

#[expect(clippy::too_many_arguments, reason = "it is the constructor of a struct with as many fields")]
fn assemble(
    name: Option<Name>,
    dir: &Path,
    values: &Values,
    workloads: IndexMap<Name, Workload>,
    deployments: IndexMap<Name, Deployment>,
    plots: PlotChoice,
    objectives: Vec<Objective>,
    comparison: Option<Comparison>,
) -> Option<Plan> {
    let section = |key: &str| build::section(values, key);
    Some(Plan {
        name: name?,
        description: Fields(&values.json).text("description"),
        dir: dir.to_owned(),
        model: build::model(section("model")?, values.span("model.id").cloned())?,
        workloads,
        deployments,
        plots,
        objectives,
        validity: build::validity(section("validity")?)?,
        policy: build::policy(section("policy")?)?,
        load: build::load(section("load")?)?,
        hooks: section("hooks").map_or_else(Hooks::default, |fields| build::hooks(fields, values)),
        engine: build::engine(section("engine")?)?,
        exports: build::exports(section("exports")?)?,
        compare: comparison?,
        server_metrics: build::server_metrics(section("server-metrics")?),
        tokenizers: BTreeMap::new(),
    })
}

/// What the tokenizers are, wherever they lie. One that cannot be read is reported by whoever opens it.
fn digests_of_tokenizers(plan: &Plan) -> BTreeMap<PathBuf, Digest> {
    let own = plan.deployments.values().filter_map(|deployment| deployment.tokenizer.as_ref());
    let digest = |path: &PathBuf| {
        let file = if path.is_dir() { path.join("tokenizer.json") } else { path.clone() };
        Some((path.clone(), digest_file(&file).ok()?.0))
    };
    plan.model.tokenizer.iter().chain(own).filter_map(digest).collect()
}

/// A plan of another format is not looked at any further: its other problems would only confuse.
fn check_schema(root: &Table, problems: &mut Problems) -> Option<()> {
    let Some(entry) = root.get("schema") else { return Some(()) };
    let Tree::Integer(number) = entry.node.tree else { return Some(()) };
    if number == SCHEMA {
        return Some(());
    }
    let problem = if number > SCHEMA {
        Diagnostic::error(format!(
            "this plan has format {number}; this dynbench ({}) reads {SCHEMA}",
            env!("CARGO_PKG_VERSION")
        ))
        .help(format!("use a newer dynbench, one that reads `schema = {number}`"))
    } else {
        Diagnostic::error(format!("there is no plan format {number}")).help(format!("write schema = {SCHEMA}"))
    };
    problems.push(problem.at(entry.node.span.clone()));
    None
}

fn unknown_section(name: &str) -> Diagnostic {
    let problem = Diagnostic::error(format!("a plan has no key `{}`", shown(name)));
    let keys = TOP.iter().map(|key| key.name);
    if let Some(near) = near(name, keys.clone()) {
        problem.suggest(Some(near))
    } else if let Some(key) = WORKLOAD.iter().find(|key| key.name == name) {
        problem.help(format!("`{}` is a key of [workload]", key.name))
    } else {
        problem.help(format!("it has {}", keys.collect::<Vec<_>>().join(", ")))
    }
}

fn plan_name(values: &mut Values, stem: &str, problems: &mut Problems) -> Option<Name> {
    if values.spans.contains_key("name") {
        return Fields(&values.json).name("name");
    }
    let mut fit = slug(stem);
    fit.truncate(40);
    match Name::new(fit.trim_end_matches('-')) {
        Ok(name) => {
            values.json.insert("name".to_owned(), Value::from(name.as_str()));
            Some(name)
        }
        Err(_) => {
            problems.push(
                Diagnostic::error("the plan has no name, and its file's name does not give one")
                    .help("add name = \"...\" at the top of the plan"),
            );
            None
        }
    }
}

/// The workloads as they were written, by name.
fn raw_workloads(one: Option<&Entry>, several: Option<&Entry>, start: &Span, problems: &mut Problems) -> Table {
    let mut raw = Table::new();
    match (one, several) {
        (Some(one), Some(several)) => problems.push(
            Diagnostic::error("a plan has [workload] or [workloads], not both")
                .at(later(&one.key, &several.key))
                .help("move [workload] to [workloads.NAME], NAME being any you like"),
        ),
        (None, None) => problems.push(
            Diagnostic::error("a plan needs `workload`")
                .at(start.clone())
                .help("say what traffic is sent: [workload] isl = 200, osl = 200, concurrency = [1, 2, 4]"),
        ),
        (Some(_), None) | (None, Some(_)) => {}
    }
    if let Some(one) = one.filter(|_| several.is_none()) {
        raw.insert("default".to_owned(), one.clone());
    }
    if let Some(several) = several
        && let Some(table) = table_of("[workloads]", several, problems)
    {
        if table.is_empty() {
            problems
                .push(Diagnostic::error("[workloads] is empty").at(several.key.clone()).help("add [workloads.NAME]"));
        }
        limit(table, "workload", several, problems);
        raw.extend(table.iter().take(MOST_MEMBERS).map(|(name, entry)| (name.clone(), entry.clone())));
    }
    raw
}

/// The one of two places that was written later, on the command line if need be.
fn later(one: &Span, other: &Span) -> Span {
    let order = |span: &Span| (span.source, span.range.start);
    if order(one) > order(other) { one.clone() } else { other.clone() }
}

/// The deployments with what they inherit: from each other, and the plan's target.
fn raw_deployments(section: Option<&Entry>, target: Option<&Entry>, start: &Span, problems: &mut Problems) -> Table {
    let mut raw = match section {
        Some(section) => match table_of("[deployments]", section, problems) {
            Some(table) => {
                limit(table, "deployment", section, problems);
                table.iter().take(MOST_MEMBERS).map(|(name, entry)| (name.clone(), entry.clone())).collect()
            }
            None => return Table::new(),
        },
        None => Table::new(),
    };
    if raw.is_empty() {
        problems.push(
            Diagnostic::error("a plan needs at least one deployment")
                .at(section.map_or_else(|| start.clone(), |section| section.key.clone()))
                .help("add a table [deployments.NAME] for each set-up that is to be measured"),
        );
    }
    like::inherit(&mut raw, problems);
    for deployment in raw.values_mut() {
        if let (Tree::Table(table), Some(target)) = (&mut deployment.node.tree, target) {
            table.entry("target".to_owned()).or_insert_with(|| target.clone());
        }
    }
    raw
}

fn limit(table: &Table, what: &str, section: &Entry, problems: &mut Problems) {
    if table.len() > MOST_MEMBERS {
        problems.push(
            Diagnostic::error(format!("{} {what}s: a plan has at most {MOST_MEMBERS}", table.len()))
                .at(section.key.clone())
                .help("split it into several plans"),
        );
    }
}

fn checked_workloads(
    raw: &Table,
    catalog: &Catalog,
    setting: Setting<'_>,
    values: &mut Values,
    problems: &mut Problems,
) -> IndexMap<Name, Workload> {
    check_names(raw, "workload", |name| serving::reserved_workload(name, catalog), problems);
    let keys: Vec<&Key> = WORKLOAD.iter().collect();
    let mut checked = IndexMap::new();
    for (name, raw) in raw {
        let title = if name == "default" { "[workload]".to_owned() } else { format!("[workloads.{name}]") };
        let Some(table) = table_of(&title, raw, problems) else { continue };
        let mut fitted = fit_table(table, &raw.key, &title, &keys, &|_| None, setting, problems);
        content::settle(&mut fitted, &title, &raw.key, setting.partial, problems);
        rules::check_lengths(&fitted, problems);
        shapes::settle(&mut fitted, problems);
        if let Ok(id) = Name::new(name)
            && let Some(mut workload) = build::workload(id.clone(), &fitted, Some(raw.key.clone()), problems)
        {
            shapes::settle_duration(&mut workload, &mut fitted, problems);
            rules::check_workload(&workload, &fitted, problems);
            checked.insert(id, workload);
        }
        values.spans.insert(format!("workloads.{name}"), raw.key.clone());
        absorb(values, &format!("workloads.{name}"), fitted);
    }
    checked
}

/// Takes the deployments into the plan, and into its document.
fn checked_deployments(served: Vec<Option<Served>>, values: &mut Values) -> IndexMap<Name, Deployment> {
    let mut deployments = IndexMap::new();
    for Served { name, deployment, document } in served.into_iter().flatten() {
        absorb(values, &format!("deployments.{name}"), document);
        values.spans.extend(deployment.span.clone().map(|span| (format!("deployments.{name}"), span)));
        deployments.insert(name, deployment);
    }
    deployments
}

/// The document with its sections in the order of the table.
fn in_order(mut values: Values) -> Values {
    let mut ordered = Map::new();
    for key in TOP {
        ordered.extend(values.json.shift_remove(key.name).map(|value| (key.name.to_owned(), value)));
    }
    Values { json: ordered, spans: values.spans }
}
