//! `preflight`: finds what would fail later, before the first GPU is taken by anything.

use serde_json::json;

use super::surroundings::Surroundings;
use crate::plan::{NeedMode, NeedRule, Reach, Scope, StepClass, StepRow};
use crate::run::{BoxFuture, FailureKind, StepAction, StepContext, StepFailure, StepOutcome};

pub(super) const ROW: StepRow = StepRow {
    kind: "preflight",
    about: "finds what would fail later, before anything is started",
    class: StepClass::Effect,
    scope: Scope::Deployment,
    version: 1,
    needs: &[NeedRule { kind: "render", reach: Reach::Own, mode: NeedMode::Succeeded }],
    overlaps: true,
};

pub(super) struct Preflight;

impl StepAction for Preflight {
    fn run<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<StepOutcome, StepFailure>> {
        Box::pin(async move {
            let here = Surroundings::of(cx);
            match here.target.preflight(here.live()).await {
                Ok(looked_at) => Ok(StepOutcome::ok(json!({ "looked-at": looked_at }))),
                Err(error) => {
                    let mut failure = here.failure(error);
                    if failure.class != FailureKind::Interrupted {
                        failure.class = FailureKind::Preflight;
                    }
                    Err(failure)
                }
            }
        })
    }
}
