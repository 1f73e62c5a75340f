//! Printing: errors with their causes and advice, problems of a plan, JSON. Colours only on a terminal.

use std::error::Error as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;

use crate::app::{AppError, Checked};
use crate::base::FileError;

/// Whether stderr may be coloured: a terminal, and nobody said otherwise (see no-color.org).
pub(super) fn color() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Data: to stdout, at once. A reader that has gone away is no error of ours.
///
/// # Errors
/// When it cannot be written for any other reason: a full disk must not look like success.
pub(super) fn out(text: &str) -> Result<(), AppError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(FileError::new("write to", Path::new("stdout"), source).into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Talk: to stderr.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Data as JSON, on stdout.
pub(super) fn json(value: &impl Serialize) -> Result<(), AppError> {
    let text = serde_json::to_string_pretty(value).expect("what is printed holds nothing that JSON cannot say");
    out(&format!("{text}\n"))
}

/// The same on one line, after others of a stream.
pub(super) fn json_line(value: &impl Serialize) -> Result<(), AppError> {
    let text = serde_json::to_string(value).expect("what is printed holds nothing that JSON cannot say");
    out(&format!("{text}\n"))
}

/// Every problem of a plan, on stderr.
pub(super) fn problems(checked: &Checked) {
    if !checked.problems.is_empty() {
        say(&checked.problems.render(&checked.sources, color()));
        say("");
    }
}

/// An error, what caused it, and what to do.
pub(super) fn error(error: &AppError) {
    let red = if color() { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
    say(&format!("{}error{}: {error}", red.0, red.1));
    let mut cause = error.source();
    while let Some(inner) = cause {
        say(&format!("  because: {inner}"));
        cause = inner.source();
    }
    for line in error.details() {
        say(&format!("  {line}"));
    }
    if let Some(help) = error.help() {
        say(&format!("  help: {}", help.replace('\n', "\n  ")));
    }
}
