//! What a target does, beyond what a plan needs to know of it ([`TargetKind`]).
//!
//! Everything here is safe to run again. Whatever is started is announced to the [`Ledger`] first, which returns only
//! when the announcement is on the disk: a SIGKILL between the two leaves an obligation too many, never one too few.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::load::Generator;
use crate::plan::{Deployment, Plan, TargetKind};
use crate::render::GraphVersion;

/// A boxed future, so that targets can stand in a table.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where and how a deployment is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Base URL without `/v1`, such as `http://127.0.0.1:8000`.
    pub url: String,
    /// Headers by name, whose values are read from these environment variables at each use: never stored.
    pub headers_env: BTreeMap<String, String>,
    /// Environment variable that holds the API key (`authorization: Bearer ...`).
    pub api_key_env: Option<String>,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The model's id as this server lists it.
    pub model: String,
    /// Base URLs whose `/metrics` tell the server's own view.
    pub metrics_urls: Vec<MetricsUrl>,
}

/// Where a part of a deployment tells its own view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "MetricsUrlForm")]
pub struct MetricsUrl {
    /// Base URL of its `/metrics`.
    pub url: String,
    /// What it is a part of: `frontend`, `prefill`, `decode`, ... Where one is the `frontend` only its counters are
    /// compared with ours: workers count the same requests again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Of a page that tells of all GPUs of a node: the deployment's pods as `namespace/name`, with what each is a part of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gpus_of: BTreeMap<String, Option<String>>,
}

impl MetricsUrl {
    /// The page of one part.
    pub fn of(url: String, role: Option<&str>) -> Self {
        Self { url, role: role.map(str::to_owned), gpus_of: BTreeMap::new() }
    }
}

impl From<String> for MetricsUrl {
    fn from(url: String) -> Self {
        Self::of(url, None)
    }
}

/// As journals have it: a URL alone in older ones.
#[derive(Deserialize)]
#[serde(untagged)]
enum MetricsUrlForm {
    Url(String),
    WithRole {
        url: String,
        #[serde(default)]
        role: Option<String>,
        #[serde(default)]
        gpus_of: BTreeMap<String, Option<String>>,
    },
}

impl From<MetricsUrlForm> for MetricsUrl {
    fn from(form: MetricsUrlForm) -> Self {
        match form {
            MetricsUrlForm::Url(url) => url.into(),
            MetricsUrlForm::WithRole { url, role, gpus_of } => Self { url, role, gpus_of },
        }
    }
}

/// What `deploy` started, small enough for the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    /// Where it will answer.
    pub endpoint: Endpoint,
    /// Whatever the target needs to look at it again; no secrets.
    pub state: Value,
}

/// A deployment that answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// Where it answers.
    pub endpoint: Endpoint,
    /// This life of it: whatever changes when a process or pod is replaced. Compared as a whole.
    pub incarnation: Value,
    /// Facts worth keeping: versions, what `/v1/models` said.
    pub facts: BTreeMap<String, String>,
}

/// How load reaches a deployment. What it takes (forwarded ports) lives as long as the value.
pub struct Way {
    /// The server, as whoever sends the load sees it.
    pub endpoint: Endpoint,
    /// Who sends it.
    pub generator: Generator,
    /// What results call it: `direct`, `url`, `in-cluster`, `port-forward`.
    pub transport: &'static str,
    /// What requests go through, if it can break.
    pub passage: Option<Box<dyn Passage>>,
}

/// Something that requests go through and that can break under them.
pub trait Passage: Send + Sync {
    /// How often it broke so far.
    fn cuts(&self) -> u64;
    /// Why, the last time.
    fn last_cut(&self) -> Option<String>;
}

impl Way {
    /// From this process, with nothing in between.
    pub fn direct(endpoint: Endpoint, transport: &'static str) -> Self {
        Self { endpoint, generator: Generator::Here, transport, passage: None }
    }

    /// How often what requests go through broke so far.
    pub fn cuts(&self) -> u64 {
        self.passage.as_ref().map_or(0, |passage| passage.cuts())
    }

    /// Why, the last time.
    pub fn last_cut(&self) -> Option<String> {
        self.passage.as_ref().and_then(|passage| passage.last_cut())
    }
}

/// Where obligations are made durable.
pub trait Ledger: Send + Sync {
    /// Writes down what is about to be started. `handle` is what [`Target::end`] needs to find it again.
    fn open<'a>(&'a self, what: String, handle: Value) -> BoxFuture<'a, Result<String, TargetError>>;
    /// The obligation is met.
    fn close<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), TargetError>>;
    /// Says what is being awaited, for people.
    fn doing(&self, what: &str);
}

/// The surroundings of one deployment in one run.
#[derive(Clone, Copy)]
pub struct Live<'a> {
    /// The frozen plan.
    pub plan: &'a Plan,
    /// The deployment.
    pub deployment: &'a Deployment,
    /// The run's id, for labels and names.
    pub run: &'a str,
    /// A folder for this deployment's own files (logs, working folders), made anew by nobody: it may hold earlier lives.
    pub dir: &'a Path,
    /// Cancelled when the step must end.
    pub cancel: &'a CancellationToken,
}

/// What stands in a line of [`Target::preflight`] between a thing that could not be looked at and why.
pub const NOT_CHECKED: &str = ": not checked: ";

/// How a deployment comes to life and ends.
pub trait Target: TargetKind {
    /// What would be started, as the text of a file and its extension; graphs of templates in this version.
    fn written(&self, plan: &Plan, deployment: &Deployment, _version: GraphVersion) -> (&'static str, String) {
        ("json", format!("{:#}\n", self.fingerprint(plan, deployment)))
    }
    /// Where it happens, for messages of those who know no more of it than its name; `None`: here.
    fn place<'a>(&'a self, _live: Live<'a>) -> BoxFuture<'a, Option<String>> {
        Box::pin(async { None })
    }
    /// What is there to build on (API versions, CRDs); frozen. `Value::Null` when there is nothing to find out.
    fn discover<'a>(&'a self, live: Live<'a>) -> BoxFuture<'a, Result<Value, TargetError>>;
    /// Finds what would fail later, without changing anything: one line per thing looked at.
    fn preflight<'a>(&'a self, live: Live<'a>) -> BoxFuture<'a, Result<Vec<String>, TargetError>>;
    /// Takes what only one run may have at a time (a pool of GPUs) and what it needs for itself, and keeps it until
    /// [`Target::release`]. Called before each deploy: what is held already stays.
    fn hold<'a>(&'a self, _live: Live<'a>, _ledger: &'a dyn Ledger) -> BoxFuture<'a, Result<(), Unheld>> {
        Box::pin(async { Ok(()) })
    }
    /// Whether a handle names what [`Target::hold`] took, and nothing of a deployment: taken anew by each session, and ended
    /// only when all of the deployment is gone, so that whoever looks for what was left finds the run.
    fn is_hold(&self, _handle: &Value) -> bool {
        false
    }
    /// Gives back at the end of a run what [`Target::hold`] took; a sentence for each thing that stays.
    fn release<'a>(&'a self, _run: &'a str, _left: Left) -> BoxFuture<'a, Result<Vec<String>, TargetError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// Whether what an earlier session left behind under `handle` can be measured on as it stands; `deployed` is the
    /// newest record of a deployment that went through. Called after [`Target::hold`]; changes nothing. If it can, nothing
    /// is deployed, `deployed` counts on, and [`Target::wait`] judges it like a new one. Where a target does not answer this
    /// (processes, the embedded engine), all of it is ended and started anew.
    fn again<'a>(
        &'a self,
        _live: Live<'a>,
        _deployed: Option<&'a Deployed>,
        _handle: &'a Value,
    ) -> BoxFuture<'a, Result<Again, TargetError>> {
        Box::pin(async { Ok(Again::Changed("what runs on this machine is started anew".to_owned())) })
    }
    /// Starts it. Safe to run again: the caller has ended what an earlier session left.
    fn deploy<'a>(&'a self, live: Live<'a>, ledger: &'a dyn Ledger) -> BoxFuture<'a, Result<Deployed, TargetError>>;
    /// Waits until it answers with the right model, or says why it never will. The caller sets the deadline.
    fn wait<'a>(
        &'a self,
        live: Live<'a>,
        deployed: &'a Deployed,
        ledger: &'a dyn Ledger,
    ) -> BoxFuture<'a, Result<Ready, TargetError>>;
    /// Opens the way for load. Asked before each step that sends something; what it starts is announced first and ended
    /// with the deployment.
    fn reach<'a>(
        &'a self,
        live: Live<'a>,
        _deployed: &'a Deployed,
        ready: &'a Ready,
        _ledger: &'a dyn Ledger,
    ) -> BoxFuture<'a, Result<Way, TargetError>> {
        Box::pin(async move { Ok(Way::direct(ready.endpoint.clone(), self.transport(live.plan, live.deployment))) })
    }
    /// What answers now, to be compared with [`Ready::incarnation`].
    fn incarnation<'a>(&'a self, live: Live<'a>, deployed: &'a Deployed) -> BoxFuture<'a, Result<Value, TargetError>>;
    /// What became of it between two incarnations, a line for each part that is another now; none where it cannot be told.
    fn difference(&self, _before: &Value, _now: &Value) -> Vec<String> {
        Vec::new()
    }
    /// What an obligation's handle alone tells of a deployment that did not get as far as [`Target::deploy`]'s end: enough
    /// for [`Target::collect`].
    fn begun(&self, _handle: &Value) -> Option<Deployed> {
        None
    }
    /// Copies logs and states into a folder; returns what could not be had.
    fn collect<'a>(
        &'a self,
        live: Live<'a>,
        deployed: &'a Deployed,
        into: &'a Path,
    ) -> BoxFuture<'a, Result<Vec<String>, TargetError>>;
    /// Ends what one handle names and verifies that it is gone. What is gone already is a success. Needs no plan: it is
    /// also how `dynbench cleanup` works.
    fn end<'a>(&'a self, handle: &'a Value, cancel: &'a CancellationToken) -> BoxFuture<'a, Result<(), TargetError>>;
}

/// Why a run does not have what it needs for itself alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unheld {
    /// Another run has it.
    Taken(TargetError),
    /// It could not be taken for another reason.
    Failed(TargetError),
}

impl From<TargetError> for Unheld {
    fn from(error: TargetError) -> Self {
        Self::Failed(error)
    }
}

/// What can be done with something that an earlier session left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    /// It is the deployment that is recorded, all of it is there, nobody changed it, and what would be deployed now is the
    /// same.
    Unchanged,
    /// It must be ended, and deployed anew: why.
    Changed(String),
}

/// What a run leaves behind at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing: all of it must go.
    Nothing,
    /// Deployments, as it was told to: they stay, and nobody counts the run as dead.
    ByWish,
    /// Something that could not be ended: others must be able to find the run dead.
    Leaked,
}

/// Why a deployment did not come to life, answer or end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TargetError {
    /// What happened, in one line.
    pub message: String,
    /// Details, a line each: the last lines of a log, what was answered.
    pub details: Vec<String>,
    /// What to do.
    pub help: Option<String>,
    /// Whether it may pass by itself.
    pub passing: bool,
    /// Path of the plan's value that is to blame (`commands.0`), for the place in the plan.
    pub key: Option<String>,
}

impl TargetError {
    /// A lasting error.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), details: Vec::new(), help: None, passing: false, key: None }
    }

    /// An error that may pass by itself.
    pub fn passing(message: impl Into<String>) -> Self {
        Self { passing: true, ..Self::new(message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_older_journals_have_no_role() {
        let read: Vec<MetricsUrl> =
            serde_json::from_str(r#"["http://a", {"url": "http://b", "role": "decode"}, {"url": "http://c"}]"#)
                .unwrap();
        let told: Vec<_> = read.iter().map(|page| (page.url.as_str(), page.role.as_deref())).collect();
        assert_eq!(told, [("http://a", None), ("http://b", Some("decode")), ("http://c", None)]);
        assert_eq!(serde_json::from_value::<Vec<MetricsUrl>>(serde_json::to_value(&read).unwrap()).unwrap(), read);
    }
}
