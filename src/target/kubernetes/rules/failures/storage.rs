//! A claim for which no volume can be made.

use std::time::Duration;

use super::super::super::seen::Failure;
use super::super::evidence::{brief, warnings};
use super::super::look::Look;

/// A storage class that does not exist is seldom made a moment later.
const NO_CLASS: Duration = Duration::from_secs(10);
/// A provisioner may have a bad moment.
const PROVISIONER: Duration = Duration::from_secs(180);

pub(super) fn not_provisioned(look: &mut Look<'_>) -> Option<Failure> {
    let pending = |phase: &str| !matches!(phase, "Bound" | "Lost");
    let claims = look.of_kind("PersistentVolumeClaim").filter(|claim| pending(claim.text("/status/phase")));
    let claims: Vec<_> = claims.collect();
    let mut failure = None;
    for claim in claims {
        let failed = |event: &super::super::view::View<'_>| {
            matches!(event.text("/reason"), "ProvisioningFailed" | "FailedBinding")
        };
        let Some(said) = look.events_of(claim).filter(failed).last().map(|event| event.text("/message")) else {
            continue;
        };
        let no_class = said.contains("not found") || said.contains("no storage class is set");
        let held = look.held(format!("claim {}", claim.uid()));
        if held >= if no_class { NO_CLASS } else { PROVISIONER } && failure.is_none() {
            let class = claim.text("/spec/storageClassName");
            let class = if class.is_empty() { String::new() } else { format!(" (storage class {class})") };
            failure = Some(Failure {
                details: warnings(look, &[claim]),
                help: Some("`kubectl get storageclass` lists the classes that there are".to_owned()),
                passing: !no_class,
                ..Failure::new(format!("{}{class}: no volume can be had: {}", claim.called(), brief(said)))
            });
        }
    }
    failure
}
