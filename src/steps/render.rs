//! `render`: what exactly will be started (objects, or commands, or nothing but a URL), kept with the run.

use serde_json::json;

use super::surroundings::{Surroundings, folder};
use crate::base::{digest_json, write_atomic};
use crate::plan::{NeedMode, NeedRule, Reach, Scope, StepClass, StepRow};
use crate::run::{BoxFuture, FILES, FailureKind, StepAction, StepContext, StepFailure, StepOutcome};

pub(super) const ROW: StepRow = StepRow {
    kind: "render",
    about: "writes down what exactly will be started",
    class: StepClass::Pure,
    scope: Scope::Deployment,
    version: 1,
    needs: &[NeedRule { kind: "discover", reach: Reach::Own, mode: NeedMode::Succeeded }],
    overlaps: true,
};

pub(super) struct Render;

impl StepAction for Render {
    fn run<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<StepOutcome, StepFailure>> {
        Box::pin(async move {
            let here = Surroundings::of(cx);
            let rendered = here.target.fingerprint(&cx.shared.plan, here.deployment);
            let dir = cx.run_dir().join(".run/rendered");
            folder(&dir)?;
            let path = dir.join(format!("{}.json", here.deployment.name));
            let text = format!("{rendered:#}\n");
            write_atomic(&path, text.as_bytes())
                .map_err(|error| StepFailure::from_error(FailureKind::Storage, &error))?;
            let file = format!(".run/rendered/{}.json", here.deployment.name);
            Ok(StepOutcome::ok(json!({ "digest": digest_json(&rendered), FILES: [file] })))
        })
    }
}
