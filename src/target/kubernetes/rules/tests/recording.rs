//! Recordings of `tests/fixtures/operator`, played into looks.
//!
//! Each file is one scenario with the real operator (1.5.0-dev, Kubernetes 1.34): statuses of the graph, its
//! Deployments, components, pods and warning events, one JSON object a line; `t` is seconds since the graph was seen.
//! Recorded were the parts that a person reads; owners, labels and ReplicaSets are put back here by the rules of names
//! that the operator and Kubernetes keep (`{graph}-{component}[-{hash}]`, `{deployment}-{template hash}-{5}`).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::super::seen::{Applied, Judgement, Patience, Seen, SeenObject};
use super::super::{Asked, History, judge};

/// One scenario.
pub(super) struct Recording {
    lines: Vec<Value>,
}

/// What was true from a moment on.
pub(super) struct Moment {
    /// Seconds since the graph was made.
    pub(super) t: f64,
    /// What the rules say.
    pub(super) judgement: Judgement,
    /// What the graph's state says: what a user without rules would believe.
    pub(super) state: String,
}

/// How a recording is played.
#[derive(Clone)]
pub(super) struct Play<'a> {
    /// Which graph, where there are several.
    pub(super) graph: &'a str,
    /// Which life of it, from zero: the same name can be made again.
    pub(super) life: usize,
    /// The limits.
    pub(super) patience: Patience,
    /// The plan's own rule.
    pub(super) asked: Option<Asked>,
    /// Changes each look before it is judged.
    pub(super) change: fn(&mut Seen),
}

impl Default for Play<'_> {
    fn default() -> Self {
        // Recordings are compared with what was ready, not with what was trusted after a pause.
        let patience = Patience { settle: Duration::ZERO, ..Patience::default() };
        Self { graph: "g", life: 0, patience, asked: None, change: |_| {} }
    }
}

impl Recording {
    /// Reads a scenario.
    pub(super) fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/operator").join(format!("{name}.jsonl"));
        let text = std::fs::read_to_string(&path).unwrap();
        Self { lines: text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() }
    }

    /// Names of all scenarios.
    pub(super) fn names() -> Vec<String> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/operator");
        let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = files.filter_map(|file| Some(file.strip_suffix(".jsonl")?.to_owned())).collect();
        names.sort();
        names
    }

    /// Judges at every recorded change and, between them, at every half second.
    pub(super) fn play(&self, play: &Play<'_>) -> Vec<Moment> {
        let start = self.births(play.graph).get(play.life).copied().unwrap_or(0.0);
        let mut history = History::default();
        let mut moments = Vec::new();
        for t in self.instants(start) {
            let (mut seen, state) = self.look(t, play);
            (play.change)(&mut seen);
            let elapsed = Duration::from_secs_f64(t - start);
            let judgement = judge(&seen, play.asked.as_ref(), &play.patience, &mut history, elapsed);
            moments.push(Moment { t, judgement, state });
        }
        moments
    }

    /// What the frontend answered when it was asked: times with the number of listed models and the answer to a chat.
    pub(super) fn probes(&self) -> Vec<(f64, Value, Value)> {
        let probes = self.lines.iter().filter(|line| line["kind"] == "Probe");
        probes.map(|line| (time(line), line["models"].clone(), line["chat"].clone())).collect()
    }

    fn births(&self, graph: &str) -> Vec<f64> {
        let born =
            self.lines.iter().filter(|line| line["kind"] == "Graph" && line["name"] == graph && line["added"] == true);
        born.map(time).collect()
    }

    fn instants(&self, start: f64) -> Vec<f64> {
        let mut instants: Vec<f64> = self.lines.iter().filter(|line| line["kind"] != "Spec").map(time).collect();
        let end = instants.iter().copied().fold(0.0, f64::max);
        let mut tick = start;
        while tick < end {
            instants.push(tick);
            tick += 0.5;
        }
        instants.retain(|t| *t >= start);
        instants.sort_by(f64::total_cmp);
        instants.dedup();
        instants
    }

    /// Everything as it was at `t`, and the graph's own state.
    fn look(&self, t: f64, play: &Play<'_>) -> (Seen, String) {
        let mut latest: BTreeMap<(String, String), (&Value, usize)> = BTreeMap::new();
        let mut hash = Value::Null;
        let mut seen = Seen::default();
        let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in self.lines.iter().filter(|line| line["kind"] != "Spec" && time(line) <= t) {
            let (kind, name) = (text(&line["kind"]), text(&line["name"]));
            match kind {
                "Namespace" => seen.namespace_phase = Some(text(&line["phase"]).to_owned()),
                "Event" => {
                    seen.events.push(event(line));
                    // The set whose pods are refused has none by which it would be known.
                    if let Some(set) = text(&line["object"]).strip_prefix("ReplicaSet/") {
                        add(&mut sets, set);
                    }
                }
                "Probe" => {}
                _ => {
                    let entry = latest.entry((kind.to_owned(), name.to_owned())).or_insert((line, 0));
                    entry.1 += usize::from(line["added"] == true);
                    entry.0 = line;
                    if kind == "Graph" && name == play.graph && line.get("hash").is_some() {
                        hash = line["hash"].clone();
                    }
                    if kind == "Pod"
                        && let Some((set, _)) = name.rsplit_once('-')
                    {
                        add(&mut sets, set);
                    }
                }
            }
        }
        let mine = |name: &str| name.starts_with(&format!("{}-", play.graph));
        let mut state = String::new();
        for ((kind, name), (line, lives)) in &latest {
            let gone = line["gone"] == true;
            match kind.as_str() {
                "Graph" if name == play.graph => {
                    state = text(&line["status"]["state"]).to_owned();
                    let live = (!gone).then(|| self.graph(line, &hash, *lives));
                    let uid = format!("{name}-{}", play.life + 1);
                    let applied = Applied {
                        api_version: "nvidia.com/v1beta1".to_owned(),
                        kind: "DynamoGraphDeployment".to_owned(),
                        name: name.clone(),
                        uid,
                        sent: String::new(),
                        generation: None,
                    };
                    seen.objects.push(SeenObject { applied, live });
                }
                "Pod" if !gone && mine(name) => seen.pods.push(self.pod(line, play.graph, &seen.events)),
                "Deployment" if !gone && mine(name) => {
                    let revision = sets.get(name).map_or(1, Vec::len);
                    seen.owned.push(deployment(line, revision, &seen.events));
                }
                "DynamoComponentDeployment" if !gone && mine(name) => seen.owned.push(component(line)),
                _ => {}
            }
        }
        for (above, sets) in sets.iter().filter(|(above, _)| mine(above)) {
            for (index, set) in sets.iter().enumerate() {
                seen.owned.push(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {
                    "name": set, "uid": set, "annotations": {"deployment.kubernetes.io/revision": (index + 1).to_string()},
                    "ownerReferences": [{"kind": "Deployment", "name": above, "uid": above, "controller": true}]}}));
            }
        }
        (seen, state)
    }

    /// How the life of a pod's container before this one ended.
    fn previous_end(&self, pod: &str, t: f64) -> Option<Value> {
        let earlier = self.lines.iter().filter(|line| line["kind"] == "Pod" && line["name"] == pod && time(line) < t);
        let mut told = earlier.flat_map(|line| line["containers"].as_array().into_iter().flatten());
        let ended = told.rfind(|told| text(told).contains(" terminated "))?;
        Some(container(text(ended), &|_| String::new())["state"].clone())
    }

    fn spec(&self, generation: i64) -> &Value {
        let specs = self.lines.iter().filter(|line| line["kind"] == "Spec");
        let mut known = specs.filter(|line| line["generation"].as_i64().unwrap() <= generation);
        &known.next_back().unwrap()["spec"]
    }

    fn graph(&self, line: &Value, hash: &Value, life: usize) -> Value {
        let name = text(&line["name"]);
        let mut metadata = json!({"name": name, "uid": format!("{name}-{life}"), "generation": line["generation"]});
        if !hash.is_null() {
            metadata["annotations"] = json!({"nvidia.com/current-worker-hash-v2": hash});
        }
        if line["deleting"] == true {
            metadata["deletionTimestamp"] = json!("2026-11-24T21:00:00Z");
        }
        let spec = self.spec(line["generation"].as_i64().unwrap());
        json!({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment", "metadata": metadata, "spec": spec,
            "status": line["status"]})
    }

    fn pod(&self, line: &Value, graph: &str, events: &[Value]) -> Value {
        let name = text(&line["name"]);
        let set = name.rsplit_once('-').unwrap().0;
        let above = deployment_of(set);
        let rest = above.strip_prefix(&format!("{graph}-")).unwrap();
        let spec = self.spec(i64::MAX);
        let mut components = spec["components"].as_array().unwrap().iter().map(|component| text(&component["name"]));
        let component = components.rfind(|component| rest.starts_with(&component.to_lowercase())).unwrap();
        let hash = rest[component.len()..].trim_start_matches('-');
        let mut labels =
            json!({"nvidia.com/dynamo-graph-deployment-name": graph, "nvidia.com/dynamo-component": component});
        if !hash.is_empty() {
            labels["nvidia.com/dynamo-worker-hash"] = json!(hash);
        }
        let mut metadata = json!({"name": name, "uid": name, "labels": labels,
            "ownerReferences": [{"kind": "ReplicaSet", "name": set, "uid": set, "controller": true}]});
        if line["deleting"] == true {
            metadata["deletionTimestamp"] = json!("2026-11-24T21:00:00Z");
        }
        let said = |part: &str| {
            let about =
                |event: &&Value| event["involvedObject"]["name"] == name && text(&event["message"]).contains(part);
            events.iter().find(about).map_or("", |event| text(&event["message"])).to_owned()
        };
        let containers = line["containers"].as_array();
        let mut statuses: Vec<Value> =
            containers.into_iter().flatten().map(|told| container(text(told), &said)).collect();
        for status in &mut statuses {
            if let Some(ended) = self.previous_end(name, time(line)) {
                status["lastState"] = ended;
            }
        }
        let ready = !statuses.is_empty() && statuses.iter().all(|status| status["ready"] == true);
        let mut conditions = line["conditions"].as_array().cloned().unwrap_or_default();
        conditions.push(json!({"type": "Ready", "status": if ready { "True" } else { "False" }}));
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {"nodeName": line["node"], "containers": [{"name": "main"}]},
            "status": {"phase": line["phase"], "conditions": conditions, "containerStatuses": statuses}})
    }
}

/// Notes a ReplicaSet under its Deployment, the newest last.
fn add(sets: &mut BTreeMap<String, Vec<String>>, set: &str) {
    let all = sets.entry(deployment_of(set)).or_default();
    if !all.contains(&set.to_owned()) {
        all.push(set.to_owned());
    }
}

fn time(line: &Value) -> f64 {
    line["t"].as_f64().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The Deployment of a ReplicaSet. Long names lose the hyphen before the template's hash.
fn deployment_of(set: &str) -> String {
    match set.rsplit_once('-') {
        Some((above, hash)) if hash.len() <= 10 && hash.chars().any(|c| c.is_ascii_digit()) => above.to_owned(),
        Some(_) | None => set.to_owned(),
    }
}

/// `main not-ready restarts=1 terminated Error exit=3`
fn container(told: &str, said: &dyn Fn(&str) -> String) -> Value {
    let mut words = told.split_whitespace();
    let (name, ready) = (words.next().unwrap(), words.next() == Some("ready"));
    let restarts: i64 = words.next().unwrap().strip_prefix("restarts=").unwrap().parse().unwrap();
    let rest: Vec<_> = words.collect();
    let state = match rest[..] {
        ["running"] => json!({"running": {}}),
        ["waiting", reason] => {
            let message = match reason {
                "ErrImagePull" | "ImagePullBackOff" => said("Failed to pull image"),
                "CreateContainerConfigError" => said("not found").trim_start_matches("Error: ").to_owned(),
                _ => String::new(),
            };
            json!({"waiting": {"reason": reason, "message": message}})
        }
        ["terminated", reason, exit] => {
            let code: i64 = exit.strip_prefix("exit=").unwrap().parse().unwrap();
            json!({"terminated": {"reason": reason, "exitCode": code}})
        }
        _ => panic!("{told}"),
    };
    json!({"name": name, "ready": ready, "restartCount": restarts, "state": state,
        "image": said("Failed to pull image").split('"').nth(1)})
}

/// `{"Available": "False/MinimumReplicasUnavailable"}` as a list of conditions.
fn conditions(told: &Value, message: &Value) -> Vec<Value> {
    let one = |kind: &str, told: &str| {
        let (status, reason) = told.split_once('/').unwrap();
        json!({"type": kind, "status": status, "reason": reason, "message": message})
    };
    match told {
        Value::String(told) => vec![one("Available", told)],
        Value::Object(map) => map.iter().map(|(kind, told)| one(kind, text(told))).collect(),
        _ => Vec::new(),
    }
}

fn deployment(line: &Value, revision: usize, events: &[Value]) -> Value {
    let mut status = line["status"].clone();
    // The condition's text was not recorded; the event of its ReplicaSet has it.
    let refused =
        events.iter().find(|event| event["reason"] == "FailedCreate").map_or("", |event| text(&event["message"]));
    let refused = json!(refused.trim_start_matches("Error creating: "));
    status["conditions"] = Value::Array(conditions(&line["conditions"], &refused));
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": line["replicas"]}, "status": status,
        "metadata": {"name": line["name"], "uid": line["name"], "generation": line["generation"],
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string()}}})
}

fn component(line: &Value) -> Value {
    json!({"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoComponentDeployment",
        "metadata": {"name": line["name"], "uid": line["name"]},
        "status": {"conditions": conditions(&line["conditions"], &line["message"])}})
}

fn event(line: &Value) -> Value {
    let (kind, name) = text(&line["object"]).split_once('/').unwrap();
    json!({"type": "Warning", "reason": line["reason"], "message": line["note"], "count": line["count"],
        "involvedObject": {"kind": kind, "name": name}})
}
