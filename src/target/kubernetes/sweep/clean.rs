//! Deletes everything of one run and verifies that it is gone.
//!
//! Owners are deleted, what belongs to them goes with them (foreground, so that they stay visible until it has gone);
//! what is left when no owner is there any more is deleted itself. The run's Lease comes last: as long as it is there,
//! somebody else will try again. Finalizers are never stripped: they are named.

use std::time::Duration;

use kube::api::{DeleteParams, Preconditions};
use serde::Serialize;

use super::super::super::contract::TargetError;
use super::super::client::Cluster;
use super::super::fault::translate;
use super::super::hold::{delete_namespace, free_pools, run_lease_name};
use super::super::own::{DEPLOYMENT, RUN};
use super::find::{Found, Search, find};
use super::kinds::listable;
use crate::base::{Clock, SystemClock, format_duration};

/// How often what is going is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What became of one run's objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Swept {
    /// What was deleted and is gone, `Deployment agg-x`.
    pub gone: Vec<String>,
    /// What is still there, and why.
    pub stays: Vec<String>,
    /// Worth knowing: a namespace that stays.
    pub notes: Vec<String>,
    /// Kinds that we may not list, so that nobody looked at them.
    pub hidden: Vec<String>,
}

impl Swept {
    /// Whether nothing is left.
    pub fn is_clean(&self) -> bool {
        self.stays.is_empty()
    }
}

/// Deletes everything that carries the run's label, within `patience`. What has the role `spare` stays: it goes with the
/// Lease, which owns it.
///
/// # Errors
/// When the cluster cannot be asked, so that nobody knows what is there.
pub(in super::super) async fn clean_run(
    cluster: &Cluster,
    run: &str,
    spare: Option<&str>,
    patience: Duration,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Swept, TargetError> {
    let kinds = listable(cluster).await?;
    let clock = SystemClock::default();
    let selector = format!("{RUN}={run}");
    let lease = run_lease_name(run);
    let is_lease = |found: &Found| found.resource.kind == "Lease" && found.name == lease;
    let mut swept = Swept::default();
    let mut known: Vec<Found> = Vec::new();
    let mut refused: Vec<String> = Vec::new();
    loop {
        let Search { found, hidden } = find(cluster, &kinds, &selector).await?;
        swept.hidden = hidden;
        let spared = |found: &Found| spare.is_some() && found.role.as_deref() == spare;
        let (leases, found): (Vec<_>, Vec<_>) = found.into_iter().filter(|found| !spared(found)).partition(is_lease);
        known.extend(
            found
                .iter()
                .chain(&leases)
                .filter(|one| !known.iter().any(|old| old.uid == one.uid))
                .cloned()
                .collect::<Vec<_>>(),
        );
        if found.is_empty() {
            free_pools(cluster, run).await?;
            for lease in &leases {
                delete(cluster, lease).await?;
            }
            swept.gone = known.iter().map(ToString::to_string).collect();
            swept.notes.extend(delete_namespace(cluster, run).await?);
            return Ok(swept);
        }
        if clock.elapsed() > patience {
            let gone = |one: &&Found| !found.iter().chain(&leases).any(|left| left.uid == one.uid);
            swept.gone = known.iter().filter(gone).map(ToString::to_string).collect();
            swept.stays = found.iter().map(|one| why(one, patience)).chain(refused).collect();
            return Ok(swept);
        }
        refused.clear();
        for one in roots(&found) {
            match delete(cluster, one).await {
                Ok(()) => {}
                // A webhook that is away, for instance: it may come back before the time is over.
                Err(error) => refused.push(error.message),
            }
        }
        let names: Vec<_> = found.iter().map(ToString::to_string).collect();
        say(&format!("waiting until {} is gone", names.join(", ")));
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether nothing of any deployment of the run is there.
///
/// # Errors
/// When the cluster cannot be asked.
pub(in super::super) async fn is_bare(cluster: &Cluster, run: &str) -> Result<bool, TargetError> {
    let kinds = listable(cluster).await?;
    let search = find(cluster, &kinds, &format!("{RUN}={run},{DEPLOYMENT}")).await?;
    Ok(search.found.is_empty())
}

/// What must be deleted now: what nobody among the others takes with it, and is not going already.
fn roots(found: &[Found]) -> impl Iterator<Item = &Found> {
    let there = |uid: &String| found.iter().any(|other| other.uid == *uid);
    found.iter().filter(move |one| !one.going && !one.owners.iter().any(there))
}

fn why(one: &Found, patience: Duration) -> String {
    let after = format_duration(patience);
    match (one.going, one.finalizers.as_slice()) {
        (true, []) => format!("{one} is going, and not gone after {after}"),
        (true, finalizers) => {
            format!("{one} is going, and not gone after {after}: it waits for {}", finalizers.join(", "))
        }
        (false, _) => format!("{one} is there after {after}"),
    }
}

/// Deletes one object, exactly that one; gone already is a success.
async fn delete(cluster: &Cluster, one: &Found) -> Result<(), TargetError> {
    let exactly = Preconditions { uid: Some(one.uid.clone()), resource_version: None };
    // A Lease must be gone at once: a garbage collector that is late would make a finished run look like a living one.
    let propagation =
        if one.resource.kind == "Lease" { DeleteParams::background() } else { DeleteParams::foreground() };
    let params = DeleteParams { preconditions: Some(exactly), ..propagation };
    let doing = format!("deleting {one}");
    match cluster.answered(&doing, one.resource.of(cluster).delete(&one.name, &params)).await? {
        Ok(_) => Ok(()),
        // 409: another object has that name by now, and it is not the one that was found.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(translate(&cluster.place, &doing, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::kubernetes::resource::Resource;

    fn found(uid: &str, owners: &[&str], going: bool) -> Found {
        Found {
            resource: Resource::known("v1", "Pod", "pods"),
            name: uid.to_owned(),
            uid: uid.to_owned(),
            run: None,
            plan: None,
            role: None,
            owners: owners.iter().map(|owner| (*owner).to_owned()).collect(),
            finalizers: Vec::new(),
            going,
        }
    }

    #[test]
    fn owners_are_deleted_and_take_theirs_along_and_orphans_are_deleted_themselves() {
        let all =
            [found("deployment", &[], false), found("pod", &["deployment"], false), found("orphan", &["away"], false)];
        let roots: Vec<_> = roots(&all).map(|one| one.uid.as_str()).collect();
        assert_eq!(roots, ["deployment", "orphan"]);
    }

    #[test]
    fn what_is_going_already_is_not_deleted_again_and_its_finalizers_are_named() {
        let all = [Found { finalizers: vec!["nvidia.com/finalizer".to_owned()], ..found("graph", &[], true) }];
        assert_eq!(roots(&all).count(), 0);
        let why = why(&all[0], Duration::from_secs(60));
        assert_eq!(why, "Pod graph is going, and not gone after 1m00s: it waits for nvidia.com/finalizer");
    }
}
