//! `deploy`: brings a deployment to life. What an earlier session left behind is used again if nobody touched it, and
//! ended first if anything about it is another.

use std::collections::BTreeSet;

use super::surroundings::{StepLedger, Surroundings, end, folder, obligations};
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
            let left_behind = obligations(cx).await;
            // Before anything is ended or made: whoever else has the GPUs must not be disturbed.
            here.target.hold(here.live(), &ledger).await.map_err(|unheld| match unheld {
                Unheld::Failed(error) => here.failure(error),
                Unheld::Taken(error) => StepFailure { class: FailureKind::Locked, ..here.failure(error) },
            })?;
            let found = look_at(&here, left_behind).await?;
            for open in &found.beside {
                end(cx, open).await?;
            }
            let again = match found.deployment {
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

/// What earlier sessions left behind.
struct LeftBehind {
    /// What the run held beside the deployment.
    beside: Vec<Obligation>,
    deployment: Found,
}

/// What they left of the deployment itself.
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
async fn look_at(here: &Surroundings<'_>, open: Vec<Obligation>) -> Result<LeftBehind, StepFailure> {
    let earlier = here.output::<Deployed>("deploy").await.ok();
    let (mut beside, mut left, mut why) = (Vec::new(), Vec::new(), None);
    for one in open {
        let judged = here.target.again(here.live(), earlier.as_ref(), &one.handle).await;
        match judged.map_err(|error| here.failure(error))? {
            Again::Beside => beside.push(one),
            Again::Unchanged => left.push(one),
            Again::Changed(because) => {
                left.push(one);
                why = why.or(Some(because));
            }
        }
    }
    if why.is_none() && has_failed(here).await {
        why = Some("it did not come to work".to_owned());
    }
    let deployment = match (left.is_empty(), why, earlier) {
        (true, _, _) => Found::Nothing,
        (false, None, Some(earlier)) => Found::Usable(earlier),
        (false, why, _) => Found::Spent { left, why: why.unwrap_or_else(|| "nothing is recorded of it".to_owned()) },
    };
    Ok(LeftBehind { beside, deployment })
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
