//! batch/v1 Job: complete. It fails by its own conditions, never by the number of pods that failed.

use super::super::super::seen::{Failure, Judgement};
use super::super::look::Look;
use super::super::view::View;

pub(super) fn status(_look: &mut Look<'_>, job: View<'_>) -> Judgement {
    let called = job.called();
    let holds = |kind: &str| job.condition(kind).filter(|condition| condition.holds());
    if let Some(failed) = holds("Failed").or_else(|| holds("FailureTarget")) {
        return Judgement::Failed(Failure {
            help: Some("its pods' logs say why; a Job that must come first belongs before the deployment".to_owned()),
            ..Failure::new(format!("{called} failed ({}): {}", failed.reason, failed.words()))
        });
    }
    if holds("Complete").is_some() {
        return Judgement::Ready;
    }
    if job.flag("/spec/suspend") {
        return Judgement::NotYet(format!("{called}: suspended, as a queue does until it is its turn"));
    }
    let wanted = job.int("/spec/completions").or(job.int("/spec/parallelism")).unwrap_or(1);
    let done = job.int("/status/succeeded").unwrap_or(0);
    Judgement::NotYet(format!("{called}: {done} of {wanted} pods have done their work"))
}
