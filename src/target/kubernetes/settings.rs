//! The values of `[target]`, typed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::contract::TargetError;
use crate::plan::{Deployment, Key, Shape, duration_text};

const fn optional(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, about, shape, default: None, required: false }
}

const fn defaulted(name: &'static str, shape: Shape, default: &'static str, about: &'static str) -> Key {
    Key { name, about, shape, default: Some(default), required: false }
}

/// `[target.secrets.NAME]`
const SECRET: &[Key] = &[
    Key {
        name: "from-env",
        about: "Environment variable of this machine that holds the value; read when deploying, never stored.",
        shape: Shape::Text,
        default: None,
        required: true,
    },
    optional("key", Shape::Text, "Key within the Secret; left out: the variable's name."),
];

/// `[target.model-cache]`
const MODEL_CACHE: &[Key] = &[
    Key {
        name: "pvc",
        about: "Name of the PersistentVolumeClaim; made when it is not there, never deleted.",
        shape: Shape::Name,
        default: None,
        required: true,
    },
    defaulted("size", Shape::Text, "\"100Gi\"", "Size of a claim that is made."),
    optional("storage-class", Shape::Text, "Storage class of a claim that is made; left out: the cluster's default."),
    defaulted(
        "access-mode",
        Shape::Choice(&["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]),
        "\"ReadWriteOnce\"",
        "Access mode of a claim that is made; pods on several nodes need ReadWriteMany.",
    ),
    optional("image", Shape::Text, "Image of the download; left out: that of the deployment's first container."),
    optional(
        "command",
        Shape::List { of: &Shape::Text, min: 1, unique: false },
        "What downloads the model; left out: `hf download` of model.id.",
    ),
    defaulted(
        "mount-path",
        Shape::Text,
        "\"/model-cache\"",
        "Where the claim is mounted, and HF_HOME, while downloading.",
    ),
    optional("token-secret", Shape::Text, "Secret whose keys become environment variables of the download (HF_TOKEN)."),
    defaulted("deadline", Shape::Duration, "\"6h\"", "Until the download must be done."),
];

/// Keys of `[target]` that this part of the target reads.
pub(super) const KEYS: &[Key] = &[
    defaulted(
        "create-namespace",
        Shape::Bool,
        "false",
        "Whether the namespace is made when it is not there; then it is deleted at the end, if it is empty.",
    ),
    optional(
        "gpu-pool-wait",
        Shape::Duration,
        "How long to wait for a pool that another run has; left out: not at all.",
    ),
    defaulted(
        "lease",
        Shape::Duration,
        "\"60s\"",
        "A run counts as dead when it has given no sign of life for so long.",
    ),
    defaulted(
        "read-pull-secret",
        Shape::Bool,
        "false",
        "Whether preflight may read image pull secrets to ask registries for images; else it uses your docker logins.",
    ),
    defaulted(
        "insecure-registries",
        Shape::List { of: &Shape::Text, min: 0, unique: true },
        "[]",
        "Registries, as `host:port`, that speak plain HTTP.",
    ),
    optional("reaper-image", Shape::Text, "Image with dynbench for `policy.reaper`; it must start dynbench."),
    optional("secrets", Shape::Named(SECRET), "Secrets that are made from environment variables, by name."),
    optional("model-cache", Shape::Table(MODEL_CACHE), "A volume with the model, filled once and kept."),
];

/// A Secret that is made from the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SecretFromEnv {
    /// The variable.
    pub(super) from_env: String,
    /// Key within the Secret.
    #[serde(default)]
    pub(super) key: Option<String>,
}

impl SecretFromEnv {
    /// Key within the Secret.
    pub(super) fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.from_env)
    }
}

/// `[target.model-cache]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ModelCache {
    pub(super) pvc: String,
    pub(super) size: String,
    #[serde(default)]
    pub(super) storage_class: Option<String>,
    pub(super) access_mode: String,
    #[serde(default)]
    pub(super) image: Option<String>,
    #[serde(default)]
    pub(super) command: Option<Vec<String>>,
    pub(super) mount_path: String,
    #[serde(default)]
    pub(super) token_secret: Option<String>,
    #[serde(with = "duration_text")]
    pub(super) deadline: Duration,
}

/// What preflight, locks and clean-up read of `[target]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Settings {
    pub(super) gpu_pool: Option<String>,
    #[serde(deserialize_with = "duration_opt")]
    pub(super) gpu_pool_wait: Option<Duration>,
    #[serde(with = "duration_text")]
    pub(super) lease: Duration,
    pub(super) create_namespace: bool,
    pub(super) read_pull_secret: bool,
    pub(super) insecure_registries: Vec<String>,
    pub(super) reaper_image: Option<String>,
    pub(super) secrets: BTreeMap<String, SecretFromEnv>,
    pub(super) model_cache: Option<ModelCache>,
}

impl Default for Settings {
    /// The defaults of [`KEYS`].
    fn default() -> Self {
        Self {
            gpu_pool: None,
            gpu_pool_wait: None,
            lease: Duration::from_secs(60),
            create_namespace: false,
            read_pull_secret: false,
            insecure_registries: Vec::new(),
            reaper_image: None,
            secrets: BTreeMap::new(),
            model_cache: None,
        }
    }
}

impl Settings {
    /// Of a deployment's target.
    ///
    /// # Errors
    /// When keys and this struct have gone apart.
    pub(super) fn of(deployment: &Deployment) -> Result<Self, TargetError> {
        deployment
            .target
            .values
            .decode()
            .map_err(|error| TargetError::new(format!("the keys of [target] do not fit: {error}")))
    }
}

fn duration_opt<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration_text::deserialize(deserializer).map(Some)
}
