//! Which way load takes to a deployment.

use std::net::{IpAddr, SocketAddr};

use kube::api::ListParams;
use serde_json::{Map, Value};

use super::super::super::contract::{self, Deployed, Endpoint, Ledger, Live, MetricsUrl, Passage, Ready, TargetError};
use super::super::client::Cluster;
use super::super::exporter::{self, Exporters};
use super::super::family::{list, name};
use super::super::forward::Forward;
use super::super::handle::State;
use super::super::kind;
use super::super::look::look;
use super::super::resource::Resource;
use super::super::service::{is_ready, port_named};
use super::workers;
use crate::load::Generator;
use crate::plan::{Deployment, LoadFrom, Plan};

/// The ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The URL that the plan declares, from here.
    Url,
    /// A forwarded port, from here.
    Forward,
    /// Workers beside the deployment.
    Workers,
}

/// What the plan asks for: a URL declared for the deployment goes before `load.from`.
pub(super) fn way_of(plan: &Plan, deployment: &Deployment) -> Way {
    match (url_of(deployment), plan.load.from) {
        (Some(_), _) => Way::Url,
        (None, LoadFrom::Cluster) => Way::Workers,
        (None, LoadFrom::Here) => Way::Forward,
    }
}

/// What results call it.
pub(in super::super) fn transport(plan: &Plan, deployment: &Deployment) -> &'static str {
    match way_of(plan, deployment) {
        Way::Url => "url",
        Way::Forward => "port-forward",
        Way::Workers => "in-cluster",
    }
}

/// The same for people, with the key that decides it.
pub(in super::super) fn source(plan: &Plan, deployment: &Deployment) -> String {
    match (way_of(plan, deployment), plan.load.workers) {
        (Way::Url, _) => format!("this machine to {}", url_of(deployment).unwrap_or_default()),
        (Way::Forward, _) => "this machine through a forwarded port (load.from = \"here\")".to_owned(),
        (Way::Workers, 1) => "a Job beside it (load.from = \"cluster\")".to_owned(),
        (Way::Workers, workers) => format!("a Job of {workers} workers beside it (load.from = \"cluster\")"),
    }
}

fn url_of(deployment: &Deployment) -> Option<&str> {
    deployment.values.json.get("url")?.as_str()
}

/// Opens it.
///
/// # Errors
/// When no pod serves, workers cannot be had, or the API server refuses.
pub(in super::super) async fn reach(
    live: Live<'_>,
    deployed: &Deployed,
    ready: &Ready,
    ledger: &dyn Ledger,
) -> Result<contract::Way, TargetError> {
    let transport = transport(live.plan, live.deployment);
    // What is known of the server's own counters are addresses within the cluster.
    let from_here = |url: String| Endpoint { url, metrics_urls: Vec::new(), ..ready.endpoint.clone() };
    match way_of(live.plan, live.deployment) {
        Way::Url => {
            let url = url_of(live.deployment).unwrap_or_default().trim_end_matches('/').to_owned();
            Ok(contract::Way::direct(from_here(url), transport))
        }
        Way::Forward => {
            let cluster = Cluster::connect(&kind::whereabouts(live.deployment)?).await?;
            let server = serving(&cluster, &ready.endpoint.url).await?;
            let forward = Forward::open(&cluster, name(&server.pod), server.port).await?;
            let mut endpoint = from_here(forward.url());
            let gpus = gpu_pages(&cluster, deployed, ready).await?;
            if !gpus.is_empty() {
                endpoint.metrics_urls.push(forward.url().into());
            }
            endpoint.metrics_urls.extend(gpus.iter().map(|(_, page)| page.clone()));
            let way = contract::Way::direct(endpoint, transport);
            let pages = gpus.into_iter().map(|(forward, _)| forward).collect();
            Ok(contract::Way { passage: Some(Box::new(Forwards { load: forward, _pages: pages })), ..way })
        }
        Way::Workers => {
            let cluster = Cluster::connect(&kind::whereabouts(live.deployment)?).await?;
            let server = serving(&cluster, &ready.endpoint.url).await?;
            let theirs = kind::read(live.deployment)?.existing.is_some();
            let tested = theirs.then_some(&server.selector);
            let workers = workers::workers(&cluster, live, &server.pod, tested, ledger).await?;
            // By its address where it has one: no name has to be looked up, whatever the state of the cluster's DNS.
            let url = server.address.unwrap_or_else(|| ready.endpoint.url.clone());
            Ok(contract::Way {
                endpoint: Endpoint { url, ..ready.endpoint.clone() },
                generator: Generator::Workers(workers),
                transport,
                passage: None,
            })
        }
    }
}

/// The forwarded port that load goes through, and those of pages that are read beside it: a cut of theirs costs a look.
struct Forwards {
    load: Forward,
    _pages: Vec<Forward>,
}

impl Passage for Forwards {
    fn cuts(&self) -> u64 {
        self.load.cuts()
    }

    fn last_cut(&self) -> Option<String> {
        self.load.last_cut()
    }
}

/// Pages of the GPUs of a deployment for which some were found when it became ready, each through a port of its own.
async fn gpu_pages(
    cluster: &Cluster,
    deployed: &Deployed,
    ready: &Ready,
) -> Result<Vec<(Forward, MetricsUrl)>, TargetError> {
    if ready.endpoint.metrics_urls.iter().all(|page| page.gpus_of.is_empty()) {
        return Ok(Vec::new());
    }
    let pods = look(cluster, &State::of(deployed)?).await?.pods;
    let Exporters::Found(exporters) = exporter::find(cluster).await? else { return Ok(Vec::new()) };
    let mut pages = Vec::new();
    for exporter in exporter::beside(&exporters, &pods) {
        let forward = Forward::open_in(cluster, &exporter.namespace, &exporter.pod, exporter.port).await?;
        let page = exporter.page(forward.url(), &pods);
        pages.push((forward, page));
    }
    Ok(pages)
}

/// What serves.
struct Server {
    /// A ready pod.
    pod: Value,
    /// The port at which it does.
    port: u16,
    /// Labels of all of them.
    selector: Map<String, Value>,
    /// URL of the Service by its address in the cluster; a headless one has none.
    address: Option<String>,
}

/// A ready pod behind a Service, by the Service's address within the cluster.
///
/// # Errors
/// When there is no such Service, or nothing ready behind it.
async fn serving(cluster: &Cluster, url: &str) -> Result<Server, TargetError> {
    let (service_name, port) =
        address(url).ok_or_else(|| TargetError::new(format!("`{url}` is no address of a Service in the cluster")))?;
    let services = Resource::known("v1", "Service", "services");
    let doing = format!("reading Service {service_name}");
    let service = cluster.call_opt(&doing, services.of(cluster).get(&service_name)).await?;
    let service = service.and_then(|service| serde_json::to_value(service).ok());
    let service =
        service.ok_or_else(|| TargetError::new(format!("there is no Service {service_name} ({})", cluster.place)))?;
    let labels = service.pointer("/spec/selector").and_then(Value::as_object).cloned().unwrap_or_default();
    let selector: Vec<_> =
        labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    if selector.is_empty() {
        return Err(TargetError::new(format!("Service {service_name} selects no pods ({})", cluster.place)));
    }
    let pods = Resource::known("v1", "Pod", "pods");
    let found = list(cluster, &pods, &ListParams::default().labels(&selector.join(","))).await?;
    let pod = found.into_iter().find(is_ready).ok_or_else(|| {
        TargetError::passing(format!("no pod behind Service {service_name} is ready ({})", cluster.place))
    })?;
    let ip = service.pointer("/spec/clusterIP").and_then(Value::as_str).and_then(|ip| ip.parse::<IpAddr>().ok());
    let address = ip.map(|ip| format!("http://{}", SocketAddr::new(ip, port)));
    let port = target_port(&service, port, &pod).ok_or_else(|| {
        TargetError::new(format!("Service {service_name} has no port {port} that pod {} has", name(&pod)))
    })?;
    Ok(Server { pod, port, selector: labels, address })
}

/// `http://NAME.NAMESPACE.svc:PORT` taken apart.
fn address(url: &str) -> Option<(String, u16)> {
    let authority = url.strip_prefix("http://")?.split('/').next()?;
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let (service, _) = host.split_once('.').unwrap_or((host, ""));
    Some((service.to_owned(), port.parse().ok()?))
}

/// The pod's own port behind a Service's: a number, or a name that one of its containers gives a number.
fn target_port(service: &Value, port: u16, pod: &Value) -> Option<u16> {
    let ports = service.pointer("/spec/ports")?.as_array()?;
    let entry = ports.iter().find(|entry| entry["port"] == port)?;
    match entry.get("targetPort") {
        Some(Value::Number(number)) => u16::try_from(number.as_u64()?).ok(),
        Some(Value::String(name)) => port_named(pod, name),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => Some(port),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::target::fixtures;

    #[test]
    fn a_declared_url_goes_before_everything_and_results_say_which_way_it_was() {
        let mut plan = fixtures::plan(Path::new("/p"));
        let own = fixtures::deployment(json!({"template": "vllm"}));
        let declared = fixtures::deployment(json!({"template": "vllm", "url": "http://h:30080"}));
        assert_eq!((transport(&plan, &own), transport(&plan, &declared)), ("in-cluster", "url"));
        plan.load.from = LoadFrom::Here;
        assert_eq!((transport(&plan, &own), transport(&plan, &declared)), ("port-forward", "url"));
    }

    #[test]
    fn the_port_of_a_pod_is_found_by_number_by_name_or_is_the_same() {
        let pod = json!({"spec": {"containers": [{}, {"ports": [{"name": "http", "containerPort": 8080}]}]}});
        let service = |target: Value| json!({"spec": {"ports": [{"port": 80, "targetPort": target}]}});
        assert_eq!(target_port(&service(json!(8000)), 80, &pod), Some(8000));
        assert_eq!(target_port(&service(json!("http")), 80, &pod), Some(8080));
        assert_eq!(target_port(&service(json!("grpc")), 80, &pod), None);
        assert_eq!(target_port(&json!({"spec": {"ports": [{"port": 80}]}}), 80, &pod), Some(80));
        assert_eq!(target_port(&service(json!(8000)), 81, &pod), None);
    }

    #[test]
    fn a_service_is_known_by_its_address() {
        assert_eq!(address("http://agg-r1.bench.svc:8000"), Some(("agg-r1".to_owned(), 8000)));
        assert_eq!(address("http://agg:8000/x"), Some(("agg".to_owned(), 8000)));
        assert_eq!(address("https://h"), None);
    }
}
