//! What a step sends to a server under test goes this way: by the way that the target knows, as orders whose results are
//! acknowledged once they are safe.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::surroundings::{StepLedger, Surroundings, folder};
use super::traffic::{self, load_failure};
use crate::base::{Digest, digest_json};
use crate::load::{
    Adopted, Carried, Done, EndpointRef, LiveProgress, MeasuredLevel, Order, Place, Receipt, Work, counter_checks,
};
use crate::measure::{Breach, CounterCheck, TRANSPORT};
use crate::run::{FailureKind, StepContext, StepFailure};
use crate::target::{Deployed, Ready, Way};

/// How long a worker is asked to let a result go; one that does not hear it keeps it a while longer, which harms nobody.
const ACKNOWLEDGED: Duration = Duration::from_secs(10);

/// The open way to a deployment.
pub(super) struct Sending {
    /// As the target opened it.
    pub(super) way: Way,
    endpoint: EndpointRef,
    incarnation: Digest,
    cuts: u64,
}

impl Sending {
    /// Opens the way; what it takes (a Job, a forwarded port) is started if it is not there.
    pub(super) async fn open(here: &Surroundings<'_>) -> Result<Self, StepFailure> {
        let deployed: Deployed = here.output("deploy").await?;
        let ready: Ready = here.output("wait").await?;
        let ledger = StepLedger::new(here.cx, here.target);
        let reached = tokio::select! {
            () = here.cx.cancel.cancelled() => return Err(interrupted()),
            reached = here.target.reach(here.live(), &deployed, &ready, &ledger) => reached,
        };
        let way = reached.map_err(|error| here.failure(error))?;
        let (endpoint, cuts) = (traffic::endpoint(&way.endpoint), way.cuts());
        Ok(Self { way, endpoint, incarnation: digest_json(&ready.incarnation), cuts })
    }

    /// Digest of the incarnation that it leads to.
    pub(super) fn incarnation(&self) -> &Digest {
        &self.incarnation
    }

    /// Whether something that was ordered earlier goes on, or is done and was not fetched.
    pub(super) async fn is_engaged(&self) -> bool {
        // Who cannot be asked is found out by the order that comes next.
        self.way.generator.is_engaged().await.unwrap_or(false)
    }

    /// Has something done with the server. An earlier attempt whose result was never taken, because this program died or
    /// was cut off, is found again and used.
    pub(super) async fn carry_out(
        &self,
        here: &Surroundings<'_>,
        what: &str,
        work: Work,
        place: &Place,
    ) -> Result<Carried, StepFailure> {
        let cx = here.cx;
        let id = format!("{}.{what}.a{}", cx.spec.address.file_stem(), cx.attempt);
        let key = digest_json(&json!({
            "run": cx.shared.id, "address": cx.spec.address, "key": cx.spec.key, "what": what,
            "incarnation": self.incarnation,
        }));
        let order = Order { key, attempt: cx.attempt, endpoint: self.endpoint.clone(), work };
        let scratch = scratch(cx);
        folder(&scratch)?;
        let carried = self.way.generator.carry_out(&id, &order, place, &scratch).await;
        if cx.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let carried = carried.map_err(|error| load_failure(&error))?;
        if let Some(Adopted { attempt, .. }) = carried.receipt.adopted {
            cx.note(format!("the load worker went on with attempt {attempt}: its result is used")).await?;
        }
        Ok(carried)
    }

    /// The result is safe: whoever holds it may let it go.
    pub(super) async fn acknowledge(&self, cx: &StepContext, receipt: &Receipt) -> Result<(), StepFailure> {
        match tokio::time::timeout(ACKNOWLEDGED, self.way.generator.acknowledge(receipt)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => cx.note(format!("a load worker still holds a result: {error}")).await,
            Err(_) => cx.note("a load worker still holds a result: it does not answer").await,
        }
    }

    /// The growth of the server's counters beside our own counts; none, where something else was asked meanwhile.
    pub(super) async fn counter_checks(
        &self,
        here: &Surroundings<'_>,
        measured: &MeasuredLevel,
        receipt: &Receipt,
    ) -> Result<Vec<CounterCheck>, StepFailure> {
        let (before, totals) = (&measured.before, &measured.run.totals);
        let after = match (receipt.adopted, measured.after) {
            (None | Some(Adopted { was_running: false, .. }), Some(after)) => after,
            (None, None) => {
                let work = Work::Settle { before: *before, totals: *totals };
                let Carried { done, receipt } = self.carry_out(here, "counters", work, &place(here.cx)).await?;
                self.acknowledge(here.cx, &receipt).await?;
                let Done::Counted(after) = done else { return Err(unexpected()) };
                after
            }
            (Some(_), _) => return not_compared(here).await,
        };
        let checks = counter_checks(before, &after, totals);
        if receipt.adopted.is_some() && hold_more(&checks) {
            return not_compared(here).await;
        }
        Ok(checks)
    }

    /// Why the point must not be used, if the way broke since it was opened and requests went through it.
    pub(super) fn cut(&self) -> Option<Breach> {
        let more = self.way.cuts().saturating_sub(self.cuts);
        (more > 0).then(|| {
            let last = self.way.last_cut().unwrap_or_default();
            let reason = format!("the forwarded port broke {more} times during the point, the last time: {last}");
            Breach { rule: TRANSPORT.to_owned(), reason, momentary: true }
        })
    }
}

/// Whether the server counted more than we did, and nothing less.
fn hold_more(checks: &[CounterCheck]) -> bool {
    checks.iter().all(|check| check.server >= check.ours) && checks.iter().any(|check| check.server > check.ours)
}

/// A level that went on without the session that began it: others came meanwhile, perhaps only to be killed too, and asked
/// the server whether it is ready.
async fn not_compared(here: &Surroundings<'_>) -> Result<Vec<CounterCheck>, StepFailure> {
    here.cx.note("the server's counters are not compared: a later session's own questions are among them").await?;
    Ok(Vec::new())
}

/// A place for an order of this step.
pub(super) fn place(cx: &StepContext) -> Place {
    Place {
        cancel: cx.cancel.clone(),
        live: Arc::new(LiveProgress::default()),
        spill: None,
        scratch: Some(cx.attempt_dir.clone()),
    }
}

/// Where files lie on their way into results.
pub(super) fn scratch(cx: &StepContext) -> PathBuf {
    cx.run_dir().join(".run/spill")
}

/// An order that came back with something else.
pub(super) fn unexpected() -> StepFailure {
    StepFailure::new(FailureKind::Lasting, "the load worker answered something else than was ordered")
        .help("make its image anew with `dynbench image` of this version")
}

fn interrupted() -> StepFailure {
    StepFailure::new(FailureKind::Interrupted, "it was interrupted; nothing of it is used")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_more_than_ours_can_be_another_sessions_questions() {
        let check = |server| CounterCheck { what: "requests".to_owned(), server, ours: 24, failed: 0 };
        assert!(hold_more(&[check(24), check(26)]));
        for other in [vec![], vec![check(24)], vec![check(23)], vec![check(23), check(26)]] {
            assert!(!hold_more(&other), "{other:?}");
        }
    }
}
