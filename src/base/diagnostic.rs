//! What a user must fix: where it stands, what is wrong, and what to do.

use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use super::source::{SourceMap, Span};

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing stops.
    Note,
    /// Probably a mistake; nothing stops.
    Warning,
    /// The plan cannot be used.
    Error,
}

/// One problem of something that a user wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, in one line, lower case, without a final stop.
    pub message: String,
    /// Where, if it has a place.
    pub span: Option<Span>,
    /// What to read beside the underlined text; may be empty.
    pub label: String,
    /// The place in another text that the first one leads to: a template, a manifest.
    pub excerpt: Option<Box<Excerpt>>,
    /// What to do about it.
    pub help: Option<String>,
}

/// A place in a text that stands in no [`SourceMap`], with the lines around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Excerpt {
    /// The file, or words that tell where the text is from.
    pub path: PathBuf,
    /// Number of the first line of `text`, from 1.
    pub line: usize,
    /// The lines around the place.
    pub text: String,
    /// The place, as bytes of `text`.
    pub range: Range<usize>,
    /// What to read beside the underlined text; may be empty.
    pub label: String,
}

impl Excerpt {
    /// Cuts the lines around `range` out of `text`: whole texts would be carried into every report of the problem.
    pub fn of(path: &Path, text: &str, range: Range<usize>, label: impl Into<String>) -> Self {
        let range = clamp(text, range);
        let start = text[..range.start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[range.end..].find('\n').map_or(text.len(), |at| range.end + at);
        Self {
            path: path.to_owned(),
            line: text[..start].matches('\n').count() + 1,
            text: text[start..end].to_owned(),
            range: range.start - start..range.end - start,
            label: label.into(),
        }
    }
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span: None,
            label: String::new(),
            excerpt: None,
            help: None,
        }
    }

    /// A warning at a place.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// A note at a place.
    pub fn note(message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(message) }
    }

    /// The same, pointing at `span`.
    #[must_use]
    pub fn at(mut self, span: impl Into<Option<Span>>) -> Self {
        self.span = span.into();
        self
    }

    /// The same, with words beside the underlined text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// The same, showing a place in another text too.
    #[must_use]
    pub fn excerpt(mut self, excerpt: impl Into<Option<Excerpt>>) -> Self {
        self.excerpt = excerpt.into().map(Box::new);
        self
    }

    /// The same, with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same, with "did you mean" advice if a near name is known.
    #[must_use]
    pub fn suggest(self, near: Option<&str>) -> Self {
        match near {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// File, line, the text underlined and the advice, ready for a terminal. `color` adds ANSI colours.
    pub fn render(&self, sources: &SourceMap, color: bool) -> String {
        let level = match self.severity {
            Severity::Note => Level::NOTE,
            Severity::Warning => Level::WARNING,
            Severity::Error => Level::ERROR,
        };
        let mut group = level.primary_title(self.message.as_str()).elements(Vec::<annotate_snippets::Message>::new());
        let path;
        if let Some((span, source)) = self.span.as_ref().and_then(|span| Some((span, sources.get(span.source)?))) {
            path = source.path.display().to_string();
            let mut annotation = AnnotationKind::Primary.span(clamp(&source.text, span.range.clone()));
            if !self.label.is_empty() {
                annotation = annotation.label(self.label.as_str());
            }
            group = group.element(Snippet::source(source.text.as_str()).path(path.as_str()).annotation(annotation));
        }
        let excerpt_path;
        if let Some(excerpt) = &self.excerpt {
            excerpt_path = excerpt.path.display().to_string();
            let range = clamp(&excerpt.text, excerpt.range.clone());
            let annotation = AnnotationKind::Primary.span(range).label(excerpt.label.as_str());
            let snippet = Snippet::source(excerpt.text.as_str()).line_start(excerpt.line).path(excerpt_path.as_str());
            group = group.element(snippet.annotation(annotation));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

/// A span that certainly lies inside `text`, on character boundaries, at least one character long where there is one.
fn clamp(text: &str, range: Range<usize>) -> Range<usize> {
    let mut start = range.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = range.end.clamp(start, text.len());
    if end == start && end < text.len() {
        end += 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// A gathering of diagnostics: everything is reported together, never only the first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems {
    list: Vec<Diagnostic>,
}

impl Problems {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// Adds all of another gathering.
    pub fn extend(&mut self, other: Self) {
        self.list.extend(other.list);
    }

    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// All, by place in the text, those without a place last.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut all: Vec<_> = self.list.iter().collect();
        all.sort_by_key(|d| d.span.as_ref().map_or((u32::MAX, usize::MAX), |s| (s.source.0, s.range.start)));
        all
    }

    /// All of them as one text for a terminal.
    pub fn render(&self, sources: &SourceMap, color: bool) -> String {
        let texts: Vec<_> = self.sorted().into_iter().map(|diagnostic| diagnostic.render(sources, color)).collect();
        texts.join("\n\n")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_diagnostic_shows_place_text_and_advice() {
        let mut sources = SourceMap::default();
        let source = sources.add(Path::new("plan.toml"), "schema = 1\nconcurency = [1]\n".to_owned());
        let diagnostic = Diagnostic::error("unknown key `concurency`")
            .at(Span { source, range: 11..21 })
            .label("not a key of a plan")
            .suggest(Some("concurrency"));
        insta::assert_snapshot!(diagnostic.render(&sources, false), @r"
        error: unknown key `concurency`
         --> plan.toml:2:1
          |
        2 | concurency = [1]
          | ^^^^^^^^^^ not a key of a plan
          |
          = help: did you mean `concurrency`?
        ");
    }

    #[test]
    fn a_diagnostic_leads_on_to_another_text() {
        let mut sources = SourceMap::default();
        let source = sources.add(Path::new("plan.toml"), "template = \"own/a.yaml\"\n".to_owned());
        let template = "kind: Pod\nname: {{ vars.nme }}\n";
        let at = template.find("vars").unwrap();
        let diagnostic = Diagnostic::error("`vars.nme` is not defined")
            .at(Span { source, range: 11..23 })
            .excerpt(Excerpt::of(Path::new("own/a.yaml"), template, at..at + 8, "not defined"));
        insta::assert_snapshot!(diagnostic.render(&sources, false), @r#"
        error: `vars.nme` is not defined
         --> plan.toml:1:12
          |
        1 | template = "own/a.yaml"
          |            ^^^^^^^^^^^^
          |
         ::: own/a.yaml:2:10
          |
        2 | name: {{ vars.nme }}
          |          ^^^^^^^^ not defined
        "#);
    }

    #[test]
    fn spans_outside_of_the_text_do_not_panic() {
        let mut sources = SourceMap::default();
        let source = sources.add(Path::new("plan.toml"), "ä".to_owned());
        for range in [0..0, 1..1, 1..9, 7..9] {
            Diagnostic::error("x").at(Span { source, range }).render(&sources, false);
        }
    }
}
