//! Takes everything that a run holds, before anything of it is deployed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::super::contract::{Ledger, Live, TargetError, Unheld};
use super::super::client::{Cluster, Whereabouts};
use super::super::kind::whereabouts;
use super::super::settings::Settings;
use super::super::{cache, secrets, sweep};
use super::lease::{Held, Holder, NotTaken, Purpose, Wanted, pool_lease_name, run_lease_name, take};
use super::namespace;

/// What a journal needs in order to give back what a run holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in super::super) struct HeldHandle {
    /// Where.
    pub(in super::super) at: Whereabouts,
    /// Whose.
    pub(in super::super) run: String,
}

/// How long giving back may take when a run cannot have everything: nothing big was made yet.
const GIVING_UP: Duration = Duration::from_secs(60);

/// The member of an obligation's handle that holds it: other handles of this target have no such member.
const HELD: &str = "held";

impl HeldHandle {
    /// Out of an obligation's handle, if that is one of these.
    pub(in super::super) fn read(handle: &Value) -> Option<Self> {
        serde_json::from_value(handle.get(HELD)?.clone()).ok()
    }
}

/// Context, namespace and run.
pub(super) type Key = (String, String, String);

/// What this process renews for one run in one namespace.
pub(super) struct Holding {
    pub(super) cluster: Cluster,
    pub(super) run_lease: Held,
    pub(super) pools: BTreeMap<String, Held>,
}

/// Leases are renewed beside all steps, from the first deployment of a run to its end: no step owns them.
static HOLDINGS: Mutex<BTreeMap<Key, Holding>> = Mutex::new(BTreeMap::new());

pub(super) fn holdings() -> MutexGuard<'static, BTreeMap<Key, Holding>> {
    HOLDINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn key(cluster: &Cluster, run: &str) -> Key {
    (cluster.place.context.clone(), cluster.place.namespace.clone(), run.to_owned())
}

/// Takes what the run needs for itself alone: the namespace if it is to be made, its own Lease, the pool of GPUs, Secrets
/// from the environment, the reaper. Safe to call for every deployment: what is held already stays.
///
/// # Errors
/// [`Unheld`]; then nothing is held that was not held before.
pub(in super::super) async fn begin(live: Live<'_>, ledger: &dyn Ledger) -> Result<(), Unheld> {
    let settings = Settings::of(live.deployment)?;
    let cluster = Cluster::connect(&whereabouts(live.deployment)?).await?;
    let handle = HeldHandle { at: cluster.whereabouts(), run: live.run.to_owned() };
    // Of each deployment: the last one to give its claim up is the end of the run itself.
    let what = format!("the claim of {} on the Leases of run {} ({})", live.deployment.name, live.run, cluster.place);
    let handle = json!({ HELD: handle });
    let obligation = ledger.open(what, handle).await?;
    let taken = take_all(live, &cluster, &settings, ledger).await;
    let gave_up = taken.is_err() && !holdings().contains_key(&key(&cluster, live.run));
    // What an earlier session deployed stays: whether it is used again is for the next resume to say.
    if gave_up && sweep::is_bare(&cluster, live.run).await.unwrap_or(false) {
        let cleaned = sweep::clean_run(&cluster, live.run, None, GIVING_UP, &|_| ()).await;
        if cleaned.is_ok_and(|swept| swept.is_clean()) {
            ledger.close(&obligation).await?;
        }
    }
    taken
}

async fn take_all(live: Live<'_>, cluster: &Cluster, settings: &Settings, ledger: &dyn Ledger) -> Result<(), Unheld> {
    let (run, plan) = (live.run, live.plan.name.as_str());
    let key = key(cluster, run);
    if settings.create_namespace {
        namespace::ensure(cluster, run, plan).await?;
    }
    let holder = Holder::here(run, plan);
    let say = |what: &str| ledger.doing(what);
    forget_lost(&key);
    if !holdings().contains_key(&key) {
        let name = run_lease_name(run);
        let (purpose, patience) = (Purpose::Run, Duration::ZERO);
        let wanted = Wanted { name, purpose, holder: &holder, duration: settings.lease, patience };
        let run_lease = take(cluster, &wanted, live.cancel, &say)
            .await
            .map_err(|error| unheld(cluster, "the run's Lease", error))?;
        let holding = Holding { cluster: cluster.clone(), run_lease, pools: BTreeMap::new() };
        holdings().insert(key.clone(), holding);
    }
    let result = take_rest(live, cluster, settings, &holder, ledger, &key).await;
    if result.is_err() && live.deployment.name == first_of_run(live) {
        // The run cannot go on: nobody must wait for its renewals to end.
        holdings().remove(&key);
    }
    result
}

/// What was taken away from the run is taken anew, or refused, like at its start.
fn forget_lost(key: &Key) {
    let mut holdings = holdings();
    if holdings.get(key).is_some_and(|holding| holding.run_lease.lost().is_some()) {
        holdings.remove(key);
    }
    if let Some(holding) = holdings.get_mut(key) {
        holding.pools.retain(|_, held| held.lost().is_none());
    }
}

/// A refusal at the first deployment ends the run; at a later one the others go on, and so do their Leases.
fn first_of_run(live: Live<'_>) -> crate::base::Name {
    live.plan.deployments.keys().next().cloned().unwrap_or_else(|| live.deployment.name.clone())
}

async fn take_rest(
    live: Live<'_>,
    cluster: &Cluster,
    settings: &Settings,
    holder: &Holder,
    ledger: &dyn Ledger,
    key: &Key,
) -> Result<(), Unheld> {
    secrets::ensure(cluster, settings, live).await?;
    sweep::start_reaper(cluster, live, ledger).await?;
    // Before the pool: a download of hours is no reason to keep GPUs from others.
    cache::fill(cluster, settings, live, ledger).await?;
    let has = |pool: &str| holdings().get(key).is_some_and(|holding| holding.pools.contains_key(pool));
    if let Some(pool) = settings.gpu_pool.as_ref().filter(|pool| !has(pool)) {
        let patience = settings.gpu_pool_wait.unwrap_or_default();
        let (name, purpose) = (pool_lease_name(pool), Purpose::Pool);
        let wanted = Wanted { name, purpose, holder, duration: settings.lease, patience };
        let held = take(cluster, &wanted, live.cancel, &|what| ledger.doing(what)).await;
        let held = held.map_err(|error| unheld(cluster, &format!("GPU pool {pool}"), error))?;
        if let Some(holding) = holdings().get_mut(key) {
            holding.pools.insert(pool.clone(), held);
        }
    }
    Ok(())
}

fn unheld(cluster: &Cluster, what: &str, error: NotTaken) -> Unheld {
    match error {
        NotTaken::Failed(error) => Unheld::Failed(error),
        NotTaken::Busy(holder) => Unheld::Taken(TargetError {
            help: Some(
                "wait until that run is over, end it there with Ctrl-C, or let this one wait: `gpu-pool-wait` of [target]"
                    .to_owned(),
            ),
            key: Some("gpu-pool".to_owned()),
            ..TargetError::new(format!("{what} ({}) is {holder}", cluster.place))
        }),
    }
}

/// Why a run must not measure any more: something that it held was taken away.
pub(in super::super) fn lost(run: &str) -> Option<String> {
    let holdings = holdings();
    let of_run = holdings.iter().filter(|((_, _, of), _)| of == run).map(|(_, holding)| holding);
    of_run.flat_map(|holding| std::iter::once(&holding.run_lease).chain(holding.pools.values())).find_map(Held::lost)
}
