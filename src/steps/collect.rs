//! `collect`: logs and states of a deployment, into `logs/<deployment>/`. What cannot be had is a note, not a failure.

use serde_json::json;

use super::surroundings::{Surroundings, folder, obligations};
use crate::plan::{NeedMode, NeedRule, Reach, Scope, StepClass, StepRow};
use crate::run::{BoxFuture, StepAction, StepContext, StepFailure, StepOutcome};
use crate::target::Deployed;

pub(super) const ROW: StepRow = StepRow {
    kind: "collect",
    about: "copies the deployment's logs and states",
    class: StepClass::Effect,
    scope: Scope::Block,
    version: 1,
    needs: &[
        NeedRule { kind: "deploy", reach: Reach::Own, mode: NeedMode::Ended },
        NeedRule { kind: "wait", reach: Reach::Own, mode: NeedMode::Ended },
        NeedRule { kind: "load", reach: Reach::Own, mode: NeedMode::Ended },
    ],
    overlaps: false,
};

pub(super) struct Collect;

impl StepAction for Collect {
    fn run<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<StepOutcome, StepFailure>> {
        Box::pin(async move {
            let Some(here) = Surroundings::find(cx) else {
                return Ok(StepOutcome::ok(json!({ "lost": ["the deployment is not in the plan any more"] })));
            };
            let deployed = match here.output::<Deployed>("deploy").await {
                Ok(deployed) => Some(deployed),
                // Why it broke off half-way is in what it made until then.
                Err(_) => obligations(cx).await.iter().rev().find_map(|open| here.target.begun(&open.handle)),
            };
            let Some(deployed) = deployed else {
                return Ok(StepOutcome::ok(json!({ "lost": ["nothing was deployed"] })));
            };
            let mut into = cx.run_dir().join("logs").join(here.deployment.name.as_str());
            if cx.spec.block > 1 {
                into.push(format!("r{}", cx.spec.block));
            }
            folder(&into)?;
            let lost = here.target.collect(here.live(), &deployed, &into).await.map_err(|error| here.failure(error))?;
            for what in &lost {
                cx.note(format!("not collected: {what}")).await?;
            }
            Ok(StepOutcome::ok(json!({ "lost": lost })))
        })
    }
}
