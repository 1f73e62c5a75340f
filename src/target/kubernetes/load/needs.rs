//! What load from inside a cluster may do, for the Role that a plan needs.

use std::path::{Path, PathBuf};

use super::super::super::contract::TargetError;
use super::super::super::image::Program;
use super::reach::{Way, way_of};
use crate::plan::{Deployment, LoadSource, Plan};

/// A right that is needed, in RBAC's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// API group; empty: the core one.
    pub group: &'static str,
    /// `jobs`, `pods/exec`
    pub resource: &'static str,
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// What for, in a few words.
    pub why: &'static str,
}

const JOB: Permission = Permission {
    group: "batch",
    resource: "jobs",
    verbs: &["get", "list", "create", "patch", "delete"],
    why: "the Job that sends the load",
};
const PODS: Permission =
    Permission { group: "", resource: "pods", verbs: &["get", "list"], why: "the state of the load workers" };
const FORWARD: Permission = Permission {
    group: "",
    resource: "pods/portforward",
    // A forward by websocket is a GET, one by SPDY a POST.
    verbs: &["get", "create"],
    why: "orders to the load workers, and their results",
};
const EXEC: Permission = Permission {
    group: "",
    resource: "pods/exec",
    verbs: &["get", "create"],
    why: "carrying dynbench into an image that does not have it; not needed with `load.image`",
};

/// The rights that load for this deployment needs, by what the plan says.
pub fn permissions(plan: &Plan, deployment: &Deployment) -> Vec<Permission> {
    match way_of(plan, deployment) {
        Way::Url => Vec::new(),
        Way::Forward => vec![PODS, FORWARD],
        Way::Workers => {
            let mut all = vec![JOB, PODS, FORWARD];
            if carries(&plan.load) {
                all.push(EXEC);
            }
            all
        }
    }
}

/// Where the binary that is carried lies.
///
/// # Errors
/// When the plan names none and this program does not know its own file.
pub(super) fn carried_path(load: &LoadSource) -> Result<PathBuf, TargetError> {
    let path = load.binary.clone().map_or_else(std::env::current_exe, Ok);
    path.map_err(|error| TargetError::new(format!("this program cannot be found: {error}")))
}

/// The binary that is carried.
///
/// # Errors
/// When it cannot run in somebody else's image.
pub(in super::super) fn carried_program(path: &Path) -> Result<Program, TargetError> {
    Program::read(path).map_err(|error| TargetError {
        help: error.help(),
        key: Some("load.binary".to_owned()),
        ..TargetError::new(error.to_string())
    })
}

/// Whether the binary is carried into an image that does not have it.
pub(super) fn carries(load: &LoadSource) -> bool {
    load.image.is_none()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::plan::LoadFrom;
    use crate::target::fixtures;

    #[test]
    fn exec_is_asked_for_only_where_the_binary_is_carried() {
        let mut plan = fixtures::plan(Path::new("/p"));
        let deployment = fixtures::deployment(json!({"template": "vllm"}));
        let has_exec = |plan: &Plan| permissions(plan, &deployment).contains(&EXEC);
        assert!(has_exec(&plan));
        plan.load.image = Some("r.io/dynbench:1".to_owned());
        assert!(!has_exec(&plan));
        plan.load.from = LoadFrom::Here;
        assert_eq!(permissions(&plan, &deployment), [PODS, FORWARD]);
        let url = fixtures::deployment(json!({"template": "vllm", "url": "http://h:30080"}));
        assert_eq!(permissions(&plan, &url), []);
    }
}
