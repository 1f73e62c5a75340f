//! Does a table of the document fit its table of keys? The one place that reads [`Shape`].
//!
//! Every misfit is reported where it was written, with the nearest known name or what would fit; what fits comes out as
//! JSON with all fixed defaults filled in. A table that was not written is filled with its defaults, unless it has a
//! required key: then it is optional as a whole and stays away.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::defaults::{absent, number_json};
use super::document::{Node, Table, Tree};
use super::model::Values;
use super::shape::{Key, Shape};
use super::words::{expected, takes, words_of};
use crate::base::{Diagnostic, Name, Problems, Span, canonical_json, nearest, parse_duration, slug};
use crate::measure::metric;

/// The prefix of metrics that hooks of the plan print.
pub(super) const HOOK_PREFIX: &str = "hook.";

/// What shapes need to know of the plan around them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    /// Folder that relative paths start at.
    pub(super) dir: &'a Path,
    /// Whether there are hooks, whose metrics may then be named.
    pub(super) hooks: bool,
    /// Whether the table has lost what it was to inherit: then nothing is said of missing keys.
    pub(super) partial: bool,
}

/// Says more about a key that a table does not have, if there is more to say.
pub(super) type Explain<'a> = &'a dyn Fn(&str) -> Option<Diagnostic>;

/// A text as it is shown in a message: not longer than a line.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The nearest known name, unless the given one is so long that it is no slip of a finger.
pub(super) fn near<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > 80 { None } else { nearest(given, known) }
}

/// Fits a table. `title` names it in messages (`[workload]`), `place` is where it stands.
pub(super) fn fit_table(
    table: &Table,
    place: &Span,
    title: &str,
    keys: &[&Key],
    explain: Explain<'_>,
    setting: Setting<'_>,
    problems: &mut Problems,
) -> Values {
    let mut fitter = Fitter { setting, problems, values: Values::default() };
    let json = fitter.table(table, place, title, keys, "", explain);
    fitter.values.json = json;
    fitter.values
}

/// A name that `text` could have instead, for the help of a diagnostic.
pub(super) fn fitting_name(text: &str) -> String {
    let mut fit = slug(text);
    fit.truncate(40);
    match fit.trim_end_matches('-') {
        "" => "names are made of a-z, 0-9 and hyphens, at most 40 characters".to_owned(),
        fit => format!("names are made of a-z, 0-9 and hyphens, at most 40 characters: `{fit}` would do"),
    }
}

struct Fitter<'a> {
    setting: Setting<'a>,
    problems: &'a mut Problems,
    values: Values,
}

/// One value on its way through the shapes.
#[derive(Clone, Copy)]
struct Spot<'a> {
    /// As shown in messages.
    name: &'a str,
    /// Path in the result.
    path: &'a str,
    /// What the key is for.
    about: &'a str,
    /// What to underline.
    place: &'a Span,
    /// Whether it is one of a list's items.
    item: bool,
}

impl Fitter<'_> {
    fn table(
        &mut self,
        table: &Table,
        place: &Span,
        title: &str,
        keys: &[&Key],
        path: &str,
        explain: Explain<'_>,
    ) -> Map<String, Value> {
        for (name, entry) in table {
            if keys.iter().all(|key| key.name != name) {
                let diagnostic = explain(name).unwrap_or_else(|| unknown_key(name, title, keys));
                self.problems.push(diagnostic.at(entry.key.clone()));
            }
        }
        let mut map = Map::new();
        for key in keys {
            let path = join(path, key.name);
            let value = match table.get(key.name) {
                Some(entry) => {
                    self.values.spans.insert(path.clone(), entry.place().clone());
                    let spot =
                        Spot { name: key.name, path: &path, about: key.about, place: entry.place(), item: false };
                    self.value(&entry.node, &key.shape, spot)
                }
                None if key.required && self.setting.partial => None,
                None if key.required => {
                    self.problems.push(
                        Diagnostic::error(format!("{title} needs `{}`", key.name))
                            .at(place.clone())
                            .help(format!("{}: {}", key.name, key.about)),
                    );
                    None
                }
                None => absent(key),
            };
            map.extend(value.map(|value| (key.name.to_owned(), value)));
        }
        map
    }

    fn value(&mut self, node: &Node, shape: &Shape, spot: Spot<'_>) -> Option<Value> {
        match (shape, &node.tree) {
            (_, Tree::Unreadable) => None,
            (Shape::Any, tree) => {
                self.refuse_infinite(tree, spot)?;
                self.note_places(node, spot.path);
                Some(tree.to_json())
            }
            (Shape::Bool, Tree::Bool(value)) => Some(Value::Bool(*value)),
            (Shape::Integer { min, max }, Tree::Integer(value)) => {
                self.within(*value as f64, *min as f64, *max as f64, &value.to_string(), spot)?;
                Some(Value::from(*value))
            }
            (Shape::Integer { .. }, Tree::Float(value)) if value.fract() == 0.0 && value.abs() < 1e15 => {
                self.value(&Node { tree: Tree::Integer(*value as i64), span: node.span.clone() }, shape, spot)
            }
            (Shape::Number { min, max }, Tree::Integer(value)) => {
                self.within(*value as f64, *min, *max, &value.to_string(), spot)?;
                Some(Value::from(*value))
            }
            (Shape::Number { min, max }, Tree::Float(value)) => {
                self.refuse_infinite(&node.tree, spot)?;
                self.within(*value, *min, *max, &value.to_string(), spot)?;
                Some(number_json(*value))
            }
            (Shape::Text, Tree::Text(text)) => {
                if text.trim().is_empty() {
                    self.complain(format!("`{}` is empty", spot.name), spot);
                    return None;
                }
                Some(Value::from(text.as_str()))
            }
            (Shape::Choice(words), Tree::Text(text)) => {
                if !words.contains(&text.as_str()) {
                    self.unknown_word(text, words, spot);
                    return None;
                }
                Some(Value::from(text.as_str()))
            }
            (Shape::Duration, Tree::Text(text)) => match parse_duration(text) {
                Ok(span) if span.is_zero() => {
                    self.complain(format!("`{}` must be longer than nothing", spot.name), spot);
                    None
                }
                Ok(_) => Some(Value::from(text.as_str())),
                Err(reason) => {
                    let message = format!("`{}` is no duration: `{}`", spot.name, shown(text));
                    self.problems.push(Diagnostic::error(message).at(spot.place.clone()).help(reason));
                    None
                }
            },
            (Shape::Name, Tree::Text(text)) => match Name::new(text) {
                Ok(name) => Some(Value::from(name.as_str())),
                Err(error) => {
                    let message = format!("`{}` {}", shown(text), error.reason);
                    self.problems.push(Diagnostic::error(message).at(spot.place.clone()).help(fitting_name(text)));
                    None
                }
            },
            (Shape::Path, Tree::Text(text)) => {
                if text.trim().is_empty() || text.contains('\0') {
                    self.complain(format!("`{}` is no path", spot.name), spot);
                    return None;
                }
                Some(Value::from(self.setting.dir.join(text).to_string_lossy()))
            }
            (Shape::Metric, Tree::Text(text)) => self.metric(text, spot),
            (Shape::List { of, min, unique }, Tree::List(items)) => self.list(items, of, *min, *unique, spot),
            (Shape::Table(keys), Tree::Table(table)) => {
                let keys: Vec<_> = keys.iter().collect();
                let title = format!("`{}`", spot.name);
                Some(Value::Object(self.table(table, spot.place, &title, &keys, spot.path, &|_| None)))
            }
            (Shape::Named(keys), Tree::Table(table)) => {
                let keys: Vec<_> = keys.iter().collect();
                let mut map = Map::new();
                for (name, entry) in table {
                    let path = join(spot.path, name);
                    self.values.spans.insert(path.clone(), entry.place().clone());
                    if let Err(error) = Name::new(name) {
                        let message = format!("`{}` {}", shown(name), error.reason);
                        self.problems.push(Diagnostic::error(message).at(entry.key.clone()).help(fitting_name(name)));
                    }
                    let spot = Spot { name, path: &path, place: entry.place(), ..spot };
                    if let Tree::Table(inner) = &entry.node.tree {
                        let title = format!("`{name}`");
                        let fitted = self.table(inner, spot.place, &title, &keys, &path, &|_| None);
                        map.insert(name.clone(), Value::Object(fitted));
                    } else {
                        self.wrong_type("a table", &entry.node.tree, spot);
                    }
                }
                Some(Value::Object(map))
            }
            (Shape::Map(of), Tree::Table(table)) => {
                let mut map = Map::new();
                for (name, entry) in table {
                    let path = join(spot.path, name);
                    self.values.spans.insert(path.clone(), entry.place().clone());
                    let spot = Spot { name, path: &path, place: entry.place(), ..spot };
                    map.extend(self.value(&entry.node, of, spot).map(|value| (name.clone(), value)));
                }
                Some(Value::Object(map))
            }
            (Shape::OneOf(shapes), tree) => {
                let fits = shapes.iter().filter(|shape| takes(shape, tree)).collect::<Vec<_>>();
                match fits.as_slice() {
                    [] => {
                        self.wrong_type(&expected(shape), tree, spot);
                        None
                    }
                    [only] => self.value(node, only, spot),
                    [first, .., last] => {
                        let fitting = fits.iter().find(|shape| self.silently(node, shape, spot)).copied();
                        let words: Vec<_> = fits.iter().flat_map(|shape| words_of(shape)).collect();
                        match (fitting, tree, words.is_empty()) {
                            (Some(shape), _, _) => self.value(node, shape, spot),
                            (None, Tree::Text(text), false)
                                if !matches!(first, Shape::Text) && !text.starts_with(HOOK_PREFIX) =>
                            {
                                self.unknown_word(text, &words, spot);
                                None
                            }
                            (None, _, _) => self.value(node, last, spot),
                        }
                    }
                }
            }
            (
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
                | Shape::Table(_)
                | Shape::Named(_)
                | Shape::Map(_),
                tree,
            ) => {
                self.wrong_type(&expected(shape), tree, spot);
                None
            }
        }
    }

    fn list(&mut self, items: &[Node], of: &Shape, min: usize, unique: bool, spot: Spot<'_>) -> Option<Value> {
        if items.len() < min {
            let message = match items.len() {
                0 => format!("`{}` is an empty list", spot.name),
                count => format!("`{}` has {count} items: at least {min} are needed", spot.name),
            };
            self.complain(message, spot);
            return None;
        }
        let mut values = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let path = join(spot.path, &index.to_string());
            self.values.spans.insert(path.clone(), item.span.clone());
            let value = self.value(item, of, Spot { path: &path, place: &item.span, item: true, ..spot });
            if let Some(value) = value {
                if unique && !seen.insert(canonical_json(&value)) {
                    let message = format!("`{}` has {} twice", spot.name, shown(&value.to_string()));
                    let spot = Spot { place: &item.span, ..spot };
                    self.problems.push(Diagnostic::error(message).at(spot.place.clone()).help("remove one of them"));
                }
                values.push(value);
            }
        }
        Some(Value::Array(values))
    }

    fn metric(&mut self, text: &str, spot: Spot<'_>) -> Option<Value> {
        if let Some(name) = text.strip_prefix(HOOK_PREFIX) {
            if !self.setting.hooks {
                let message = format!("`{}` is a number of a hook, and the plan has no [hooks]", shown(text));
                let help = "add the hook that prints it, or choose another metric";
                self.problems.push(Diagnostic::error(message).at(spot.place.clone()).help(help));
            } else if name.is_empty() {
                self.complain(format!("`{text}` names no number"), spot);
            } else {
                return Some(Value::from(text));
            }
            return None;
        }
        if let Some(row) = metric(text) {
            return Some(Value::from(row.id));
        }
        self.unknown_word(text, &words_of(&Shape::Metric), spot);
        None
    }

    /// Whether a value fits a shape, without a word about it.
    fn silently(&self, node: &Node, shape: &Shape, spot: Spot<'_>) -> bool {
        let mut problems = Problems::default();
        let mut trial = Fitter { setting: self.setting, problems: &mut problems, values: Values::default() };
        trial.value(node, shape, spot).is_some() && !problems.has_errors()
    }

    fn note_places(&mut self, node: &Node, path: &str) {
        match &node.tree {
            Tree::Table(table) => {
                for (name, entry) in table {
                    let path = join(path, name);
                    self.values.spans.insert(path.clone(), entry.place().clone());
                    self.note_places(&entry.node, &path);
                }
            }
            Tree::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = join(path, &index.to_string());
                    self.values.spans.insert(path.clone(), item.span.clone());
                    self.note_places(item, &path);
                }
            }
            Tree::Bool(_) | Tree::Integer(_) | Tree::Float(_) | Tree::Text(_) | Tree::Unreadable => {}
        }
    }

    /// JSON has no NaN and no infinity: they would come back as null.
    fn refuse_infinite(&mut self, tree: &Tree, spot: Spot<'_>) -> Option<()> {
        match tree {
            Tree::Float(value) if !value.is_finite() => {
                self.complain(format!("`{}` must be a finite number, not {value}", spot.name), spot);
                None
            }
            Tree::List(items) => items.iter().try_for_each(|item| self.refuse_infinite(&item.tree, spot)),
            Tree::Table(table) => table.values().try_for_each(|entry| self.refuse_infinite(&entry.node.tree, spot)),
            Tree::Bool(_) | Tree::Integer(_) | Tree::Float(_) | Tree::Text(_) | Tree::Unreadable => Some(()),
        }
    }

    fn within(&mut self, value: f64, min: f64, max: f64, written: &str, spot: Spot<'_>) -> Option<()> {
        let message = if value < min {
            format!("`{}` must be at least {min}, not {written}", spot.name)
        } else if value > max {
            format!("`{}` must be at most {max}, not {written}", spot.name)
        } else {
            return Some(());
        };
        self.complain(message, spot);
        None
    }

    fn complain(&mut self, message: String, spot: Spot<'_>) {
        let help = format!("{}: {}", spot.name, spot.about);
        self.problems.push(Diagnostic::error(message).at(spot.place.clone()).help(help));
    }

    fn wrong_type(&mut self, expected: &str, tree: &Tree, spot: Spot<'_>) {
        if matches!(tree, Tree::Unreadable) {
            return;
        }
        let subject = if spot.item { "each item of " } else { "" };
        self.complain(format!("{subject}`{}` must be {expected}, not {}", spot.name, tree.kind()), spot);
    }

    fn unknown_word(&mut self, text: &str, words: &[&str], spot: Spot<'_>) {
        let problem = Diagnostic::error(format!("`{}` cannot be `{}`", spot.name, shown(text))).at(spot.place.clone());
        let problem = match near(text, words.iter().copied()) {
            Some(near) => problem.suggest(Some(near)),
            None => problem.help(format!("one of {}", words.join(", "))),
        };
        self.problems.push(problem);
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn unknown_key(name: &str, title: &str, keys: &[&Key]) -> Diagnostic {
    let problem = Diagnostic::error(format!("{title} has no key `{}`", shown(name)));
    match near(name, keys.iter().map(|key| key.name)) {
        Some(near) => problem.suggest(Some(near)),
        None if keys.is_empty() => problem.help("it has no keys of its own"),
        None => problem.help(format!("it has {}", keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", "))),
    }
}
