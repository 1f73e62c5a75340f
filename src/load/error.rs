//! What can go wrong on this floor, apart from single requests: those are records, not errors.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{FileError, some_of};

/// Why something of this floor could not be done.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The URL cannot be used.
    #[error("`{url}` {reason}")]
    Url {
        /// As given.
        url: String,
        /// The rest of a sentence that starts with the URL.
        reason: String,
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
    /// The server took a request and gave no completion.
    #[error("{url} answered {status} without a completion: {message}")]
    NoCompletion {
        /// The whole URL.
        url: String,
        /// HTTP status.
        status: u16,
        /// What came instead.
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
    /// A level has more requests under way than this process may have connections.
    #[error("{wanted} requests under way need a connection each, and this machine lets the generator have {most}")]
    Room {
        /// Requests under way.
        wanted: u64,
        /// Connections at most.
        most: u64,
    },
    /// A secret that is named and not there.
    #[error("the environment variable {name} is not set (or not UTF-8)")]
    Variable {
        /// Its name.
        name: String,
    },
    /// It was asked to end.
    #[error("it was interrupted; nothing of it is used")]
    Cancelled,
    /// A worker said why it could not do what was ordered.
    #[error("{}", .0.message)]
    Elsewhere(Fault),
    /// A worker cannot be asked.
    #[error("the load worker {worker} cannot be asked: {reason}")]
    Worker {
        /// Its name.
        worker: String,
        /// What was seen.
        reason: String,
    },
    /// A worker is gone, and what it had not handed over with it.
    #[error("the load worker {worker} is gone: {reason}")]
    WorkerGone {
        /// Its name.
        worker: String,
        /// Why.
        reason: String,
    },
    /// A worker is of another build than this program.
    #[error("the load worker {worker} speaks protocol {found}, and this program {wanted}")]
    Protocol {
        /// Its name.
        worker: String,
        /// Its version.
        found: u32,
        /// Ours.
        wanted: u32,
    },
    /// A thread of the generator panicked.
    #[error("a thread of the generator panicked; this is a bug")]
    Panicked,
}

/// What may be done about an error of this floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// May pass by itself: a server that is silent may come back.
    Passing,
    /// Will happen again until somebody changes something.
    Lasting,
    /// Results cannot be written.
    Storage,
    /// It was asked to end.
    Cancelled,
}

/// An error as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What may be done about it.
    pub kind: FaultKind,
    /// What happened, in one line.
    pub message: String,
    /// The chain of causes.
    pub details: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

impl LoadError {
    /// What may be done about it.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Storage(_) => FaultKind::Storage,
            Self::NotThere { .. } | Self::Silent { .. } | Self::Broken { .. } | Self::Loading { .. } => {
                FaultKind::Passing
            }
            Self::Worker { .. } | Self::WorkerGone { .. } => FaultKind::Passing,
            // Too many requests, or a fault of the server's own: another time it may do.
            Self::Refused { status, .. } if *status == 429 || *status >= 500 => FaultKind::Passing,
            Self::Elsewhere(fault) => fault.kind,
            Self::Cancelled => FaultKind::Cancelled,
            Self::File(_)
            | Self::Url { .. }
            | Self::Header { .. }
            | Self::Certificates { .. }
            | Self::Tls { .. }
            | Self::NotAnApi { .. }
            | Self::NoCompletion { .. }
            | Self::Refused { .. }
            | Self::ModelNotListed { .. }
            | Self::Tokenizer { .. }
            | Self::Room { .. }
            | Self::Variable { .. }
            | Self::Protocol { .. }
            | Self::Thread(_)
            | Self::Panicked => FaultKind::Lasting,
        }
    }

    /// What to do, where that is known here.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::ModelNotListed { nearest: Some(near), .. } => {
                Some(format!("did you mean `{near}`? Set `served-name` of the deployment, or `model.id`"))
            }
            Self::Variable { .. } => {
                Some("export it before `dynbench apply`; its value is never written anywhere".to_owned())
            }
            Self::Room { .. } => Some(
                "raise the hard limit of open files (`ulimit -Hn` shows it), ask for a lower load, or let several workers in \
                 the cluster send it"
                    .to_owned(),
            ),
            Self::Protocol { .. } => {
                Some("make the image of `load.image` anew with `dynbench image` of this version".to_owned())
            }
            Self::Elsewhere(fault) => fault.help.clone(),
            Self::WorkerGone { .. } => {
                Some("`dynbench apply --resume` starts another and measures the level anew".to_owned())
            }
            Self::Worker { .. } => {
                Some("the worker goes on and holds its result: `dynbench apply --resume` takes it up".to_owned())
            }
            Self::ModelNotListed { nearest: None, .. }
            | Self::Storage(_)
            | Self::NotThere { .. }
            | Self::Silent { .. }
            | Self::Broken { .. }
            | Self::Loading { .. }
            | Self::Cancelled
            | Self::File(_)
            | Self::Url { .. }
            | Self::Header { .. }
            | Self::Certificates { .. }
            | Self::Tls { .. }
            | Self::NotAnApi { .. }
            | Self::NoCompletion { .. }
            | Self::Refused { .. }
            | Self::Tokenizer { .. }
            | Self::Thread(_)
            | Self::Panicked => None,
        }
    }

    /// What lay behind an error elsewhere, a line each.
    pub fn details(&self) -> Vec<String> {
        if let Self::Elsewhere(fault) = self { fault.details.clone() } else { Vec::new() }
    }

    /// The same for somebody else.
    pub(super) fn fault(&self) -> Fault {
        if let Self::Elsewhere(fault) = self {
            return fault.clone();
        }
        let mut details = Vec::new();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            details.push(cause.to_string());
            source = cause.source();
        }
        // Elsewhere it is not this shell's environment.
        let help = if let Self::Variable { name } = self {
            Some(format!("give it to the workers: `load.env.{name}` names a Secret and its key"))
        } else {
            self.help()
        };
        Fault { kind: self.kind(), message: self.to_string(), details, help }
    }
}

fn listing(ids: &[String]) -> String {
    if ids.is_empty() {
        return "none".to_owned();
    }
    some_of(&ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>())
}
