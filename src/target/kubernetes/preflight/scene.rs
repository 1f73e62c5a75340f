//! The deployment and its cluster, as the checks see them.

use std::collections::BTreeMap;
use std::future::Future;

use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use super::super::super::contract::{Live, TargetError};
use super::super::client::Cluster;
use super::super::discover::discover;
use super::super::fault::translate;
use super::super::kind::whereabouts;
use super::super::load::{Foreseen, foreseen};
use super::super::objects::objects_to_apply;
use super::super::resource::{Catalog, Resource};
use super::super::settings::Settings;

/// An answer to a question that one may not be allowed to ask.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer<T> {
    /// It is there.
    Found(T),
    /// It is not there.
    Absent,
    /// We may not ask.
    NoAccess,
}

impl<T> Answer<T> {
    /// What was found, if anything was.
    pub(super) fn found(&self) -> Option<&T> {
        match self {
            Self::Found(found) => Some(found),
            Self::Absent | Self::NoAccess => None,
        }
    }
}

/// What all checks share: asked once.
pub(super) struct Scene<'a> {
    pub(super) live: Live<'a>,
    pub(super) cluster: Cluster,
    pub(super) settings: Settings,
    /// What will be applied, with this run's names and labels.
    pub(super) objects: Vec<Value>,
    /// What load from inside the cluster will need.
    pub(super) load: Option<Foreseen>,
    /// Kinds of the objects by API version and kind; `None`: not served.
    pub(super) kinds: BTreeMap<(String, String), Option<Resource>>,
    /// The namespace.
    pub(super) namespace: Answer<Namespace>,
    /// The nodes.
    pub(super) nodes: Answer<Vec<Node>>,
}

/// `apiVersion` and `kind` of an object.
pub(super) fn type_of(object: &Value) -> (String, String) {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("apiVersion"), text("kind"))
}

/// `Deployment agg-x`
pub(super) fn title(object: &Value) -> String {
    format!("{} {}", type_of(object).1, name_of(object))
}

/// `metadata.name`
pub(super) fn name_of(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

impl<'a> Scene<'a> {
    /// Connects, and asks what several checks need to know.
    ///
    /// # Errors
    /// When nobody answers.
    pub(super) async fn look(live: Live<'a>) -> Result<Self, TargetError> {
        let settings = Settings::of(live.deployment)?;
        let cluster = Cluster::connect(&whereabouts(live.deployment)?).await?;
        let objects = objects_to_apply(live, &discover(&cluster).await?)?;
        let mut catalog = Catalog::new(&cluster);
        let load = foreseen(live, cluster.namespace())?;
        let mut kinds = BTreeMap::new();
        for object in &objects {
            let (api_version, kind) = type_of(object);
            if !kinds.contains_key(&(api_version.clone(), kind.clone())) {
                let found = catalog.find(&api_version, &kind).await?;
                kinds.insert((api_version, kind), found);
            }
        }
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        let nodes: Api<Node> = Api::all(cluster.client.clone());
        let namespace = ask(&cluster, "reading the namespace", namespaces.get(cluster.namespace())).await?;
        let nodes = match ask(&cluster, "listing nodes", nodes.list(&ListParams::default())).await? {
            Answer::Found(listed) => Answer::Found(listed.items),
            Answer::Absent => Answer::Absent,
            Answer::NoAccess => Answer::NoAccess,
        };
        Ok(Self { live, cluster, settings, objects, load, kinds, namespace, nodes })
    }

    /// A question that we may not be allowed to ask, or whose answer may be "no".
    ///
    /// # Errors
    /// When the API server does not answer, or refuses for another reason.
    pub(super) async fn ask<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Answer<T>, TargetError> {
        ask(&self.cluster, doing, call).await
    }

    /// The objects, and the Job of the load workers.
    pub(super) fn all_objects(&self) -> Vec<Value> {
        self.objects.iter().chain(self.load.as_ref().map(|load| &load.job)).cloned().collect()
    }

    /// Whether the namespace is known not to be there: then nothing in it can be asked for.
    pub(super) fn namespace_is_absent(&self) -> bool {
        self.namespace == Answer::Absent
    }

    /// The kind of an object, if the cluster serves it.
    pub(super) fn kind_of(&self, object: &Value) -> Option<&Resource> {
        self.kinds.get(&type_of(object))?.as_ref()
    }
}

async fn ask<T>(
    cluster: &Cluster,
    doing: &str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<Answer<T>, TargetError> {
    match cluster.answered(doing, call).await? {
        Ok(found) => Ok(Answer::Found(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Answer::Absent),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Answer::NoAccess),
        Err(error) => Err(translate(&cluster.place, doing, &error)),
    }
}
