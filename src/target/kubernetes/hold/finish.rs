//! Gives back what a run holds.

use std::time::Duration;

use super::super::super::contract::{Left, TargetError};
use super::super::client::Cluster;
use super::super::sweep;
use super::begin::{HeldHandle, Holding, holdings, key};

/// How long the end of a run may take: everything big was torn down before.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ends everything that this process holds for a run; a sentence for each thing that stays.
///
/// # Errors
/// When something that must go is still there.
pub(in super::super) async fn finish(run: &str, left: Left) -> Result<Vec<String>, TargetError> {
    let mine: Vec<Holding> = {
        let mut holdings = holdings();
        let keys: Vec<_> = holdings.keys().filter(|(_, _, of)| of == run).cloned().collect();
        keys.iter().filter_map(|key| holdings.remove(key)).collect()
    };
    let mut notes = Vec::new();
    for Holding { cluster, run_lease, pools } in mine {
        match left {
            Left::Leaked => {}
            Left::ByWish => {
                for pool in pools.into_values() {
                    pool.give_back(&cluster).await?;
                }
                // The reaper goes with it: the Lease owns it.
                run_lease.give_back(&cluster).await?;
            }
            Left::Nothing => {
                drop((run_lease, pools));
                notes.extend(clean(&cluster, run).await?);
            }
        }
    }
    Ok(notes)
}

/// Ends what a handle names. As long as this process holds it for a run that lives, it is left for the run's own end.
///
/// # Errors
/// When something that must go is still there.
pub(in super::super) async fn finish_handle(handle: &HeldHandle) -> Result<(), TargetError> {
    let cluster = Cluster::connect(&handle.at).await?;
    if holdings().contains_key(&key(&cluster, &handle.run)) {
        return Ok(());
    }
    clean(&cluster, &handle.run).await.map(|_| ())
}

async fn clean(cluster: &Cluster, run: &str) -> Result<Vec<String>, TargetError> {
    let swept = sweep::clean_run(cluster, run, None, PATIENCE, &|_| ()).await?;
    if swept.is_clean() {
        return Ok(swept.notes);
    }
    Err(TargetError {
        details: swept.stays,
        help: Some(format!("`dynbench cleanup --run {run} --namespace {}` tries again", cluster.namespace())),
        ..TargetError::new(format!("not everything of run {run} is gone ({})", cluster.place))
    })
}
