//! All recorded timelines against the rules: ready exactly when the graph could serve as far as Kubernetes knows, and
//! failed as early as the signs allow. The times are those of the recordings.

use std::time::Duration;

use serde_json::json;

use super::super::super::seen::{Failure, Judgement, Patience};
use super::recording::{Moment, Play, Recording};

/// What must come out of one scenario.
struct Row {
    scenario: &'static str,
    play: Play<'static>,
    /// When it is ready: from, to.
    ready: &'static [(f64, f64)],
    /// The first failure that is not the deletion at the end: when, and words of it.
    failed: Option<(f64, &'static str)>,
}

fn row(scenario: &'static str, ready: &'static [(f64, f64)]) -> Row {
    Row { scenario, play: Play::default(), ready, failed: None }
}

fn of(scenario: &'static str, graph: &'static str, ready: &'static [(f64, f64)]) -> Row {
    Row { play: Play { graph, ..Play::default() }, ..row(scenario, ready) }
}

fn fails(scenario: &'static str, at: f64, words: &'static str) -> Row {
    Row { failed: Some((at, words)), ..row(scenario, &[]) }
}

const LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn table() -> Vec<Row> {
    vec![
        of("agg-v1alpha1", "mocker-agg", &[(12.83, 18.59)]),
        of("agg-v1beta1", "mocker-agg", &[(16.01, 26.45)]),
        // The first life; then the second of the same name, ready only when the pods of the first are gone.
        row("delete-background", &[(11.34, 11.65)]),
        Row { play: Play { life: 1, ..Play::default() }, ..row("delete-background", &[(34.32, 34.83)]) },
        row("delete-early", &[]),
        row("delete-foreground", &[(12.24, 12.81)]),
        of("disagg-v1alpha1", "mocker-disagg", &[(13.91, 20.64)]),
        of("disagg-v1beta1", "mocker-disagg", &[(13.63, 20.32)]),
        of("dotted-name", "qwen3-0.6b", &[(21.2, 22.21)]),
        fails("frontend-crash", 5.76, "container main on node-2 ended 2 times, last with Error, exit code 3"),
        row("frontend-only", &[(12.34, 33.69)]),
        row("gpu-fits", &[(12.0, 15.14)]),
        row("gpu-unschedulable", &[]),
        fails("image-pull", 13.0, "the image dynbench.local/absent:1.0.0 of container main cannot be pulled on node-2"),
        row("image-pull-secret", &[(12.86, 16.14)]),
        Row {
            play: Play { graph: LONG, ..Play::default() },
            ..fails("long-name", 11.0, "the operator cannot make it: Deployment.apps")
        },
        fails("missing-secret", 12.5, "cannot be created on node-2: secret \"hf-token-secret\" not found"),
        row("model-never-listed", &[(13.12, 63.42)]),
        fails("multinode-no-orchestrator", 0.67, "failed (no_multinode_orchestrator_available)"),
        Row { failed: Some((12.8, "the namespace is being deleted")), ..row("namespace-deleted", &[(12.23, 12.8)]) },
        row("no-type", &[(13.04, 33.11)]),
        Row {
            failed: Some((10.0, "the operator has processed nothing for 10 s")),
            ..row("operator-absent", &[(64.51, 67.22)])
        },
        row("operator-killed", &[(26.38, 29.97)]),
        row("operator-restarted", &[(12.95, 61.78)]),
        row("operator-stopped", &[(12.18, 27.33)]),
        row("pod-deleted", &[(12.86, 17.62), (28.75, 35.25), (47.86, 55.91), (58.74, 70.32), (81.34, 88.11)]),
        row("pod-template-merge", &[(12.21, 18.72)]),
        row("pvc-v1alpha1", &[(13.19, 16.99)]),
        fails("quota", 5.9, "Deployment g-worker-a85cedcf: the cluster refuses to make its pods: exceeded quota: q"),
        row("restart-id", &[(12.43, 17.03), (52.61, 65.12)]),
        Row {
            failed: Some((30.0, "cannot be pulled on node-2")),
            ..row("rolling-bad-image", &[(13.7, 18.55), (97.94, 103.72)])
        },
        row("rolling-frontend", &[(12.9, 17.43), (30.95, 39.39)]),
        row("rolling-worker", &[(14.09, 21.59), (44.12, 55.17)]),
        of("same-dynamo-namespace", "one", &[(12.17, 22.67)]),
        of("same-dynamo-namespace", "two", &[(13.23, 22.39)]),
        // Not from 43.6 to 49.8, where the graph of no workers calls itself successful.
        row("scale", &[(15.78, 20.26), (30.83, 36.53), (37.77, 43.29), (61.22, 70.92)]),
        row("slow-start", &[(12.35, 62.68)]),
        row("v1alpha1-dynamo-namespace", &[(13.26, 26.81)]),
        fails("worker-crash", 6.73, "container main on node-1 ended 2 times, last with Error, exit code 3"),
        row("worker-hangs", &[]),
        fails("worker-oom", 1.12, "container main was killed for lack of memory on node-2 (OOMKilled, exit code 137"),
        fails("wrong-model-path", 12.83, "ended 2 times, last with Error, exit code 1"),
        row("zero-replicas", &[]),
    ]
}

/// Recordings are written to hundredths, and the stale status after a change stands for as little as two of them.
const NEAR: f64 = 0.006;
/// Signs that must stand for a while are looked at every half second and at every change.
const SOON: f64 = 0.1;

fn intervals(moments: &[Moment]) -> Vec<(f64, f64)> {
    let mut found: Vec<(f64, f64)> = Vec::new();
    let mut was = false;
    for moment in moments {
        let is = moment.judgement == Judgement::Ready;
        match (was, is) {
            (false, true) => found.push((moment.t, f64::INFINITY)),
            (true, false) => found.last_mut().unwrap().1 = moment.t,
            (true, true) | (false, false) => {}
        }
        was = is;
    }
    found
}

fn first_failure(moments: &[Moment]) -> Option<(f64, &Failure)> {
    moments.iter().find_map(|moment| match &moment.judgement {
        Judgement::Failed(failure) if !failure.message.contains("DynamoGraphDeployment") || !is_end(failure) => {
            Some((moment.t, failure))
        }
        Judgement::Failed(_) | Judgement::Ready | Judgement::NotYet(_) => None,
    })
}

/// The deletion with which every recording ends.
fn is_end(failure: &Failure) -> bool {
    ["is being deleted", "is gone", "is not the one"].iter().any(|end| failure.message.contains(end))
}

#[test]
fn a_deployment_is_ready_and_fails_when_the_recordings_say_so() {
    for row in table() {
        let moments = Recording::read(row.scenario).play(&row.play);
        let ready = intervals(&moments);
        let near = |(a, b): &(f64, f64), (c, d): &(f64, f64)| (a - c).abs() < NEAR && (b - d).abs() < NEAR;
        let same = ready.len() == row.ready.len() && ready.iter().zip(row.ready).all(|(is, want)| near(is, want));
        assert!(same, "{}: ready {ready:?}, expected {:?}", row.scenario, row.ready);
        match (first_failure(&moments), row.failed) {
            (None, None) => {}
            (Some((t, failure)), Some((at, words))) => {
                assert!((t - at).abs() < SOON, "{}: failed at {t}, expected {at}: {}", row.scenario, failure.message);
                assert!(failure.message.contains(words), "{}: {}", row.scenario, failure.message);
                assert!(failure.details.len() <= 10, "{}: {:?}", row.scenario, failure.details);
            }
            (found, expected) => panic!("{}: failed {found:?}, expected {expected:?}", row.scenario),
        }
    }
}

#[test]
fn every_recording_is_in_the_table() {
    let rows: Vec<_> = table().iter().map(|row| row.scenario).collect();
    for name in Recording::names() {
        assert!(rows.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn the_rules_are_never_ready_when_the_state_is_not_successful() {
    for row in table() {
        for moment in Recording::read(row.scenario).play(&row.play) {
            let ready = moment.judgement == Judgement::Ready;
            assert!(!ready || moment.state == "successful", "{} at {}", row.scenario, moment.t);
        }
    }
}

#[test]
fn ready_is_not_served_and_the_endpoint_must_be_asked() {
    // In these the rules are right to say ready, and the recorded probes show that nothing (or not yet) was served.
    for scenario in ["frontend-only", "no-type", "model-never-listed"] {
        let recording = Recording::read(scenario);
        assert!(!intervals(&recording.play(&Play::default())).is_empty(), "{scenario}");
        let (_, models, chat) = recording.probes().pop().unwrap();
        assert_ne!((models, chat), (json!(1), json!(200)), "{scenario}");
    }
    let slow = Recording::read("slow-start");
    let served = slow.probes().into_iter().find(|(_, _, chat)| *chat == 200).unwrap().0;
    assert!(served > intervals(&slow.play(&Play::default()))[0].0 + 20.0, "{served}");
}

#[test]
fn a_pod_that_no_node_takes_fails_when_patience_ends_or_at_once_when_no_node_has_that_much() {
    let unschedulable = Recording::read("gpu-unschedulable");
    let short = Patience { schedule: Duration::from_secs(30), ..Play::default().patience };
    let moments = unschedulable.play(&Play { patience: short, ..Play::default() });
    let (t, failure) = first_failure(&moments).unwrap();
    assert!((31.0..33.0).contains(&t), "{t}");
    assert!(failure.message.contains("no node can take it: too little nvidia.com/gpu"), "{}", failure.message);
    assert!(failure.details[0].contains("2 Insufficient nvidia.com/gpu"), "{:?}", failure.details);

    let known = Play {
        change: |seen| {
            let node = |name: &str, gpus: &str| {
                json!({"metadata": {"name": name},
                "status": {"allocatable": {"nvidia.com/gpu": gpus}}})
            };
            seen.nodes = vec![node("node-1", "4"), node("node-2", "0")];
            for pod in &mut seen.pods {
                pod["spec"]["containers"][0]["resources"] = json!({"limits": {"nvidia.com/gpu": "8"}});
            }
        },
        ..Play::default()
    };
    let moments = unschedulable.play(&known);
    let (t, failure) = first_failure(&moments).unwrap();
    assert!((11.0..13.0).contains(&t), "{t}");
    assert!(
        failure.message.ends_with(
            "no node can take it: too little nvidia.com/gpu (it asks for 8); node-1 has 4, node-2 has 0; 2 nodes in all"
        ),
        "{}",
        failure.message
    );
    assert!(failure.help.as_ref().unwrap().contains("no node has that much"), "{failure:?}");
}

#[test]
fn a_failure_says_what_the_cluster_said_each_thing_once_and_what_to_do() {
    let moments = Recording::read("image-pull").play(&Play::default());
    let (_, failure) = first_failure(&moments).unwrap();
    assert!(failure.message.ends_with("lookup dynbench.local: Temporary failure in name resolution"), "{failure:?}");
    assert!(failure.help.as_ref().unwrap().contains("do not know that registry's name"), "{failure:?}");
    assert!(!failure.passing);
    let mut once = failure.details.clone();
    once.dedup();
    assert_eq!(once.len(), failure.details.len(), "{:?}", failure.details);

    let moments = Recording::read("quota").play(&Play::default());
    let (_, failure) = first_failure(&moments).unwrap();
    assert_eq!(failure.details.len(), 1, "{:?}", failure.details);
    assert!(failure.details[0].contains("times)"), "{:?}", failure.details);

    let moments = Recording::read("worker-crash").play(&Play::default());
    let (_, failure) = first_failure(&moments).unwrap();
    let logs = failure.logs_of.as_ref().unwrap();
    assert_eq!((logs.0.as_str(), logs.1.as_str()), ("g-worker-9bd236f2-777db8d786-5k7z2", "main"));
}

#[test]
fn a_restarted_container_must_stay_up_before_its_pod_counts() {
    let patience = Patience { settle: Duration::from_secs(6), ..Patience::default() };
    let moments = Recording::read("pod-deleted").play(&Play { patience, ..Play::default() });
    let ready = intervals(&moments);
    // Ready at 58.74 by the status alone; started again at 56.9.
    assert!(ready.iter().any(|(from, _)| (from - 62.9).abs() < 0.6), "{ready:?}");
}
