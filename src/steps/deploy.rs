//! `deploy`: brings a deployment to life. What an earlier session left behind is used again if nobody touched it, and
//! ended first if anything about it is another.

use std::collections::BTreeSet;

use super::surroundings::{StepLedger, Surroundings, end, folder, is_hold, obligations};
use crate::plan::{NeedMode, NeedRule, Reach, Scope, StepClass, StepRow};
use crate::run::{BoxFuture, FailureKind, Obligation, StepAction, StepContext, StepFailure, StepOutcome};
use crate::target::{Again, Deployed, Unheld};

pub(super) const ROW: StepRow = StepRow {
    kind: "deploy",
    about: "brings the deployment to life",
    class: StepClass::Effect,
    scope: Scope::Block,
    version: 1,
    needs: &[
        NeedRule { kind: "preflight", reach: Reach::All, mode: NeedMode::Succeeded },
        // One deployment at a time: the next may start only when the one before is gone.
        NeedRule { kind: "teardown", reach: Reach::Previous, mode: NeedMode::Ended },
    ],
    overlaps: false,
};

/// The member of the output that says whether what an earlier session deployed is used again.
pub(super) const AGAIN: &str = "again";

pub(super) struct Deploy;

impl StepAction for Deploy {
    fn run<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<StepOutcome, StepFailure>> {
        Box::pin(async move {
            let here = Surroundings::of(cx);
            folder(here.live().dir)?;
            let ledger = StepLedger::new(cx, here.target);
            let (holds, left_behind): (Vec<_>, Vec<_>) = obligations(cx).await.into_iter().partition(is_hold);
            // Before anything is ended or made: whoever else has the GPUs must not be disturbed.
            here.target.hold(here.live(), &ledger).await.map_err(|unheld| match unheld {
                Unheld::Failed(error) => here.failure(error),
                Unheld::Taken(error) => StepFailure { class: FailureKind::Locked, ..here.failure(error) },
            })?;
            for open in &holds {
                end(cx, open).await?;
            }
            let again = match look_at(&here, left_behind).await? {
                Found::Nothing => None,
                Found::Usable(earlier) => {
                    cx.note("it is there since an earlier session, and unchanged: it is used again").await?;
                    Some(earlier)
                }
                Found::Spent { left, why } => {
                    for open in left {
                        cx.note(format!("ending {}, left behind by an earlier session: {why}", open.what)).await?;
                        end(cx, &open).await?;
                    }
                    None
                }
            };
            let is_again = again.is_some();
            let deployed = match again {
                Some(earlier) => earlier,
                None => here.target.deploy(here.live(), &ledger).await.map_err(|error| here.failure(error))?,
            };
            let mut output = serde_json::to_value(deployed)
                .map_err(|error| StepFailure::from_error(FailureKind::Lasting, &error))?;
            output[AGAIN] = is_again.into();
            Ok(StepOutcome::ok(output))
        })
    }
}

/// What earlier sessions left of the deployment.
enum Found {
    Nothing,
    /// All of it, as it is recorded.
    Usable(Deployed),
    /// Something that must be ended first.
    Spent {
        left: Vec<Obligation>,
        why: String,
    },
}

/// Looks at what is left behind. It is used as a whole or not at all: what is ended takes with it whatever carries the
/// deployment's labels.
async fn look_at(here: &Surroundings<'_>, left: Vec<Obligation>) -> Result<Found, StepFailure> {
    if left.is_empty() {
        return Ok(Found::Nothing);
    }
    if here.cx.asked {
        return Ok(Found::Spent { left, why: "a new one is asked for".to_owned() });
    }
    let earlier = here.output::<Deployed>("deploy").await.ok();
    for open in &left {
        let judged = here.target.again(here.live(), earlier.as_ref(), &open.handle).await;
        if let Again::Changed(why) = judged.map_err(|error| here.failure(error))? {
            return Ok(Found::Spent { left, why });
        }
    }
    let why = match earlier {
        None => "nothing is recorded of it",
        Some(_) if has_failed(here).await => "it did not come to work",
        Some(earlier) => return Ok(Found::Usable(earlier)),
    };
    Ok(Found::Spent { left, why: why.to_owned() })
}

/// Whether waiting for it or warming it up failed: what it lacked may have come since, but nothing would start it anew.
async fn has_failed(here: &Surroundings<'_>) -> bool {
    let (deployment, block) = (&here.cx.spec.deployment, here.cx.spec.block);
    let supplies = here.cx.shared.steps.iter().filter(|step| {
        ["wait", "warm-up"].contains(&step.kind.as_str()) && step.deployment == *deployment && step.block == block
    });
    let supplies: BTreeSet<_> = supplies.map(|step| &step.address).collect();
    here.cx.states().await.iter().any(|step| supplies.contains(&step.address) && step.state == "failed")
}
