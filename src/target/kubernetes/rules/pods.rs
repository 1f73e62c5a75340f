//! The layer below every status: the pods themselves. All of the current revision, all ready, none of them restarted a
//! moment ago, and nothing of an older revision still there: what is ending holds its GPUs and answers requests.

use super::look::Look;

/// What the pods miss; `None`: nothing.
pub(super) fn awaited(look: &mut Look<'_>) -> Option<String> {
    let pods: Vec<_> = look.pods().collect();
    let settle = look.patience.settle;
    let mut waiting = None;
    for pod in pods.iter().filter(|pod| !pod.ending()) {
        for container in pod.containers().filter(|container| container.restarts > 0) {
            // With the count in the sign every further restart begins anew.
            let sign = format!("restarts {}/{} {}", pod.view.uid(), container.name, container.restarts);
            if look.held(sign) < settle && waiting.is_none() {
                let (name, times) = (container.name, container.restarts);
                waiting = Some(format!("pod {}: {name} was restarted {times} times and must stay up", pod.name()));
            }
        }
    }
    let unready = pods.iter().find(|pod| !pod.ending() && !pod.over() && pod.current(look) && !pod.ready());
    if let Some(pod) = unready {
        return Some(pod.awaited());
    }
    if let Some(pod) = pods.iter().find(|pod| !pod.ending() && !pod.over() && !pod.current(look)) {
        return Some(format!("pod {}: of an older revision, and not gone yet", pod.name()));
    }
    if let Some(pod) = pods.iter().find(|pod| pod.ending()) {
        return Some(format!("pod {}: ending, and not gone yet{}", pod.name(), pod.on_node()));
    }
    waiting
}
