//! Reading and checking plans.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::catalog::catalog;
use super::error::AppError;
use crate::base::Diagnostic;
use crate::load::LocalTokenizer;
use crate::plan::{Checked, Plan, load_plan, schema_json};

/// What the command line changes about a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `KEY=VALUE`, in the order given.
    pub sets: Vec<String>,
    /// `--namespace`: short for `target.namespace=...`.
    pub namespace: Option<String>,
}

impl Overrides {
    /// All of them as `KEY=VALUE`.
    pub fn all(&self) -> Vec<String> {
        let namespace = self.namespace.iter().map(|name| format!("target.namespace={name}"));
        self.sets.iter().cloned().chain(namespace).collect()
    }
}

/// Reads and checks a plan; finds everything that is wrong with it, also with the tokenizers that it names.
pub fn check(path: &Path, overrides: &Overrides) -> Checked {
    let mut checked = load_plan(path, &overrides.all(), &catalog());
    open_tokenizers(&mut checked);
    checked
}

/// Opens each tokenizer once: a file that is not one would be found out when the deployment is up and its GPUs are paid for.
fn open_tokenizers(checked: &mut Checked) {
    let (Some(plan), Some(values)) = (&checked.plan, &checked.resolved) else { return };
    let own = plan.deployments.values();
    let own = own.map(|deployment| (format!("deployments.{}.tokenizer", deployment.name), &deployment.tokenizer));
    let named = std::iter::once(("model.tokenizer".to_owned(), &plan.model.tokenizer)).chain(own);
    let mut opened = BTreeSet::new();
    for (key, path) in named {
        let Some(path) = path.as_ref().filter(|path| opened.insert(*path)) else { continue };
        if let Err(error) = LocalTokenizer::open(path) {
            checked.problems.push(
                Diagnostic::error(error.to_string())
                    .at(values.span(&key).cloned())
                    .help("name the tokenizer.json of the model, or the folder that holds it"),
            );
        }
    }
    if checked.problems.has_errors() {
        (checked.plan, checked.resolved) = (None, None);
    }
}

/// The plan, if there is one that can be used.
///
/// # Errors
/// [`AppError::Plan`], with all its problems.
pub fn usable(path: &Path, checked: &Checked) -> Result<Plan, AppError> {
    checked.plan.clone().ok_or_else(|| AppError::Plan { path: path.to_owned() })
}

/// The JSON Schema of plans.
pub fn schema() -> Value {
    schema_json(&catalog())
}
