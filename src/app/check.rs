//! Reading and checking plans.

use std::path::Path;

use serde_json::Value;

use super::catalog::catalog;
use super::error::AppError;
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

/// Reads and checks a plan; finds everything that is wrong with it.
pub fn check(path: &Path, overrides: &Overrides) -> Checked {
    load_plan(path, &overrides.all(), &catalog())
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
