//! TOML text to a tree in which every key and value knows where it was written.
//!
//! All syntax errors are reported, not only the first. Whatever TOML can say but no plan may hold (dates, whole numbers
//! past 64 bits) becomes [`Tree::Unreadable`] with its own diagnostic, so that later checks stay silent about it.
//! Syntax that came with TOML 1.1 is refused: editors and other tools read plans too, and most of them know 1.0 only.

use std::ops::Range;

use indexmap::IndexMap;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::base::{Diagnostic, Problems, SourceId, Span};

/// A table, in the order of the text.
pub(super) type Table = IndexMap<String, Entry>;

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// Where the key stands.
    pub(super) key: Span,
    /// The value.
    pub(super) node: Node,
}

impl Entry {
    /// The place to point at when the value as a whole is wrong: the value if it is short, the key of a table.
    pub(super) fn place(&self) -> &Span {
        match self.node.tree {
            Tree::Table(_) => &self.key,
            Tree::Bool(_) | Tree::Integer(_) | Tree::Float(_) | Tree::Text(_) | Tree::List(_) | Tree::Unreadable => {
                &self.node.span
            }
        }
    }
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// The value.
    pub(super) tree: Tree,
    /// Where it stands.
    pub(super) span: Span,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Table(Table),
    /// Something that has been reported already.
    Unreadable,
}

impl Tree {
    /// What it is, for the sentence "must be X, not Y".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Unreadable => "unreadable",
        }
    }

    /// The same value as JSON; what is unreadable becomes null.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Integer(value) => Value::from(*value),
            Self::Float(value) => Value::from(*value),
            Self::Text(value) => Value::String(value.clone()),
            Self::List(items) => Value::Array(items.iter().map(|item| item.tree.to_json()).collect()),
            Self::Table(table) => Value::Object(
                table.iter().map(|(key, entry)| (key.clone(), entry.node.tree.to_json())).collect::<Map<_, _>>(),
            ),
            Self::Unreadable => Value::Null,
        }
    }

    /// A tree all of whose places are `span`: for values that were computed and not written.
    pub(super) fn from_json(value: &Value, span: &Span) -> Self {
        let node = |inner: &Value| Node { tree: Self::from_json(inner, span), span: span.clone() };
        match value {
            Value::Null => Self::Unreadable,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Self::Integer(whole),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(node).collect()),
            Value::Object(map) => Self::Table(
                map.iter().map(|(key, inner)| (key.clone(), Entry { key: span.clone(), node: node(inner) })).collect(),
            ),
        }
    }
}

/// Syntax errors beyond this number are only counted: a file that is no TOML at all would fill the screen.
const MOST_ERRORS: usize = 20;

/// A whole document.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) root: Table,
    /// Without syntax errors: otherwise the tree holds what could be made out, with holes.
    pub(super) complete: bool,
}

/// Reads a whole document.
pub(super) fn parse(text: &str, source: SourceId, problems: &mut Problems) -> Document {
    let (root, errors) = DeTable::parse_recoverable(text);
    let reader = Reader { text, source, offset: 0 };
    for error in errors.iter().take(MOST_ERRORS) {
        problems.push(reader.syntax_error(error));
    }
    if errors.len() > MOST_ERRORS {
        problems.push(
            Diagnostic::error(format!("{} more syntax errors", errors.len() - MOST_ERRORS))
                .help("is this a TOML file at all? `dynbench init` writes a plan to start from"),
        );
    }
    Document { root: reader.table(root.into_inner(), problems), complete: errors.is_empty() }
}

/// Reads one value out of the middle of a source, from byte `offset` on. `None` when it is no TOML value.
pub(super) fn parse_value(text: &str, offset: usize, source: SourceId, problems: &mut Problems) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    let reader = Reader { text, source, offset };
    let range = value.span();
    Some(reader.node(value.into_inner(), range, problems))
}

/// Reads a dotted key: its segments, each with its place.
pub(super) fn parse_key(text: &str, source: SourceId) -> Option<Vec<(String, Span)>> {
    let line = format!("{text} = 0");
    let mut table = DeTable::parse(&line).ok()?.into_inner();
    let mut segments = Vec::new();
    loop {
        let (key, value) = table.into_iter().next()?;
        let range = key.span();
        segments.push((key.into_inner().into_owned(), Span { source, range }));
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            DeValue::Integer(_) => return Some(segments),
            DeValue::String(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) => {
                return None;
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    source: SourceId,
    /// Where `text` begins within its source.
    offset: usize,
}

impl Reader<'_> {
    fn span(&self, range: Range<usize>) -> Span {
        Span { source: self.source, range: range.start + self.offset..range.end + self.offset }
    }

    fn syntax_error(&self, error: &toml::de::Error) -> Diagnostic {
        let diagnostic = Diagnostic::error(error.message().to_owned()).at(error.span().map(|range| self.span(range)));
        let unquoted = error.message().contains("string values must be quoted");
        if unquoted { diagnostic.help("put text between double quotes: key = \"text\"") } else { diagnostic }
    }

    fn table(&self, table: DeTable<'_>, problems: &mut Problems) -> Table {
        // The crate sorts keys by name; people expect the order in which they wrote them.
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .map(|(key, value)| {
                let (key_range, range) = (key.span(), value.span());
                let node = self.node(value.into_inner(), range, problems);
                (key.into_inner().into_owned(), Entry { key: self.span(key_range), node })
            })
            .collect()
    }

    fn node(&self, value: DeValue<'_>, range: Range<usize>, problems: &mut Problems) -> Node {
        let span = self.span(range.clone());
        let refuse = |message: &str, help: &str, problems: &mut Problems| {
            problems.push(Diagnostic::error(message).at(span.clone()).help(help));
            Tree::Unreadable
        };
        let tree = match value {
            DeValue::Boolean(value) => Tree::Bool(value),
            DeValue::String(value) => Tree::Text(value.into_owned()),
            DeValue::Integer(value) => match i64::from_str_radix(value.as_str(), value.radix()) {
                Ok(whole) => Tree::Integer(whole),
                Err(_) => refuse("this whole number does not fit into 64 bits", "use a smaller number", problems),
            },
            DeValue::Float(value) => match value.as_str().parse() {
                Ok(number) => Tree::Float(number),
                Err(_) => refuse("this number cannot be read", "use a decimal number such as 0.5", problems),
            },
            DeValue::Datetime(_) => {
                refuse("no value of a plan is a date", "put it between double quotes if text is meant", problems)
            }
            DeValue::Array(items) => Tree::List(
                items
                    .into_iter()
                    .map(|item| {
                        let range = item.span();
                        self.node(item.into_inner(), range, problems)
                    })
                    .collect(),
            ),
            DeValue::Table(table) => {
                self.refuse_new_syntax(&table, &range, problems);
                Tree::Table(self.table(table, problems))
            }
        };
        Node { tree, span }
    }

    /// Reports an inline table that is broken over lines or ends with a comma.
    fn refuse_new_syntax(&self, table: &DeTable<'_>, range: &Range<usize>, problems: &mut Problems) {
        if !self.text[..].get(range.clone()).is_some_and(|text| text.starts_with('{') && text.ends_with('}')) {
            return;
        }
        let mut values = Vec::new();
        leaf_ranges(self.text, table, &mut values);
        values.sort_by_key(|value| value.start);
        let mut at = range.start;
        let mut last_gap = "";
        for value in values.iter().chain([&(range.end..range.end)]) {
            last_gap = self.text.get(at..value.start).unwrap_or("");
            if last_gap.contains('\n') {
                break;
            }
            at = at.max(value.end);
        }
        let trailing_comma = last_gap.trim_start().starts_with(',') && last_gap.trim_end().ends_with('}');
        if last_gap.contains('\n') || trailing_comma && last_gap.matches(',').count() == 1 && !last_gap.contains('=') {
            problems.push(
                Diagnostic::error("an inline table must stand on one line, without a comma at its end")
                    .at(self.span(range.start..range.start + 1))
                    .label("this table starts here")
                    .help("write it on one line, or as a table of its own under a [header]"),
            );
        }
    }
}

/// Places of everything inside an inline table that was written with a value: dotted keys make tables that were not.
fn leaf_ranges(text: &str, table: &DeTable<'_>, into: &mut Vec<Range<usize>>) {
    for value in table.values() {
        match value.get_ref() {
            DeValue::Table(inner) if !text.get(value.span()).is_some_and(|text| text.starts_with('{')) => {
                leaf_ranges(text, inner, into);
            }
            DeValue::Table(_)
            | DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => into.push(value.span()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Table, Problems) {
        let mut problems = Problems::default();
        let document = parse(text, SourceId(0), &mut problems);
        (document.root, problems)
    }

    #[test]
    fn keys_stand_in_the_order_of_the_text() {
        let (table, problems) = parsed("z = 1\na = 2\n[m.y]\n[m.b]\n");
        assert!(problems.is_empty());
        assert_eq!(table.keys().collect::<Vec<_>>(), ["z", "a", "m"]);
        let Tree::Table(inner) = &table["m"].node.tree else { panic!() };
        assert_eq!(inner.keys().collect::<Vec<_>>(), ["y", "b"]);
    }

    #[test]
    fn every_syntax_error_is_reported() {
        let (_, problems) = parsed("a = \nb = 1\nc = [1\n");
        assert!(problems.len() >= 2, "{problems:?}");
    }

    #[test]
    fn tables_of_toml_1_1_are_refused_and_those_of_1_0_are_not() {
        for bad in ["a = { b = 1,\n c = 2 }", "a = {\n b = 1 }", "a = { b = 1, }", "a = [{ b = 1,\n}]"] {
            assert_eq!(parsed(bad).1.len(), 1, "{bad}");
        }
        for good in ["a = { b = 1, c.d = [\n1,\n2,\n], e = { f = 1 } }", "a = {}", "a = [\n{ b = ',}' },\n]"] {
            assert!(parsed(good).1.is_empty(), "{good}");
        }
    }

    #[test]
    fn values_that_no_plan_may_hold_are_reported_once() {
        assert_eq!(parsed("a = 1979-05-27\nb = 99999999999999999999").1.len(), 2);
    }

    #[test]
    fn dotted_keys_are_read_with_their_places() {
        let segments = parse_key("a.\"b c\".d", SourceId(3)).unwrap();
        assert_eq!(segments.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b c", "d"]);
        assert_eq!(segments[2].1.range, 8..9);
        assert!(parse_key("a..b", SourceId(0)).is_none());
        assert!(parse_key("a\nb", SourceId(0)).is_none());
    }
}
