//! `preflight`: finds what would fail later, before the first GPU is taken by anything.

use serde_json::json;

use super::surroundings::Surroundings;
use super::traffic;
use crate::load::LocalTokenizer;
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
            open_tokenizer(cx, &here).await?;
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

/// A tokenizer that is none would be found out only when the deployment is up.
async fn open_tokenizer(cx: &StepContext, here: &Surroundings<'_>) -> Result<(), StepFailure> {
    let Some(file) = traffic::tokenizer(cx, here.deployment)? else { return Ok(()) };
    // Reading a large vocabulary takes a while.
    let opened = tokio::task::spawn_blocking(move || LocalTokenizer::open(&file.path).map(drop)).await;
    match opened {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let mut failure = traffic::load_failure(&error);
            failure.class = FailureKind::Preflight;
            Err(failure)
        }
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
