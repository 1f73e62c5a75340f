//! What a step sends to a server under test goes this way: by the way that the target knows, as orders whose results are
//! acknowledged once they are safe.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::surroundings::{StepLedger, Surroundings, folder};
use super::traffic::{self, load_failure};
use crate::base::digest_json;
use crate::load::{
    Carried, CounterSnapshot, Done, EndpointRef, LiveProgress, Order, Place, Receipt, Totals, Work, counter_checks,
};
use crate::measure::{Breach, CounterCheck};
use crate::run::{FailureKind, StepContext, StepFailure};
use crate::target::{Deployed, Ready, Way};

/// How long a worker is asked to let a result go; one that does not hear it keeps it a while longer, which harms nobody.
const ACKNOWLEDGED: Duration = Duration::from_secs(10);

/// The open way to a deployment.
pub(super) struct Sending {
    /// As the target opened it.
    pub(super) way: Way,
    endpoint: EndpointRef,
    incarnation: serde_json::Value,
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
        Ok(Self { way, endpoint, incarnation: ready.incarnation, cuts })
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
        if let Some(attempt) = carried.receipt.adopted {
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

    /// The growth of the server's counters beside our own counts.
    pub(super) async fn counters_since(
        &self,
        here: &Surroundings<'_>,
        before: &CounterSnapshot,
        totals: &Totals,
    ) -> Result<Vec<CounterCheck>, StepFailure> {
        let work = Work::Settle { before: *before, totals: *totals };
        let Carried { done, receipt } = self.carry_out(here, "counters", work, &place(here.cx)).await?;
        self.acknowledge(here.cx, &receipt).await?;
        let Done::Counted(after) = done else { return Err(unexpected()) };
        Ok(counter_checks(before, &after, totals))
    }

    /// Why the point must not be used, if the way broke since it was opened and requests went through it.
    pub(super) fn cut(&self) -> Option<Breach> {
        let more = self.way.cuts().saturating_sub(self.cuts);
        (more > 0).then(|| {
            let last = self.way.last_cut().unwrap_or_default();
            let reason = format!("the forwarded port broke {more} times during the point, the last time: {last}");
            Breach { rule: "transport".to_owned(), reason, momentary: true }
        })
    }
}

/// A place for an order of this step.
pub(super) fn place(cx: &StepContext) -> Place {
    Place { cancel: cx.cancel.clone(), live: Arc::new(LiveProgress::default()), spill: None }
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
