//! Pods that the API server refuses to make: quota, pod security, an admission webhook, a missing ServiceAccount.

use std::time::Duration;

use super::super::super::seen::Failure;
use super::super::evidence::{brief, warnings};
use super::super::look::Look;
use super::super::view::View;

/// What is made beside the workload (a ServiceAccount, above all) may come a moment after it.
const BESIDE: Duration = Duration::from_secs(5);
/// A webhook that does not answer may be starting.
const WEBHOOK: Duration = Duration::from_secs(60);

pub(super) fn refused(look: &mut Look<'_>) -> Option<Failure> {
    let by_condition = look.of_kind("Deployment").filter_map(|deployment| {
        let failing = deployment.condition("ReplicaFailure").filter(|failing| failing.holds())?;
        Some((deployment, failing.words()))
    });
    // These keep no condition: only events tell, as long as pods are missing.
    let by_event = ["ReplicaSet", "StatefulSet", "DaemonSet", "Job"].into_iter().flat_map(|kind| look.of_kind(kind));
    let by_event = by_event.filter(|workload| lacks_pods(*workload)).filter_map(|workload| {
        let events = look.events_of(workload).filter(|event| event.text("/reason") == "FailedCreate");
        Some((workload, events.last()?.text("/message")))
    });
    let found: Vec<_> = by_condition.chain(by_event).filter(|(workload, _)| !workload.deleting()).collect();
    let mut failure = None;
    for (workload, said) in found {
        let webhook = said.contains("failed calling webhook") || said.contains("failed to call webhook");
        let held = look.held(format!("create {}", workload.uid()));
        if held >= if webhook { WEBHOOK } else { BESIDE } && failure.is_none() {
            failure = Some(told(look, workload, said, webhook));
        }
    }
    failure
}

fn lacks_pods(workload: View<'_>) -> bool {
    let count = |pointer: &str| workload.int(pointer).unwrap_or(0);
    match workload.kind() {
        "Job" => {
            let parallel = workload.int("/spec/parallelism").unwrap_or(1);
            let wanted = workload.int("/spec/completions").unwrap_or(parallel).min(parallel);
            count("/status/active") + count("/status/succeeded") + count("/status/failed") < wanted
        }
        "DaemonSet" => count("/status/currentNumberScheduled") < count("/status/desiredNumberScheduled"),
        _ => count("/status/replicas") < workload.int("/spec/replicas").unwrap_or(1),
    }
}

fn told(look: &Look<'_>, workload: View<'_>, said: &str, webhook: bool) -> Failure {
    let said = said.strip_prefix("(combined from similar events): ").unwrap_or(said);
    let why = said.strip_prefix("Error creating: ").unwrap_or(said);
    // The name of a pod that was never made helps nobody.
    let why = match why.split_once(" is forbidden: ") {
        Some((pod, reason)) if pod.starts_with("pods \"") => reason,
        Some(_) | None => why,
    };
    let sets = look.of_kind("ReplicaSet").filter(|set| set.owner().is_some_and(|owner| owner.uid == workload.uid()));
    let mut objects: Vec<_> = sets.collect();
    objects.push(workload);
    Failure {
        details: warnings(look, &objects),
        help: Some(help(why).to_owned()),
        passing: webhook,
        ..Failure::new(format!("{}: the cluster refuses to make its pods: {}", workload.called(), brief(why)))
    }
}

fn help(why: &str) -> &'static str {
    if why.contains("must specify") {
        "the namespace's quota demands these of every container: write them into its `resources`"
    } else if why.contains("exceeded quota") || why.contains("failed quota") {
        "the namespace's quota is used up: end what is not needed, ask for less, or have the quota raised"
    } else if why.contains("violates PodSecurity") {
        "the namespace allows no such pods: change their security context, or the namespace's pod-security label"
    } else if why.contains("service account") || why.contains("serviceaccount") {
        "make the ServiceAccount in this namespace, or correct its name in the plan"
    } else if why.contains("denied the request") {
        "an admission webhook of this cluster forbids it: its message says what it wants"
    } else if why.contains("webhook") {
        "an admission webhook of this cluster does not answer: ask who runs it"
    } else if why.contains("maximum") || why.contains("minimum") {
        "the namespace's LimitRange forbids these resources: keep within it"
    } else {
        "change what the message names"
    }
}
