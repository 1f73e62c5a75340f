//! DynamoGraphDeployment (v1beta1 and v1alpha1). Its condition Ready is necessary and never enough.
//!
//! Ready is believed only when it speaks of this generation (after a change the old status stays for a moment), when
//! every component of the spec is counted complete by one current workload, and when the pods themselves say the same
//! (a status is frozen while the operator is away). Operators up to 0.5 keep neither generations nor components: there
//! the state and the pods decide. What is served is not known here at all.

use super::super::super::seen::{Judgement, Seen};
use super::super::look::Look;
use super::super::pod::Pod;
use super::super::view::View;

/// Label of every pod of a graph: its name.
const GRAPH_LABEL: &str = "nvidia.com/dynamo-graph-deployment-name";
const COMPONENT_LABEL: &str = "nvidia.com/dynamo-component";
const HASH_LABEL: &str = "nvidia.com/dynamo-worker-hash";
const HASH_ANNOTATION: &str = "nvidia.com/current-worker-hash-v2";

/// A live DynamoGraphDeployment, read alike in both versions.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Graph<'a> {
    /// The object.
    pub(in super::super) view: View<'a>,
}

/// One component of its spec.
#[derive(Debug, Clone, Copy)]
struct Component<'a> {
    name: &'a str,
    kind: &'a str,
    replicas: i64,
    nodes: i64,
}

impl Component<'_> {
    /// Whether its workload carries the workers' hash.
    fn works(&self) -> bool {
        matches!(self.kind, "worker" | "prefill" | "decode")
    }
}

impl<'a> Graph<'a> {
    /// All graphs that were applied.
    pub(in super::super) fn all(seen: &'a Seen) -> impl Iterator<Item = Self> {
        let live = seen.objects.iter().filter_map(|object| object.live.as_ref()).map(View::of);
        live.filter(|view| view.kind() == "DynamoGraphDeployment").map(|view| Self { view })
    }

    fn components(self) -> Vec<Component<'a>> {
        let component = |name: &'a str, kind: &'a str, body: View<'a>| Component {
            name,
            kind,
            replicas: body.int("/replicas").unwrap_or(1),
            nodes: body.int("/multinode/nodeCount").unwrap_or(1),
        };
        let listed = self.view.list("/spec/components");
        let mapped = self.view.map("/spec/services");
        listed
            .map(|body| component(body.text("/name"), body.text("/type"), body))
            .chain(mapped.map(|(name, body)| {
                let sub = body.text("/subComponentType");
                component(name, if sub.is_empty() { body.text("/componentType") } else { sub }, body)
            }))
            .collect()
    }

    /// What its status says of one component.
    fn told(self, name: &str) -> Option<View<'a>> {
        self.view.entry("/status/components", name).or_else(|| self.view.entry("/status/services", name))
    }

    /// Its pods, those that are ending included.
    fn pods(self, look: &Look<'a>) -> impl Iterator<Item = Pod<'a>> + use<'a> {
        look.pods().filter(move |pod| pod.view.label(GRAPH_LABEL) == self.view.name())
    }
}

pub(super) fn status(look: &mut Look<'_>, view: View<'_>) -> Judgement {
    match awaited(look, Graph { view }) {
        Some(what) => Judgement::NotYet(format!("{}: {what}", view.called())),
        None => Judgement::Ready,
    }
}

/// What is missing; `None`: nothing that Kubernetes can know.
fn awaited(look: &Look<'_>, graph: Graph<'_>) -> Option<String> {
    let view = graph.view;
    let Some(ready) = view.condition("Ready") else { return Some("no status from the operator yet".to_owned()) };
    let observed = view.int("/status/observedGeneration");
    if observed.or(ready.generation).is_some_and(|observed| Some(observed) != view.generation()) {
        return Some("its status is still that of an older version".to_owned());
    }
    if ready.generation.is_some_and(|seen| Some(seen) != view.generation()) {
        return Some("its condition Ready is still that of an older version".to_owned());
    }
    if !ready.holds() || view.text("/status/state") != "successful" {
        return Some(ready.words().to_owned());
    }
    let phase = view.text("/status/rollingUpdate/phase");
    if !matches!(phase, "" | "None" | "Completed") {
        return Some(format!("a rolling update is {phase}"));
    }
    let restart = view.text("/status/restart/phase");
    let restarted = view.text("/status/restart/observedID") == view.text("/spec/restart/id");
    if view.at("/spec/restart/id").is_some() && !(restart == "Completed" && restarted) {
        return Some(format!("the restart that was asked for is {restart}"));
    }
    let components = graph.components();
    let serves = |component: &Component<'_>| matches!(component.kind, "frontend" | "main" | "epp");
    let alone = look.seen.objects.iter().all(|object| object.applied.kind == view.kind());
    if alone && !Graph::all(look.seen).any(|graph| graph.components().iter().any(serves)) {
        return Some("it has no component of type frontend: nothing can answer".to_owned());
    }
    // Operators up to 0.5 tell nothing of components.
    let tells = observed.is_some() || view.at("/status/components").or(view.at("/status/services")).is_some();
    let hash = view.annotation(HASH_ANNOTATION);
    components.iter().find_map(|component| {
        let told = if tells { counted(graph, component, hash) } else { None };
        told.or_else(|| held_by_pods(look, graph, component, hash, tells))
    })
}

/// What the status misses of one component.
fn counted(graph: Graph<'_>, component: &Component<'_>, hash: &str) -> Option<String> {
    let name = component.name;
    if component.replicas == 0 {
        return Some(format!("component {name} has no replicas: a graph of none is called ready and serves nothing"));
    }
    let Some(told) = graph.told(name) else { return Some(format!("no status of component {name} yet")) };
    let workloads: Vec<_> = told.list("/componentNames").map(|name| name.text("")).collect();
    if workloads.len() > 1 {
        return Some(format!("component {name} still has {} workloads: an old one is not gone yet", workloads.len()));
    }
    let old = workloads.first().is_some_and(|workload| !workload.ends_with(hash));
    if component.works() && !hash.is_empty() && old {
        return Some(format!("component {name} is not rolled out to the version {hash} yet"));
    }
    let counts = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
    counts.into_iter().find_map(|count| {
        // Grove and LeaderWorkerSet leave some of them out.
        let value = told.entry("", count)?.int("")?;
        (value != component.replicas).then(|| format!("component {name}: {count} {value} of {}", component.replicas))
    })
}

/// What the pods miss of one component.
fn held_by_pods(
    look: &Look<'_>,
    graph: Graph<'_>,
    component: &Component<'_>,
    hash: &str,
    labelled: bool,
) -> Option<String> {
    let name = component.name;
    let mine = graph.pods(look).filter(|pod| !pod.ending() && pod.view.label(COMPONENT_LABEL) == name);
    let mine: Vec<_> = mine.filter(|pod| !pod.over()).collect();
    if let Some(pod) = mine.iter().find(|pod| !pod.ready()) {
        return Some(pod.awaited());
    }
    let stale = |pod: &&Pod<'_>| component.works() && !hash.is_empty() && pod.view.label(HASH_LABEL) != hash;
    if let Some(pod) = mine.iter().find(stale) {
        return Some(format!("pod {} is of an older version of component {name}", pod.name()));
    }
    let wanted = component.replicas * component.nodes;
    let there = i64::try_from(mine.len()).unwrap_or(i64::MAX);
    // Pods of operators that tell nothing of components may lack the label as well.
    let known = labelled || there > 0;
    (known && there != wanted).then(|| format!("component {name}: {there} of {wanted} pods are there"))
}
