//! The objects of a deployment: as the plan alone gives them, and as a run will send them.

use serde_json::Value;

use super::super::contract::{Live, TargetError};
use super::discover::Discovered;
use super::kind;
use super::stamp::{labels, stamp};
use crate::plan::{Deployment, Plan};

/// Whether it runs already and is only measured: then it has no objects of ours.
fn is_existing(deployment: &Deployment) -> bool {
    deployment.values.json.get("existing").is_some_and(|existing| !existing.is_null())
}

/// What would be applied; nothing for a deployment that is only measured.
///
/// # Errors
/// When it cannot be rendered, which the check of the plan has said before.
pub(super) fn objects_of(plan: &Plan, deployment: &Deployment) -> Result<Vec<Value>, TargetError> {
    if is_existing(deployment) {
        return Ok(Vec::new());
    }
    let rendered = kind::objects(plan, deployment);
    let failed = |_| TargetError::new(format!("the objects of {} cannot be rendered", deployment.name));
    rendered.map(|rendered| rendered.objects).map_err(failed)
}

/// The same with the run's names and labels, in the versions that this cluster serves: as they will be sent.
///
/// # Errors
/// As [`objects_of`].
pub(super) fn objects_to_apply(live: Live<'_>, discovered: &Discovered) -> Result<Vec<Value>, TargetError> {
    if is_existing(live.deployment) {
        return Ok(Vec::new());
    }
    let labels = labels(live.run, live.plan.name.as_str(), live.deployment.name.as_str());
    let mut objects: Vec<_> = kind::objects_of_run(live)?.into_iter().map(|object| discovered.suited(object)).collect();
    objects.iter_mut().for_each(|object| stamp(object, &labels));
    Ok(objects)
}
