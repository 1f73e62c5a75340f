//! A run in the midst of a point on a real cluster: Dynamo's mocker from our own template, loaded through a forwarded port.
//! What befalls it then is for `again` and `faults` to say.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::room::Room;
use crate::world::{PLAN, Ran, Started};

/// The longest that a session may take: every wait of a run has a limit, and none of them here is long.
const PATIENCE: Duration = Duration::from_secs(240);

/// Tells of itself as it goes.
pub(super) const APPLY: &[&str] = &["apply", PLAN, "--events", "events.jsonl"];
pub(super) const RESUME: &[&str] = &["apply", PLAN, "--resume"];

/// One deployment, two levels of some seconds. `vars` are more variables of the template, `lines` more lines at the top.
pub(super) fn plan(namespace: &str, vars: &str, lines: &str) -> String {
    format!(
        r#"schema = 1
name = "small"
model.id = "tiny-llama"
policy.ready-deadline = "2m"
{lines}

[workload]
isl = 40
osl = 60
concurrency = [1, 2]
requests = 24
warm-up-requests = 4
request.idle-timeout = "5s"

[load]
from = "here"

[target]
kind = "kubernetes"
namespace = "{namespace}"

[deployments.agg]
template = "mocker-agg"
vars = {{ image = "dynbench.local/dynamo:1.6.1", model-path = "/models/tiny-llama"{vars} }}

[plots]
set = []

# The nodes share this machine: its business must not make a point invalid here.
[validity]
send-lag-ms = 10000.0
"#
    )
}

/// A room with that plan in it.
pub(super) struct Midst {
    pub(super) room: Room,
}

impl Midst {
    pub(super) fn new(namespace: &str, vars: &str, lines: &str) -> Self {
        let room = Room::new(namespace).patient(PATIENCE);
        room.world.write(PLAN, plan(namespace, vars, lines));
        Self { room }
    }

    /// A run that measures this level, `c1` or `c2`.
    pub(super) fn measuring(&self, level: &str) -> Started {
        let running = self.room.world.start(APPLY);
        let (address, doing) = (format!("load/{level}\""), "\"doing\":\"measuring\"");
        self.until(&format!("it measures {level}"), |event| event.contains(&address) && event.contains(doing));
        running
    }

    /// A run that has begun a step of this kind.
    pub(super) fn at(&self, kind: &str) -> Started {
        let running = self.room.world.start(APPLY);
        let address = format!("\"agg/{kind}\"");
        self.until(&format!("{kind} begins"), |event| event.contains("step.started") && event.contains(&address));
        running
    }

    /// Waits until the run tells of it.
    fn until(&self, what: &str, told: impl Fn(&str) -> bool) {
        let began = Instant::now();
        while !self.events().lines().any(&told) {
            assert!(began.elapsed() < Duration::from_secs(90), "{what}: not for 90 s\n{}", self.events());
            sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn events(&self) -> String {
        fs::read_to_string(self.room.world.path("events.jsonl")).unwrap_or_default()
    }

    /// Resumes the run to its end with this exit code.
    pub(super) fn resumes(&self, code: i32) -> Ran {
        self.room.world.ends(code, RESUME)
    }

    pub(super) fn journal(&self) -> Vec<Value> {
        let text = self.room.world.read("results/small/latest/.run/journal.jsonl");
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Every note that was left in the journal.
    pub(super) fn notes(&self) -> String {
        let journal = self.journal();
        let notes: Vec<_> = journal.iter().filter_map(|event| event["text"].as_str()).collect();
        notes.join("\n")
    }

    /// How often a step succeeded.
    pub(super) fn count(&self, address: &str) -> usize {
        let succeeded = |event: &&Value| event["event"] == "step.succeeded" && event["address"] == address;
        self.journal().iter().filter(succeeded).count()
    }

    /// Which incarnation a published point names, which attempt it is; it must be valid.
    pub(super) fn point(&self, level: &str) -> (String, u64) {
        let text = self.room.world.read(&format!("results/small/latest/agg/{level}/results.json"));
        let results: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(results["point"]["invalid"], serde_json::json!([]), "{level}");
        let meta = &results["point"]["meta"];
        (meta["incarnation"].as_str().unwrap().to_owned(), meta["attempt"].as_u64().unwrap())
    }

    /// Pods of the deployment, by uid.
    pub(super) fn pods(&self) -> BTreeSet<String> {
        let found = self.room.get(&["pods", "-l", "dynbench.dev/deployment=agg"]);
        let uids = found["items"].as_array().unwrap().iter().map(|pod| pod["metadata"]["uid"].as_str().unwrap());
        uids.map(str::to_owned).collect()
    }

    /// A pod that does the work: not the frontend. Its name and node.
    pub(super) fn worker(&self) -> (String, String) {
        let found = self.room.get(&["pods", "-l", "dynbench.dev/deployment=agg"]);
        let named = found["items"].as_array().unwrap().iter().map(|pod| {
            let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            (text("/metadata/name"), text("/spec/nodeName"))
        });
        named.into_iter().find(|(name, _)| !name.contains("frontend")).unwrap()
    }

    /// Nothing of the run is in the cluster.
    pub(super) fn assert_nothing_is_left(&self) {
        assert_eq!(self.room.left_behind(), "");
        assert_eq!(self.room.kubectl(&["get", "pods", "-o", "name"]), "");
    }
}
