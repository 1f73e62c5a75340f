//! Where the model answers: which Service it is, and a ready pod behind it.

use std::collections::BTreeMap;

use kube::api::ListParams;
use serde_json::Value;

use super::super::contract::TargetError;
use super::client::Cluster;
use super::discover::GRAPH;
use super::family::{list, name, uid};
use super::handle::State;
use super::look::graphs;
use super::resource::Resource;
use super::seen::Seen;
use crate::base::nearest;

/// A Service of the model, as it is in the cluster.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Serving {
    /// Its name.
    pub(super) name: String,
    /// Its port.
    pub(super) port: u16,
    namespace: String,
    selector: BTreeMap<String, String>,
    /// A port's number, or its name in the pod.
    target: Value,
}

/// A pod that answers for a Service.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Backend {
    /// Its name.
    pub(super) pod: String,
    /// Its address in the cluster.
    pub(super) ip: String,
    /// Its port.
    pub(super) port: u16,
    /// Uid of the pod.
    pub(super) uid: String,
}

impl Serving {
    /// Its URL for everything that runs in the cluster.
    pub(super) fn url(&self) -> String {
        format!("http://{}.{}.svc:{}", self.name, self.namespace, self.port)
    }
}

impl Backend {
    /// Its URL for everything that runs in the cluster.
    pub(super) fn url(&self) -> String {
        url_of(&self.ip, self.port)
    }
}

/// URL of a pod's port.
pub(super) fn url_of(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("http://[{ip}]:{port}") } else { format!("http://{ip}:{port}") }
}

fn services() -> Resource {
    Resource::known("v1", "Service", "services")
}

/// Finds the Service. `Ok(Err(..))`: not there yet, in words.
///
/// # Errors
/// When the plan's words do not lead to one, or the API server cannot be asked.
pub(super) async fn find(
    cluster: &Cluster,
    state: &State,
    seen: &Seen,
) -> Result<Result<Serving, TargetError>, TargetError> {
    let (wanted, port) = wanted(state, seen)?;
    let doing = format!("reading Service {wanted}");
    let Some(found) = cluster.call_opt(&doing, services().of(cluster).get(&wanted)).await? else {
        return Ok(Err(missing(cluster, &wanted).await?));
    };
    let spec = found.data.get("spec").cloned().unwrap_or(Value::Null);
    let ports: Vec<&Value> = spec.get("ports").and_then(Value::as_array).into_iter().flatten().collect();
    let number = |port: &Value| port.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    let chosen = match port {
        Some(port) => ports.iter().find(|entry| number(entry) == Some(port)),
        None => match ports[..] {
            [_] => ports.first(),
            _ => ports.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some("http")),
        },
    };
    let all = || ports.iter().filter_map(|entry| number(entry)).map(|port| port.to_string()).collect::<Vec<_>>();
    let Some(chosen) = chosen else {
        let message = match port {
            Some(port) => format!("Service {wanted} has no port {port}; it has {}", all().join(", ")),
            None => format!("Service {wanted} has several ports ({}), and none is called http", all().join(", ")),
        };
        return Err(say_service(message));
    };
    let selector = spec.get("selector").cloned().unwrap_or(Value::Null);
    let selector: BTreeMap<String, String> = serde_json::from_value(selector).unwrap_or_default();
    if selector.is_empty() {
        return Err(say_service(format!("Service {wanted} selects no pods, so nothing of it could be checked")));
    }
    let port = number(chosen).unwrap_or_default();
    let target = chosen.get("targetPort").cloned().unwrap_or_else(|| port.into());
    Ok(Ok(Serving { name: wanted, port, namespace: cluster.namespace().to_owned(), selector, target }))
}

fn say_service(message: String) -> TargetError {
    TargetError {
        help: Some("say which one it is with `service = \"name:port\"`".to_owned()),
        key: Some("service".to_owned()),
        ..TargetError::new(message)
    }
}

/// A Service that is not there, with the nearest name that is.
async fn missing(cluster: &Cluster, wanted: &str) -> Result<TargetError, TargetError> {
    let present = list(cluster, &services(), &ListParams::default()).await?;
    let mut error = say_service(format!("there is no Service {wanted} ({})", cluster.place));
    if let Some(near) = nearest(wanted, present.iter().map(name)) {
        error.help = Some(format!("did you mean `{near}`?"));
    }
    Ok(error)
}

/// Name and port of the Service: as the plan says, or what a graph's operator will make, or the only one applied.
fn wanted(state: &State, seen: &Seen) -> Result<(String, Option<u16>), TargetError> {
    if let Some(service) = &state.service {
        return match service.split_once(':') {
            Some((name, port)) => Ok((name.to_owned(), port.parse().ok())),
            None => Ok((service.clone(), None)),
        };
    }
    if let Some(existing) = &state.existing {
        let graph = seen.pods.iter().any(|pod| super::family::label(pod, super::family::GRAPH_LABEL) == Some(existing));
        return Ok(if graph { (format!("{existing}-frontend"), Some(8000)) } else { (existing.clone(), None) });
    }
    if let Some(graph) = graphs(state).next() {
        let spec = seen.objects.iter().find(|object| object.applied.kind == GRAPH);
        let spec = spec.and_then(|object| object.live.as_ref()?.get("spec"));
        return Ok((format!("{graph}-{}", frontend(spec.unwrap_or(&Value::Null))), Some(8000)));
    }
    let names: Vec<&str> =
        state.applied.iter().filter(|applied| applied.kind == "Service").map(|applied| applied.name.as_str()).collect();
    match names[..] {
        [only] => Ok((only.to_owned(), None)),
        [] => Err(say_service("no Service is among the objects, so nobody knows where the model answers".to_owned())),
        _ => match names.iter().find(|name| name.ends_with("-frontend")) {
            Some(frontend) => Ok(((*frontend).to_owned(), None)),
            None => Err(say_service(format!("the model may answer at any of the Services {}", names.join(", ")))),
        },
    }
}

/// Name of a graph's frontend in its Service's name: lower case, as the operator writes it.
fn frontend(spec: &Value) -> String {
    let is_frontend = |component: &Value, key: &str| component.get(key).and_then(Value::as_str) == Some("frontend");
    let beta = spec.get("components").and_then(Value::as_array).into_iter().flatten();
    let beta = beta.filter(|component| is_frontend(component, "type")).map(name_of);
    let alpha = spec.get("services").and_then(Value::as_object).into_iter().flatten();
    let alpha = alpha.filter(|(_, service)| is_frontend(service, "componentType")).map(|(name, _)| name.as_str());
    beta.chain(alpha).next().unwrap_or("frontend").to_lowercase()
}

fn name_of(component: &Value) -> &str {
    component.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// The ready pods behind a Service, by name. Pods of somebody else behind it are the inner error: they would be measured
/// too.
///
/// # Errors
/// When the API server cannot be asked.
pub(super) async fn backends(
    cluster: &Cluster,
    serving: &Serving,
    seen: &Seen,
) -> Result<Result<Vec<Backend>, TargetError>, TargetError> {
    let selector: Vec<_> = serving.selector.iter().map(|(label, value)| format!("{label}={value}")).collect();
    let params = ListParams::default().labels(&selector.join(","));
    let pods = list(cluster, &Resource::known("v1", "Pod", "pods"), &params).await?;
    let ours = |pod: &Value| seen.pods.iter().any(|seen| uid(seen) == uid(pod));
    let strangers: Vec<_> = pods.iter().filter(|pod| is_ready(pod) && !ours(pod)).map(name).collect();
    // Without objects of our own there are no pods of our own either: whoever answers is meant.
    if !strangers.is_empty() && !seen.objects.is_empty() {
        // Not final: pods that were made since the look are ours with the next one.
        return Ok(Err(TargetError {
            help: Some(
                "give each deployment labels (for Dynamo: a `dynamoNamespace`) of its own, or a namespace".to_owned(),
            ),
            ..TargetError::new(format!(
                "Service {} also leads to pods that are not this deployment's: {}",
                serving.name,
                strangers.join(", ")
            ))
        }));
    }
    let mut backends: Vec<Backend> =
        pods.iter().filter(|pod| is_ready(pod)).filter_map(|pod| backend(serving, pod)).collect();
    backends.sort_by(|one, other| one.pod.cmp(&other.pod));
    Ok(Ok(backends))
}

fn backend(serving: &Serving, pod: &Value) -> Option<Backend> {
    let port = match &serving.target {
        Value::String(wanted) => port_named(pod, wanted)?,
        number => u16::try_from(number.as_u64()?).ok()?,
    };
    let ip = pod.pointer("/status/podIP")?.as_str()?.to_owned();
    Some(Backend { pod: name(pod).to_owned(), ip, port, uid: uid(pod)?.to_owned() })
}

/// Number of a pod's port, by its name.
pub(super) fn port_named(pod: &Value, wanted: &str) -> Option<u16> {
    let containers = pod.pointer("/spec/containers")?.as_array()?.iter();
    let mut ports = containers.filter_map(|container| container.get("ports")?.as_array()).flatten();
    let port = ports.find(|port| port.get("name").and_then(Value::as_str) == Some(wanted))?;
    u16::try_from(port.get("containerPort")?.as_u64()?).ok()
}

/// Whether a pod is ready and stays.
pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let mut ready = conditions.filter(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"));
    ready.any(|condition| condition.get("status").and_then(Value::as_str) == Some("True"))
        && pod.pointer("/metadata/deletionTimestamp").is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_frontend_of_a_graph_is_found_in_both_versions() {
        let beta = json!({"components": [{"name": "Worker", "type": "worker"}, {"name": "Web", "type": "frontend"}]});
        assert_eq!(frontend(&beta), "web");
        let alpha = json!({"services": {"W": {"componentType": "worker"}, "Front": {"componentType": "frontend"}}});
        assert_eq!(frontend(&alpha), "front");
        assert_eq!(frontend(&Value::Null), "frontend");
    }

    #[test]
    fn a_named_port_is_looked_up_in_the_pod() {
        let pod = json!({"spec": {"containers": [
            {"name": "sidecar"}, {"ports": [{"name": "http", "containerPort": 8000}]},
        ]}});
        assert_eq!(port_named(&pod, "http"), Some(8000));
        assert_eq!(port_named(&pod, "grpc"), None);
    }

    #[test]
    fn an_ending_pod_is_not_ready() {
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert!(is_ready(&ready));
        let mut ending = ready;
        ending["metadata"]["deletionTimestamp"] = json!("2026-11-25T02:00:00Z");
        assert!(!is_ready(&ending));
    }
}
