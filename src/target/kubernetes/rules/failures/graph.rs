//! What the Dynamo operator says itself, or does not say. It never speaks of a pod's failure: only of its own.

use std::time::Duration;

use super::super::super::seen::Failure;
use super::super::evidence::{brief, warnings};
use super::super::kinds::Graph;
use super::super::look::Look;

/// The operator tries again what failed, and may succeed.
const HEALING: Duration = Duration::from_secs(15);
/// How long a component's error may stand: conflicts of the operator with itself go away at once.
const COMPONENT: Duration = Duration::from_secs(10);
/// A reason that no further try can change.
const NO_ORCHESTRATOR: &str = "no_multinode_orchestrator_available";
/// What the operator says of a component that it has not begun with.
const NOT_PROCESSED: &str = "spec not yet processed";
/// What it says when it met a newer version of its own object.
const CONFLICT: &str = "the object has been modified";

/// State failed.
pub(super) fn failed(look: &mut Look<'_>) -> Option<Failure> {
    let mut failure = None;
    for graph in Graph::all(look.seen) {
        let view = graph.view;
        let Some(ready) = view.condition("Ready").filter(|_| view.text("/status/state") == "failed") else { continue };
        // What is told of an older version says nothing of this one.
        if ready.generation.is_some_and(|seen| Some(seen) != view.generation()) {
            continue;
        }
        let held = look.held(format!("failed {}", view.uid()));
        let orchestrator = ready.reason == NO_ORCHESTRATOR;
        if (orchestrator || held >= HEALING) && failure.is_none() {
            let help = orchestrator.then(|| {
                "a component over several nodes needs Grove or LeaderWorkerSet in the cluster: install one, or use one node"
                    .to_owned()
            });
            let called = view.called();
            failure = Some(Failure {
                details: warnings(look, &[view]),
                help,
                ..Failure::new(format!("{called} failed ({}): {}", ready.reason, brief(ready.words())))
            });
        }
    }
    failure
}

/// No status at all, or nothing processed: nobody works on it.
pub(super) fn operator_away(look: &mut Look<'_>) -> Option<Failure> {
    let mut failure = None;
    for graph in Graph::all(look.seen) {
        let view = graph.view;
        let silent = match view.condition("Ready") {
            None => view.text("/status/state").is_empty(),
            Some(ready) => {
                let named = ready.message.matches(": generation=").count();
                named > 0
                    && ready.message.matches(NOT_PROCESSED).count() == named
                    && !ready.message.contains("Available condition")
            }
        };
        if !silent || has_component_errors(look) {
            continue;
        }
        let held = look.held(format!("silent {}", view.uid()));
        if held >= look.patience.operator && failure.is_none() {
            failure = Some(Failure {
                details: warnings(look, &[view]),
                help: Some(
                    "check that the Dynamo operator runs and watches this namespace: `kubectl get deployments -A -l \
                     app.kubernetes.io/name=dynamo-operator`"
                        .to_owned(),
                ),
                ..Failure::new(format!(
                    "{}: nobody works on it: the operator has written no status in {} s",
                    view.called(),
                    held.as_secs()
                ))
            });
        }
    }
    failure
}

fn has_component_errors(look: &Look<'_>) -> bool {
    look.of_kind("DynamoComponentDeployment").any(|component| {
        component.condition("Available").is_some_and(|available| available.message.starts_with("Failed to"))
    })
}

/// A component of which the operator cannot make a workload: names too long, a field that Kubernetes refuses.
pub(super) fn component_refused(look: &mut Look<'_>) -> Option<Failure> {
    let refused: Vec<_> = look
        .of_kind("DynamoComponentDeployment")
        .filter(|component| !component.deleting())
        .filter_map(|component| {
            let available = component.condition("Available")?;
            let refused = available.status == "False"
                && available.reason == "Reconciling"
                && !available.message.is_empty()
                && !available.message.contains(CONFLICT);
            refused.then_some((component, available))
        })
        .collect();
    let mut failure = None;
    for (component, available) in refused {
        let held = look.held(format!("component {}", component.uid()));
        if held >= COMPONENT && failure.is_none() {
            let cause = available.message.rsplit_once("create or update deployment: ");
            let cause = cause.map_or(available.message, |(_, cause)| cause);
            let long = cause.contains("no more than 63 characters");
            let help = if long {
                "shorten the graph's or the component's name: {graph}-{component}-{8 digits} may have 63 characters"
            } else {
                "change what the message names; the operator goes on trying"
            };
            failure = Some(Failure {
                details: warnings(look, &[component]),
                help: Some(help.to_owned()),
                ..Failure::new(format!("{}: the operator cannot make it: {}", component.called(), brief(cause)))
            });
        }
    }
    failure
}
