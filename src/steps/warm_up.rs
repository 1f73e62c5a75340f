//! `warm-up`, once per incarnation and workload: finds out which fields the server takes and how it counts tokens,
//! then sends requests that nobody measures (the first ones compile, connect and allocate).

use std::sync::Arc;

use super::surroundings::Surroundings;
use super::traffic::{self, Tuning, load_failure};
use crate::load::{self, LiveProgress, Ruler};
use crate::plan::{NeedMode, NeedRule, Reach, Scope, StepClass, StepRow, Workload};
use crate::run::{BoxFuture, FailureKind, Progress, StepAction, StepContext, StepFailure, StepOutcome};
use crate::target::Ready;

pub(super) const ROW: StepRow = StepRow {
    kind: "warm-up",
    about: "learns how the server takes requests and counts tokens, and warms it up",
    class: StepClass::Effect,
    scope: Scope::Workload,
    version: 1,
    needs: &[
        NeedRule { kind: "wait", reach: Reach::Own, mode: NeedMode::Succeeded },
        // A second workload's warm-up must not disturb the first one's levels.
        NeedRule { kind: "load", reach: Reach::Previous, mode: NeedMode::Ended },
    ],
    overlaps: false,
};

pub(super) struct WarmUp;

impl StepAction for WarmUp {
    fn run<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<StepOutcome, StepFailure>> {
        Box::pin(async move {
            let here = Surroundings::of(cx);
            let workload = here.workload();
            let ready: Ready = here.output("wait").await?;
            let tuning = tokio::select! {
                () = cx.cancel.cancelled() => return Err(interrupted()),
                tuning = tune(&here, workload, &ready) => tuning?,
            };
            send(&here, workload, &ready, &tuning).await?;
            let output =
                serde_json::to_value(tuning).map_err(|error| StepFailure::from_error(FailureKind::Lasting, &error))?;
            Ok(StepOutcome::ok(output))
        })
    }
}

fn interrupted() -> StepFailure {
    StepFailure::new(FailureKind::Interrupted, "the warm-up was interrupted")
}

/// Finds out fields, template overhead and word lengths.
async fn tune(here: &Surroundings<'_>, workload: &Workload, ready: &Ready) -> Result<Tuning, StepFailure> {
    let cx = here.cx;
    let doing = |what: &str| cx.progress(Progress { doing: what.to_owned(), ..Progress::default() });
    let endpoint = traffic::endpoint(&ready.endpoint)?;
    let shape = traffic::shape(workload, &ready.endpoint.model);
    let patience = traffic::patience(workload);
    doing("asking which fields the server takes");
    let canary = load::canary(&endpoint, &shape, patience).await.map_err(|error| load_failure(&error))?;
    let capabilities = canary.capabilities;
    let mut tuning = Tuning { capabilities, calibration: None, overhead: None };
    doing("learning how the server counts prompt tokens");
    if let Some(tokenizer) = traffic::tokenizer(cx, here.deployment)? {
        let text = format!("A {}", cx.shared.nonce);
        let tokens = u32::try_from(tokenizer.count(&text)).unwrap_or(u32::MAX);
        tuning.overhead = load::template_overhead(&endpoint, &shape, &capabilities, &text, tokens, patience)
            .await
            .map_err(|error| load_failure(&error))?;
    } else {
        let nonce = format!("{}-{}", cx.shared.nonce, cx.attempt);
        tuning.calibration = load::calibrate(&endpoint, &shape, &capabilities, &nonce, patience)
            .await
            .map_err(|error| load_failure(&error))?;
        if tuning.calibration.is_none() {
            cx.note(
                "the server does not count prompt tokens in a way that can be foretold, and the plan names no \
                 tokenizer: a word is taken for a token",
            )
            .await?;
        }
    }
    Ok(tuning)
}

/// Sends the warm-up requests, many at a time.
async fn send(here: &Surroundings<'_>, workload: &Workload, ready: &Ready, tuning: &Tuning) -> Result<(), StepFailure> {
    let cx = here.cx;
    let requests = workload.warm_up_requests;
    if requests == 0 {
        return Ok(());
    }
    let most = workload.concurrency.iter().copied().max().unwrap_or(1);
    let concurrency = most.min(u32::try_from(requests).unwrap_or(u32::MAX));
    let ruler: Ruler = traffic::ruler(tuning, traffic::tokenizer(cx, here.deployment)?);
    let prompts = traffic::prompts(cx, here.deployment, workload, tuning, ruler, &ready.endpoint.model, "warm-up");
    let spec = traffic::level_spec(workload, concurrency, requests);
    let endpoint = traffic::endpoint(&ready.endpoint)?;
    let live = Arc::new(LiveProgress::default());
    let warm = load::warm_up(&spec, &endpoint, prompts, &cx.cancel, Arc::clone(&live));
    let warm =
        super::load::watched(cx, "warming up", &spec, &live, warm).await.map_err(|error| load_failure(&error))?;
    if cx.cancel.is_cancelled() {
        return Err(interrupted());
    }
    if warm.ok == 0 {
        let why = warm.example.unwrap_or_else(|| "no request was answered".to_owned());
        return Err(StepFailure::new(FailureKind::Passing, format!("no warm-up request succeeded: {why}")));
    }
    if warm.failed > 0 {
        let example = warm.example.unwrap_or_default();
        cx.note(format!("{} of {requests} warm-up requests failed, such as: {example}", warm.failed)).await?;
    }
    Ok(())
}
