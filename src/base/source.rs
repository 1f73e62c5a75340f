//! Texts that users write, and places in them.
//!
//! Every value that is read out of a plan carries a [`Span`], so that a failure an hour later can still point at the
//! line that asked for it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which text of a [`SourceMap`] a span lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(pub u32);

/// A range of bytes in one text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The text.
    pub source: SourceId,
    /// Byte offsets, start included, end not.
    pub range: Range<usize>,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands; `None` for a default.
    pub span: Option<Span>,
}

impl<T> Spanned<T> {
    /// A value that nobody wrote.
    pub fn default_value(value: T) -> Self {
        Self { value, span: None }
    }
}

/// One text and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file, or a description such as `--set` for text from elsewhere.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

/// All texts that diagnostics may point into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMap {
    sources: Vec<Source>,
}

impl SourceMap {
    /// Adds a text.
    pub fn add(&mut self, path: &Path, text: String) -> SourceId {
        let id = u32::try_from(self.sources.len()).expect("a plan has far fewer than 2^32 texts");
        self.sources.push(Source { path: path.to_owned(), text });
        SourceId(id)
    }

    /// The text behind an id, if it is one of this map's.
    pub fn get(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(id.0 as usize)
    }

    /// Line and column of a span's start, both from 1; columns count characters.
    pub fn position(&self, span: &Span) -> Option<(usize, usize)> {
        let text = &self.get(span.source)?.text;
        let mut start = span.range.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some((before.matches('\n').count() + 1, text[line_start..start].chars().count() + 1))
    }

    /// `plan.toml:12:5` for a span.
    pub fn place(&self, span: &Span) -> Option<String> {
        let (line, column) = self.position(span)?;
        Some(format!("{}:{line}:{column}", self.get(span.source)?.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let mut map = SourceMap::default();
        let id = map.add(Path::new("p.toml"), "a = 1\nä = 2\n".to_owned());
        assert_eq!(map.position(&Span { source: id, range: 0..1 }), Some((1, 1)));
        assert_eq!(map.place(&Span { source: id, range: 9..10 }), Some("p.toml:2:3".to_owned()));
    }

    #[test]
    fn a_span_past_the_end_is_the_end() {
        let mut map = SourceMap::default();
        let id = map.add(Path::new("p.toml"), "é".to_owned());
        assert_eq!(map.position(&Span { source: id, range: 1..90 }), Some((1, 1)));
        assert_eq!(map.position(&Span { source: SourceId(7), range: 0..0 }), None);
    }
}
