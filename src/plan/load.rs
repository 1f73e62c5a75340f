//! The way in: a file and the `--set` of the command line become a checked plan, or all that is wrong with them.

use std::collections::BTreeSet;
use std::path::Path;

use super::catalog::Catalog;
use super::check::{File, check};
use super::document::{self, Document};
use super::model::{Plan, Values};
use super::read::read_plan;
use super::sets;
use crate::base::{Diagnostic, Problems, Severity, SourceMap};

/// What came of a plan file.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The plan's text, then one for each `--set`: what spans point into.
    pub sources: SourceMap,
    /// Everything that was found: with an error among it there is no plan, warnings and notes may stand beside one.
    pub problems: Problems,
    /// The plan.
    pub plan: Option<Plan>,
    /// The plan as a document: every key with its value, and places of those that were written. See
    /// [`super::resolved_toml`].
    pub resolved: Option<Values>,
}

/// Reads and checks a plan file. Relative paths in it start at its folder.
pub fn load_plan(path: &Path, sets: &[String], catalog: &Catalog) -> Checked {
    match read_plan(path) {
        Ok(text) => check_text(path, text, sets, catalog),
        Err(problem) => {
            let mut problems = Problems::default();
            problems.push(problem);
            Checked { sources: SourceMap::default(), problems, plan: None, resolved: None }
        }
    }
}

/// Checks the text of a plan as if it stood at `path`: for frozen plans and for tests.
pub fn check_text(path: &Path, text: String, sets: &[String], catalog: &Catalog) -> Checked {
    let mut sources = SourceMap::default();
    let mut problems = Problems::default();
    let source = sources.add(path, text.clone());
    let Document { mut root, complete } = document::parse(&text, source, &mut problems);
    sets::apply(&mut root, sets, &mut sources, &mut problems);

    // An absolute folder: a run that is resumed from elsewhere must find the same files.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let dir = absolute.parent().unwrap_or(Path::new("/"));
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let file = File { dir, stem: &stem };
    // After a syntax error the tree has holes: complaints about what is missing would be wrong.
    let found = if complete { check(root, file, catalog, &sources, &mut problems) } else { None };
    let (plan, resolved) = found.unzip();
    let problems = without_repeats(problems);
    let plan = plan.filter(|_| !problems.has_errors());
    let resolved = resolved.filter(|_| plan.is_some());
    Checked { sources, problems, plan, resolved }
}

/// Problems beyond this number are only counted: nobody reads on, and each is rendered with its text.
const MOST_PROBLEMS: usize = 100;

/// One problem of an inherited or multiplied key is found once for each that inherits it, and told once.
fn without_repeats(problems: Problems) -> Problems {
    let mut seen = BTreeSet::new();
    let mut kept = Problems::default();
    let mut more = 0;
    for problem in problems.sorted() {
        let place = problem.span.as_ref().map(|span| (span.source, span.range.start, span.range.end));
        // The message names the deployment, the advice does not.
        let words = problem.help.as_deref().unwrap_or(&problem.message);
        if !seen.insert((place, words)) {
            continue;
        }
        // Errors are not crowded out by warnings before them: a plan with errors must have one to show.
        if kept.len() < MOST_PROBLEMS || (problem.severity == Severity::Error && !kept.has_errors()) {
            kept.push(problem.clone());
        } else {
            more += 1;
        }
    }
    if more > 0 {
        kept.push(Diagnostic::note(format!("{more} more problems are not shown")));
    }
    kept
}
