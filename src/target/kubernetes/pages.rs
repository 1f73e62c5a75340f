//! Where the parts of a deployment tell their own view: the pods behind the Service, and the workers of a graph.

use serde_json::Value;

use super::super::contract::MetricsUrl;
use super::service::Backend;

/// Label of the operator: `frontend`, `worker`, `prefill`, `decode`, ...
const ROLE: &str = "nvidia.com/dynamo-component-type";
/// The same for graphs written in v1alpha1, where prefill and decode are both `worker`.
const SUB_ROLE: &str = "nvidia.com/dynamo-sub-component-type";
/// Name of the port at which a worker tells its own view.
const SYSTEM: &str = "system";

/// Pages of the deployment. Those behind the Service are the frontends: they count each request once.
pub(super) fn of(backends: &[Backend], pods: &[Value]) -> Vec<MetricsUrl> {
    let frontend = |backend: &Backend| MetricsUrl::of(backend.url(), Some("frontend"));
    let mut pages: Vec<MetricsUrl> = backends.iter().map(frontend).collect();
    pages.extend(pods.iter().filter_map(worker));
    pages
}

/// The page of a graph's worker; `None` for all other pods.
fn worker(pod: &Value) -> Option<MetricsUrl> {
    let role = role(pod).filter(|role| *role != "frontend")?;
    let ip = pod.pointer("/status/podIP")?.as_str()?;
    let containers = pod.pointer("/spec/containers")?.as_array()?;
    let ports = containers.iter().filter_map(|container| container.get("ports")?.as_array()).flatten();
    let port = ports.into_iter().find(|port| port["name"] == SYSTEM)?.get("containerPort")?.as_u64()?;
    Some(MetricsUrl::of(format!("http://{ip}:{port}"), Some(role)))
}

/// What the pod of a graph is a part of, as its operator labels it.
pub(super) fn role(pod: &Value) -> Option<&str> {
    let label = |name: &str| pod["metadata"]["labels"].get(name).and_then(Value::as_str);
    label(SUB_ROLE).or_else(|| label(ROLE))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workers_of_a_graph_have_pages_of_their_own_by_role() {
        let pod = |labels: Value| {
            json!({"metadata": {"labels": labels}, "status": {"podIP": "10.0.0.7"},
                "spec": {"containers": [{"ports": [{"name": "system", "containerPort": 9090}]}]}})
        };
        let pods = [
            pod(json!({"nvidia.com/dynamo-component-type": "prefill"})),
            pod(
                json!({"nvidia.com/dynamo-component-type": "worker", "nvidia.com/dynamo-sub-component-type": "decode"}),
            ),
            pod(json!({"nvidia.com/dynamo-component-type": "frontend"})),
            pod(json!({})),
        ];
        let found: Vec<_> = of(&[], &pods).into_iter().map(|page| (page.url, page.role.unwrap())).collect();
        assert_eq!(found, ["prefill", "decode"].map(|role| ("http://10.0.0.7:9090".to_owned(), role.to_owned())));
    }
}
