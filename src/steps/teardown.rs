//! `teardown`: ends what the deployment started and verifies that it is gone. Results are safe before it begins.

use serde_json::json;

use super::hooks::{self, Moment};
use super::surroundings::{Surroundings, all_obligations, end, is_hold};
use crate::plan::{NeedMode, NeedRule, Reach, Scope, StepClass, StepRow};
use crate::run::{BoxFuture, StepAction, StepContext, StepFailure, StepOutcome};
use crate::target::Ready;

pub(super) const ROW: StepRow = StepRow {
    kind: "teardown",
    about: "ends what was started and verifies that it is gone",
    class: StepClass::Obligation,
    scope: Scope::Block,
    version: 1,
    needs: &[NeedRule { kind: "collect", reach: Reach::Own, mode: NeedMode::Ended }],
    overlaps: false,
};

pub(super) struct Teardown;

impl StepAction for Teardown {
    fn run<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<StepOutcome, StepFailure>> {
        Box::pin(async move {
            if let Some(here) = Surroundings::find(cx)
                && let Ok(ready) = here.output::<Ready>("wait").await
            {
                // The user's own last words: their failure must not keep GPUs.
                if let Err(failure) = hooks::run(cx, Moment::BeforeTeardown, &ready.endpoint, None).await {
                    cx.note(format!("hook before-teardown: {}", failure.message)).await?;
                }
            }
            let mut ended = Vec::new();
            let mut failed = None;
            let (holds, open): (Vec<_>, Vec<_>) = all_obligations(cx).await.into_iter().partition(is_hold);
            // The newest first: load workers before what they load.
            for open in open.into_iter().rev() {
                match end(cx, &open).await {
                    Ok(()) => ended.push(open.what),
                    Err(failure) => failed = failed.or(Some(failure)),
                }
            }
            // As long as something is left the run must be found by what it holds, and whoever ends it then ends that too.
            for open in holds.into_iter().filter(|_| failed.is_none()) {
                end(cx, &open).await?;
                ended.push(open.what);
            }
            match failed {
                None => Ok(StepOutcome::ok(json!({ "ended": ended }))),
                Some(failure) => Err(failure),
            }
        })
    }
}
