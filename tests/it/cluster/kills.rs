//! SIGKILL at aimed and at random instants of runs on a real cluster, until they are done, once on another machine: nothing
//! lost, nothing measured twice, nothing left, and every point says truly what it was measured on.
//!
//! `DYNBENCH_CLUSTER_KILLS` sets how many kills (default 6: one of each aim), `DYNBENCH_SEED` where they fall. Load comes
//! from the static binary at `DYNBENCH_STATIC`, carried into the cluster.

#![expect(clippy::print_stderr, reason = "the figures are what a reader of CI wants to see")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::room::{Room, kubeconfig, static_binary};
use crate::killed::{Before, Folder, Kill, describe, setting};

const POINTS: [&str; 4] = ["agg/c1", "agg/c2", "disagg/c1", "disagg/c2"];
const RECORDS: usize = 24;

/// Dynamo's mocker, aggregated and disaggregated, from our own templates.
fn plan(namespace: &str, binary: &str) -> String {
    format!(
        r#"schema = 1
name = "killed"
model.id = "tiny-llama"

[workload]
isl = 40
osl = 20
concurrency = [1, 2]
requests = {RECORDS}
warm-up-requests = 4

[load]
binary = "{binary}"
resources = {{ cpu = "100m", memory = "256Mi" }}

[target]
kind = "kubernetes"
namespace = "{namespace}"

[deployments.agg]
template = "mocker-agg"
vars = {{ image = "dynbench.local/dynamo:1.6.1", model-path = "/models/tiny-llama" }}

[deployments.disagg]
template = "mocker-disagg"
vars = {{ image = "dynbench.local/dynamo:1.6.1", model-path = "/models/tiny-llama" }}

[plots]
set = []

# The nodes share this machine: its business must not make a point invalid here.
[validity]
send-lag-ms = 10000.0
"#
    )
}

/// What a kill is meant to hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Aim {
    Deploy,
    Wait,
    /// The load Job is announced, made, its pod comes up, the binary is carried.
    Job,
    Level,
    /// The worker's result comes over, its files are written, sealed, renamed.
    Transfer,
    Teardown,
    /// Wherever the run is after some time.
    Time,
}

const AIMS: [Aim; 7] = [Aim::Deploy, Aim::Wait, Aim::Job, Aim::Level, Aim::Transfer, Aim::Teardown, Aim::Time];

impl Aim {
    /// How long after it is met the kill falls at most.
    fn most(self) -> Duration {
        Duration::from_millis(match self {
            // Objects are sent within a tenth of a second.
            Self::Deploy => 150,
            Self::Wait => 4000,
            Self::Job => 3000,
            Self::Level => 1500,
            Self::Transfer => 100,
            Self::Teardown => 3000,
            Self::Time => 20_000,
        })
    }

    /// Whether an event of the journal is what comes before it.
    fn begins_with(self, event: &Value) -> bool {
        let started = |part: &str| {
            event["event"] == "step.started" && event["address"].as_str().is_some_and(|address| address.contains(part))
        };
        match self {
            Self::Deploy => started("/deploy"),
            Self::Wait => started("/wait"),
            Self::Job => {
                let what = event.pointer("/obligation/what").and_then(Value::as_str);
                what.is_some_and(|what| what.starts_with("Job "))
            }
            Self::Level | Self::Transfer => started("/load/"),
            Self::Teardown => started("/teardown"),
            Self::Time => false,
        }
    }
}

/// Looks again and again whether an aim is met.
struct Looks<'a> {
    aim: Aim,
    folder: &'a Folder,
    /// The journal was read so far: reading it all takes time that the session needs too.
    lines: Cell<usize>,
    has_begun: Cell<bool>,
}

impl<'a> Looks<'a> {
    fn new(aim: Aim, folder: &'a Folder) -> Self {
        Self { aim, folder, lines: Cell::new(folder.lines()), has_begun: Cell::new(false) }
    }

    fn is_met(&self, before: &Before) -> bool {
        let lines = self.folder.lines();
        if lines > self.lines.replace(lines) {
            let begun = self.folder.journal().iter().skip(before.lines).any(|event| self.aim.begins_with(event));
            self.has_begun.set(begun);
        }
        match self.aim {
            Aim::Time => true,
            Aim::Deploy | Aim::Wait | Aim::Job | Aim::Level | Aim::Teardown => self.has_begun.get(),
            Aim::Transfer => {
                let is_coming = || {
                    let spill = self.folder.run_dir().join(".run/spill");
                    fs::read_dir(spill).into_iter().flatten().flatten().count() > 0
                };
                self.has_begun.get() && is_coming() || !self.folder.half_written().is_subset(&before.half_written)
            }
        }
    }
}

/// What the cluster itself told of the deployments' pods, as it happened.
struct PodsSeen {
    child: Child,
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
}

struct Seen {
    deployment: String,
    from: u128,
    to: Option<u128>,
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

impl PodsSeen {
    fn watch(namespace: &str) -> Self {
        let kubeconfig = kubeconfig();
        let beside = Path::new(&kubeconfig).with_file_name("bin/kubectl");
        let kubectl = if beside.is_file() { beside } else { "kubectl".into() };
        let line =
            r#"jsonpath={.type} {.object.metadata.uid} {.object.metadata.labels.dynbench\.dev/deployment}{"\n"}"#;
        let mut child = Command::new(kubectl)
            .args(["--namespace", namespace, "get", "pods", "--watch", "--output-watch-events"])
            .args(["-l", "dynbench.dev/run,!dynbench.dev/role", "-o", line])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let all = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in lines {
                let [kind, uid, deployment] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
                let mut all = all.lock().unwrap();
                let one = Seen { deployment: deployment.to_owned(), from: now(), to: None };
                let one = all.entry(uid.to_owned()).or_insert(one);
                if kind == "DELETED" {
                    one.to = Some(now());
                }
            }
        });
        Self { child, seen }
    }

    /// Uids of the pods of a deployment that were there all the time.
    fn through(&self, deployment: &str, from: u128, to: u128) -> BTreeSet<String> {
        let seen = self.seen.lock().unwrap();
        let there =
            |seen: &Seen| seen.deployment == deployment && seen.from < from && seen.to.is_none_or(|end| end > to);
        seen.iter().filter(|(_, seen)| there(seen)).map(|(uid, _)| uid.clone()).collect()
    }
}

impl Drop for PodsSeen {
    fn drop(&mut self) {
        // It has ended already if its cluster is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every point names the incarnation whose pods were there while it was measured; how many incarnations there are.
fn assert_incarnations_are_true(folder: &Folder, pods: &PodsSeen) -> usize {
    let journal = folder.journal();
    let mut all = BTreeSet::new();
    for point in POINTS {
        let dir = folder.run_dir().join(point);
        let results: Value = serde_json::from_str(&fs::read_to_string(dir.join("results.json")).unwrap()).unwrap();
        let meta = &results["point"]["meta"];
        let digest = meta["incarnation"].as_str().unwrap();
        let recorded = journal.iter().find(|event| {
            event["event"] == "incarnation.recorded" && event["digest"].as_str().unwrap().starts_with(digest)
        });
        let recorded = recorded.unwrap_or_else(|| panic!("{point}: nobody recorded the incarnation {digest}"));
        let named = recorded["incarnation"].as_array().unwrap();
        let named: BTreeSet<_> = named.iter().map(|pod| pod["uid"].as_str().unwrap().to_owned()).collect();
        let origin = u128::from(meta["origin"].as_u64().unwrap());
        let records = fs::read_to_string(dir.join("requests.jsonl")).unwrap();
        let ends = records.lines().skip(1).map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            u128::from(record["end"].as_u64().unwrap())
        });
        let deployment = point.split('/').next().unwrap();
        assert_eq!(named, pods.through(deployment, origin, origin + ends.max().unwrap()), "{point}");
        all.insert(digest.to_owned());
    }
    all.len()
}

/// The run goes on in another folder, from nothing but its archive.
fn carried_elsewhere(folder: &Folder, plan: &str) -> Folder {
    let elsewhere = Folder::new("killed", plan);
    let archive = elsewhere.path().join("run.tar.gz").display().to_string();
    assert_eq!(folder.run(&["runs", "export", "latest", &archive]), Some(0), "{}", folder.said());
    assert_eq!(elsewhere.run(&["runs", "import", "run.tar.gz"]), Some(0), "{}", elsewhere.said());
    elsewhere
}

#[test]
#[ignore = "needs a cluster"]
fn kills_on_a_cluster_lose_nothing_double_nothing_and_leave_nothing() {
    let (wanted, seed) = (setting("DYNBENCH_CLUSTER_KILLS", 6), setting("DYNBENCH_SEED", 20_261_129));
    let room = Room::new("kills");
    let text = plan(&room.namespace, &static_binary());
    let pods = PodsSeen::watch(&room.namespace);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut kills, mut resumes, mut runs, mut turn, mut again, mut went_on, mut lives) = (0, 0, 0, 0, 0, 0, 0);
    let mut is_carried = false;
    let mut fell = BTreeMap::<(Aim, String), u32>::new();
    let began = Instant::now();
    while kills < wanted {
        let mut folder = Folder::new("killed", &text);
        runs += 1;
        assert!(runs <= wanted + 2, "so many runs, and only {kills} kills met their aim");
        let mut sessions = 0;
        loop {
            let aim = AIMS[turn % AIMS.len()];
            let after = aim.most().mul_f64(rng.random::<f64>());
            let looks = Looks::new(aim, &folder);
            let met = |before: &Before| looks.is_met(before);
            let ended = folder.session((kills < wanted).then_some(&Kill { met: &met, after }));
            (turn, sessions) = (turn + 1, sessions + 1);
            if let Some(status) = ended {
                assert_eq!(
                    status.code(),
                    Some(0),
                    "{status:?} in session {sessions}\n{}\n{}",
                    folder.said(),
                    folder.summary()
                );
                break;
            }
            kills += 1;
            let last = folder.journal().last().map_or_else(|| "no journal".to_owned(), describe);
            eprintln!("kill {kills} at {:.0} s, aimed at {aim:?}: after {last}", began.elapsed().as_secs_f64());
            *fell.entry((aim, last)).or_default() += 1;
            if !is_carried && 2 * kills >= wanted && !folder.journal().is_empty() {
                folder = carried_elsewhere(&folder, &text);
                is_carried = true;
            }
        }
        resumes += sessions - 1;
        folder.assert_points_are_whole(&POINTS, RECORDS);
        lives += assert_incarnations_are_true(&folder, &pods);
        assert_eq!(room.left_behind(), "", "{}", folder.said());
        assert_eq!(room.kubectl(&["get", "pods,jobs,services,deployments", "-o", "name"]), "");
        let journal = folder.journal();
        again += journal.iter().filter(|event| event["outcome"]["output"]["again"] == true).count();
        let words = "the load worker went on with attempt";
        went_on +=
            journal.iter().filter(|event| event["text"].as_str().is_some_and(|text| text.contains(words))).count();
    }
    eprintln!(
        "seed {seed}: {kills} kills, {resumes} resumes, one of them elsewhere: {is_carried}, {runs} runs, {} points on {lives} \
         incarnations, {again} times a deployment was used again, {went_on} times a worker's result; none lost, none doubled, \
         nothing left, in {:.0} s",
        runs * 4,
        began.elapsed().as_secs_f64()
    );
    for ((aim, last), count) in fell {
        eprintln!("  {count:>3} aimed at {aim:?}, fell after {last}");
    }
}
