//! The order of the sections. The text depends on nothing but the results: the same run gives the same bytes.

use std::path::Path;

use super::{best, definitions, engines, header, levels, more, search, server, trouble, verdict, windows};
use crate::base::write_atomic;
use crate::report::{ReportError, RunResults};

/// Its name at the top of a run.
pub const SUMMARY_FILE: &str = "SUMMARY.txt";

/// The whole text.
pub fn summary_text(results: &RunResults) -> String {
    let sections = [
        header::section(results),
        engines::section(results),
        verdict::section(results),
        search::section(results),
        best::section(results),
        levels::section(results),
        windows::section(results),
        more::section(results),
        server::section(results),
        trouble::section(results),
        definitions::section(results),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Writes `SUMMARY.txt` at the top of a run.
///
/// # Errors
/// When it cannot be written.
pub fn write_summary(run_dir: &Path, results: &RunResults) -> Result<(), ReportError> {
    write_atomic(&run_dir.join(SUMMARY_FILE), summary_text(results).as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests;
