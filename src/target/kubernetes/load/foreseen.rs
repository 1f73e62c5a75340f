//! What load from inside the cluster will need, as far as it is known before anything is deployed.

use std::path::PathBuf;

use serde_json::Value;

use super::super::super::contract::{Live, TargetError};
use super::job::{Wanted, job};
use super::needs::{carried_path, carries};
use super::reach::{Way, way_of};
use super::workers::Host;

/// What preflight looks at.
pub(in super::super) struct Foreseen {
    /// The Job of the load workers. Its image is empty where it will be that of the deployment.
    pub(in super::super) job: Value,
    /// The binary that will be carried into it; `None`: its image has one.
    pub(in super::super) carried: Option<PathBuf>,
}

/// What will be made for a deployment's load; `None`: load comes from here.
///
/// # Errors
/// When this program does not know its own file.
pub(in super::super) fn foreseen(live: Live<'_>, namespace: &str) -> Result<Option<Foreseen>, TargetError> {
    match way_of(live.plan, live.deployment) {
        Way::Url | Way::Forward => Ok(None),
        Way::Workers => {
            let host = Host::find(live, &Value::Null);
            let job = job(&Wanted {
                plan: live.plan,
                deployment: live.deployment,
                run: live.run,
                namespace,
                image: &host.image,
                pull_secrets: &host.pull_secrets,
                tested: None,
                binary: None,
            });
            let load = &live.plan.load;
            let carried = if carries(load) { Some(carried_path(load)?) } else { None };
            Ok(Some(Foreseen { job, carried }))
        }
    }
}
