//! Reading pods: containers and their states, and to which revision a pod belongs.

use serde_json::Value;

use super::look::Look;
use super::view::View;

/// A live pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pod<'a> {
    /// The object.
    pub(super) view: View<'a>,
}

/// How one life of a container ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended<'a> {
    /// `Error`, `OOMKilled`, `StartError`, `Completed` ...
    pub(super) reason: &'a str,
    /// Its exit code.
    pub(super) exit_code: i64,
    /// What the runtime said.
    pub(super) message: &'a str,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy)]
pub(super) enum State<'a> {
    /// It has not begun, or waits to begin again.
    Waiting { reason: &'a str, message: &'a str },
    /// It runs.
    Running,
    /// It ended.
    Ended(Ended<'a>),
}

/// One container of a pod, from its status.
#[derive(Debug, Clone, Copy)]
pub(super) struct Container<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Whether it runs before the others.
    pub(super) init: bool,
    /// Its image as the pod asks for it.
    pub(super) image: &'a str,
    /// Whether its readiness probe passes.
    pub(super) ready: bool,
    /// How often it was started again.
    pub(super) restarts: i64,
    /// What it is doing.
    pub(super) state: State<'a>,
    /// How its previous life ended.
    pub(super) previous: Option<Ended<'a>>,
}

impl<'a> Container<'a> {
    fn of(status: View<'a>, init: bool) -> Self {
        let state = if let Some(waiting) = status.at("/state/waiting") {
            State::Waiting { reason: waiting.text("/reason"), message: waiting.text("/message") }
        } else if let Some(ended) = status.at("/state/terminated") {
            State::Ended(Ended::of(ended))
        } else if status.at("/state/running").is_some() {
            State::Running
        } else {
            State::Waiting { reason: "", message: "" }
        };
        Self {
            name: status.text("/name"),
            init,
            image: status.text("/image"),
            ready: status.flag("/ready"),
            restarts: status.int("/restartCount").unwrap_or(0),
            state,
            previous: status.at("/lastState/terminated").map(Ended::of),
        }
    }

    /// Its newest end: of this life if that is over, else of the previous one.
    pub(super) fn newest_end(&self) -> Option<Ended<'a>> {
        match self.state {
            State::Ended(ended) => Some(ended),
            State::Waiting { .. } | State::Running => self.previous,
        }
    }

    /// An init container that did its work.
    pub(super) fn done(&self) -> bool {
        self.init && matches!(self.state, State::Ended(Ended { exit_code: 0, .. }))
    }
}

impl<'a> Ended<'a> {
    fn of(ended: View<'a>) -> Self {
        Self {
            reason: ended.text("/reason"),
            exit_code: ended.int("/exitCode").unwrap_or(0),
            message: ended.text("/message"),
        }
    }
}

impl<'a> Pod<'a> {
    /// A live pod.
    pub(super) fn of(value: &'a Value) -> Self {
        Self { view: View::of(value) }
    }

    /// Its name.
    pub(super) fn name(self) -> &'a str {
        self.view.name()
    }

    /// Its node; empty before it has one.
    pub(super) fn node(self) -> &'a str {
        self.view.text("/spec/nodeName")
    }

    /// ` on node-1`, or nothing before it has a node.
    pub(super) fn on_node(self) -> String {
        match self.node() {
            "" => String::new(),
            node => format!(" on {node}"),
        }
    }

    /// `status.phase`
    pub(super) fn phase(self) -> &'a str {
        self.view.text("/status/phase")
    }

    /// Whether it is ending: it is nobody's evidence any more, but it still holds its GPUs.
    pub(super) fn ending(self) -> bool {
        self.view.deleting()
    }

    /// Whether it has come to an end by itself.
    pub(super) fn over(self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    /// Whether its condition Ready holds.
    pub(super) fn ready(self) -> bool {
        self.view.condition("Ready").is_some_and(|ready| ready.holds())
    }

    /// All its containers that have a status, those that run first in front.
    pub(super) fn containers(self) -> impl Iterator<Item = Container<'a>> + use<'a> {
        let init = self.view.list("/status/initContainerStatuses").map(|status| Container::of(status, true));
        init.chain(self.view.list("/status/containerStatuses").map(|status| Container::of(status, false)))
    }

    /// Whether it belongs to what its owner wants now. A pod whose owner we do not see is taken to.
    pub(super) fn current(self, look: &Look<'_>) -> bool {
        let Some(owner) = self.view.owner() else { return true };
        match owner.kind {
            "ReplicaSet" => {
                let Some(set) = look.of_kind("ReplicaSet").find(|set| set.uid() == owner.uid) else { return true };
                let Some(above) = set.owner() else { return true };
                let above = look.of_kind("Deployment").find(|deployment| deployment.uid() == above.uid);
                above.is_none_or(|above| above.annotation(REVISION) == set.annotation(REVISION))
            }
            "StatefulSet" => {
                let set = look.of_kind("StatefulSet").find(|set| set.uid() == owner.uid);
                let wanted = set.map_or("", |set| set.text("/status/updateRevision"));
                wanted.is_empty() || self.view.label("controller-revision-hash") == wanted
            }
            _ => true,
        }
    }

    /// What it is waiting for, in words: `pod agg-0: main pulls its image or is being created`.
    pub(super) fn awaited(self) -> String {
        let name = self.name();
        if let Some(gate) = self.view.list("/spec/schedulingGates").next() {
            return format!("pod {name}: queued, held by the scheduling gate {}", gate.text("/name"));
        }
        let scheduled = self.view.condition("PodScheduled");
        if let Some(scheduled) = scheduled.filter(|scheduled| !scheduled.holds()) {
            return format!("pod {name}: no node for it yet: {}", scheduled.words());
        }
        if self.node().is_empty() {
            return format!("pod {name}: waits for a node");
        }
        let waiting = self.containers().find(|container| !container.ready && !container.done());
        let Some(container) = waiting else { return format!("pod {name}: not ready") };
        let what = match container.state {
            State::Waiting { reason: "" | "ContainerCreating" | "PodInitializing", .. } => {
                format!("{} pulls its image or is being created", container.name)
            }
            State::Waiting { reason, .. } => format!("{} waits ({reason})", container.name),
            State::Running => format!("{} runs and is not ready yet", container.name),
            State::Ended(ended) => {
                format!("{} ended ({}, exit code {})", container.name, ended.reason, ended.exit_code)
            }
        };
        format!("pod {name}: {what}")
    }
}

/// Annotation of a Deployment and of its ReplicaSets: equal on the one that it wants now.
const REVISION: &str = "deployment.kubernetes.io/revision";
