//! Requests to one repository of a registry (OCI distribution API), with the log-in that the registry asks for.
//!
//! A registry that wants a log-in answers 401 and says which: the password itself (Basic), or a token that another
//! address gives for it (Bearer). It is asked for once and kept for this value's life.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use serde_json::Value;

use super::super::super::http_probe::trusting;
use super::super::fault::chain;
use super::login::Login;
use super::reference::ImageRef;

/// Limit for reaching a registry.
const CONNECT: Duration = Duration::from_secs(10);
/// Limit for silence within an answer.
const SILENCE: Duration = Duration::from_secs(30);

/// Why a registry did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum RegistryError {
    /// Nobody answers there.
    #[error("{registry} cannot be reached: {reason}")]
    NotThere {
        /// The host.
        registry: String,
        /// Why.
        reason: String,
    },
    /// It wants another login, or one at all.
    #[error("{registry} does not let {who} see {repository}")]
    Denied {
        /// The host.
        registry: String,
        /// The user's name, or `anybody`.
        who: String,
        /// The repository.
        repository: String,
    },
    /// Something else than expected.
    #[error("{registry} answered {status} to {what}")]
    Odd {
        /// The host.
        registry: String,
        /// HTTP status, with its first line of text.
        status: String,
        /// What was asked.
        what: String,
    },
}

/// One repository.
pub(in super::super) struct Repository {
    http: Client,
    /// For log-ins: the secret is in the body, which a redirect would carry on to wherever it leads.
    logins: Client,
    base: Url,
    registry: String,
    name: String,
    login: Option<Login>,
    token: Mutex<Option<String>>,
}

impl Repository {
    /// Of an image; `insecure` registries are spoken to in plain HTTP. Nothing is sent yet.
    ///
    /// # Errors
    /// When the registry's name is no host.
    pub(in super::super) fn of(image: &ImageRef, login: Option<Login>, insecure: bool) -> Result<Self, RegistryError> {
        let scheme = if insecure { "http" } else { "https" };
        let not_there = |reason: String| RegistryError::NotThere { registry: image.registry.clone(), reason };
        let base =
            Url::parse(&format!("{scheme}://{}/v2/", image.host())).map_err(|error| not_there(error.to_string()))?;
        let http = client(insecure, redirect::Policy::default()).map_err(not_there)?;
        let logins = client(insecure, redirect::Policy::none()).map_err(not_there)?;
        let (registry, name) = (image.registry.clone(), image.repository.clone());
        Ok(Self { http, logins, base, registry, name, login, token: Mutex::new(None) })
    }

    /// Address of a part of the repository: `manifests/1.0`, `blobs/sha256:...`.
    ///
    /// # Errors
    /// When it is no address.
    pub(in super::super) fn url(&self, part: &str) -> Result<Url, RegistryError> {
        self.base.join(&format!("{}/{part}", self.name)).map_err(|error| self.not_there(&error))
    }

    /// Sends what `build` adds to a request, logging in if the registry asks for it. `push` asks for the right to write.
    ///
    /// # Errors
    /// When nobody answers, or the log-in is refused. Every other status is for the caller.
    pub(in super::super) async fn send(
        &self,
        method: Method,
        url: &Url,
        push: bool,
        build: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let send = || async {
            let mut request = build(self.http.request(method.clone(), url.clone()));
            if let Some(token) = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                request = request.bearer_auth(token);
            } else if let Some(login) = self.login.as_ref().filter(|login| login.user != TOKEN_USER) {
                // Sent at once: one question less, and it goes to the host that it belongs to.
                request = request.basic_auth(&login.user, Some(&login.secret));
            }
            request.send().await.map_err(|error| self.not_there(&error))
        };
        let answer = send().await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return self.denied_or(answer);
        }
        let challenges: Vec<String> = answer
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect();
        let Some(challenge) = challenges.iter().find_map(|text| Challenge::parse(text)) else {
            return Err(self.denied());
        };
        let token = self.fetch_token(&challenge, push).await?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        let answer = send().await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            return Err(self.denied());
        }
        self.denied_or(answer)
    }

    fn denied_or(&self, answer: Response) -> Result<Response, RegistryError> {
        if answer.status() == StatusCode::FORBIDDEN { Err(self.denied()) } else { Ok(answer) }
    }

    /// A token for this repository.
    async fn fetch_token(&self, challenge: &Challenge, push: bool) -> Result<String, RegistryError> {
        let rights = if push { "pull,push" } else { "pull" };
        let scope = format!("repository:{}:{rights}", self.name);
        let request = match &self.login {
            Some(login) if login.user == TOKEN_USER => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("service", challenge.service.as_str()),
                    ("scope", scope.as_str()),
                    ("client_id", "dynbench"),
                    ("refresh_token", login.secret.as_str()),
                ];
                let encoded = Url::parse_with_params("http://form/", form).map_err(|error| self.not_there(&error))?;
                let body = encoded.query().unwrap_or_default().to_owned();
                let kind = "application/x-www-form-urlencoded";
                self.logins.post(&challenge.realm).header(reqwest::header::CONTENT_TYPE, kind).body(body)
            }
            login => {
                let query = [("service", challenge.service.as_str()), ("scope", scope.as_str())];
                let realm = Url::parse_with_params(&challenge.realm, query).map_err(|error| self.not_there(&error))?;
                let request = self.logins.get(realm);
                match login {
                    Some(login) => request.basic_auth(&login.user, Some(&login.secret)),
                    None => request,
                }
            }
        };
        let answer = request.send().await.map_err(|error| self.not_there(&error))?;
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.denied()),
            status if !status.is_success() => return Err(self.odd(status, "a log-in")),
            _ => {}
        }
        let body: Value = answer.json().await.map_err(|error| self.not_there(&error))?;
        let token = ["token", "access_token"].into_iter().find_map(|key| body.get(key)?.as_str());
        token.map(str::to_owned).ok_or_else(|| self.odd(StatusCode::OK, "a log-in, without a token"))
    }

    /// An answer that the caller has no use for.
    pub(in super::super) fn odd(&self, status: StatusCode, what: &str) -> RegistryError {
        RegistryError::Odd { registry: self.registry.clone(), status: status.to_string(), what: what.to_owned() }
    }

    pub(in super::super) fn not_there(&self, error: &dyn std::error::Error) -> RegistryError {
        RegistryError::NotThere { registry: self.registry.clone(), reason: chain(error) }
    }

    fn denied(&self) -> RegistryError {
        RegistryError::Denied {
            registry: self.registry.clone(),
            who: self.login.as_ref().map_or("anybody", |login| &login.user).to_owned(),
            repository: self.name.clone(),
        }
    }
}

/// What docker calls the user of a refresh token.
const TOKEN_USER: &str = "<token>";

/// A client without the system's proxy: a plan must mean the same on every machine.
fn client(insecure: bool, redirects: redirect::Policy) -> Result<Client, String> {
    Client::builder()
        .no_proxy()
        .redirect(redirects)
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .user_agent(concat!("dynbench/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(trusting(None, !insecure)?)
        .build()
        .map_err(|error| chain(&error))
}

/// `Bearer realm="https://auth...",service="..."`
#[derive(Debug, Clone, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: String,
}

impl Challenge {
    /// `None`: it is no Bearer challenge.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let value = |name: &str| {
            let start = rest.find(&format!("{name}=\""))? + name.len() + 2;
            let end = rest[start..].find('"')? + start;
            Some(rest[start..end].to_owned())
        };
        Some(Self { realm: value("realm")?, service: value("service").unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Answers each connection with the next of these, and counts them.
    async fn answering(answers: Vec<String>) -> (String, tokio::task::JoinHandle<usize>) {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            for answer in &answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            answers.len()
        });
        (address, task)
    }

    #[tokio::test]
    async fn a_log_in_that_is_redirected_takes_its_secret_nowhere_else() {
        let end = "content-length: 0\r\nconnection: close\r\n\r\n";
        let (other, asked) = answering(vec![format!("HTTP/1.1 200 OK\r\n{end}")]).await;
        let (realm, _realm) =
            answering(vec![format!("HTTP/1.1 307 Moved\r\nlocation: http://{other}/token\r\n{end}")]).await;
        let challenge = format!("www-authenticate: Bearer realm=\"http://{realm}/token\",service=\"s\"");
        let (registry, _registry) = answering(vec![format!("HTTP/1.1 401 No\r\n{challenge}\r\n{end}")]).await;
        let image = ImageRef::parse(&format!("{registry}/a/b:1")).unwrap();
        let login = Login { user: TOKEN_USER.to_owned(), secret: "hush".to_owned() };
        let repository = Repository::of(&image, Some(login), true).unwrap();
        let url = repository.url("manifests/1").unwrap();
        let error = repository.send(Method::GET, &url, false, |request| request).await.unwrap_err();
        assert!(matches!(error, RegistryError::Odd { .. }), "{error:?}");
        assert!(!asked.is_finished(), "the secret went to another host");
        asked.abort();
    }

    #[test]
    fn a_bearer_challenge_is_read_and_a_basic_one_is_none() {
        let text = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"x,y\"";
        let found = Challenge::parse(text).unwrap();
        assert_eq!(found.realm, "https://auth.docker.io/token");
        assert_eq!(found.service, "registry.docker.io");
        assert_eq!(Challenge::parse("Basic realm=\"x\""), None);
    }
}
