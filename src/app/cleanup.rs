//! `dynbench cleanup`: ends what interrupted runs left behind, from their journals and, in clusters, from labels alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::apply::RESULTS;
use super::error::AppError;
use crate::base::{Clock, SystemClock};
use crate::plan::Plan;
use crate::run::{RunError, RunInfo, Settling, find_run, frozen_of, list_runs, show_run};
use crate::steps::end_obligation;
use crate::target::{FoundRun, Sweep, SweepScope, sweep};

/// How long a run's objects may take to go when no plan says it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Which runs.
#[derive(Debug, Clone, Default)]
pub struct CleanupScope {
    /// One run: its folder, its id or the start of it, or `latest`; for a cluster alone its whole id.
    pub run: Option<String>,
    /// All runs of this plan.
    pub plan: Option<Plan>,
    /// Runs in a cluster whose Lease nobody renews any more.
    pub expired: bool,
    /// Context to look in, instead of the plan's.
    pub context: Option<String>,
    /// Namespace to look in, instead of the plan's.
    pub namespace: Option<String>,
}

/// Something that a run left behind.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// The run's folder.
    pub run: PathBuf,
    /// What it is.
    pub what: String,
}

/// What became of one of them.
#[derive(Debug, Clone)]
pub struct Cleaned {
    /// What it was.
    pub leftover: Leftover,
    /// Why it is still there; `None`: it is gone.
    pub failed: Option<String>,
}

/// Context and namespace, as a plan names them.
type Place = (Option<String>, Option<String>);

/// Where a plan's deployments are, as far as that is in clusters.
fn places_of(plan: &Plan) -> BTreeSet<Place> {
    let deployments = plan.deployments.values().filter(|deployment| deployment.target.kind == "kubernetes");
    deployments
        .map(|deployment| {
            let text = |key: &str| deployment.target.values.json.get(key)?.as_str().map(str::to_owned);
            (text("context"), text("namespace"))
        })
        .collect()
}

impl CleanupScope {
    /// Whether only a cluster is meant, and no folder of results.
    fn names_a_cluster(&self) -> bool {
        self.expired || self.context.is_some() || self.namespace.is_some()
    }

    /// Runs whose journals are here.
    fn journals(&self) -> Result<Vec<RunInfo>, AppError> {
        let results = Path::new(RESULTS);
        if self.expired {
            return Ok(Vec::new());
        }
        if let Some(run) = &self.run {
            return match find_run(results, None, run) {
                Ok(dir) => Ok(vec![show_run(&dir)]),
                // On another machine than the one that started it there is no folder.
                Err(RunError::NotARun { .. }) if self.names_a_cluster() => Ok(Vec::new()),
                Err(error) => Err(error.into()),
            };
        }
        if self.plan.is_none() && self.names_a_cluster() {
            return Ok(Vec::new());
        }
        let mut all = list_runs(results)?;
        all.retain(|run| self.plan.as_ref().is_none_or(|plan| run.plan == plan.name.as_str()));
        Ok(all)
    }

    /// Clusters to look into, and for what.
    fn sweeps(&self, journals: &[RunInfo], dry_run: bool) -> Vec<Sweep> {
        let mut patience = PATIENCE;
        let mut places = BTreeSet::new();
        let scope = match (&self.run, &self.plan) {
            (Some(run), _) => {
                let known = journals.first();
                if let Some((plan, _)) = known.and_then(|info| frozen_of(&info.dir).ok()) {
                    patience = plan.policy.teardown_deadline;
                    places.extend(places_of(&plan));
                }
                SweepScope::Run(known.map_or_else(|| run.clone(), |info| info.id.clone()))
            }
            (None, Some(plan)) => {
                patience = plan.policy.teardown_deadline;
                places.extend(places_of(plan));
                if self.expired { SweepScope::Expired } else { SweepScope::Plan(plan.name.to_string()) }
            }
            (None, None) if self.expired => SweepScope::Expired,
            // Whatever the journals know.
            (None, None) => return Vec::new(),
        };
        if self.context.is_some() || self.namespace.is_some() || (self.expired && places.is_empty()) {
            places = BTreeSet::from([(self.context.clone(), self.namespace.clone())]);
        }
        let one = |(context, namespace)| Sweep { context, namespace, scope: scope.clone(), dry_run, patience };
        places.into_iter().map(one).collect()
    }
}

/// What would be ended: from journals, and in clusters.
///
/// # Errors
/// When runs cannot be listed, the one named is none, or a cluster cannot be asked.
pub async fn leftovers(
    scope: &CleanupScope,
    say: &(dyn Fn(&str) + Sync),
) -> Result<(Vec<Leftover>, Vec<FoundRun>), AppError> {
    let journals = scope.journals()?;
    let sweeps = scope.sweeps(&journals, true);
    let open = journals.into_iter().flat_map(|run| {
        let dir = run.dir.clone();
        run.obligations.into_iter().map(move |open| Leftover { run: dir.clone(), what: open.what })
    });
    Ok((open.collect(), sweep_all(&sweeps, say).await?))
}

/// Ends all of it, verifies that it is gone, and records in each journal what it knew of.
///
/// # Errors
/// When runs cannot be listed, one is in use by another dynbench, a journal cannot be written, or a cluster cannot be
/// asked.
pub async fn cleanup(
    scope: &CleanupScope,
    say: &(dyn Fn(&str) + Sync),
) -> Result<(Vec<Cleaned>, Vec<FoundRun>), AppError> {
    let mut cleaned = Vec::new();
    let cancel = CancellationToken::new();
    let journals = scope.journals()?;
    let sweeps = scope.sweeps(&journals, false);
    for run in journals.into_iter().filter(|run| !run.obligations.is_empty()) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let mut settling = Settling::begin(&run.dir, env!("CARGO_PKG_VERSION"), clock)?;
        let deadline = settling.plan().policy.teardown_deadline;
        for open in settling.open() {
            say(&format!("ending {}", open.what));
            let failed = match end_obligation(&open, deadline, &cancel).await {
                Ok(()) => {
                    settling.met(&open.id)?;
                    None
                }
                Err(failure) => Some(failure.message),
            };
            cleaned.push(Cleaned { leftover: Leftover { run: run.dir.clone(), what: open.what }, failed });
        }
        settling.end()?;
    }
    Ok((cleaned, sweep_all(&sweeps, say).await?))
}

async fn sweep_all(sweeps: &[Sweep], say: &(dyn Fn(&str) + Sync)) -> Result<Vec<FoundRun>, AppError> {
    let mut found = Vec::new();
    for order in sweeps {
        found.extend(sweep(order, say).await.map_err(AppError::Target)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_looked_into_only_when_a_run_a_plan_or_expiry_names_it() {
        let nothing = CleanupScope::default();
        assert!(nothing.sweeps(&[], true).is_empty());
        let expired = CleanupScope { expired: true, namespace: Some("bench".to_owned()), ..CleanupScope::default() };
        let sweeps = expired.sweeps(&[], false);
        assert_eq!((sweeps.len(), &sweeps[0].scope), (1, &SweepScope::Expired));
        assert_eq!(sweeps[0].namespace.as_deref(), Some("bench"));
        let run = CleanupScope {
            run: Some("20261125-1".to_owned()),
            context: Some("lab".to_owned()),
            ..CleanupScope::default()
        };
        assert_eq!(run.sweeps(&[], true)[0].scope, SweepScope::Run("20261125-1".to_owned()));
    }
}
