//! What can go wrong on this floor, apart from single requests: those are records, not errors.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::FileError;

/// Why something of this floor could not be done.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The URL cannot be used.
    #[error("`{url}` {reason}")]
    Url {
        /// As given.
        url: String,
        /// The rest of a sentence that starts with the URL.
        reason: &'static str,
    },
    /// A header's name or value cannot be sent. The value is not shown: it may be a secret.
    #[error("header `{name}` has a name or a value that cannot be sent")]
    Header {
        /// Its name.
        name: String,
    },
    /// Certificates cannot be used.
    #[error("no certificate can be read from {}: {reason}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No TLS configuration could be made.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// What is missing.
        reason: String,
    },
    /// Nothing answers there.
    #[error("nothing answers at {url}: {reason}")]
    NotThere {
        /// The base URL.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The server did not answer in time.
    #[error("{url} did not answer within {} s", after.as_secs_f64())]
    Silent {
        /// The whole URL.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// The exchange broke.
    #[error("{url} broke off: {reason}")]
    Broken {
        /// The whole URL.
        url: String,
        /// What was seen.
        reason: String,
    },
    /// The server is there and not ready: 503 while it loads.
    #[error("{url} is not ready yet ({status}): {message}")]
    Loading {
        /// The whole URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// Something answers that is no OpenAI-compatible server.
    #[error("{url} does not answer as an OpenAI-compatible server does ({status}): {message}")]
    NotAnApi {
        /// The whole URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// What was answered, shortened.
        message: String,
    },
    /// The server refused a request.
    #[error("{url} refused the request ({status}): {message}")]
    Refused {
        /// The whole URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The server does not serve the model.
    #[error("{url} does not list the model `{model}`; it lists {}", listing(listed))]
    ModelNotListed {
        /// The whole URL.
        url: String,
        /// The model asked for.
        model: String,
        /// All that are listed.
        listed: Vec<String>,
        /// The listed one that was most likely meant.
        nearest: Option<String>,
    },
    /// The file is no tokenizer.
    #[error("{} is no tokenizer: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the user cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Raw responses cannot be written: the disk is full, the folder read-only.
    #[error("raw responses cannot be kept")]
    Storage(#[source] FileError),
    /// A thread of the generator could not be started.
    #[error("a thread of the generator cannot be started")]
    Thread(#[source] std::io::Error),
    /// A thread of the generator panicked.
    #[error("a thread of the generator panicked; this is a bug")]
    Panicked,
}

fn listing(ids: &[String]) -> String {
    if ids.is_empty() {
        return "none".to_owned();
    }
    let mut text = ids.iter().take(8).map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
    if ids.len() > 8 {
        text.push_str(&format!(" and {} more", ids.len() - 8));
    }
    text
}
