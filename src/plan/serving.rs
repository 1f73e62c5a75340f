//! `[target]` and `[deployments.NAME]`: first the kind is read, then its own tables of keys decide.

use super::build::Fields;
use super::catalog::{Catalog, Scope, TargetKind};
use super::document::{Entry, Table, Tree};
use super::fit::{Setting, fit_table, near, shown};
use super::keys::DEPLOYMENT;
use super::like::LIKE;
use super::model::{Deployment, TargetChoice, Values};
use super::sections::{absorb, table_of};
use super::shape::Key;
use crate::base::{Diagnostic, Name, Problems};

const TARGET: &str = "target";
const KIND: &str = "kind";

/// Names within a run's folder that are not deployments.
const TAKEN: &[&str] = &["plots", "logs", "latest", "exports", "report"];

/// A checked deployment, and the same as a document.
pub(super) struct Served {
    pub(super) name: Name,
    pub(super) deployment: Deployment,
    pub(super) document: Values,
}

/// What a deployment of that name would clash with.
pub(super) fn reserved(name: &str, catalog: &Catalog) -> Option<String> {
    if TAKEN.contains(&name) {
        return Some(format!("the results' folder has its own `{name}`"));
    }
    let row = catalog.steps.iter().find(|row| row.kind == name)?;
    match row.scope {
        Scope::Run | Scope::Plot => Some(format!("a step of the run has the address `{name}`")),
        Scope::Deployment | Scope::Block | Scope::Workload | Scope::Point => None,
    }
}

/// What a workload of that name would clash with: `agg/wait` is a step, `c64` and `r2` are folders of results.
pub(super) fn reserved_workload(name: &str, catalog: &Catalog) -> Option<String> {
    if catalog.steps.iter().any(|row| row.kind == name) {
        return Some(format!("a step of each deployment has the address `<deployment>/{name}`"));
    }
    let digits = name.strip_prefix(['c', 'r'])?;
    let numbered = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    numbered.then(|| format!("results of a level or repeat stand in a folder `{name}`"))
}

/// Checks a `[target]` that no deployment uses: the others are checked with their deployments.
pub(super) fn check_unused_target(
    target: &Entry,
    deployments: &Table,
    catalog: &Catalog,
    setting: Setting<'_>,
    problems: &mut Problems,
) {
    let used = deployments.values().any(|deployment| match &deployment.node.tree {
        Tree::Table(table) => table.get(TARGET).is_some_and(|own| own.key == target.key),
        Tree::Bool(_) | Tree::Integer(_) | Tree::Float(_) | Tree::Text(_) | Tree::List(_) | Tree::Unreadable => false,
    });
    if !used {
        fit_target(target, catalog, setting, problems);
    }
}

/// Checks one deployment.
pub(super) fn fit(
    name: &str,
    entry: &Entry,
    catalog: &Catalog,
    setting: Setting<'_>,
    problems: &mut Problems,
) -> Option<Served> {
    let title = format!("[deployments.{name}]");
    let mut table = table_of(&title, entry, problems)?.clone();
    let partial = table.get(LIKE).is_some_and(|like| matches!(like.node.tree, Tree::Unreadable));
    let setting = Setting { partial, ..setting };
    let target = match table.shift_remove(TARGET) {
        Some(target) => fit_target(&target, catalog, setting, problems),
        None => {
            let kinds: Vec<_> = catalog.targets.iter().map(|target| target.kind()).collect();
            problems.push(
                Diagnostic::error(format!("deployment `{name}` has no target"))
                    .at(entry.key.clone())
                    .help(format!("add [target] with kind = {}", quoted(&kinds))),
            );
            None
        }
    };
    let shared: Vec<&Key> = DEPLOYMENT.iter().filter(|key| key.name != TARGET).collect();
    let Some((kind, target, target_place)) = target else {
        // Without a kind nothing can be said of the other keys.
        table.retain(|key, _| shared.iter().any(|shared| shared.name == key));
        fit_table(&table, &entry.key, &title, &shared, &|_| None, setting, problems);
        return None;
    };
    let keys: Vec<&Key> = shared.iter().copied().chain(kind.deployment_keys()).collect();
    let explain = |key: &str| foreign(key, name, kind, catalog);
    let fitted = fit_table(&table, &entry.key, &title, &keys, &explain, setting, problems);

    let (own, common) = split(&fitted, |key| shared.iter().all(|shared| shared.name != key));
    let fields = Fields(&common.json);
    let name = Name::new(name).ok()?;
    let deployment = Deployment {
        name: name.clone(),
        target: target.clone(),
        values: own,
        gpus: fields.number("gpus"),
        served_name: fields.text("served-name"),
        tokenizer: fields.path("tokenizer"),
        span: Some(entry.key.clone()),
    };
    let mut document = fitted;
    document.spans.insert(TARGET.to_owned(), target_place);
    let TargetChoice { kind, mut values } = target;
    values.json.shift_insert(0, KIND.to_owned(), kind.into());
    absorb(&mut document, TARGET, values);
    Some(Served { name, deployment, document })
}

/// Checks a target. Its kind, its values, and its place.
fn fit_target(
    entry: &Entry,
    catalog: &Catalog,
    setting: Setting<'_>,
    problems: &mut Problems,
) -> Option<(&'static dyn TargetKind, TargetChoice, crate::base::Span)> {
    let mut table = table_of("[target]", entry, problems)?.clone();
    let kinds: Vec<_> = catalog.targets.iter().map(|target| target.kind()).collect();
    let Some(written) = table.shift_remove(KIND) else {
        problems.push(
            Diagnostic::error("a target needs `kind`")
                .at(entry.key.clone())
                .help(format!("add kind = {}", quoted(&kinds))),
        );
        return None;
    };
    let Tree::Text(kind) = &written.node.tree else {
        if !matches!(written.node.tree, Tree::Unreadable) {
            let message = format!("`kind` must be text, not {}", written.node.tree.kind());
            problems.push(Diagnostic::error(message).at(written.place().clone()).help(quoted(&kinds)));
        }
        return None;
    };
    let Some(target) = catalog.target(kind) else {
        let problem =
            Diagnostic::error(format!("there is no target of kind `{}`", shown(kind))).at(written.place().clone());
        problems.push(match near(kind, kinds.iter().copied()) {
            Some(near) => problem.suggest(Some(near)),
            None => problem.help(format!("there are {}", kinds.join(", "))),
        });
        return None;
    };
    let keys: Vec<&Key> = target.target_keys().iter().collect();
    let title = format!("a target of kind `{kind}`");
    let explain = |key: &str| foreign_to_target(key, target, catalog);
    let mut values = fit_table(&table, &entry.key, &title, &keys, &explain, setting, problems);
    values.spans.insert(KIND.to_owned(), written.place().clone());
    Some((target, TargetChoice { kind: kind.clone(), values }, entry.key.clone()))
}

fn quoted(kinds: &[&str]) -> String {
    kinds.iter().map(|kind| format!("\"{kind}\"")).collect::<Vec<_>>().join(" or ")
}

/// Says that a deployment's key belongs to another kind of target, if it does.
fn foreign(key: &str, deployment: &str, kind: &dyn TargetKind, catalog: &Catalog) -> Option<Diagnostic> {
    let has = |keys: &[Key]| keys.iter().any(|own| own.name == key);
    if key == KIND || has(kind.target_keys()) {
        return Some(
            Diagnostic::error(format!("`{key}` is a key of the target, not of deployment `{deployment}`"))
                .help(format!("write it under [target] or [deployments.{deployment}.target]")),
        );
    }
    let owners: Vec<_> =
        catalog.targets.iter().filter(|other| has(other.deployment_keys())).map(|other| other.kind()).collect();
    if owners.is_empty() {
        return None;
    }
    let own: Vec<_> = kind.deployment_keys().iter().chain(DEPLOYMENT).map(|key| key.name).collect();
    Some(
        Diagnostic::error(format!(
            "`{key}` is a key of kind `{}`, and deployment `{deployment}` is of kind `{}`",
            owners.join("` or `"),
            kind.kind()
        ))
        .help(format!("a deployment of kind `{}` has {}", kind.kind(), own.join(", "))),
    )
}

/// Says that a target's key belongs to another kind, or to deployments, if it does.
fn foreign_to_target(key: &str, kind: &dyn TargetKind, catalog: &Catalog) -> Option<Diagnostic> {
    let has = |keys: &[Key]| keys.iter().any(|own| own.name == key);
    if has(kind.deployment_keys()) || has(DEPLOYMENT) {
        return Some(
            Diagnostic::error(format!("`{key}` is a key of a deployment, not of the target"))
                .help("move it to [deployments.NAME], for each that needs it"),
        );
    }
    let owner = catalog.targets.iter().find(|other| has(other.target_keys()))?;
    let own: Vec<_> = kind.target_keys().iter().map(|key| key.name).collect();
    let problem = Diagnostic::error(format!(
        "`{key}` is a key of a target of kind `{}`, and this one is of kind `{}`",
        owner.kind(),
        kind.kind()
    ));
    Some(if own.is_empty() {
        problem.help(format!("a target of kind `{}` has no keys of its own", kind.kind()))
    } else {
        problem.help(format!("a target of kind `{}` has {}", kind.kind(), own.join(", ")))
    })
}

/// The values whose key `first` chooses, and the rest.
fn split(values: &Values, first: impl Fn(&str) -> bool) -> (Values, Values) {
    let (mut one, mut other) = (Values::default(), Values::default());
    for (key, value) in &values.json {
        if first(key) { &mut one } else { &mut other }.json.insert(key.clone(), value.clone());
    }
    for (path, span) in &values.spans {
        let key = path.split('.').next().unwrap_or(path);
        if first(key) { &mut one } else { &mut other }.spans.insert(path.clone(), span.clone());
    }
    (one, other)
}
