//! One look at a deployment: everything that the rules read, as the API server gave it. Made by `look`, judged by `rules`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One object that was applied, and by which it is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Applied {
    /// `apps/v1`
    pub(super) api_version: String,
    /// `Deployment`
    pub(super) kind: String,
    /// Its name.
    pub(super) name: String,
    /// Its uid: another one is another object.
    pub(super) uid: String,
    /// Digest of what was sent (the annotation [`super::own::SENT`]).
    pub(super) sent: String,
    /// Its generation after that; `None`: its kind has none, or an older version recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<i64>,
}

/// An applied object as it is now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SeenObject {
    /// Which one.
    pub(super) applied: Applied,
    /// The whole live object, read in its storage version where a CRD has several; `None`: gone.
    pub(super) live: Option<Value>,
}

/// One look.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    /// The applied objects, in the order of applying.
    pub(super) objects: Vec<SeenObject>,
    /// Objects that others made from them, as far as they tell about failures: ReplicaSets, Deployments, StatefulSets,
    /// DynamoComponentDeployments, PersistentVolumeClaims. Whole live objects, each with `kind`.
    pub(super) owned: Vec<Value>,
    /// All pods below them, those that are ending included.
    pub(super) pods: Vec<Value>,
    /// Events (core/v1) of all of these, newest last.
    pub(super) events: Vec<Value>,
    /// `status.phase` of the namespace, if it may be read.
    pub(super) namespace_phase: Option<String>,
    /// All nodes, if they may be read; only for messages and for what no node could ever take.
    pub(super) nodes: Vec<Value>,
}

/// What one look came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Judgement {
    /// Everything that Kubernetes can know is ready: what serves must be asked next.
    Ready,
    /// Not yet, and what is awaited, for people: `pod agg-x-worker-0: pulling image`.
    NotYet(String),
    /// It never will be.
    Failed(Failure),
}

/// Why a deployment will never be ready, as a person needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What happened, in one line: object, container, reason, exit code, node.
    pub(super) message: String,
    /// Messages of the cluster behind it (scheduler, kubelet, admission), a line each.
    pub(super) details: Vec<String>,
    /// What to do.
    pub(super) help: Option<String>,
    /// Pod and container whose last log lines tell more (of the previous container, if it was restarted).
    pub(super) logs_of: Option<(String, String)>,
    /// Whether it may pass by itself (a registry that answers 503): retried by policy.
    pub(super) passing: bool,
}

impl Failure {
    /// A lasting failure of which nothing more is known.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), details: Vec::new(), help: None, logs_of: None, passing: false }
    }
}

/// Limits of the rules; every one can be reached only while nothing is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patience {
    /// A pod that cannot be scheduled.
    pub(super) schedule: Duration,
    /// Ends of a container that are too many.
    pub(super) restarts: u32,
    /// A status that nobody writes: the operator is away.
    pub(super) operator: Duration,
    /// How long a container that was restarted must stay up before its pod counts.
    pub(super) settle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            schedule: Duration::from_secs(300),
            restarts: 2,
            operator: Duration::from_secs(10),
            settle: Duration::from_secs(10),
        }
    }
}
