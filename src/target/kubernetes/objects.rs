//! The objects of a deployment: as the plan alone gives them, and as a run will send them.

use std::path::Path;

use serde_json::Value;

use super::super::contract::{Live, TargetError};
use super::stamp::{labels, stamp};
use crate::plan::{Deployment, Plan};
use crate::render::{Inputs, render};

/// What would be applied; nothing for a deployment that is only measured.
///
/// # Errors
/// When it cannot be rendered, which the check of the plan has said before.
pub(super) fn objects_of(plan: &Plan, deployment: &Deployment) -> Result<Vec<Value>, TargetError> {
    if deployment.values.json.get("existing").is_some_and(|existing| !existing.is_null()) {
        return Ok(Vec::new());
    }
    let dir: &Path = &plan.dir;
    render(plan, deployment, &Inputs::beside(dir), None)
        .map(|rendered| rendered.objects)
        .map_err(|_| TargetError::new(format!("the objects of {} cannot be rendered", deployment.name)))
}

/// The same with the run's names and labels, as they will be sent.
///
/// # Errors
/// As [`objects_of`].
pub(super) fn objects_to_apply(live: Live<'_>) -> Result<Vec<Value>, TargetError> {
    if live.deployment.values.json.get("existing").is_some_and(|existing| !existing.is_null()) {
        return Ok(Vec::new());
    }
    let rendered = render(live.plan, live.deployment, &Inputs::beside(&live.plan.dir), Some(live.run))
        .map_err(|_| TargetError::new(format!("the objects of {} cannot be rendered", live.deployment.name)))?;
    let labels = labels(live.run, live.plan.name.as_str(), live.deployment.name.as_str());
    let mut objects = rendered.objects;
    for object in &mut objects {
        stamp(object, &labels);
    }
    Ok(objects)
}
