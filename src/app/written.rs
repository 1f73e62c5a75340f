//! `dynbench render` and `dynbench templates`: what would be started, as files, and what it is made from.

use std::path::{Path, PathBuf};

use super::catalog::catalog;
use super::error::AppError;
use crate::base::{create_dir, write_atomic};
use crate::plan::{Plan, StepSpec, expand};
use crate::render::GraphVersion;
use crate::target::TARGETS;

/// The steps of a plan, in the order of a run.
pub fn steps_of(plan: &Plan) -> Vec<StepSpec> {
    expand(plan, &catalog())
}

/// Writes what each deployment would start to `out`, graphs of templates in this version; the files.
///
/// # Errors
/// When a file cannot be written.
pub fn render(plan: &Plan, out: &Path, version: GraphVersion) -> Result<Vec<PathBuf>, AppError> {
    create_dir(out)?;
    let mut files = Vec::new();
    for deployment in plan.deployments.values() {
        let target = TARGETS.iter().find(|target| target.kind() == deployment.target.kind);
        let target = target.expect("a checked plan names known kinds only");
        let (extension, text) = target.written(plan, deployment, version);
        let path = out.join(format!("{}.{extension}", deployment.name));
        write_atomic(&path, text.as_bytes())?;
        files.push(path);
    }
    Ok(files)
}

/// Names of all built-in templates and a sentence about each.
pub fn templates() -> Vec<(&'static str, &'static str)> {
    crate::render::TEMPLATES.iter().map(|template| (template.name, template.about)).collect()
}

/// A template's text with its variables and their defaults above it, as comments.
///
/// # Errors
/// When there is none of that name.
pub fn show_template(name: &str) -> Result<String, AppError> {
    let Some(template) = crate::render::template(name) else {
        let near = crate::base::nearest(name, crate::render::TEMPLATES.iter().map(|template| template.name));
        return Err(AppError::Usage {
            message: format!("there is no template `{name}`"),
            help: Some(near.map_or("`dynbench templates list` names them all".to_owned(), |near| {
                format!("did you mean `{near}`?")
            })),
        });
    };
    let mut out = format!("# {}: {}\n#\n# Variables (`vars` of the deployment):\n", template.name, template.about);
    for variable in template.variables() {
        out.push_str(&format!("#   {} = {}  {}\n", variable.name, variable.default, variable.about));
    }
    out.push('\n');
    out.push_str(template.text);
    Ok(out)
}
