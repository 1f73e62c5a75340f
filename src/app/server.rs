//! `dynbench plan --server`, `dynbench rbac`, `dynbench reap`: what clusters say of a plan, and are asked by it.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::error::AppError;
use crate::base::Name;
use crate::plan::Plan;
use crate::target::{Live, Reaping, ServerView, Swept, TARGETS, TargetError, reap as watch, server_view};

/// The run that objects of a preview are named after.
const PREVIEW: &str = "preview";

/// What the surroundings of one deployment say before anything is started.
#[derive(Debug, Clone)]
pub struct DeploymentView {
    /// The deployment.
    pub deployment: Name,
    /// What preflight looked at, or what stands in the way.
    pub preflight: Result<Vec<String>, TargetError>,
    /// What would become of its objects; `None`: it has none, or they cannot be tried.
    pub objects: Option<ServerView>,
}

/// Runs every deployment's preflight, and tries its objects without keeping them.
pub async fn server_views(plan: &Plan) -> Vec<DeploymentView> {
    let cancel = CancellationToken::new();
    let mut views = Vec::new();
    for deployment in plan.deployments.values() {
        let target = TARGETS.iter().find(|target| target.kind() == deployment.target.kind);
        let target = target.expect("a checked plan names known kinds only");
        let live = Live { plan, deployment, run: PREVIEW, dir: Path::new(""), cancel: &cancel };
        let preflight = target.preflight(live).await;
        let objects = if deployment.target.kind == "kubernetes" { server_view(live).await.ok() } else { None };
        views.push(DeploymentView { deployment: deployment.name.clone(), preflight, objects });
    }
    views
}

/// YAML of the rights that a plan needs in its clusters.
///
/// # Errors
/// When it has no deployment in any cluster, or nobody knows in which namespace.
pub fn rbac(plan: &Plan) -> Result<String, AppError> {
    crate::target::rbac(plan).map_err(AppError::Target)?.ok_or_else(|| AppError::Usage {
        message: "no deployment of this plan is in a cluster, so it needs no rights there".to_owned(),
        help: Some("`dynbench rbac` is for plans with `kind = \"kubernetes\"`".to_owned()),
    })
}

/// Watches over one run from within its cluster; what was ended, if the run was found dead.
///
/// # Errors
/// When there is no cluster, or `after` is no duration.
pub async fn reap(
    run: &str,
    namespace: Option<&str>,
    after: &str,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Option<Swept>, AppError> {
    let after = crate::base::parse_duration(after).map_err(AppError::usage)?;
    let order = Reaping { run: run.to_owned(), namespace: namespace.map(str::to_owned), after };
    watch(&order, say).await.map_err(AppError::Target)
}
