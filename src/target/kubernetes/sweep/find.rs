//! Objects of a namespace by label.

use std::sync::Arc;

use kube::api::ListParams;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::super::contract::TargetError;
use super::super::client::Cluster;
use super::super::fault::translate;
use super::super::own::{PLAN, ROLE, RUN};
use super::super::resource::Resource;

/// Questions that are asked at the same time.
const AT_ONCE: usize = 8;

/// One object, as far as deleting it needs to know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) resource: Resource,
    pub(super) name: String,
    pub(super) uid: String,
    /// Its run, by the label.
    pub(super) run: Option<String>,
    /// Its plan, by the label.
    pub(super) plan: Option<String>,
    /// Value of [`ROLE`].
    pub(super) role: Option<String>,
    /// Uids of those that it belongs to: it goes with them.
    pub(super) owners: Vec<String>,
    /// Who must agree before it can go, when it is going already.
    pub(super) finalizers: Vec<String>,
    pub(super) going: bool,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.resource.kind, self.name)
    }
}

/// What a search came to.
#[derive(Debug, Default)]
pub(super) struct Search {
    pub(super) found: Vec<Found>,
    /// Kinds that we may not list.
    pub(super) hidden: Vec<String>,
}

/// Everything that a label selector finds, over all of `kinds`.
///
/// # Errors
/// When a kind that may be listed cannot be: then nobody knows what is there.
pub(super) async fn find(cluster: &Cluster, kinds: &[Resource], selector: &str) -> Result<Search, TargetError> {
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut asked = JoinSet::new();
    for kind in kinds {
        let (cluster, kind, selector, gate) = (cluster.clone(), kind.clone(), selector.to_owned(), Arc::clone(&gate));
        asked.spawn(async move {
            let _turn = gate.acquire().await.expect("nobody closes the gate");
            let answer = list(&cluster, &kind, &selector).await;
            (kind, answer)
        });
    }
    let mut search = Search::default();
    while let Some(answer) = asked.join_next().await {
        let (kind, answer) = answer.map_err(|error| TargetError::new(format!("listing objects broke: {error}")))?;
        match answer? {
            Some(found) => search.found.extend(found),
            None => search.hidden.push(kind.plural),
        }
    }
    search.found.sort();
    search.hidden.sort();
    Ok(search)
}

/// Objects of one kind; `None`: we may not look.
async fn list(cluster: &Cluster, kind: &Resource, selector: &str) -> Result<Option<Vec<Found>>, TargetError> {
    let doing = format!("listing {}", kind.plural);
    let params = ListParams::default().labels(selector);
    let listed = match cluster.answered(&doing, kind.of(cluster).list_metadata(&params)).await? {
        Ok(listed) => listed,
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(None),
        // Kinds come and go, and some only claim that they can be listed.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => return Ok(Some(Vec::new())),
        Err(error) => return Err(translate(&cluster.place, &doing, &error)),
    };
    let one = |item: kube::core::PartialObjectMeta<kube::api::DynamicObject>| {
        let meta = item.metadata;
        let label = |name: &str| meta.labels.as_ref().and_then(|labels| labels.get(name).cloned());
        Found {
            resource: kind.clone(),
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            run: label(RUN),
            plan: label(PLAN),
            role: label(ROLE),
            owners: meta.owner_references.into_iter().flatten().map(|owner| owner.uid).collect(),
            finalizers: meta.finalizers.unwrap_or_default(),
            going: meta.deletion_timestamp.is_some(),
        }
    };
    Ok(Some(listed.items.into_iter().map(one).collect()))
}
