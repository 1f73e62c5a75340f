//! What is kept of a deployment before it is torn down: logs, events, states, the server's own numbers.
//!
//! | file | content |
//! | --- | --- |
//! | `<pod>.<container>.log`, `....previous.log` | the end of each container's log, and of the one before a restart |
//! | `events.txt` | what the cluster said, a line each |
//! | `objects.yaml` | objects, what operators made of them, pods, and what sent load to them, as they are |
//! | `pods.json` | pod, node, images by digest, restarts; GPUs |
//! | `<pod>.metrics.txt` | `/metrics` of each pod that has it |
//!
//! Small when all is well. Secrets are never read, and values of variables that are named like secrets not kept.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::super::contract::{Deployed, TargetError};
use super::super::probe::Prober;
use super::beside::beside;
use super::client::Cluster;
use super::family::{list_if_allowed, name};
use super::forward::Forward;
use super::handle::State;
use super::incarnation::{facts, incarnation};
use super::look::{last_seen, look, node_kind};
use super::seen::Seen;
use super::service::{is_ready, port_named};
use super::{logs, service};
use crate::base::{is_secret_name, secrets_in, write_atomic};
use crate::render::write_yaml;

/// Annotation in which kubectl keeps what it sent.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Bytes of one log that are kept.
const LOG_BYTES: usize = 5 << 20;
/// Lines of one log that are kept when something is wrong.
const LINES: i64 = 50_000;
/// And when all is well.
const FEW_LINES: i64 = 1_000;

/// Writes it all into a folder; returns what could not be had.
///
/// # Errors
/// When the journal's record cannot be read.
pub(super) async fn collect(prober: &dyn Prober, deployed: &Deployed, into: &Path) -> Result<Vec<String>, TargetError> {
    let state = State::of(deployed)?;
    let seen = async {
        let cluster = Cluster::connect(&state.handle.whereabouts).await?;
        let seen = look(&cluster, &state).await?;
        Ok::<_, TargetError>((cluster, seen))
    };
    // A cluster that is away must not keep the results of a run from being finished.
    let (cluster, mut seen) = match seen.await {
        Ok(found) => found,
        Err(error) => return Ok(vec![error.message]),
    };
    let mut kept = Kept { into, lost: Vec::new() };
    let nodes = list_if_allowed(&cluster, &node_kind()).await.unwrap_or_default();
    let pods = json!({"pods": incarnation(&seen.pods), "facts": facts(&seen.pods, &nodes)});
    kept.write("pods.json", &format!("{pods:#}\n"));
    let ports = metrics_ports(&cluster, &state, &seen).await;
    match beside(&cluster, &state).await {
        Ok(beside) => {
            seen.owned.extend(beside.objects);
            seen.pods.extend(beside.pods);
            seen.events.extend(beside.events);
            seen.events.sort_by(|one, other| last_seen(one).cmp(last_seen(other)));
        }
        Err(error) => kept.lost.push(error.message),
    }
    kept.write("events.txt", &events(&seen));
    kept.write("objects.yaml", &write_yaml(&states(&seen)));
    let lines = if seen.pods.iter().all(is_well) { FEW_LINES } else { LINES };
    for pod in &seen.pods {
        kept.logs(&cluster, pod, lines).await;
    }
    for (pod, port) in ports {
        kept.metrics(prober, &cluster, deployed, &pod, port).await;
    }
    Ok(kept.lost)
}

/// Whether nothing about a pod needs looking into.
fn is_well(pod: &Value) -> bool {
    let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
    is_ready(pod) && statuses.map(|one| one.get("restartCount").and_then(Value::as_u64)).all(|count| count == Some(0))
}

struct Kept<'a> {
    into: &'a Path,
    lost: Vec<String>,
}

impl Kept<'_> {
    fn write(&mut self, file: &str, text: &str) {
        if let Err(error) = write_atomic(&self.into.join(file), text.as_bytes()) {
            self.lost.push(format!("{error}: {}", error.source));
        }
    }

    async fn logs(&mut self, cluster: &Cluster, pod: &Value, lines: i64) {
        for (container, restarts) in containers(pod) {
            for previous in [false, true] {
                if previous && restarts == 0 {
                    continue;
                }
                let params = kube::api::LogParams { tail_lines: Some(lines), ..logs::params(&container, previous) };
                let kind = if previous { ".previous" } else { "" };
                match logs::read(cluster, name(pod), &params).await {
                    Ok(text) => {
                        self.write(&format!("{}.{container}{kind}.log", name(pod)), last_bytes(&text, LOG_BYTES));
                    }
                    Err(error) => self.lost.push(error.message),
                }
            }
        }
    }

    async fn metrics(&mut self, prober: &dyn Prober, cluster: &Cluster, deployed: &Deployed, pod: &str, port: u16) {
        let forward = match Forward::open(cluster, pod, port).await {
            Ok(forward) => forward,
            Err(error) => return self.lost.push(error.message),
        };
        match prober.metrics(&deployed.endpoint, &forward.url()).await {
            Ok(text) => self.write(&format!("{pod}.metrics.txt"), &text),
            Err(fault) => {
                let fault = fault.rename(&forward.url(), &format!("port {port} of pod {pod}: "));
                self.lost.push(format!("/metrics: {fault}"));
            }
        }
    }
}

/// Containers that ever ran, and how often they were restarted.
fn containers(pod: &Value) -> Vec<(String, u64)> {
    let lists = ["initContainerStatuses", "containerStatuses"];
    let statuses = lists.iter().filter_map(|list| pod.pointer(&format!("/status/{list}"))?.as_array()).flatten();
    statuses
        .filter(|status| status.pointer("/state/waiting").is_none() || status.get("lastState") != Some(&json!({})))
        .filter_map(|status| {
            let name = status.get("name")?.as_str()?.to_owned();
            Some((name, status.get("restartCount").and_then(Value::as_u64).unwrap_or(0)))
        })
        .collect()
}

/// The end of a text, from the start of a line.
fn last_bytes(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let rest = &text.as_bytes()[text.len() - limit..];
    let start = rest.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| text.len() - limit + at + 1);
    text.get(start..).unwrap_or_default()
}

/// Pods with a port for `/metrics`: those behind the Service, and workers by their system port.
async fn metrics_ports(cluster: &Cluster, state: &State, seen: &Seen) -> BTreeMap<String, u16> {
    let ready = seen.pods.iter().filter(|pod| is_ready(pod));
    let mut ports: BTreeMap<String, u16> =
        ready.filter_map(|pod| Some((name(pod).to_owned(), port_named(pod, "system")?))).collect();
    // Without a Service there is nothing to ask, and `wait` has said so.
    if let Ok(Ok(serving)) = service::find(cluster, state, seen).await
        && let Ok(Ok(backends)) = service::backends(cluster, &serving, seen).await
    {
        ports.extend(backends.into_iter().map(|backend| (backend.pod, backend.port)));
    }
    ports
}

/// Events, oldest first.
fn events(seen: &Seen) -> String {
    let mut text = String::new();
    for event in &seen.events {
        let field = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let when = ["/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
        let when = when.iter().map(|pointer| field(pointer)).find(|when| !when.is_empty()).unwrap_or_default();
        let times = event.get("count").and_then(Value::as_u64).filter(|count| *count > 1);
        let times = times.map_or_else(String::new, |count| format!(" ({count} times)"));
        text.push_str(&format!(
            "{when} {} {} {}/{}: {}{times}\n",
            field("/type"),
            field("/reason"),
            field("/involvedObject/kind"),
            field("/involvedObject/name"),
            field("/message").trim_end(),
        ));
    }
    text
}

/// All objects, without what only the API server needs and without values that may be secrets.
fn states(seen: &Seen) -> Vec<Value> {
    let live = seen.objects.iter().filter_map(|object| object.live.as_ref());
    let mut all: Vec<Value> = live.chain(&seen.owned).chain(&seen.pods).cloned().collect();
    for object in &mut all {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                // The same once more, as text in which nothing can be masked.
                annotations.remove(LAST_APPLIED);
            }
        }
        mask(object);
    }
    all
}

/// Takes out values of variables and of options that are named like secrets.
fn mask(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(map) => {
            let secret = map.get("name").and_then(Value::as_str).is_some_and(is_secret_name);
            if secret && let Some(value @ Value::String(_)) = map.get_mut("value") {
                *value = json!("***");
            }
            for line in ["command", "args"] {
                if let Some(Value::Array(line)) = map.get_mut(line) {
                    mask_line(line);
                }
            }
            map.values_mut().for_each(mask);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn mask_line(line: &mut [Value]) {
    let words: Vec<&str> = line.iter().map(|word| word.as_str().unwrap_or_default()).collect();
    for secret in secrets_in(&words) {
        let masked = line[secret.argument].as_str().unwrap_or_default().replace(&secret.value, "***");
        line[secret.argument] = masked.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secrets_are_not_kept() {
        let mut object = json!({"spec": {"containers": [{"env": [
            {"name": "HF_TOKEN", "value": "hf_x"},
            {"name": "MODE", "value": "fast"},
            {"name": "MAX_TOKENS", "value": "5"},
            {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ]}]}});
        object["spec"]["containers"][0]["args"] = json!(["--api-key", "hf_y", "--port", "1"]);
        object["spec"]["containers"][0]["command"] = json!(["sh", "-c", "HF_TOKEN=hf_z vllm --api-key=$KEY"]);
        mask(&mut object);
        assert_eq!(object.pointer("/spec/containers/0/args").unwrap(), &json!(["--api-key", "***", "--port", "1"]));
        let script = object.pointer("/spec/containers/0/command/2").unwrap();
        assert_eq!(script, "HF_TOKEN=*** vllm --api-key=$KEY");
        let env = object.pointer("/spec/containers/0/env").unwrap();
        assert_eq!(env[0]["value"], "***");
        assert_eq!(env[1]["value"], "fast");
        assert_eq!(env[2]["value"], "5");
        assert_eq!(env[3]["valueFrom"]["secretKeyRef"]["name"], "s");
    }

    #[test]
    fn what_kubectl_sent_is_not_kept_beside_what_became_of_it() {
        let text = r#"{"spec":{"env":[{"name":"HF_TOKEN","value":"hf_x"}]}}"#;
        let deployment =
            json!({"kind": "Deployment", "metadata": {"name": "a", "annotations": {LAST_APPLIED: text, "b": "c"}}});
        let seen = Seen { owned: vec![deployment], ..Seen::default() };
        let kept = states(&seen);
        assert_eq!(kept[0]["metadata"]["annotations"], json!({"b": "c"}));
    }

    #[test]
    fn the_end_of_a_log_starts_with_a_whole_line() {
        assert_eq!(last_bytes("one\ntwo\nthree\n", 8), "three\n");
        assert_eq!(last_bytes("short", 8), "short");
        // Cut within a letter of several bytes.
        assert_eq!(last_bytes("ääää\nx\n", 5), "x\n");
    }

    #[test]
    fn a_container_that_never_ran_has_no_log() {
        let pod = json!({"status": {"containerStatuses": [
            {"name": "waits", "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull"}}, "lastState": {}},
            {"name": "crashes", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
             "lastState": {"terminated": {"exitCode": 1}}},
        ]}});
        assert_eq!(containers(&pod), [("crashes".to_owned(), 2)]);
    }
}
