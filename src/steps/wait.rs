//! `wait`: until the deployment lists the model and answers a canary, or will never do so.

use serde_json::Value;

use super::deploy::AGAIN;
use super::hooks::{self, Moment};
use super::surroundings::{StepLedger, Surroundings};
use crate::base::fact::{GPUS_DIFFER, METRICS_UNREAD};
use crate::base::format_duration;
use crate::plan::{NeedMode, NeedRule, Reach, Scope, StepClass, StepRow};
use crate::run::{BoxFuture, FailureKind, StepAction, StepContext, StepFailure, StepOutcome};
use crate::target::{Deployed, Ready};

pub(super) const ROW: StepRow = StepRow {
    kind: "wait",
    about: "waits until the model is listed and answers",
    class: StepClass::Effect,
    scope: Scope::Block,
    version: 1,
    needs: &[NeedRule { kind: "deploy", reach: Reach::Own, mode: NeedMode::Succeeded }],
    overlaps: false,
};

pub(super) struct Wait;

impl StepAction for Wait {
    fn run<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<StepOutcome, StepFailure>> {
        Box::pin(async move {
            let here = Surroundings::of(cx);
            let deployed: Deployed = here.output("deploy").await?;
            let ledger = StepLedger::new(cx, here.target);
            let deadline = cx.shared.plan.policy.ready_deadline;
            let waited = tokio::time::timeout(deadline, here.target.wait(here.live(), &deployed, &ledger)).await;
            let ready = match waited {
                Ok(ready) => ready.map_err(|error| here.failure(error))?,
                Err(_) => {
                    let (name, after, last) = (&here.deployment.name, format_duration(deadline), ledger.last());
                    let message = here.placed(format!("{name} was not ready after {after} ({last})")).await;
                    let mut failure = StepFailure::new(FailureKind::Lasting, message)
                        .help("its logs are collected below logs/; `policy.ready-deadline` sets how long to wait");
                    failure.span.clone_from(&here.deployment.span);
                    return Err(failure);
                }
            };
            if let Some(note) = compared(&here, &ready).await {
                cx.note(note).await?;
            }
            if let Some(differ) = ready.facts.get(GPUS_DIFFER) {
                cx.note(format!("GPUs: {differ}: what is drawn per GPU goes by the plan")).await?;
            }
            if let Some(unread) = ready.facts.get(METRICS_UNREAD) {
                cx.note(format!("`metrics-urls`: {unread}: the server's counters there are not compared")).await?;
            }
            cx.record_incarnation(ready.incarnation.clone()).await?;
            hooks::run(cx, Moment::AfterReady, &ready.endpoint, None).await?;
            let output =
                serde_json::to_value(ready).map_err(|error| StepFailure::from_error(FailureKind::Lasting, &error))?;
            Ok(StepOutcome::ok(output))
        })
    }
}

/// What has become of a deployment that is used again, in words.
async fn compared(here: &Surroundings<'_>, now: &Ready) -> Option<String> {
    let deploy: Value = here.output("deploy").await.ok()?;
    let earlier: Ready = here.output("wait").await.ok()?;
    (deploy[AGAIN] == true).then(|| match earlier.incarnation == now.incarnation {
        true => "it is the same incarnation as before".to_owned(),
        false => "something of it was replaced or restarted since: it is another incarnation than before".to_owned(),
    })
}
