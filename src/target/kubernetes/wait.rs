//! Waiting until a deployment is ready, in layers: what Kubernetes can know first, then what serves is asked.
//!
//! The lower layer is watched as long as the upper one is awaited: a worker that crashes while the model is not listed
//! yet is said at once. An API server that is away costs only time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::super::contract::{Deployed, Endpoint, Ledger, Live, Ready, TargetError};
use super::super::probe::Prober;
use super::super::ready;
use super::client::Cluster;
use super::disaggregated;
use super::exporter::{self, Exporters};
use super::family::list_if_allowed;
use super::forward::Forward;
use super::handle::State;
use super::incarnation::{bound_gpus, facts, incarnation};
use super::kind;
use super::logs;
use super::look::{look, node_kind};
use super::pages;
use super::rules::{Asked, History, judge};
use super::seen::{Failure, Judgement, Patience, Seen};
use super::service::{self, Serving};
use super::through::Through;
use crate::base::fact::{CLUSTER, DISAGGREGATED, GPUS_DIFFER};
use crate::base::{Clock, SystemClock, format_duration};

/// Time between two looks.
const TICK: Duration = Duration::from_secs(1);
/// All pods are ready by probes of their own, and no model is listed for so long: none will be.
const UNLISTED: Duration = Duration::from_secs(60);
/// A Service that is not there, or leads to somebody else's pods, for so long: it stays so.
const MISLED: Duration = Duration::from_secs(15);

/// Waits until the model is listed and answers.
///
/// # Errors
/// Why it never will, as soon as that is known.
pub(super) async fn wait(
    prober: &dyn Prober,
    live: Live<'_>,
    deployed: &Deployed,
    ledger: &dyn Ledger,
) -> Result<Ready, TargetError> {
    let state = State::of(deployed)?;
    let cluster = Cluster::connect(&state.handle.whereabouts).await?;
    let mut watch = Watch::new(&cluster, &state, asked(live)?);
    let ready = async {
        loop {
            let (seen, serving, backends) = watch.until_backed(ledger).await?;
            if let Some(ready) =
                answering(prober, live, deployed, ledger, &mut watch, seen, &serving, &backends).await?
            {
                return Ok(ready);
            }
        }
    };
    tokio::select! {
        ready = ready => ready,
        () = live.cancel.cancelled() => Err(TargetError::passing("not ready yet")),
    }
}

/// The plan's own rule for custom resources.
fn asked(live: Live<'_>) -> Result<Option<Asked>, TargetError> {
    let ready = live.deployment.values.json.get("ready").filter(|value| !value.is_null());
    ready.map(Asked::parse).transpose().map_err(|wrong| TargetError {
        help: Some(wrong.help.clone()),
        key: Some("ready".to_owned()),
        ..TargetError::new(wrong.message)
    })
}

/// What one look came to.
enum Found {
    Ready(Seen),
    NotYet(String),
}

/// Repeated looks at one deployment, and their memory.
struct Watch<'a> {
    cluster: &'a Cluster,
    state: &'a State,
    asked: Option<Asked>,
    patience: Patience,
    history: History,
    clock: SystemClock,
    silent_since: Option<Duration>,
}

impl<'a> Watch<'a> {
    fn new(cluster: &'a Cluster, state: &'a State, asked: Option<Asked>) -> Self {
        Self {
            cluster,
            state,
            asked,
            patience: Patience::default(),
            history: History::default(),
            clock: SystemClock::default(),
            silent_since: None,
        }
    }

    /// Looks once.
    async fn once(&mut self) -> Result<Found, TargetError> {
        let seen = match look(self.cluster, self.state).await {
            Ok(seen) => seen,
            Err(error) if error.passing => {
                let now = self.clock.elapsed();
                let since = *self.silent_since.get_or_insert(now);
                let seconds = (now - since).as_secs();
                return Ok(Found::NotYet(format!("the API server has not answered for {seconds} s: {error}")));
            }
            Err(error) => return Err(error),
        };
        self.silent_since = None;
        let elapsed = self.clock.elapsed();
        match judge(&seen, self.asked.as_ref(), &self.patience, &mut self.history, elapsed) {
            Judgement::Ready => Ok(Found::Ready(seen)),
            Judgement::NotYet(what) => Ok(Found::NotYet(what)),
            Judgement::Failed(failure) => Err(self.told(failure).await),
        }
    }

    /// A failure with the log that explains it.
    async fn told(&self, failure: Failure) -> TargetError {
        let mut details = failure.details;
        if let Some((pod, container)) = &failure.logs_of {
            let lines = logs::tail(self.cluster, pod, container).await;
            if !lines.is_empty() {
                details.push(format!("last lines of the log of {pod}/{container}:"));
                details.extend(lines.into_iter().map(|line| format!("  {line}")));
            }
        }
        TargetError { message: failure.message, details, help: failure.help, passing: failure.passing, key: None }
    }

    /// Until Kubernetes has nothing more to say, and a ready pod stands behind the Service.
    async fn until_backed(
        &mut self,
        ledger: &dyn Ledger,
    ) -> Result<(Seen, Serving, Vec<service::Backend>), TargetError> {
        let mut misled_since = None;
        loop {
            match self.once().await? {
                Found::NotYet(what) => ledger.doing(&what),
                Found::Ready(seen) => match self.backed(&seen).await {
                    Ok(Ok((serving, backends))) => return Ok((seen, serving, backends)),
                    Ok(Err(not_yet)) => {
                        ledger.doing(&not_yet.message);
                        let now = self.clock.elapsed();
                        if now - *misled_since.get_or_insert(now) >= MISLED {
                            return Err(TargetError { passing: false, ..not_yet });
                        }
                    }
                    Err(error) if error.passing => ledger.doing(&error.message),
                    Err(error) => return Err(error),
                },
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// The Service and the pods behind it. The inner error: not yet, and not for ever.
    async fn backed(&self, seen: &Seen) -> Result<Result<(Serving, Vec<service::Backend>), TargetError>, TargetError> {
        let serving = match service::find(self.cluster, self.state, seen).await? {
            Ok(serving) => serving,
            Err(missing) => return Ok(Err(missing)),
        };
        match service::backends(self.cluster, &serving, seen).await? {
            Ok(backends) if backends.is_empty() => {
                let message = format!("Service {} has no ready pod behind it", serving.name);
                let help = "do its selector and its target port fit the pods?".to_owned();
                Ok(Err(TargetError { help: Some(help), ..TargetError::new(message) }))
            }
            Ok(backends) => Ok(Ok((serving, backends))),
            Err(strangers) => Ok(Err(strangers)),
        }
    }

    /// Until it is not ready any more (in words), or will never be; returns only then.
    async fn until_changed(&mut self, through: &Through<'_>, probed: bool) -> Result<String, TargetError> {
        loop {
            tokio::time::sleep(TICK).await;
            if let Some(silent) = through.unlisted_for().filter(|silent| probed && *silent >= UNLISTED) {
                return Err(TargetError {
                    help: Some("the workers' logs say why they did not register it; they are below logs/".to_owned()),
                    ..TargetError::new(format!(
                        "every pod is ready, and no model has been listed for {}",
                        format_duration(Duration::from_secs(silent.as_secs()))
                    ))
                });
            }
            match self.once().await? {
                Found::Ready(_) => {}
                Found::NotYet(what) if self.silent_since.is_none() => return Ok(what),
                // Silence of the API server says nothing of the deployment.
                Found::NotYet(_) => {}
            }
        }
    }
}

/// Asks what serves, until it answers; `None`: its pods changed under the questions, so look again.
#[expect(clippy::too_many_arguments, reason = "one layer of `wait`, apart only to be read alone")]
async fn answering(
    prober: &dyn Prober,
    live: Live<'_>,
    deployed: &Deployed,
    ledger: &dyn Ledger,
    watch: &mut Watch<'_>,
    seen: Seen,
    serving: &Serving,
    backends: &[service::Backend],
) -> Result<Option<Ready>, TargetError> {
    let Some(backend) = backends.first() else { return Ok(None) };
    let forward = Forward::open(watch.cluster, &backend.pod, backend.port).await?;
    let through = Through::new(prober, forward);
    let mut endpoint =
        Endpoint { url: serving.url(), metrics_urls: pages::of(backends, &seen.pods), ..deployed.endpoint.clone() };
    let api = ready::api_of(live.plan);
    let asked = ready::Asked { endpoint: &endpoint, api, cancel: live.cancel, runs: false };
    let say = |doing: &str| ledger.doing(doing);
    let probed = seen.pods.iter().all(has_probe);
    let mut known = tokio::select! {
        facts = ready::until_ready(&through, asked, &say, &|| None) => facts?,
        changed = watch.until_changed(&through, probed) => {
            ledger.doing(&changed?);
            return Ok(None);
        }
    };
    // What was seen before the questions may have been replaced during them.
    let seen = look(watch.cluster, watch.state).await?;
    let roles = disaggregated::roles(&seen.pods);
    if !roles.is_empty() {
        let workers = through.workers(&endpoint, api).await.ok().flatten();
        known.insert(DISAGGREGATED.to_owned(), disaggregated::verdict(&roles, workers.as_ref()));
    }
    if bound_gpus(&seen.pods).is_some_and(|gpus| gpus > 0.0) {
        // Whatever becomes of this question, the deployment is ready.
        let fact = match exporter::find(watch.cluster).await {
            Ok(found) => {
                if let Exporters::Found(exporters) = &found {
                    let beside = exporter::beside(exporters, &seen.pods);
                    endpoint.metrics_urls.extend(beside.iter().map(|exporter| exporter.own_page(&seen.pods)));
                }
                exporter::fact(&found, &seen.pods)
            }
            Err(error) => format!("not checked: {}", error.message),
        };
        known.insert(exporter::FACT.to_owned(), fact);
    }
    let nodes = list_if_allowed(watch.cluster, &node_kind()).await?;
    known.extend(facts(&seen.pods, &nodes));
    known.extend(gpu_difference(live, &seen));
    known.extend(watch.state.discovered.cluster_uid.clone().map(|uid| (CLUSTER.to_owned(), uid)));
    known.insert("kubernetes".to_owned(), watch.state.discovered.kubernetes.clone());
    Ok(Some(Ready { endpoint, incarnation: incarnation(&seen.pods), facts: known }))
}

/// Whether Kubernetes itself finds out if a pod serves: without a probe `ready` only means started.
fn has_probe(pod: &Value) -> bool {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let mut probes = containers.map(|one| one.get("readinessProbe").is_some() || one.get("startupProbe").is_some());
    probes.any(|probed| probed)
}

/// Bound GPUs that are not those of the plan.
fn gpu_difference(live: Live<'_>, seen: &Seen) -> BTreeMap<String, String> {
    let planned = live.deployment.gpus.or_else(|| kind::gpus_of(live.plan, live.deployment));
    let bound = bound_gpus(&seen.pods);
    match (planned, bound) {
        (Some(planned), bound) if bound != Some(planned) => BTreeMap::from([(
            GPUS_DIFFER.to_owned(),
            format!("the plan counts {planned}, the bound pods hold {}", bound.unwrap_or(0.0)),
        )]),
        (Some(_) | None, _) => BTreeMap::new(),
    }
}

/// The deployment's pods as they are now, and their incarnation.
///
/// # Errors
/// When the API server cannot be asked.
pub(super) async fn incarnation_now(deployed: &Deployed) -> Result<Value, TargetError> {
    let state = State::of(deployed)?;
    let cluster = Cluster::connect(&state.handle.whereabouts).await?;
    Ok(incarnation(&look(&cluster, &state).await?.pods))
}
