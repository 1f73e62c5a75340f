//! A Lease taken, renewed by a task of its own, and given back.
//!
//! The task goes on through any outage of the API server: as long as nobody else has taken the Lease it is ours, however
//! late the renewal comes. When somebody has, it says so in [`Held::lost`], and whoever measures must stop.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::super::contract::TargetError;
use super::super::client::Cluster;
use super::super::fault::translate;
use super::super::own::{MANAGED_BY, MANAGER, PLAN, ROLE, RUN};
use super::rule::{Move, Sign, Watcher, decide};
use crate::base::{Clock, SystemClock, format_duration};

/// Annotation: on which machine the holder runs, for people.
const HOST: &str = "dynbench.dev/host";
/// How often a Lease that another holds is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Value of [`ROLE`] on a pool's Lease.
const POOL: &str = "pool";
/// Renewals that fit into a Lease's duration: so many may fail before it counts as dead.
const RENEWALS: u32 = 6;

/// Who takes a Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) run: String,
    pub(super) plan: String,
    /// Which process: its host and number.
    pub(super) session: String,
    pub(super) host: String,
}

impl Holder {
    /// This process.
    pub(super) fn here(run: &str, plan: &str) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let session = format!("{host}-{}", std::process::id());
        Self { run: run.to_owned(), plan: plan.to_owned(), session, host }
    }

    fn identity(&self) -> String {
        format!("{}/{}", self.run, self.session)
    }
}

/// What a Lease is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The life of one run: carries its label.
    Run,
    /// A pool of GPUs: outlives any run that has it.
    Pool,
}

/// Name of a run's Lease.
pub(in super::super) fn run_lease_name(run: &str) -> String {
    format!("dynbench-run-{}", run.to_lowercase())
}

/// Name of a pool's Lease.
pub(super) fn pool_lease_name(pool: &str) -> String {
    format!("dynbench-pool-{pool}")
}

/// Leases of the namespace.
pub(in super::super) fn leases(cluster: &Cluster) -> Api<Lease> {
    Api::namespaced(cluster.client.clone(), cluster.namespace())
}

/// One look at a Lease; `None`: it is not there.
///
/// # Errors
/// When the API server does not answer.
pub(in super::super) async fn lease_of(cluster: &Cluster, name: &str) -> Result<Option<Sign>, TargetError> {
    let found = cluster.call_opt(&format!("reading Lease {name}"), leases(cluster).get(name)).await?;
    Ok(found.as_ref().map(sign))
}

/// What a Lease says.
pub(in super::super) fn sign(lease: &Lease) -> Sign {
    let spec = lease.spec.as_ref();
    let identity = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    let (run, session) = identity.split_once('/').unwrap_or((identity, ""));
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(60).max(1);
    Sign {
        run: run.to_owned(),
        session: session.to_owned(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        duration: Duration::from_secs(u64::from(seconds.unsigned_abs())),
    }
}

/// A Lease that this process renews as long as the value lives.
#[derive(Debug)]
pub(super) struct Held {
    name: String,
    identity: String,
    lost: Arc<OnceLock<String>>,
    _end: DropGuard,
}

impl Held {
    /// Why it is not ours any more.
    pub(super) fn lost(&self) -> Option<String> {
        self.lost.get().cloned()
    }

    /// Ends the renewals and deletes the Lease, if it is still ours.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(super) async fn give_back(self, cluster: &Cluster) -> Result<(), TargetError> {
        let Self { name, identity, .. } = self;
        delete_if(cluster, &name, |lease| holder(lease) == identity).await
    }
}

/// Deletes a Lease that `ours` accepts, exactly as it was looked at.
///
/// # Errors
/// When the API server does not answer.
pub(super) async fn delete_if(cluster: &Cluster, name: &str, ours: impl Fn(&Lease) -> bool) -> Result<(), TargetError> {
    let doing = format!("deleting Lease {name}");
    let api = leases(cluster);
    loop {
        let Some(found) = cluster.call_opt(&doing, api.get(name)).await?.filter(|lease| ours(lease)) else {
            return Ok(());
        };
        let exactly = Preconditions { uid: found.metadata.uid, resource_version: found.metadata.resource_version };
        let params = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
        match cluster.answered(&doing, api.delete(name, &params)).await? {
            // Renewed or taken since the look: look again.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(translate(&cluster.place, &doing, &error)),
            Ok(_) => return Ok(()),
        }
    }
}

/// Frees every pool of GPUs in the namespace that the run has.
///
/// # Errors
/// When the API server does not answer.
pub(in super::super) async fn free_pools(cluster: &Cluster, run: &str) -> Result<(), TargetError> {
    let pools = ListParams::default().labels(&format!("{ROLE}={POOL}"));
    for lease in cluster.call("listing Leases", leases(cluster).list(&pools)).await?.items {
        if sign(&lease).run == run
            && let Some(name) = &lease.metadata.name
        {
            delete_if(cluster, name, |lease| sign(lease).run == run).await?;
        }
    }
    Ok(())
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// Why a Lease was not taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// Another run has it.
    Busy(String),
    /// The cluster did not do as told.
    Failed(TargetError),
}

impl From<TargetError> for NotTaken {
    fn from(error: TargetError) -> Self {
        Self::Failed(error)
    }
}

/// How a Lease is wanted.
pub(super) struct Wanted<'a> {
    pub(super) name: String,
    pub(super) purpose: Purpose,
    pub(super) holder: &'a Holder,
    pub(super) duration: Duration,
    /// How long to wait for another holder to give it back.
    pub(super) patience: Duration,
}

/// Takes a Lease and renews it from then on. Another holder that lives refuses it after `patience`; one that is dead loses
/// it.
///
/// # Errors
/// [`NotTaken`].
pub(super) async fn take(
    cluster: &Cluster,
    wanted: &Wanted<'_>,
    cancel: &CancellationToken,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Held, NotTaken> {
    let (api, name) = (leases(cluster), wanted.name.as_str());
    let clock = SystemClock::default();
    let mut watcher = Watcher::default();
    loop {
        let found = cluster.call_opt(&format!("reading Lease {name}"), api.get(name)).await?;
        let now = clock.elapsed();
        let decided = decide(found.as_ref().map(sign).as_ref(), &wanted.holder.run, &mut watcher, now);
        let taken = match (decided, &found) {
            (Move::Create, _) => {
                let new = filled(Lease::default(), wanted);
                cluster.answered(&format!("creating Lease {name}"), api.create(&PostParams::default(), &new)).await?
            }
            (Move::Take, Some(found)) => {
                let new = filled(found.clone(), wanted);
                let doing = format!("taking Lease {name}");
                cluster.answered(&doing, api.replace(name, &PostParams::default(), &new)).await?
            }
            (Move::Taken, Some(found)) if now >= wanted.patience => return Err(NotTaken::Busy(described(found))),
            (Move::Observe | Move::Taken, Some(found)) => {
                say(&format!("waiting: {}", described(found)));
                tokio::select! {
                    () = cancel.cancelled() => {
                        return Err(NotTaken::Failed(TargetError::new("interrupted while waiting for a Lease")));
                    }
                    () = tokio::time::sleep(LOOK) => continue,
                }
            }
            (Move::Take | Move::Taken | Move::Observe, None) => unreachable!("only a Lease that is there has a holder"),
        };
        match taken {
            Ok(_) => return Ok(keep(cluster.clone(), wanted)),
            // Somebody was faster: look again.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(translate(&cluster.place, &format!("taking Lease {name}"), &error).into()),
        }
    }
}

/// Who has it, for people.
fn described(lease: &Lease) -> String {
    let annotation = |key: &str| {
        lease.metadata.annotations.as_ref().and_then(|map| map.get(key)).map_or("?", String::as_str).to_owned()
    };
    let since = lease.spec.as_ref().and_then(|spec| spec.acquire_time.as_ref());
    let since = since.map_or("?".to_owned(), |time| format!("{:.0}", time.0));
    format!("held by run {} of plan {} on {} since {since}", sign(lease).run, annotation(PLAN), annotation(HOST))
}

/// The Lease as this holder wants it.
fn filled(mut lease: Lease, wanted: &Wanted<'_>) -> Lease {
    let holder = wanted.holder;
    let mut labels = BTreeMap::from([(MANAGED_BY.to_owned(), MANAGER.to_owned())]);
    match wanted.purpose {
        Purpose::Run => {
            labels.insert(RUN.to_owned(), holder.run.clone());
            labels.insert(PLAN.to_owned(), holder.plan.clone());
            labels.insert(ROLE.to_owned(), "lease".to_owned());
        }
        Purpose::Pool => {
            labels.insert(ROLE.to_owned(), POOL.to_owned());
        }
    }
    let annotations = BTreeMap::from([
        (RUN.to_owned(), holder.run.clone()),
        (PLAN.to_owned(), holder.plan.clone()),
        (HOST.to_owned(), holder.host.clone()),
    ]);
    lease.metadata = ObjectMeta {
        name: Some(wanted.name.clone()),
        labels: Some(labels),
        annotations: Some(annotations),
        resource_version: lease.metadata.resource_version,
        ..ObjectMeta::default()
    };
    let before = lease.spec.unwrap_or_default();
    let now = now();
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(holder.identity()),
        lease_duration_seconds: Some(i32::try_from(wanted.duration.as_secs().max(1)).unwrap_or(i32::MAX)),
        acquire_time: Some(now.clone()),
        renew_time: Some(now),
        lease_transitions: Some(before.lease_transitions.map_or(0, |count| count.saturating_add(1))),
        ..LeaseSpec::default()
    });
    lease
}

/// For people only: no decision compares the clocks of two machines.
fn now() -> MicroTime {
    let nanos = i128::from(SystemClock::default().now().0);
    MicroTime(Timestamp::from_nanosecond(nanos).unwrap_or_default())
}

/// Starts the renewals.
fn keep(cluster: Cluster, wanted: &Wanted<'_>) -> Held {
    let lost = Arc::new(OnceLock::new());
    let end = CancellationToken::new();
    let (name, identity) = (wanted.name.clone(), wanted.holder.identity());
    let task = renew(cluster, name.clone(), identity.clone(), wanted.duration, Arc::clone(&lost), end.clone());
    tokio::spawn(task);
    Held { name, identity, lost, _end: end.drop_guard() }
}

async fn renew(
    cluster: Cluster,
    name: String,
    identity: String,
    duration: Duration,
    lost: Arc<OnceLock<String>>,
    end: CancellationToken,
) {
    let api = leases(&cluster);
    let pause = (duration / RENEWALS).max(Duration::from_millis(500));
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        // An outage is no reason to stop: nobody else can take it meanwhile either.
        let Ok(found) = cluster.call_opt("renewing a Lease", api.get(&name)).await else { continue };
        let why = match found {
            None => format!("Lease {name} was deleted"),
            Some(lease) if holder(&lease) != identity => {
                format!(
                    "Lease {name} was taken while this run gave no sign of life for {}: it is {}",
                    format_duration(duration),
                    described(&lease)
                )
            }
            Some(mut lease) => {
                if let Some(spec) = &mut lease.spec {
                    spec.renew_time = Some(now());
                }
                // A conflict or an outage: the next round looks again.
                let _renewed =
                    cluster.answered("renewing a Lease", api.replace(&name, &PostParams::default(), &lease)).await;
                continue;
            }
        };
        if !end.is_cancelled() {
            // Set once: the first reason is the true one.
            let _first = lost.set(why);
        }
        return;
    }
}
