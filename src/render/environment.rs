//! The one setting of the template engine, and its errors turned into diagnostics.
//!
//! Strict: a name that is not defined is an error. Closed: no environment variables, no time, no random numbers, so that
//! one input has one output. Bounded: fuel ends what would never end.

use std::error::Error as _;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::Value;

use crate::base::{Excerpt, nearest};

/// Instructions that one rendering may take.
const FUEL: u64 = 5_000_000;

/// An engine without templates.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    // A line that holds only a block tag leaves no empty line behind: YAML is read by people too.
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("these delimiters are the engine's own"));
    environment
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// What is wrong, lower case, without a final stop.
    pub message: String,
    /// Where in the template, if the engine knows.
    pub excerpt: Option<Box<Excerpt>>,
    /// What to do about it.
    pub help: Option<String>,
}

/// Explains an error of the engine; `context` is what the template could have named.
pub(super) fn explain(error: &Error, context: &Value) -> TemplateError {
    let chain = chain(error);
    if let Some(cycle) = cycle(&chain) {
        return TemplateError {
            message: format!("these templates include each other without end: {}", cycle.join(" -> ")),
            excerpt: excerpt(chain[0], "included here"),
            help: Some("take one of the includes out".to_owned()),
        };
    }
    let innermost = chain.last().expect("the chain starts with the error itself");
    let underlined = underlined(innermost);
    match innermost.kind() {
        ErrorKind::UndefinedError => {
            let path = underlined.as_deref().and_then(|text| undefined_path(text, context));
            let Some(path) = path else {
                return plain(innermost, "something here is not defined".to_owned());
            };
            TemplateError {
                message: format!("`{path}` is not defined"),
                excerpt: excerpt(innermost, "not defined"),
                help: known(&path, context),
            }
        }
        ErrorKind::OutOfFuel => plain(innermost, "this template does not come to an end".to_owned()),
        ErrorKind::TemplateNotFound => {
            let message = innermost.detail().unwrap_or("a template was not found").to_owned();
            // The engine's own error has no place; the include that led to it has one.
            let place = chain.iter().rev().find_map(|error| excerpt(error, "included here"));
            TemplateError { message, excerpt: place, help: None }
        }
        // The engine's list may grow, and all others are told in its own words.
        _ => plain(innermost, innermost.detail().map_or_else(|| innermost.kind().to_string(), str::to_owned)),
    }
}

fn plain(error: &Error, message: String) -> TemplateError {
    TemplateError { message, excerpt: excerpt(error, ""), help: None }
}

/// The error and its causes, outermost first.
fn chain(error: &Error) -> Vec<&Error> {
    let mut chain = vec![error];
    let mut last = error;
    while let Some(cause) = last.source().and_then(|cause| cause.downcast_ref::<Error>()) {
        chain.push(cause);
        last = cause;
    }
    chain
}

/// Names of templates that include each other, the first of them again at the end.
fn cycle(chain: &[&Error]) -> Option<Vec<String>> {
    if !chain.last()?.detail()?.contains("recursion limit") {
        return None;
    }
    let names: Vec<_> = chain.iter().filter_map(|error| error.name()).map(str::to_owned).collect();
    let (start, end) = names.iter().enumerate().find_map(|(end, name)| {
        let start = names[..end].iter().position(|earlier| earlier == name)?;
        Some((start, end))
    })?;
    Some(names[start..=end].to_vec())
}

fn underlined(error: &Error) -> Option<String> {
    Some(error.template_source()?.get(error.range()?)?.to_owned())
}

fn excerpt(error: &Error, label: &str) -> Option<Box<Excerpt>> {
    let text = error.template_source()?;
    let range = error.range().or_else(|| {
        let start = text.split_inclusive('\n').take(error.line()?.saturating_sub(1)).map(str::len).sum();
        Some(start..start + text[start..].lines().next().map_or(0, str::len))
    })?;
    Some(Box::new(Excerpt::of(Path::new(error.name().unwrap_or("template")), text, range, label)))
}

/// The first path in an expression (`vars.replicas | int`) that the context does not have.
fn undefined_path(expression: &str, context: &Value) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    expression
        .split(|c| !is_part(c))
        .filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
        .find_map(|word| {
            let mut value = context;
            let mut path = Vec::new();
            for segment in word.trim_end_matches('.').split('.') {
                path.push(segment);
                match value.get(segment) {
                    Some(inner) => value = inner,
                    None => return Some(path.join(".")),
                }
            }
            None
        })
}

/// Advice for a path that does not exist: the nearest name beside it, else all of them.
fn known(path: &str, context: &Value) -> Option<String> {
    let (parent, last) = path.rsplit_once('.').map_or((None, path), |(parent, last)| (Some(parent), last));
    let place = parent.into_iter().flat_map(|parent| parent.split('.')).try_fold(context, |at, key| at.get(key))?;
    let full = |name: &str| parent.map_or_else(|| name.to_owned(), |parent| format!("{parent}.{name}"));
    let names: Vec<_> = place.as_object()?.keys().map(|name| (name.replace('_', "-"), full(name))).collect();
    if let Some(near) = nearest(last, names.iter().map(|(kebab, _)| kebab.as_str())) {
        let (_, name) = names.iter().find(|(kebab, _)| kebab == near)?;
        return Some(format!("did you mean `{name}`?"));
    }
    let all: Vec<_> = names.iter().map(|(_, full)| format!("`{full}`")).collect();
    Some(match (all.is_empty(), parent) {
        (false, _) => format!("known here: {}", all.join(", ")),
        (true, Some(parent)) => format!("`{parent}` is empty"),
        (true, None) => return None,
    })
}
