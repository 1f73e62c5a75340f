//! `[matrix]`: deployments and workloads multiplied by variables.
//!
//! A variable is a list of scalars or of tables (ISL/OSL pairs). Every combination of all variables' values counts,
//! less those that a table of `exclude` matches, plus those that `include` names in full. A deployment or workload is
//! multiplied only by the variables that its strings use: the distinct values of these within the combinations, in
//! the order of the lists. Its name becomes `<name>-<values>`, values in the alphabetical order of the variables, so
//! that reordering the file changes nothing.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::document::{Entry, Node, Table, Tree};
use super::expression::{Expressions, Fault};
use super::fit::near;
use crate::base::{Diagnostic, Name, Problems, SourceMap, Span, canonical_json, slug};

const INCLUDE: &str = "include";
const EXCLUDE: &str = "exclude";

/// More combinations than this are a mistake: each is hours of somebody's GPUs.
const MOST_COMBINATIONS: usize = 1000;

/// One value for each variable.
type Combination = Map<String, Value>;

/// Variables and what they may be together.
#[derive(Debug, Default)]
pub(super) struct Matrix {
    /// Names with their places, alphabetically.
    variables: Vec<(String, Span)>,
    combinations: Vec<Combination>,
    used: BTreeSet<String>,
    /// Variables whose values have been refused: what uses them is not complained of again.
    broken: BTreeSet<String>,
}

impl Matrix {
    /// Reads the table `[matrix]`.
    pub(super) fn read(table: &Table, problems: &mut Problems) -> Self {
        let mut variables: Vec<(String, Span, Vec<Value>)> = Vec::new();
        let mut broken = BTreeSet::new();
        for (name, entry) in table.iter().filter(|(name, _)| ![INCLUDE, EXCLUDE].contains(&name.as_str())) {
            if let Err(error) = Name::new(name) {
                let problem =
                    Diagnostic::error(format!("the name of a variable {}", error.reason)).at(entry.key.clone());
                problems.push(problem.help(fitting(name)));
            } else if let Some(values) = values_of(name, entry, problems) {
                variables.push((name.clone(), entry.key.clone(), values));
            } else {
                broken.insert(name.clone());
            }
        }
        variables.sort_by(|one, other| one.0.cmp(&other.0));

        let count = variables.iter().try_fold(1_usize, |product, (_, _, values)| product.checked_mul(values.len()));
        let mut combinations = vec![Combination::new()];
        if count.is_none_or(|count| count > MOST_COMBINATIONS) {
            problems.push(
                Diagnostic::error(format!("the matrix has more than {MOST_COMBINATIONS} combinations"))
                    .at(variables.first().map(|(_, place, _)| place.clone()))
                    .help("take out values; every combination is measured"),
            );
            variables.iter_mut().for_each(|(_, _, values)| values.truncate(1));
        }
        for (name, _, values) in &variables {
            combinations = combinations
                .iter()
                .flat_map(|combination| {
                    values.iter().map(|value| {
                        let mut longer = combination.clone();
                        longer.insert(name.clone(), value.clone());
                        longer
                    })
                })
                .collect();
        }
        let variables: Vec<_> = variables.into_iter().map(|(name, place, _)| (name, place)).collect();
        if let Some(entry) = table.get(EXCLUDE) {
            for exclusion in tables_of(EXCLUDE, entry, &variables, problems) {
                combinations
                    .retain(|combination| exclusion.iter().any(|(key, value)| combination.get(key) != Some(value)));
            }
        }
        if let Some(entry) = table.get(INCLUDE) {
            for inclusion in tables_of(INCLUDE, entry, &variables, problems) {
                let missing = variables.iter().find(|(name, _)| !inclusion.contains_key(name));
                match missing {
                    Some((name, _)) => problems.push(
                        Diagnostic::error(format!("this combination says nothing about `{name}`"))
                            .at(entry.place().clone())
                            .help("`include` adds combinations: each gives a value to every variable"),
                    ),
                    None => combinations.push(inclusion),
                }
            }
        }
        if combinations.is_empty() {
            problems.push(
                Diagnostic::error("`exclude` leaves no combination of the matrix")
                    .at(table.get(EXCLUDE).map(|entry| entry.place().clone()))
                    .help("take out one of its tables: each leaves out what agrees with all of its keys"),
            );
        }
        Self { variables, combinations, used: BTreeSet::new(), broken }
    }

    /// Multiplies the members of a table (`what`: "deployment" or "workload").
    pub(super) fn expand(&mut self, members: Table, what: &str, sources: &SourceMap, problems: &mut Problems) -> Table {
        let mut expanded = Table::new();
        for (name, mut entry) in members {
            let names = self.used_in(&mut entry.node, sources, problems);
            if names.is_empty() {
                insert(&mut expanded, name, entry, what, problems);
                continue;
            };
            self.used.extend(names.iter().cloned());
            for combination in self.distinct(&names) {
                let longer = suffixed(&name, &combination);
                let mut node = entry.node.clone();
                substitute(&mut node, &combination, sources, problems);
                let key = entry.key.clone();
                if longer.len() > 40 {
                    problems.push(
                        Diagnostic::error(format!("the name `{longer}` has {} characters, 40 fit", longer.len()))
                            .at(key)
                            .help(format!(
                                "values of the matrix are added to `{name}`: shorten the name or the values"
                            )),
                    );
                    continue;
                }
                insert(&mut expanded, longer, Entry { key, node }, what, problems);
            }
        }
        expanded
    }

    /// Warns of variables that nothing used.
    pub(super) fn warn_of_unused(&self, problems: &mut Problems) {
        for (name, place) in self.variables.iter().filter(|(name, _)| !self.used.contains(name)) {
            problems.push(
                Diagnostic::warning(format!("no deployment or workload uses `{name}`"))
                    .at(place.clone())
                    .help(format!("use it in a string: \"{{{{ matrix.{} }}}}\"", name.replace('-', "_"))),
            );
        }
    }

    /// The variables that a value's strings use. Strings that cannot be evaluated are reported and made unreadable.
    fn used_in(&self, node: &mut Node, sources: &SourceMap, problems: &mut Problems) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let bad = match &mut node.tree {
            Tree::Text(text) => match Expressions::find(text).map(|expressions| expressions.variables()) {
                None => false,
                Some(Ok(None)) => {
                    names.extend(self.variables.iter().map(|(name, _)| name.clone()));
                    names.is_empty()
                }
                Some(Ok(Some(found))) => {
                    let known = |name: &String| self.variables.iter().any(|(known, _)| known == name);
                    for name in found.iter().filter(|name| !known(name) && !self.broken.contains(*name)) {
                        problems.push(self.unknown(name, text, &node.span, sources));
                    }
                    let bad = !found.iter().all(known);
                    names.extend(found);
                    bad
                }
                Some(Err(fault)) => {
                    problems.push(faulty(&fault, &node.span, sources));
                    true
                }
            },
            Tree::List(items) => {
                items.iter_mut().for_each(|item| names.extend(self.used_in(item, sources, problems)));
                false
            }
            Tree::Table(table) => {
                table.values_mut().for_each(|entry| names.extend(self.used_in(&mut entry.node, sources, problems)));
                false
            }
            Tree::Bool(_) | Tree::Integer(_) | Tree::Float(_) | Tree::Unreadable => false,
        };
        if bad {
            node.tree = Tree::Unreadable;
            names.clear();
        }
        names
    }

    fn unknown(&self, name: &str, text: &str, span: &Span, sources: &SourceMap) -> Diagnostic {
        let snake = format!("matrix.{}", name.replace('-', "_"));
        let known: Vec<_> = self.variables.iter().map(|(known, _)| known.as_str()).collect();
        let found = if text.contains(&snake) { &snake } else { text };
        let problem = Diagnostic::error(format!("[matrix] has no variable `{name}`")).at(within(span, found, sources));
        match near(name, known.iter().copied()) {
            Some(name) => problem.help(format!("did you mean `matrix.{}`?", name.replace('-', "_"))),
            None if known.is_empty() => problem.help(format!("add it: [matrix] {name} = [...]")),
            None => problem.help(format!("it has {}", known.join(", "))),
        }
    }

    /// The distinct values of some variables within the combinations, in their order.
    fn distinct(&self, names: &BTreeSet<String>) -> Vec<Combination> {
        let mut seen = BTreeSet::new();
        self.combinations
            .iter()
            .map(|combination| {
                combination
                    .iter()
                    .filter(|(name, _)| names.contains(*name))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect::<Combination>()
            })
            .filter(|projected| seen.insert(canonical_json(&Value::Object(projected.clone()))))
            .collect()
    }
}

/// Reports expressions of the matrix in a part of the plan that is not multiplied, and makes them unreadable.
pub(super) fn refuse_expressions(section: &str, node: &mut Node, sources: &SourceMap, problems: &mut Problems) {
    match &mut node.tree {
        Tree::Text(text) => {
            if Expressions::find(text).is_some() {
                problems.push(
                    Diagnostic::error(format!("`{section}` cannot use variables of the matrix"))
                        .at(within(&node.span, text, sources))
                        .help("only deployments, workloads and their target are multiplied by it"),
                );
                node.tree = Tree::Unreadable;
            }
        }
        Tree::List(items) => items.iter_mut().for_each(|item| refuse_expressions(section, item, sources, problems)),
        Tree::Table(table) => {
            table.values_mut().for_each(|entry| refuse_expressions(section, &mut entry.node, sources, problems));
        }
        Tree::Bool(_) | Tree::Integer(_) | Tree::Float(_) | Tree::Unreadable => {}
    }
}

fn fitting(name: &str) -> String {
    match slug(name) {
        empty if empty.is_empty() => "use a-z, 0-9 and hyphens, at most 40 characters".to_owned(),
        fit => format!("`{}` would fit", fit.get(..40).unwrap_or(&fit).trim_end_matches('-')),
    }
}

fn values_of(name: &str, entry: &Entry, problems: &mut Problems) -> Option<Vec<Value>> {
    let place = entry.place().clone();
    let wrong = |message: String, problems: &mut Problems| {
        problems.push(Diagnostic::error(message).at(place.clone()).help(format!("for example {name} = [1, 2, 4]")));
        None
    };
    let items = match &entry.node.tree {
        Tree::List(items) => items,
        Tree::Unreadable => return None,
        Tree::Bool(_) | Tree::Integer(_) | Tree::Float(_) | Tree::Text(_) | Tree::Table(_) => {
            return wrong(format!("variable `{name}` must be a list, not {}", entry.node.tree.kind()), problems);
        }
    };
    if items.is_empty() {
        return wrong(format!("variable `{name}` has no values"), problems);
    }
    let mut seen = BTreeSet::new();
    for item in items {
        if let Tree::Table(table) = &item.tree
            && let Some((key, inner)) = table.iter().find(|(key, _)| Name::new(key).is_err())
        {
            problems.push(
                Diagnostic::error(format!("`{key}` is no name for a value of the matrix"))
                    .at(inner.key.clone())
                    .help(fitting(key)),
            );
            return None;
        }
        if !seen.insert(canonical_json(&item.tree.to_json())) {
            problems.push(
                Diagnostic::error(format!("variable `{name}` has this value twice"))
                    .at(item.span.clone())
                    .help("remove one of them"),
            );
        }
    }
    Some(items.iter().map(|item| item.tree.to_json()).collect())
}

/// The tables of `include` or `exclude`, their keys checked against the variables.
fn tables_of(name: &str, entry: &Entry, variables: &[(String, Span)], problems: &mut Problems) -> Vec<Combination> {
    let Tree::List(items) = &entry.node.tree else {
        problems.push(
            Diagnostic::error(format!("`{name}` must be a list of tables, not {}", entry.node.tree.kind()))
                .at(entry.place().clone())
                .help(format!("for example {name} = [{{ tp = 2 }}]")),
        );
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in items {
        let Tree::Table(table) = &item.tree else {
            problems.push(
                Diagnostic::error(format!("`{name}` holds tables, not {}", item.tree.kind())).at(item.span.clone()),
            );
            continue;
        };
        if table.is_empty() {
            problems.push(Diagnostic::error(format!("an empty table in `{name}`")).at(item.span.clone()));
            continue;
        }
        let mut known = true;
        for (key, inner) in table {
            if !variables.iter().any(|(variable, _)| variable == key) {
                known = false;
                problems.push(
                    Diagnostic::error(format!("[matrix] has no variable `{key}`"))
                        .at(inner.key.clone())
                        .suggest(near(key, variables.iter().map(|(variable, _)| variable.as_str()))),
                );
            }
        }
        if known && let Value::Object(map) = item.tree.to_json() {
            found.push(map);
        }
    }
    found
}

/// `<name>-<values>`, not yet known to be a name.
fn suffixed(name: &str, combination: &Combination) -> String {
    fn leaves(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) => into.push(slug(&value.to_string())),
            Value::String(text) => into.push(slug(text)),
            Value::Array(items) => items.iter().for_each(|item| leaves(item, into)),
            Value::Object(map) => {
                let mut keys: Vec<_> = map.keys().collect();
                keys.sort();
                keys.into_iter().for_each(|key| leaves(&map[key], into));
            }
        }
    }
    let mut parts = vec![name.to_owned()];
    leaves(&Value::Object(combination.clone()), &mut parts);
    parts.retain(|part| !part.is_empty());
    parts.join("-")
}

fn insert(into: &mut Table, name: String, entry: Entry, what: &str, problems: &mut Problems) {
    if into.contains_key(&name) {
        problems.push(
            Diagnostic::error(format!("two {what}s of the expanded matrix are called `{name}`"))
                .at(entry.key)
                .help("rename one of them, or choose values that still differ as a-z, 0-9 and hyphens"),
        );
    } else {
        into.insert(name, entry);
    }
}

fn substitute(node: &mut Node, combination: &Combination, sources: &SourceMap, problems: &mut Problems) {
    match &mut node.tree {
        Tree::Text(text) => {
            let Some(expressions) = Expressions::find(text) else { return };
            let tree = match expressions.evaluate(combination) {
                Ok(value) => Tree::from_json(&value, &node.span),
                Err(fault) => {
                    problems.push(faulty(&fault, &node.span, sources));
                    Tree::Unreadable
                }
            };
            node.tree = tree;
        }
        Tree::List(items) => items.iter_mut().for_each(|item| substitute(item, combination, sources, problems)),
        Tree::Table(table) => {
            table.values_mut().for_each(|entry| substitute(&mut entry.node, combination, sources, problems));
        }
        Tree::Bool(_) | Tree::Integer(_) | Tree::Float(_) | Tree::Unreadable => {}
    }
}

fn faulty(fault: &Fault, span: &Span, sources: &SourceMap) -> Diagnostic {
    Diagnostic::error(format!("this expression cannot be evaluated: {}", fault.message))
        .at(within(span, &fault.expression, sources))
        .help("write {{ matrix.NAME }}, with underscores for the hyphens of the name")
}

/// The place of `part` within a string's place, where it can be found: escapes may hide it.
fn within(span: &Span, part: &str, sources: &SourceMap) -> Span {
    let text = sources.get(span.source).and_then(|source| source.text.get(span.range.clone()));
    match text.and_then(|text| text.find(part)) {
        Some(at) => {
            let start = span.range.start + at;
            Span { source: span.source, range: start..start + part.len() }
        }
        None => span.clone(),
    }
}
