//! Pods that the kubelet put off its node. One may happen; two say that the node cannot carry them.

use super::super::super::seen::Failure;
use super::super::evidence::{brief, warnings};
use super::super::look::Look;

/// Evictions that are too many.
const TOO_MANY: usize = 2;

pub(super) fn again(look: &mut Look<'_>) -> Option<Failure> {
    let evicted = look
        .pods()
        .filter(|pod| !pod.ending() && pod.phase() == "Failed" && pod.view.text("/status/reason") == "Evicted");
    let evicted: Vec<_> = evicted.filter(|pod| pod.current(look)).collect();
    let last = evicted.last().filter(|_| evicted.len() >= TOO_MANY)?;
    Some(Failure {
        details: warnings(look, &evicted.iter().map(|pod| pod.view).collect::<Vec<_>>()),
        help: Some("give the pods requests that they keep to, or nodes with more of it".to_owned()),
        ..Failure::new(format!(
            "{} pods were evicted, last {}{}: {}",
            evicted.len(),
            last.name(),
            last.on_node(),
            brief(last.view.text("/status/message"))
        ))
    })
}
