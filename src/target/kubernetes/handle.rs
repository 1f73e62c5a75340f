//! What is written down of a deployment: the handle, before anything is sent, and the state, after it was.
//!
//! The handle alone must be enough to end everything: the process may die between writing it and the first object, or
//! between two objects, so it knows names and not uids, and what carries our labels counts as well.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::contract::{Deployed, TargetError};
use super::client::{Cluster, Whereabouts};
use super::discover::Discovered;
use super::own;
use super::resource::Resource;
use super::seen::Applied;

/// What an obligation names: everything of one deployment in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Handle {
    /// The cluster and namespace, resolved: no defaults of the day it is used.
    pub(super) whereabouts: Whereabouts,
    /// The API server's address, for people.
    pub(super) server: String,
    /// Uid of the cluster: the same context may name another one tomorrow.
    #[serde(default)]
    pub(super) cluster_uid: Option<String>,
    /// Id of the run.
    pub(super) run: String,
    /// Name of the deployment.
    pub(super) deployment: String,
    /// What is about to be applied, in this order.
    pub(super) objects: Vec<Named>,
    /// Value of [`own::ROLE`] that all of this carries; `None`: the deployment's own objects.
    #[serde(default)]
    pub(super) role: Option<String>,
}

/// One object by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Named {
    /// Its kind.
    pub(super) resource: Resource,
    /// Its name.
    pub(super) name: String,
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.resource.kind, self.name)
    }
}

impl Handle {
    /// Reads a handle of the journal.
    ///
    /// # Errors
    /// When it is not one of ours.
    pub(super) fn read(handle: &Value) -> Result<Self, TargetError> {
        serde_json::from_value(handle.clone())
            .map_err(|error| TargetError::new(format!("this obligation is not one of Kubernetes objects: {error}")))
    }

    /// As the journal keeps it.
    pub(super) fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a handle is plain data")
    }

    /// Selector of the labels that everything of it carries.
    pub(super) fn selector(&self) -> String {
        let role = match &self.role {
            Some(role) => format!("{}={role}", own::ROLE),
            None => format!("!{}", own::ROLE),
        };
        format!("{}={},{}={},{role}", own::RUN, self.run, own::DEPLOYMENT, self.deployment)
    }
}

impl Cluster {
    /// This connection's cluster and namespace, with nothing left to defaults.
    pub(super) fn whereabouts(&self) -> Whereabouts {
        let context = Some(self.place.context.clone()).filter(|context| !context.is_empty() && !self.in_cluster);
        Whereabouts { context, namespace: Some(self.place.namespace.clone()) }
    }
}

/// What [`Deployed::state`] holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct State {
    /// The same as the obligation's.
    pub(super) handle: Handle,
    /// What was applied; empty for a deployment that only is measured.
    pub(super) applied: Vec<Applied>,
    /// Name of what runs already and is only measured.
    #[serde(default)]
    pub(super) existing: Option<String>,
    /// The service, as the plan names it.
    #[serde(default)]
    pub(super) service: Option<String>,
    /// What the cluster offers.
    pub(super) discovered: Discovered,
}

impl State {
    /// Reads what `deploy` left.
    ///
    /// # Errors
    /// When it is not one of ours.
    pub(super) fn of(deployed: &Deployed) -> Result<Self, TargetError> {
        serde_json::from_value(deployed.state.clone())
            .map_err(|error| TargetError::new(format!("the journal's record of the objects is unreadable: {error}")))
    }

    /// What is known of a deployment when nothing but its handle was written down: names, and no uids.
    pub(super) fn of_handle(handle: Handle) -> Self {
        let applied = |named: &Named| Applied {
            api_version: named.resource.api_version.clone(),
            kind: named.resource.kind.clone(),
            name: named.name.clone(),
            uid: String::new(),
            sent: String::new(),
            generation: None,
        };
        let applied = handle.objects.iter().map(applied).collect();
        Self { handle, applied, existing: None, service: None, discovered: Discovered::default() }
    }

    /// How an applied object is addressed: in the stored version, where that is another than the one that was sent.
    pub(super) fn resource(&self, applied: &Applied) -> Option<&Resource> {
        let same = |named: &&Named| {
            named.name == applied.name
                && named.resource.kind == applied.kind
                && group(&named.resource.api_version) == group(&applied.api_version)
        };
        self.handle.objects.iter().find(same).map(|named| &named.resource)
    }
}

/// The group of an `apiVersion`; the core's has none.
fn group(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::contract::Target;
    use super::super::kind::Kubernetes;
    use super::*;

    #[test]
    fn a_handle_alone_tells_what_a_deployment_that_broke_off_may_have_made() {
        let resource = Resource::known("apps/v1", "Deployment", "deployments");
        let handle = Handle {
            whereabouts: Whereabouts::default(),
            server: "s".to_owned(),
            cluster_uid: None,
            run: "r1".to_owned(),
            deployment: "agg".to_owned(),
            objects: vec![Named { resource: resource.clone(), name: "web".to_owned() }],
            role: None,
        };
        let begun = Kubernetes.begun(&handle.to_value()).unwrap();
        let state = State::of(&begun).unwrap();
        assert_eq!((state.applied.len(), state.resource(&state.applied[0])), (1, Some(&resource)));
        // What else a step may have announced: its load, its Leases.
        let load = Handle { role: Some("load".to_owned()), ..handle };
        assert!(Kubernetes.begun(&load.to_value()).is_none());
        assert!(Kubernetes.begun(&json!({"held": {"at": {}, "run": "r1"}})).is_none());
    }
}
