//! `dynbench cleanup` without a journal: which runs have something in a namespace, which of them are dead, and their end.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::ListParams;
use serde::Serialize;

use super::super::super::contract::TargetError;
use super::super::client::{Cluster, Whereabouts};
use super::super::hold::{Health, Sign, Watcher, leases, run_lease_name, sign};
use super::super::own::{PLAN, ROLE, RUN};
use super::clean::{Swept, clean_run};
use super::find::{Found, find};
use super::kinds::listable;
use crate::base::{Clock, SystemClock};

/// How often Leases are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Which runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SweepScope {
    /// The one with this id.
    Run(String),
    /// All of the plan of this name.
    Plan(String),
    /// All whose Lease nobody renews any more.
    Expired,
}

/// What to clean up, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// Context of the kubeconfig; `None`: its current one.
    pub context: Option<String>,
    /// Namespace; `None`: the context's.
    pub namespace: Option<String>,
    /// Which runs.
    pub scope: SweepScope,
    /// Only say what would be deleted.
    pub dry_run: bool,
    /// How long each run's objects may take to go.
    pub patience: Duration,
}

/// A run that has something in the namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundRun {
    /// Its id.
    pub run: String,
    /// Its plan.
    pub plan: String,
    /// Context and namespace.
    pub place: String,
    /// What it has there.
    pub objects: Vec<String>,
    /// Why it was left alone: it is alive, or kept on purpose.
    pub spared: Option<String>,
    /// What became of it; `None`: nothing was done.
    pub swept: Option<Swept>,
}

/// Finds runs by their labels and, unless it is a dry run, ends them.
///
/// # Errors
/// When the cluster cannot be asked.
pub async fn sweep(order: &Sweep, say: &(dyn Fn(&str) + Sync)) -> Result<Vec<FoundRun>, TargetError> {
    let to = Whereabouts { context: order.context.clone(), namespace: order.namespace.clone() };
    let cluster = Cluster::connect(&to).await?;
    let selector = match &order.scope {
        SweepScope::Run(run) => format!("{RUN}={run}"),
        SweepScope::Plan(plan) => format!("{RUN},{PLAN}={plan}"),
        SweepScope::Expired => RUN.to_owned(),
    };
    let kinds = listable(&cluster).await?;
    let search = find(&cluster, &kinds, &selector).await?;
    let mut runs: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for found in search.found {
        if let Some(run) = found.run.clone() {
            runs.entry(run).or_default().push(found);
        }
    }
    let health = observe(&cluster, &runs, order.scope == SweepScope::Expired, say).await?;
    let mut all = Vec::new();
    for (run, objects) in runs {
        let spared = match (health.get(&run), &order.scope) {
            (Some(Health::Alive), _) => {
                Some("it is alive: its Lease was renewed just now; end it where it runs".to_owned())
            }
            (Some(Health::Dead | Health::Unknown(_)), SweepScope::Run(_) | SweepScope::Plan(_)) => None,
            (Some(Health::Dead), SweepScope::Expired) => None,
            (Some(Health::Unknown(_)), SweepScope::Expired) => Some("whether it lives is not known".to_owned()),
            (None, SweepScope::Expired) => {
                Some("it has no Lease: its deployments were kept on purpose (`cleanup --run` ends them)".to_owned())
            }
            (None, SweepScope::Run(_) | SweepScope::Plan(_)) => None,
        };
        let swept = if order.dry_run || spared.is_some() {
            None
        } else {
            Some(clean_run(&cluster, &run, None, order.patience, say).await?)
        };
        all.push(FoundRun {
            plan: objects.iter().find_map(|found| found.plan.clone()).unwrap_or_default(),
            place: cluster.place.to_string(),
            objects: objects.iter().map(ToString::to_string).collect(),
            run,
            spared,
            swept,
        });
    }
    Ok(all)
}

/// Watches the Leases of runs. For a run that was named it is enough to see that it is not renewed as often as a living
/// one is; to call a run dead by itself its Lease must be unchanged for its whole duration.
async fn observe(
    cluster: &Cluster,
    runs: &BTreeMap<String, Vec<Found>>,
    until_sure: bool,
    say: &(dyn Fn(&str) + Sync),
) -> Result<BTreeMap<String, Health>, TargetError> {
    let clock = SystemClock::default();
    let mut watchers: BTreeMap<String, (Watcher, Health)> = BTreeMap::new();
    loop {
        let now = clock.elapsed();
        let params = ListParams::default().labels(&format!("{RUN},{ROLE}=lease"));
        let listed = cluster.call("listing Leases", leases(cluster).list(&params)).await?;
        let signs: BTreeMap<String, Sign> =
            listed.items.iter().map(|lease| (lease.metadata.name.clone().unwrap_or_default(), sign(lease))).collect();
        let mut open = Vec::new();
        for run in runs.keys() {
            let Some(sign) = signs.get(&run_lease_name(run)) else {
                watchers.remove(run);
                continue;
            };
            let (watcher, health) =
                watchers.entry(run.clone()).or_insert_with(|| (Watcher::default(), Health::Unknown(sign.duration)));
            *health = match *health {
                // One sign is enough.
                Health::Alive => Health::Alive,
                Health::Unknown(_) | Health::Dead => watcher.look(sign, now),
            };
            let enough = if until_sure { sign.duration } else { sign.duration / 3 };
            match *health {
                Health::Unknown(_) if now < enough => open.push(run.as_str()),
                Health::Unknown(_) | Health::Alive | Health::Dead => {}
            }
        }
        if open.is_empty() {
            return Ok(watchers.into_iter().map(|(run, (_, health))| (run, health)).collect());
        }
        say(&format!("watching whether {} still {}", open.join(", "), if open.len() == 1 { "lives" } else { "live" }));
        tokio::time::sleep(LOOK).await;
    }
}
