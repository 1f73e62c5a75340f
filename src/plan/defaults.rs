//! Defaults of keys: what stands for a key that was not written.

use std::path::Path;

use serde_json::{Map, Value};

use super::document::{Entry, Node, Table, Tree};
use super::fit::{Setting, fit_table};
use super::shape::{Key, Shape};
use crate::base::{Name, Problems, SourceId, Span};

/// The default of a key as JSON.
///
/// # Panics
/// When the table of keys holds something that is no TOML, which a test of every table must show.
pub(super) fn default_json(key: &Key) -> Option<Value> {
    let text = format!("value = {}", key.default?);
    let mut table: Map<String, Value> = toml::from_str(&text).expect("defaults in tables of keys are TOML");
    let value = table.remove("value")?;
    match key.shape {
        Shape::Number { .. } => value.as_f64().map(number_json),
        Shape::Bool
        | Shape::Integer { .. }
        | Shape::Text
        | Shape::Choice(_)
        | Shape::Duration
        | Shape::Name
        | Shape::Path
        | Shape::Metric
        | Shape::List { .. }
        | Shape::Table(_)
        | Shape::Named(_)
        | Shape::Map(_)
        | Shape::Any
        | Shape::OneOf(_) => Some(value),
    }
}

/// A number in the one form that it has in keys: `2.0` and `2` mean the same and must have the same digest.
pub(super) fn number_json(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { Value::from(value as i64) } else { Value::from(value) }
}

/// All defaults of a table that was not written, or `None` when it has a required key.
fn defaults(keys: &[&Key]) -> Option<Map<String, Value>> {
    let mut map = Map::new();
    for key in keys {
        if key.required {
            return None;
        }
        map.extend(absent(key).map(|value| (key.name.to_owned(), value)));
    }
    Some(map)
}

/// What stands for a key that was not written.
pub(super) fn absent(key: &Key) -> Option<Value> {
    match (default_json(key), &key.shape) {
        (Some(value), _) => Some(value),
        (None, Shape::Table(keys)) => defaults(&keys.iter().collect::<Vec<_>>()).map(Value::Object),
        (None, Shape::Named(_) | Shape::Map(_)) => Some(Value::Object(Map::new())),
        (
            None,
            Shape::Bool
            | Shape::Integer { .. }
            | Shape::Number { .. }
            | Shape::Text
            | Shape::Choice(_)
            | Shape::Duration
            | Shape::Name
            | Shape::Path
            | Shape::Metric
            | Shape::List { .. }
            | Shape::Any
            | Shape::OneOf(_),
        ) => None,
    }
}

/// What is wrong with a table of keys itself, a sentence each: names that are no names, missing words, defaults that
/// are no TOML or do not fit their own shape. For the tests of whoever writes such a table.
pub fn key_faults(keys: &[Key]) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        if Name::new(key.name).is_err() {
            faults.push(format!("`{}` is no kebab-case name", key.name));
        }
        if keys[..at].iter().any(|other| other.name == key.name) {
            faults.push(format!("`{}` stands in the table twice", key.name));
        }
        if key.about.trim().is_empty() {
            faults.push(format!("`{}` says nothing about itself", key.name));
        }
        if key.required && key.default.is_some() {
            faults.push(format!("`{}` is required and has a default", key.name));
        }
        faults.extend(default_fault(key).map(|fault| format!("the default of `{}`: {fault}", key.name)));
        faults.extend(inner_keys(&key.shape).into_iter().flat_map(key_faults));
    }
    faults
}

fn default_fault(key: &Key) -> Option<String> {
    let text = format!("value = {}", key.default?);
    let table: Map<String, Value> = match toml::from_str(&text) {
        Ok(table) => table,
        Err(error) => return Some(error.message().to_owned()),
    };
    let span = Span { source: SourceId(0), range: 0..0 };
    let node = Node { tree: Tree::from_json(&table["value"], &span), span: span.clone() };
    let written: Table = [(key.name.to_owned(), Entry { key: span.clone(), node })].into_iter().collect();
    let mut problems = Problems::default();
    let setting = Setting { dir: Path::new("/"), hooks: false, partial: false };
    fit_table(&written, &span, "the table", &[key], &|_| None, setting, &mut problems);
    problems.sorted().first().map(|problem| problem.message.clone())
}

fn inner_keys(shape: &Shape) -> Vec<&[Key]> {
    match shape {
        Shape::Table(keys) | Shape::Named(keys) => vec![*keys],
        Shape::List { of, .. } | Shape::Map(of) => inner_keys(of),
        Shape::OneOf(shapes) => shapes.iter().flat_map(inner_keys).collect(),
        Shape::Bool
        | Shape::Integer { .. }
        | Shape::Number { .. }
        | Shape::Text
        | Shape::Choice(_)
        | Shape::Duration
        | Shape::Name
        | Shape::Path
        | Shape::Metric
        | Shape::Any => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::keys::{DEPLOYMENT, PLOT, PLOTS, TOP};

    #[test]
    fn the_tables_of_a_plan_have_no_faults() {
        for keys in [TOP, DEPLOYMENT, PLOTS, PLOT] {
            assert_eq!(key_faults(keys), Vec::<String>::new());
        }
    }

    #[test]
    fn faults_of_a_table_are_found() {
        let key = |name, shape, default| Key { name, about: "x", shape, default, required: false };
        let keys = [
            key("Bad", Shape::Bool, None),
            key("n", Shape::Integer { min: 1, max: 2 }, Some("3")),
            key("d", Shape::Duration, Some("30s")),
            key("t", Shape::List { of: &Shape::Text, min: 0, unique: false }, Some("[1]")),
        ];
        assert_eq!(key_faults(&keys).len(), 4, "{:?}", key_faults(&keys));
    }

    #[test]
    fn a_table_with_a_required_key_is_not_made_up() {
        const INNER: &[Key] = &[Key { name: "a", about: "x", shape: Shape::Bool, default: None, required: true }];
        const EASY: &[Key] =
            &[Key { name: "a", about: "x", shape: Shape::Bool, default: Some("true"), required: false }];
        let key = |shape| Key { name: "t", about: "x", shape, default: None, required: false };
        assert_eq!(absent(&key(Shape::Table(INNER))), None);
        assert_eq!(absent(&key(Shape::Table(EASY))), Some(serde_json::json!({ "a": true })));
    }
}
