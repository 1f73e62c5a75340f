//! Looking at a server before it is measured: does it list the model, and does it answer.
//!
//! `/health` is no evidence: servers say that they are well with no model behind them. Every way to be not ready is told
//! in a sentence of its own, because it is what a person waits in front of.

use std::fmt::Debug;
use std::time::Duration;

use crate::base::{nearest, some_of};
use crate::plan::Api;

use super::contract::{BoxFuture, Endpoint};

/// What `/v1/models` said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Ids of the models.
    pub ids: Vec<String>,
    /// The header `server`.
    pub server: Option<String>,
}

/// Asks a server; the waiting between two questions is not its business.
pub trait Prober: Debug + Send + Sync {
    /// Asks which models are served.
    fn models<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<Listing, ProbeFault>>;
    /// Asks for a few tokens and returns how many came.
    fn canary<'a>(&'a self, endpoint: &'a Endpoint, api: Api) -> BoxFuture<'a, Result<u64, ProbeFault>>;
    /// The text of `/metrics` below a base URL.
    fn metrics<'a>(&'a self, endpoint: &'a Endpoint, base: &'a str) -> BoxFuture<'a, Result<String, ProbeFault>>;
    /// Asks for a few tokens and who made them; `None`: the server does not tell.
    fn workers<'a>(&'a self, _endpoint: &'a Endpoint, _api: Api) -> BoxFuture<'a, Result<Option<Workers>, ProbeFault>> {
        Box::pin(async { Ok(None) })
    }
}

/// Which workers answered one request, by their own ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workers {
    /// Who read the prompt.
    pub prefill: String,
    /// Who wrote the tokens.
    pub decode: String,
}

/// Why a server is not ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFault {
    /// Nobody listens.
    #[error("{url} refuses connections: nothing listens there")]
    Refused {
        /// What was asked.
        url: String,
    },
    /// No connection for another reason.
    #[error("{url} cannot be reached: {cause}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// The innermost cause.
        cause: String,
    },
    /// No answer in time.
    #[error("{url} did not answer within {} s", after.as_secs())]
    TimedOut {
        /// What was asked.
        url: String,
        /// The limit.
        after: Duration,
    },
    /// A web page instead of an API.
    #[error("{url} answered {status} with a web page: this is no OpenAI API")]
    Html {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
    },
    /// Dynamo's frontend with no worker behind it.
    #[error("{url} answered 404 with an empty body")]
    EmptyNotFound {
        /// What was asked.
        url: String,
    },
    /// On its way, by its own words.
    #[error("{url} answered 503, it is loading: {said}")]
    Loading {
        /// What was asked.
        url: String,
        /// The body.
        said: String,
    },
    /// Our key or header was not accepted.
    #[error("{url} answered {status}, it does not accept our key: {said}")]
    Denied {
        /// What was asked.
        url: String,
        /// 401 or 403.
        status: u16,
        /// The body.
        said: String,
    },
    /// The API is elsewhere. It is never followed: what we send may hold secrets, and is meant for one server.
    #[error("{url} answers with a redirect to {to}")]
    Redirect {
        /// What was asked.
        url: String,
        /// Where it leads, without a query.
        to: String,
        /// The same as a base URL, if it leads to the same path below another.
        base: Option<String>,
    },
    /// Another status.
    #[error("{url} answered {status}: {said}")]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// The body.
        said: String,
    },
    /// A body that is not what the API promises.
    #[error("{url} answered 200 with something else than {expected}: {said}")]
    Unexpected {
        /// What was asked.
        url: String,
        /// What should have come.
        expected: &'static str,
        /// The body.
        said: String,
    },
    /// No model yet.
    #[error("{url} lists no model")]
    NoModel {
        /// What was asked.
        url: String,
    },
    /// Another model.
    #[error("the model `{wanted}` is not listed; listed: {}", some_of(listed))]
    OtherModel {
        /// The plan's.
        wanted: String,
        /// The server's.
        listed: Vec<String>,
    },
    /// Success without a token.
    #[error("{url} answered 200 without a single token")]
    NoTokens {
        /// What was asked.
        url: String,
    },
    /// Something of ours is missing.
    #[error("{what}")]
    Ours {
        /// In words.
        what: String,
    },
}

impl ProbeFault {
    /// What to do about it, where that is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::OtherModel { wanted, listed } => Some(match nearest(wanted, listed.iter().map(String::as_str)) {
                Some(near) => {
                    format!("did you mean `{near}`? write it as `model.id` or as this deployment's `served-name`")
                }
                None => "write the id that is served as `model.id` or as this deployment's `served-name`".to_owned(),
            }),
            Self::Html { .. } => Some("is it the port of another service?".to_owned()),
            Self::Denied { .. } => {
                Some("name the variable that holds the key in `api-key-env` or `headers-env`".to_owned())
            }
            Self::Redirect { base: Some(base), .. } => Some(format!("write that address as `url`: {base}")),
            Self::Redirect { base: None, .. } => Some("write the address of the API itself as `url`".to_owned()),
            Self::EmptyNotFound { .. } | Self::NoModel { .. } => {
                Some("the frontend is up and no worker has registered the model with it".to_owned())
            }
            Self::NoTokens { .. } => Some("does the model have a chat template, and is the engine healthy?".to_owned()),
            Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Loading { .. }
            | Self::Status { .. }
            | Self::Unexpected { .. }
            | Self::Ours { .. } => None,
        }
    }

    /// The same fault in words that name another URL: the one that a person knows.
    #[must_use]
    pub fn rename(mut self, from: &str, to: &str) -> Self {
        match &mut self {
            Self::Refused { url }
            | Self::Unreachable { url, .. }
            | Self::TimedOut { url, .. }
            | Self::Html { url, .. }
            | Self::EmptyNotFound { url }
            | Self::Loading { url, .. }
            | Self::Denied { url, .. }
            | Self::Redirect { url, .. }
            | Self::Status { url, .. }
            | Self::Unexpected { url, .. }
            | Self::NoModel { url }
            | Self::NoTokens { url } => *url = url.replace(from, to),
            Self::OtherModel { .. } | Self::Ours { .. } => {}
        }
        self
    }

    /// Whether somebody has to change something before it can pass, where the server is not one that is starting.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Redirect { .. })
    }

    /// Whether it is the same fault as another, whatever the words of a refusal.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Denied { url, status, .. }, Self::Denied { url: other_url, status: other_status, .. }) => {
                (url, status) == (other_url, other_status)
            }
            (one, other) => one == other,
        }
    }

    /// Whether anybody answered at all.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Unreachable { .. } | Self::TimedOut { .. })
    }
}
