//! What can go wrong with a run's files.

use std::path::PathBuf;

use crate::base::FileError;

/// Why results could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file, or one line of it, is not what it should be.
    #[error("{} is damaged{}", path.display(), line.map(|line| format!(" in line {line}")).unwrap_or_default())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its line, from 1, in files that have a record a line.
        line: Option<usize>,
        /// What the reader said.
        source: serde_json::Error,
    },
    /// A result of another tool that says what no measurement gives.
    #[error("{} is no result: `{field}` is {value}, and cannot be below zero", path.display())]
    BelowZero {
        /// The file.
        path: PathBuf,
        /// Which of its fields.
        field: String,
        /// What stands there.
        value: f64,
    },
    /// A file that says it is something else.
    #[error("{} is not a file of `{expected}`", path.display())]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
    },
    /// A file of a newer program.
    #[error("{} was written by a newer dynbench (format {found}, this one knows {known}): use that one to read it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
}
