//! `discover`: what the target offers to build on (API versions, CRDs). Frozen: it is an input of `render`.

use super::surroundings::Surroundings;
use crate::plan::{Scope, StepClass, StepRow};
use crate::run::{BoxFuture, StepAction, StepContext, StepFailure, StepOutcome};

pub(super) const ROW: StepRow = StepRow {
    kind: "discover",
    about: "finds out what the target offers",
    class: StepClass::Effect,
    scope: Scope::Deployment,
    version: 1,
    needs: &[],
    overlaps: true,
};

pub(super) struct Discover;

impl StepAction for Discover {
    fn run<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<StepOutcome, StepFailure>> {
        Box::pin(async move {
            let here = Surroundings::of(cx);
            here.target.discover(here.live()).await.map(StepOutcome::ok).map_err(|error| here.failure(error))
        })
    }
}
