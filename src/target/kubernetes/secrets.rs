//! Secrets that the plan asks to be made from variables of this machine's environment.
//!
//! The value is read at the moment it is sent and goes nowhere else: not into a journal, a key, a file, a log or an error.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::core::ObjectMeta;

use super::super::contract::{Live, TargetError};
use super::client::Cluster;
use super::fault::translate;
use super::own::{MANAGED_BY, MANAGER, PLAN, ROLE, RUN};
use super::settings::{SecretFromEnv, Settings};

/// Value of [`ROLE`] on them.
const SECRET: &str = "secret";

/// Whose a Secret of that name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// There is none.
    Nobody,
    /// This run's, made earlier.
    Ours,
    /// Somebody else's, in words.
    Other(String),
}

/// Whose the Secret of that name is; its data is not fetched.
///
/// # Errors
/// When the API server does not answer.
pub(super) async fn owner(cluster: &Cluster, name: &str, run: &str) -> Result<Owner, TargetError> {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    let found = cluster.call_opt(&format!("looking for Secret {name}"), api.get_metadata(name)).await?;
    let Some(found) = found else { return Ok(Owner::Nobody) };
    let label = |key: &str| found.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    Ok(match label(RUN) {
        Some(of) if of == run => Owner::Ours,
        Some(of) => Owner::Other(format!("it belongs to run {of}")),
        None => Owner::Other("dynbench did not make it".to_owned()),
    })
}

/// What is wrong with a Secret's source, if anything.
pub(super) fn fault(name: &str, secret: &SecretFromEnv) -> Option<String> {
    let why = match std::env::var(&secret.from_env) {
        Ok(value) if value.is_empty() => "is empty",
        Ok(_) => return None,
        Err(std::env::VarError::NotPresent) => "is not set",
        Err(std::env::VarError::NotUnicode(_)) => "is not text",
    };
    Some(format!("Secret {name} is made from the environment variable {}, which {why} here", secret.from_env))
}

/// Makes every Secret of the plan that is not there yet.
///
/// # Errors
/// When a variable is not set, the name is taken, or the API server refuses.
pub(super) async fn ensure(cluster: &Cluster, settings: &Settings, live: Live<'_>) -> Result<(), TargetError> {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    for (name, secret) in &settings.secrets {
        let help = Some(format!("export {} before `dynbench apply`", secret.from_env));
        let key = Some(format!("secrets.{name}"));
        if let Some(fault) = fault(name, secret) {
            return Err(TargetError { help, key, ..TargetError::new(fault) });
        }
        match owner(cluster, name, live.run).await? {
            Owner::Nobody => {}
            // Made anew: the value may have changed since.
            Owner::Ours => {
                let doing = format!("replacing Secret {name}");
                cluster.call_opt(&doing, api.delete(name, &DeleteParams::background())).await?;
            }
            Owner::Other(whose) => {
                return Err(TargetError { key, ..taken(cluster, name, &whose) });
            }
        }
        let Ok(value) = std::env::var(&secret.from_env) else { continue };
        let new = object(name, secret.key(), value, live);
        let doing = format!("creating Secret {name}");
        match cluster.answered(&doing, api.create(&PostParams::default(), &new)).await? {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {
                return Err(TargetError { key, ..taken(cluster, name, "somebody made it just now") });
            }
            Err(error) => return Err(translate(&cluster.place, &doing, &error)),
        }
    }
    Ok(())
}

/// The name is somebody else's.
pub(super) fn taken(cluster: &Cluster, name: &str, whose: &str) -> TargetError {
    TargetError {
        help: Some("choose another name below [target.secrets], or use that Secret and take the entry out".to_owned()),
        ..TargetError::new(format!("Secret {name} is there already ({}): {whose}", cluster.place))
    }
}

fn object(name: &str, key: &str, value: String, live: Live<'_>) -> Secret {
    let labels = [(MANAGED_BY, MANAGER), (RUN, live.run), (PLAN, live.plan.name.as_str()), (ROLE, SECRET)];
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(key.to_owned(), ByteString(value.into_bytes()))])),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}
