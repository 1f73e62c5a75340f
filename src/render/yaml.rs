//! YAML read as kubectl reads it, with the place of whatever is wrong.
//!
//! Several documents, anchors and aliases, merge keys in their place, tags. Two things that kubectl takes are refused, because a
//! part of what somebody wrote would vanish in silence: a key that stands twice, and what follows the end of a document. What
//! a scalar means stands in [`super::scalar`], how a text is taken apart in [`super::documents`].

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as Mark, Tag};
use serde_json::{Map, Value};

use super::{documents, scalar};

/// Nesting beyond this is no manifest.
const DEEPEST: usize = 200;
/// Aliases may multiply a small text; beyond so many values it is an attack or an accident.
const MOST_VALUES: usize = 1_000_000;

/// Why a text is not usable YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct YamlError {
    /// What is wrong, lower case, without a final stop.
    pub message: String,
    /// Where, as bytes of the text.
    pub range: Range<usize>,
}

/// One document of a YAML text.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its value, keys in the order of the text.
    pub value: Value,
    /// Where its content starts, as a byte of the text.
    pub start: usize,
}

/// Reads all documents; empty ones are left out, as kubectl does.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn read_yaml(text: &str) -> Result<Vec<Document>, YamlError> {
    if let Some(parts) = documents::json_values(text).filter(|parts| parts.len() > 1) {
        let mut documents = Vec::new();
        for part in parts {
            let start = part.start;
            let placed = |error: YamlError| YamlError {
                range: error.range.start + start..error.range.end + start,
                message: error.message,
            };
            let read = read_one(&text[part], true).map_err(placed)?;
            documents.extend(read.into_iter().map(|document| Document { start: document.start + start, ..document }));
        }
        return Ok(documents);
    }
    let is_json = documents::is_json(text);
    if !is_json {
        documents::check(text)?;
    }
    read_one(text, is_json)
}

fn read_one(text: &str, json: bool) -> Result<Vec<Document>, YamlError> {
    // A mark of the byte order is no text.
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let skipped = text.len() - body.len();
    let placed = |error: YamlError| YamlError {
        range: error.range.start + skipped..error.range.end + skipped,
        message: error.message,
    };
    let read = read_body(body, json).map_err(placed)?;
    Ok(read.into_iter().map(|document| Document { start: document.start + skipped, ..document }).collect())
}

fn read_body(text: &str, json: bool) -> Result<Vec<Document>, YamlError> {
    let events = Parser::new_from_str(text);
    let slashes = !json && text.contains("\\/");
    let mut reader = Reader { text, events, anchors: HashMap::new(), depth: 0, values: 0, slashes };
    let mut documents = Vec::new();
    loop {
        let (event, mark) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart(_) => {
                reader.anchors.clear();
                let (first, mark) = reader.next()?;
                let start = byte(text, mark.start.index());
                let value = reader.node(first, mark)?;
                if !value.is_null() {
                    documents.push(Document { value, start });
                }
            }
            Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
            Event::Alias(_)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::SequenceEnd
            | Event::MappingStart(..)
            | Event::MappingEnd => return Err(reader.error("content outside of a document", mark)),
        }
    }
}

/// The parser counts characters, spans count bytes.
fn byte(text: &str, character: usize) -> usize {
    text.char_indices().nth(character).map_or(text.len(), |(at, _)| at)
}

struct Reader<'t> {
    text: &'t str,
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, Value>,
    depth: usize,
    values: usize,
    /// Whether slashes are escaped somewhere, in a text that is not JSON: that is a language of its own.
    slashes: bool,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Mark), YamlError> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let at = byte(self.text, error.marker().index());
                Err(YamlError { message: error.info().to_owned(), range: at..at })
            }
            None => Ok((Event::StreamEnd, Mark::default())),
        }
    }

    fn error(&self, message: impl Into<String>, mark: Mark) -> YamlError {
        let range = byte(self.text, mark.start.index())..byte(self.text, mark.end.index());
        YamlError { message: message.into(), range }
    }

    fn count(&mut self, more: usize, mark: Mark) -> Result<(), YamlError> {
        self.values += more;
        if self.values > MOST_VALUES {
            return Err(self.error("more than a million values, counting what aliases repeat", mark));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'t>, mark: Mark) -> Result<Value, YamlError> {
        self.count(1, mark)?;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error("nested more than 200 levels deep", mark));
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, self.scalar(&text, style, tag.as_deref(), mark)?),
            Event::SequenceStart(anchor, _) => (anchor, self.sequence()?),
            Event::MappingStart(anchor, _) => (anchor, self.mapping()?),
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned();
                // An anchor is known only when its node is complete: an alias inside of its own node has none.
                let value = value.ok_or_else(|| self.error("this alias stands inside of what it repeats", mark))?;
                self.count(size(&value), mark)?;
                (0, value)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return Err(self.error("a value is missing here", mark)),
        };
        self.depth -= 1;
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn sequence(&mut self) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        loop {
            let (event, mark) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::Array(items));
            }
            items.push(self.node(event, mark)?);
        }
    }

    fn mapping(&mut self) -> Result<Value, YamlError> {
        let mut map = Map::new();
        let mut written = BTreeSet::new();
        loop {
            let (event, mark) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Object(map));
            }
            let merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, tag)
                if text == "<<" && tag.as_deref().is_none_or(|tag| kind_of(tag) == "merge"));
            let key = if merge { Value::Null } else { self.node(event, mark)? };
            let (event, value_mark) = self.next()?;
            let value = self.node(event, value_mark)?;
            if merge {
                self.merge(value, &mut map, value_mark)?;
                continue;
            }
            let key = match key {
                Value::String(key) => key,
                Value::Bool(key) => key.to_string(),
                Value::Number(key) => scalar::key_of(&key),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    return Err(self.error("a key must be text", mark));
                }
            };
            if !written.insert(key.clone()) {
                return Err(self.error(format!("the key `{key}` stands here twice"), mark));
            }
            map.insert(key, value);
        }
    }

    /// `<<: *one` or `<<: [*one, *two]`: of several the first wins. All of it counts from its place on: what the mapping says
    /// behind it wins, and what it says before is overwritten.
    fn merge(&self, value: Value, into: &mut Map<String, Value>, mark: Mark) -> Result<(), YamlError> {
        let maps = match value {
            Value::Array(maps) => maps,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![value],
        };
        for map in maps.into_iter().rev() {
            let Value::Object(map) = map else {
                return Err(self.error("a merge key takes a mapping or a list of mappings", mark));
            };
            into.extend(map);
        }
        Ok(())
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, mark: Mark) -> Result<Value, YamlError> {
        if self.slashes && style == ScalarStyle::DoubleQuoted {
            let written = byte(self.text, mark.start.index())..byte(self.text, mark.end.index());
            if self.text.get(written).is_some_and(documents::escapes_a_slash) {
                return Err(self.error("`\\/` is no escape here: a slash needs none", mark));
            }
        }
        let plain = || {
            scalar::plain(text).ok_or_else(|| self.error(format!("`{text}` has no counterpart in Kubernetes"), mark))
        };
        let Some(tag) = tag else {
            return if style == ScalarStyle::Plain { plain() } else { Ok(Value::String(text.to_owned())) };
        };
        let kind = kind_of(tag);
        let value = match kind.as_str() {
            "int" => plain().ok().filter(|value| value.is_i64() || value.is_u64()),
            "float" => plain().ok().filter(Value::is_number),
            "bool" => plain().ok().filter(Value::is_boolean),
            "null" => plain().ok().filter(Value::is_null),
            "binary" => scalar::bytes(text).map(Value::String),
            // Tags of one's own mean nothing to Kubernetes, but that it is text.
            _ => return Ok(Value::String(text.to_owned())),
        };
        value.ok_or_else(|| self.error(format!("`{text}` does not fit its tag `!!{kind}`"), mark))
    }
}

/// What a tag says in the language's own terms: `int` of `!!int`; other tags as they are written.
fn kind_of(tag: &Tag) -> String {
    let full = format!("{}{}", tag.handle, tag.suffix);
    let own = full.strip_prefix("tag:yaml.org,2002:").or_else(|| full.strip_prefix("!!"));
    own.map_or_else(|| format!("!{full}"), str::to_owned)
}

/// How many values a value holds, itself included.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(size).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Value {
        let mut documents = read_yaml(text).unwrap();
        assert_eq!(documents.len(), 1, "{text}");
        documents.remove(0).value
    }

    fn refused(text: &str) -> (String, String) {
        let error = read_yaml(text).unwrap_err();
        (error.message, text[error.range].to_owned())
    }

    #[test]
    fn documents_are_read_apart_and_empty_ones_are_left_out() {
        let documents = read_yaml("# only a comment\n---\na: 1\n---\n---\nb: [x, {c: \"0755\", d: 0755}]\n").unwrap();
        let values: Vec<_> = documents.iter().map(|document| document.value.clone()).collect();
        assert_eq!(values, [json!({"a": 1}), json!({"b": ["x", {"c": "0755", "d": 493}]})]);
        assert_eq!(documents[0].start, 21);
        assert!(read_yaml("").unwrap().is_empty());
    }

    #[test]
    fn merge_keys_are_applied_in_their_place() {
        let text =
            "base: &b {p: 1, q: 2}\nmore: &m {q: 3, r: 4}\na:\n  q: 8\n  <<: [*b, *m]\n  p: 9\nc: {\"<<\": kept}\n";
        assert_eq!(one(text)["a"], json!({"p": 9, "q": 2, "r": 4}));
        assert_eq!(one(text)["c"], json!({"<<": "kept"}));
    }

    #[test]
    fn duplicate_keys_are_refused_at_the_second_one() {
        assert_eq!(refused("ä: 1\na: 1\nb: 2\na: 3\n"), ("the key `a` stands here twice".to_owned(), "a".to_owned()));
    }

    #[test]
    fn tags_are_obeyed_and_those_of_ones_own_make_text() {
        let text = "a: !!str 5\nb: !!int '7'\nc: !!binary aGk=\nd: !own 5\n";
        assert_eq!(one(text), json!({"a": "5", "b": 7, "c": "hi", "d": "5"}));
        assert_eq!(refused("a: !!int seven\n").0, "`seven` does not fit its tag `!!int`");
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = level - 1;
            text += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{below}"); 10].join(", "));
        }
        assert!(refused(&text).0.starts_with("more than a million values"));
        assert_eq!(refused(&"- ".repeat(5000)).0, "nested more than 200 levels deep");
        assert_eq!(refused("a: &a [*a]\n").0, "this alias stands inside of what it repeats");
    }

    #[test]
    fn broken_text_is_refused_with_its_place() {
        let error = read_yaml("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(error.range.start >= 5, "{error:?}");
        assert!(read_yaml("a: b: c\n").is_err());
        assert!(read_yaml("\u{0}").is_err());
    }
}
