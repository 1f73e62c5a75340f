//! A pod that no node takes: which resource or rule, and what the nodes have.

use std::time::Duration;

use super::super::super::seen::Failure;
use super::super::evidence::warnings;
use super::super::look::Look;
use super::super::pod::Pod;
use super::super::view::View;

/// Grace when no node could ever take the pod: only a new node would help.
const NEVER: Duration = Duration::from_secs(10);

pub(super) fn no_node(look: &mut Look<'_>, pod: Pod<'_>) -> Option<Failure> {
    let scheduled = pod.view.condition("PodScheduled").filter(|scheduled| scheduled.reason == "Unschedulable")?;
    let held = look.held(format!("unschedulable {}", pod.view.uid()));
    let growing = look.events_of(pod.view).any(|event| event.text("/reason") == "TriggeredScaleUp");
    let why = Why::read(scheduled.message);
    let hopeless = !growing && why.short.iter().any(|resource| no_node_has(look, pod, resource));
    let grace = if hopeless { NEVER.min(look.patience.schedule) } else { look.patience.schedule };
    (held >= grace).then(|| {
        let mut details = vec![scheduled.message.to_owned()];
        details.extend(why.short.iter().filter_map(|resource| nodes_line(look, resource)));
        details.extend(warnings(look, &[pod.view]).into_iter().filter(|line| !line.contains(scheduled.message)));
        details.truncate(10);
        Failure {
            details,
            help: Some(why.help(hopeless)),
            ..Failure::new(format!("pod {}: no node can take it: {}", pod.name(), why.words(look, pod)))
        }
    })
}

/// The scheduler's message, read: `0/2 nodes are available: 2 Insufficient nvidia.com/gpu. ...`.
#[derive(Debug, Default, PartialEq)]
struct Why {
    /// How many nodes there are, in its own words: `2`.
    nodes: String,
    /// Resources that are short.
    short: Vec<String>,
    /// Everything else, as it stands: `1 node(s) had untolerated taint {x: y}`.
    other: Vec<String>,
}

impl Why {
    fn read(message: &str) -> Self {
        let Some((count, reasons)) = message.split_once(" nodes are available: ") else {
            return Self { other: vec![message.to_owned()], ..Self::default() };
        };
        let nodes = count.rsplit('/').next().unwrap_or_default().to_owned();
        // What follows speaks of preemption and claims: why nobody else is put off the nodes.
        let end = [" preemption:", " no new claims"].iter().filter_map(|mark| reasons.find(mark)).min();
        let reasons = reasons[..end.unwrap_or(reasons.len())].trim_end_matches('.');
        let mut why = Self { nodes, ..Self::default() };
        for reason in reasons.split(", ") {
            match reason.split_once(" Insufficient ") {
                Some((_, resource)) => why.short.push(resource.trim().to_owned()),
                None => why.other.push(reason.trim().to_owned()),
            }
        }
        why
    }

    fn words(&self, look: &Look<'_>, pod: Pod<'_>) -> String {
        let short = self.short.iter().map(|resource| {
            let asked = asked(pod, resource);
            let asked = if asked > 0.0 { format!(" (it asks for {asked})") } else { String::new() };
            let have = nodes_line(look, resource).map(|line| format!("; {line}")).unwrap_or_default();
            format!("too little {resource}{asked}{have}")
        });
        let mut words: Vec<_> = short.chain(self.other.iter().cloned()).collect();
        if !self.nodes.is_empty() {
            words.push(format!("{} nodes in all", self.nodes));
        }
        words.join("; ")
    }

    fn help(&self, hopeless: bool) -> String {
        let said = |word: &str| self.other.iter().any(|other| other.contains(word));
        let help = if let (Some(resource), true) = (self.short.first(), hopeless) {
            return format!("no node has that much {resource}: ask for less a pod, or add a node that has it");
        } else if !self.short.is_empty() {
            "other pods hold it: end them, ask for less, or wait longer"
        } else if said("PersistentVolumeClaim") || said("persistentvolumeclaim") {
            "its volume claim is not bound: check its name and its storage class"
        } else if said("taint") {
            "add `tolerations` for the nodes that are meant"
        } else if said("node affinity") || said("selector") {
            "no node matches `node-selector` or `affinity`: check the labels with `kubectl get nodes --show-labels`"
        } else {
            "the scheduler's message below says what is missing"
        };
        help.to_owned()
    }
}

/// Whether every node that we see has less of a resource, in all, than the pod asks for.
fn no_node_has(look: &Look<'_>, pod: Pod<'_>, resource: &str) -> bool {
    let asked = asked(pod, resource);
    let mut nodes = look.seen.nodes.iter().map(View::of).peekable();
    asked > 0.0 && nodes.peek().is_some() && nodes.all(|node| allocatable(node, resource) < asked)
}

/// What the nodes have in all: `node-1 has 4, node-2 has 0`.
fn nodes_line(look: &Look<'_>, resource: &str) -> Option<String> {
    let nodes = look.seen.nodes.iter().map(View::of);
    let have: Vec<_> = nodes
        .map(|node| {
            let amount = node.entry("/status/allocatable", resource).map_or("0".to_owned(), View::as_words);
            format!("{} has {amount}", node.name())
        })
        .collect();
    (!have.is_empty()).then(|| have.join(", "))
}

fn allocatable(node: View<'_>, resource: &str) -> f64 {
    node.entry("/status/allocatable", resource).map_or(0.0, |amount| quantity(&amount.as_words()))
}

/// What a pod asks for: the sum of its containers. Init containers never ask for more in what we render.
fn asked(pod: Pod<'_>, resource: &str) -> f64 {
    let requests = pod.view.list("/spec/containers").filter_map(|container| {
        let request = container.entry("/resources/requests", resource);
        request.or_else(|| container.entry("/resources/limits", resource))
    });
    requests.map(|amount| quantity(&amount.as_words())).sum()
}

/// A quantity of Kubernetes as a number: `500m`, `64Gi`, `4`. What cannot be read counts as nothing.
fn quantity(text: &str) -> f64 {
    const SUFFIXES: [(&str, f64); 10] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("", 1.0),
    ];
    let found = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)));
    found.and_then(|(digits, factor)| Some(digits.parse::<f64>().ok()? * factor)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedulers_message_is_read_into_what_is_short_and_what_else() {
        let why = Why::read(
            "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: 0/2 nodes \
             are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.",
        );
        let expected = Why { nodes: "2".to_owned(), short: vec!["nvidia.com/gpu".to_owned()], other: Vec::new() };
        assert_eq!(why, expected);
        let why = Why::read(
            "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 2 node(s) had untolerated taint {a: b}. \
             preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
        );
        assert_eq!(why.short, ["cpu", "memory"]);
        assert_eq!(why.other, ["2 node(s) had untolerated taint {a: b}"]);
        assert!(why.help(false).contains("other pods"));
        let why = Why::read("persistentvolumeclaim \"x\" not found");
        assert_eq!(why.other, ["persistentvolumeclaim \"x\" not found"]);
        assert!(why.help(false).contains("volume claim"));
    }

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        assert!((quantity("4") - 4.0).abs() < 1e-9);
        assert!((quantity("500m") - 0.5).abs() < 1e-9);
        assert!((quantity("2Gi") - 2_147_483_648.0).abs() < 1e-9);
        assert!((quantity("1M") - 1e6).abs() < 1e-9);
        assert!(quantity("x").abs() < 1e-9);
    }
}
