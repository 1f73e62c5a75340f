//! `warm-up`, once per incarnation and workload: finds out which fields the server takes and how it counts tokens,
//! then sends requests that nobody measures (the first ones compile, connect and allocate).

use serde_json::{Value, json};

use super::deploy::AGAIN;
use super::load::watched;
use super::sending::{self, Sending};
use super::surroundings::Surroundings;
use super::traffic;
use crate::load::{Carried, Done, LevelOrder, OTHER_TOKENIZER_HELP, TuneOrder, Tuning, Work};
use crate::plan::{NeedMode, NeedRule, Reach, Scope, StepClass, StepRow, Workload};
use crate::run::{BoxFuture, FailureKind, Progress, StepAction, StepContext, StepFailure, StepOutcome};

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
            let sending = Sending::open(&here).await?;
            if let Some((output, why)) = still_warm(&here, &sending).await {
                cx.note(why).await?;
                return Ok(StepOutcome::ok(output));
            }
            let tuning = tune(&here, workload, &sending).await?;
            send(&here, workload, &sending, &tuning).await?;
            let mut output =
                serde_json::to_value(tuning).map_err(|error| StepFailure::from_error(FailureKind::Lasting, &error))?;
            output[INCARNATION] = json!(sending.incarnation());
            output[KEY] = json!(cx.spec.key);
            Ok(StepOutcome::ok(output))
        })
    }
}

/// The field of the output that says which incarnation was warmed up.
const INCARNATION: &str = "incarnation";

/// The member that says what the warm-up was.
const KEY: &str = "key";

/// What an earlier session learned, if this incarnation is warm from it, and why it is believed to be. Of a deployment that
/// is used again its incarnation tells; of any other only that a level still goes on beside it: what would be sent now
/// would disturb one that nobody watches but that counts.
async fn still_warm(here: &Surroundings<'_>, sending: &Sending) -> Option<(Value, &'static str)> {
    let output: Value = here.output("warm-up").await.ok()?;
    if output.get(INCARNATION) != Some(&json!(sending.incarnation())) {
        return None;
    }
    let deploy: Value = here.output("deploy").await.ok()?;
    if deploy[AGAIN] == true && output.get(KEY) == Some(&json!(here.cx.spec.key)) {
        return Some((output, "this incarnation is warm from an earlier session"));
    }
    let engaged = sending.is_engaged().await;
    engaged.then_some((output, "a level goes on beside the deployment since an earlier session: it is warm"))
}

/// Finds out fields, template overhead and word lengths.
async fn tune(here: &Surroundings<'_>, workload: &Workload, sending: &Sending) -> Result<Tuning, StepFailure> {
    let cx = here.cx;
    let doing = "learning how the server takes requests and counts tokens".to_owned();
    cx.progress(Progress { doing, ..Progress::default() });
    let tokenizer = traffic::tokenizer(cx, here.deployment)?;
    let counts = tokenizer.is_none();
    let order = TuneOrder {
        shape: traffic::shape(workload, &sending.way.endpoint.model),
        tokenizer,
        nonce: format!("{}-{}", cx.shared.nonce, cx.attempt),
        limit: traffic::patience(workload),
        conversations: workload.content.conversations.is_some(),
    };
    let Carried { done, receipt } = sending.carry_out(here, "tune", Work::Tune(order), &sending::place(cx)).await?;
    sending.acknowledge(cx, &receipt).await?;
    let Done::Tuned(tuning) = done else { return Err(sending::unexpected()) };
    if let Some(message) = tuning.other_tokenizer(cx.shared.plan.validity.isl_tolerance) {
        // No prompt would be as long as the plan says, and every point in vain.
        if !here.target.simulated(here.deployment) {
            return Err(StepFailure::new(FailureKind::Lasting, message).help(OTHER_TOKENIZER_HELP));
        }
        // The embedded engine counts in its own way, and a rehearsal must be possible.
        cx.note(message).await?;
    }
    if counts && tuning.calibration.is_none() {
        cx.note(
            "the server does not count prompt tokens in a way that can be foretold, and the plan names no tokenizer: \
             a word is taken for a token",
        )
        .await?;
    }
    Ok(tuning)
}

/// Sends the warm-up requests, many at a time.
async fn send(
    here: &Surroundings<'_>,
    workload: &Workload,
    sending: &Sending,
    tuning: &Tuning,
) -> Result<(), StepFailure> {
    let cx = here.cx;
    let requests = workload.warm_up_requests;
    if requests == 0 {
        return Ok(());
    }
    let most = workload.warm_up_concurrency();
    let concurrency = most.min(u32::try_from(requests).unwrap_or(u32::MAX));
    let ruler = tuning.ruler(traffic::tokenizer(cx, here.deployment)?);
    let model = &sending.way.endpoint.model;
    let mut prompts = traffic::prompts(cx, here.deployment, workload, tuning, ruler, model, "warm-up");
    if let Some(conversations) = &mut prompts.content.conversations {
        // Nobody thinks in a warm-up: that would only take time.
        (conversations.delay_s, conversations.delay_std_s) = (0.0, 0.0);
    }
    let spec = traffic::level_spec(workload, concurrency, requests);
    let order = LevelOrder { spec: spec.clone(), prompts, keep_raw: false, before: None, series: None };
    let place = sending::place(cx);
    let sent = sending.carry_out(here, "warm-up", Work::WarmUp(order), &place);
    let Carried { done, receipt } = watched(cx, "warming up", &spec, &place.live, sent).await?;
    sending.acknowledge(cx, &receipt).await?;
    let Done::Warmed(warm) = done else { return Err(sending::unexpected()) };
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
