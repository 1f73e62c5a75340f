//! `summarize`: SUMMARY.txt, results.json and results.csv at the top of the run.

use serde_json::json;

use super::results::{notes, run_info, with_plan};
use crate::base::Timestamp;
use crate::plan::{NeedMode, NeedRule, Reach, Scope, StepClass, StepRow};
use crate::report::{ReportError, RunResults, SUMMARY_FILE, write_run_results, write_summary};
use crate::run::{BoxFuture, FILES, FailureKind, StepAction, StepContext, StepFailure, StepOutcome};

pub(super) const ROW: StepRow = StepRow {
    kind: "summarize",
    about: "writes SUMMARY.txt, results.json and results.csv",
    class: StepClass::Pure,
    scope: Scope::Run,
    version: 1,
    needs: &[
        NeedRule { kind: "load", reach: Reach::All, mode: NeedMode::Ended },
        NeedRule { kind: "teardown", reach: Reach::All, mode: NeedMode::Ended },
    ],
    overlaps: true,
};

pub(super) struct Summarize;

impl StepAction for Summarize {
    fn run<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<StepOutcome, StepFailure>> {
        Box::pin(async move {
            let results = results(cx).await.map_err(|error| report_failure(&error))?;
            write_run_results(cx.run_dir(), &results).map_err(|error| report_failure(&error))?;
            write_summary(cx.run_dir(), &results).map_err(|error| report_failure(&error))?;
            let files = [SUMMARY_FILE, "results.json", "results.csv"];
            Ok(StepOutcome::ok(json!({ "points": results.points.len(), FILES: files })))
        })
    }
}

/// All that this run has published, with what became of its steps.
pub(super) async fn results(cx: &StepContext) -> Result<RunResults, ReportError> {
    let plan = &cx.shared.plan;
    let mut states = cx.states().await;
    // Steps that come after the measuring (this one too) are under way: no news.
    states.retain(|state| !state.address.as_str().starts_with("plot/") && state.address != cx.spec.address);
    let info = run_info(plan, &cx.shared.id, Timestamp(0), notes(&states));
    let mut results = with_plan(cx.run_dir(), plan, info)?;
    let first = results.points.iter().map(|point| point.summary.meta.origin).min();
    results.info.started = first.unwrap_or_else(|| cx.shared.clock.now());
    Ok(results)
}

pub(super) fn report_failure(error: &ReportError) -> StepFailure {
    let kind = match error {
        ReportError::File(_) => FailureKind::Storage,
        ReportError::Damaged { .. }
        | ReportError::BelowZero { .. }
        | ReportError::OtherFormat { .. }
        | ReportError::Newer { .. } => FailureKind::Lasting,
    };
    StepFailure::from_error(kind, error)
}
