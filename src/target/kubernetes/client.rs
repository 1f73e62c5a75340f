//! One connection to one namespace of one cluster. Credentials are the user's own, as kubectl finds them.

use std::future::Future;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde::{Deserialize, Serialize};

use super::super::contract::TargetError;
use super::fault::{Place, chain, translate};

/// Limit of one call that answers at once. The kube crate sets none.
const CALL: Duration = Duration::from_secs(30);

/// Which cluster and namespace a plan means. Also the part of a handle that finds them again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Whereabouts {
    /// Context of the kubeconfig; `None`: its current one, or the pod's own cluster.
    #[serde(default)]
    pub(super) context: Option<String>,
    /// Namespace; `None`: the context's.
    #[serde(default)]
    pub(super) namespace: Option<String>,
}

/// A connection.
#[derive(Clone)]
pub(super) struct Cluster {
    /// For calls that do not fit [`Cluster::call`]: streams.
    pub(super) client: Client,
    /// What messages name.
    pub(super) place: Place,
    /// The API server's address.
    pub(super) server: String,
    /// Whether it was reached by a pod's own account: there is no context then.
    pub(super) in_cluster: bool,
}

/// What messages call it: nothing is sent.
///
/// # Errors
/// As [`Cluster::connect`].
pub(super) async fn place(to: &Whereabouts) -> Result<Place, TargetError> {
    Ok(resolve(to).await?.1)
}

/// The configuration and the names of what it leads to. Without a context it is a pod's own account.
async fn resolve(to: &Whereabouts) -> Result<(Config, Place, bool), TargetError> {
    let (config, context) = config(to).await?;
    let in_cluster = context.is_none();
    let context = context.unwrap_or_else(|| "in-cluster".to_owned());
    let namespace = to.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    Ok((config, Place { context, namespace }, in_cluster))
}

impl Cluster {
    /// Reads the kubeconfig (`KUBECONFIG`, `~/.kube/config`, else a pod's own account) and makes a client; nothing is
    /// sent yet.
    ///
    /// # Errors
    /// When there is no kubeconfig, it cannot be read, or it does not have the context.
    pub(super) async fn connect(to: &Whereabouts) -> Result<Self, TargetError> {
        let (config, place, in_cluster) = resolve(to).await?;
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| translate(&place, "connecting", &error))?;
        Ok(Self { client, place, server, in_cluster })
    }

    /// The namespace.
    pub(super) fn namespace(&self) -> &str {
        &self.place.namespace
    }

    /// Objects of a kind, in the namespace or, for kinds without one, in the cluster.
    pub(super) fn objects(&self, resource: &ApiResource, namespaced: bool) -> Api<DynamicObject> {
        if namespaced {
            Api::namespaced_with(self.client.clone(), self.namespace(), resource)
        } else {
            Api::all_with(self.client.clone(), resource)
        }
    }

    /// One call with a limit; its error says what was being done, and where.
    ///
    /// # Errors
    /// See [`translate`]; silence is a passing fault.
    pub(super) async fn call<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, TargetError> {
        self.answered(doing, call).await?.map_err(|error| translate(&self.place, doing, &error))
    }

    /// The same for a question to which "there is no such thing" is an answer.
    ///
    /// # Errors
    /// As [`Cluster::call`].
    pub(super) async fn call_opt<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Option<T>, TargetError> {
        match self.answered(doing, call).await? {
            Ok(found) => Ok(Some(found)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(translate(&self.place, doing, &error)),
        }
    }

    /// One call with a limit, its own error untouched.
    ///
    /// # Errors
    /// Silence for longer than the limit: a passing fault.
    pub(super) async fn answered<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Result<T, kube::Error>, TargetError> {
        tokio::time::timeout(CALL, call).await.map_err(|_| {
            let seconds = CALL.as_secs();
            TargetError::passing(format!("{doing} ({}): no answer within {seconds} s", self.place))
        })
    }
}

/// The namespace that a plan means which names none: that of the context, as kubectl takes it.
///
/// # Errors
/// When there is no kubeconfig, or it names none.
pub(super) fn default_namespace(to: &Whereabouts) -> Result<String, TargetError> {
    let unknown = |why: String| TargetError {
        help: Some("say `namespace` in `[target]`".to_owned()),
        key: Some("namespace".to_owned()),
        ..TargetError::new(format!("nobody knows which namespace is meant: {why}"))
    };
    let kubeconfig = Kubeconfig::read().map_err(|error| unknown(chain(&error)))?;
    let wanted = to.context.as_ref().or(kubeconfig.current_context.as_ref());
    let context = kubeconfig.contexts.iter().find(|context| Some(&context.name) == wanted);
    let context = context.ok_or_else(|| unknown("the kubeconfig has no such context".to_owned()))?;
    // What kubectl takes where a context names none.
    let namespace = context.context.as_ref().and_then(|context| context.namespace.clone());
    Ok(namespace.unwrap_or_else(|| "default".to_owned()))
}

async fn config(to: &Whereabouts) -> Result<(Config, Option<String>), TargetError> {
    let no_config = |error: &dyn std::error::Error| TargetError {
        help: Some("set KUBECONFIG, or `context` of `[target]`, as for kubectl".to_owned()),
        key: Some("context".to_owned()),
        ..TargetError::new(format!("the cluster is not known: {}", chain(error)))
    };
    let kubeconfig = match Kubeconfig::read() {
        Ok(kubeconfig) => kubeconfig,
        // Without a file, and without a context that would need one, the pod's own account is meant.
        Err(error) => {
            return match Config::incluster() {
                Ok(config) if to.context.is_none() => Ok((config, None)),
                Ok(_) | Err(_) => Err(no_config(&error)),
            };
        }
    };
    let context = to.context.clone().or_else(|| kubeconfig.current_context.clone()).unwrap_or_default();
    let options = KubeConfigOptions { context: to.context.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| no_config(&error))?;
    Ok((config, Some(context)))
}
