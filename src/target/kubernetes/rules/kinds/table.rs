//! The table of kinds, and what decides for all others.

use super::super::super::seen::Judgement;
use super::super::asked::Asked;
use super::super::look::Look;
use super::super::view::View;
use super::{claim, conditions, daemon_set, deployment, graph, job, leader_worker_set, pod, service, stateful_set};

/// How one kind's status is read.
struct Kind {
    group: &'static str,
    kind: &'static str,
    status: fn(&mut Look<'_>, View<'_>) -> Judgement,
}

const KINDS: &[Kind] = &[
    Kind { group: "", kind: "PersistentVolumeClaim", status: claim::status },
    Kind { group: "", kind: "Pod", status: pod::status },
    Kind { group: "", kind: "Service", status: service::status },
    Kind { group: "apps", kind: "DaemonSet", status: daemon_set::status },
    Kind { group: "apps", kind: "Deployment", status: deployment::status },
    Kind { group: "apps", kind: "StatefulSet", status: stateful_set::status },
    Kind { group: "batch", kind: "Job", status: job::status },
    Kind { group: "leaderworkerset.x-k8s.io", kind: "LeaderWorkerSet", status: leader_worker_set::status },
    Kind { group: "nvidia.com", kind: "DynamoGraphDeployment", status: graph::status },
];

/// Whether one live object is ready. What the plan asks for comes before the table, and the table before conditions.
pub(in super::super) fn status_of(look: &mut Look<'_>, object: View<'_>, asked: Option<&Asked>) -> Judgement {
    if let Some(asked) = asked.filter(|asked| asked.is_about(object)) {
        return asked.status(object);
    }
    let row = KINDS.iter().find(|row| row.kind == object.kind() && row.group == object.group());
    match row {
        Some(row) => (row.status)(look, object),
        None if of_kubernetes(object.group()) => Judgement::Ready,
        None => conditions::status(look, object),
    }
}

/// Whether a group is Kubernetes' own. What has no row there (ConfigMap, Role ...) is ready when it exists.
pub(in super::super) fn of_kubernetes(group: &str) -> bool {
    !group.contains('.') || (group.ends_with(".k8s.io") && !group.ends_with(".x-k8s.io"))
}
