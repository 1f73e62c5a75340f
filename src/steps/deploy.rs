//! `deploy`: brings a deployment to life. What an earlier life left behind is ended first.

use super::surroundings::{StepLedger, Surroundings, end, folder, obligations};
use crate::plan::{NeedMode, NeedRule, Reach, Scope, StepClass, StepRow};
use crate::run::{BoxFuture, FailureKind, StepAction, StepContext, StepFailure, StepOutcome};
use crate::target::Unheld;

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
            for open in left_behind {
                cx.note(format!("ending {}, left behind by an earlier session", open.what)).await?;
                end(cx, &open).await?;
            }
            let deployed = here.target.deploy(here.live(), &ledger).await.map_err(|error| here.failure(error))?;
            let output = serde_json::to_value(deployed)
                .map_err(|error| StepFailure::from_error(FailureKind::Lasting, &error))?;
            Ok(StepOutcome::ok(output))
        })
    }
}
