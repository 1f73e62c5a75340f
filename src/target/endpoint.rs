//! `kind = "endpoint"`: a server that runs already. Nothing is started, nothing is ended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::contract::{BoxFuture, Deployed, Endpoint, Ledger, Live, Ready, Target, TargetError};
use super::http_probe::HTTP_PROBER;
use super::probe::{ProbeFault, Prober};
use super::ready::{self, served_model};
use crate::base::fact::METRICS_UNREAD;
use crate::base::{Diagnostic, Problems};
use crate::plan::{Deployment, Key, Plan, Shape, TargetKind};

const KEYS: &[Key] = &[
    Key { name: "url", about: "Base URL, without `/v1`.", shape: Shape::Text, default: None, required: true },
    Key {
        name: "headers-env",
        about: "Headers whose values are taken from environment variables, by name.",
        shape: Shape::Map(&Shape::Text),
        default: None,
        required: false,
    },
    Key {
        name: "api-key-env",
        about: "Environment variable that holds the API key.",
        shape: Shape::Text,
        default: None,
        required: false,
    },
    Key {
        name: "ca-file",
        about: "PEM file with the certificates to trust instead of the system's.",
        shape: Shape::Path,
        default: None,
        required: false,
    },
    Key {
        name: "metrics-urls",
        about: "Base URLs whose `/metrics` tell the servers' own view; by default `url`.",
        shape: Shape::List { of: &Shape::Text, min: 0, unique: true },
        default: None,
        required: false,
    },
];

/// How long a preflight waits for tokens: a refusal comes sooner.
const CANARY_LIMIT: Duration = Duration::from_secs(5);
/// How long a page of metrics is waited for that did not come before.
const SLOW_LIMIT: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Raw {
    url: String,
    #[serde(default)]
    headers_env: BTreeMap<String, String>,
    #[serde(default)]
    api_key_env: Option<String>,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    metrics_urls: Vec<String>,
}

/// Whether a text can be the name of an environment variable.
fn is_variable(text: &str) -> bool {
    !text.starts_with(|first: char| first.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What is wrong with a base URL, and what to do about it.
pub(super) fn check_url(text: &str) -> Result<(), (String, String)> {
    let wrong = |message: String, help: &str| Err((message, help.to_owned()));
    let example = "write it as http://HOST:PORT or https://HOST";
    let url = match reqwest::Url::parse(text) {
        Ok(url) => url,
        Err(error) => return wrong(format!("`{text}` is no URL: {error}"), example),
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return wrong(format!("`{text}` is no URL of HTTP"), example);
    }
    if !url.username().is_empty() || url.password().is_some() {
        let help = "name the environment variable that holds the key in `api-key-env` or `headers-env`";
        return wrong("this URL holds a user name or a password, and plans are checked in".to_owned(), help);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong(format!("`{text}` has a query or a fragment, and paths are added to it"), example);
    }
    let path = url.path().trim_end_matches('/');
    let base = path.strip_suffix("/v1").or_else(|| path.find("/v1/").map(|at| &path[..at]));
    if let Some(base) = base {
        let start = text.find(path).unwrap_or(text.len());
        return wrong(
            format!("`{text}` has the path `/v1`, which dynbench adds itself"),
            &format!("write `{}{base}`", &text[..start]),
        );
    }
    Ok(())
}

/// What is wrong with the base URL of a page of metrics.
fn check_metrics_url(text: &str) -> Result<(), (String, String)> {
    match text.trim_end_matches('/').strip_suffix("/metrics") {
        Some(base) => {
            Err((format!("`{text}` has the path `/metrics`, which dynbench adds itself"), format!("write `{base}`")))
        }
        None => check_url(text),
    }
}

fn read(live: Live<'_>) -> Result<Endpoint, TargetError> {
    let raw: Raw = live
        .deployment
        .values
        .decode()
        .map_err(|error| TargetError::new(format!("the keys of this deployment do not fit: {error}")))?;
    let base = |url: &str| url.trim_end_matches('/').to_owned();
    let url = base(&raw.url);
    let mut metrics_urls: Vec<_> = raw.metrics_urls.iter().map(|url| base(url)).collect();
    if metrics_urls.is_empty() {
        metrics_urls.push(url.clone());
    }
    Ok(Endpoint {
        url,
        headers_env: raw.headers_env,
        api_key_env: raw.api_key_env,
        ca_file: raw.ca_file.map(|file| live.plan.dir.join(file)),
        model: served_model(live.plan, live.deployment).to_owned(),
        metrics_urls: metrics_urls.into_iter().map(Into::into).collect(),
    })
}

/// The target that measures what runs already.
#[derive(Debug)]
pub struct Existing {
    prober: &'static dyn Prober,
    /// Pages of metrics that were waited for in vain, by their base URLs.
    slow: Mutex<BTreeSet<String>>,
}

impl Existing {
    /// Asks over HTTP.
    pub const fn new() -> Self {
        Self::asking(HTTP_PROBER)
    }

    const fn asking(prober: &'static dyn Prober) -> Self {
        Self { prober, slow: Mutex::new(BTreeSet::new()) }
    }

    /// What tells one life of the server from another, as far as it lets us know, and which pages of metrics cannot be
    /// read, each with why.
    async fn life(&self, endpoint: &Endpoint) -> (Value, Vec<String>) {
        let server = self.prober.models(endpoint).await.ok().and_then(|listing| listing.server);
        let mut starts = BTreeMap::new();
        let mut unread = Vec::new();
        for base in endpoint.metrics_urls.iter().map(|page| &page.url) {
            // A server without metrics is no fault: its restarts are then not seen.
            match self.metrics(endpoint, base).await {
                Ok(text) => starts.extend(process_start(&text).map(|start| (base.clone(), start))),
                Err(fault) => unread.push(unread_because(base, &fault)),
            }
        }
        (json!({"url": endpoint.url, "server": server, "process-start": starts}), unread)
    }

    /// One page of metrics. One that was waited for in vain is not waited for as long again: it is asked around each level.
    async fn metrics(&self, endpoint: &Endpoint, base: &str) -> Result<String, ProbeFault> {
        let is_slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner).contains(base);
        let asked = self.prober.metrics(endpoint, base);
        let page = if is_slow {
            let late = || ProbeFault::TimedOut { url: format!("{base}/metrics"), after: SLOW_LIMIT };
            tokio::time::timeout(SLOW_LIMIT, asked).await.unwrap_or_else(|_| Err(late()))
        } else {
            asked.await
        };
        if let Err(ProbeFault::TimedOut { .. }) = page {
            self.slow.lock().unwrap_or_else(PoisonError::into_inner).insert(base.to_owned());
        }
        page
    }
}

impl Default for Existing {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a page of metrics tells nothing, in one line.
fn unread_because(base: &str, fault: &ProbeFault) -> String {
    let url = format!("{base}/metrics");
    let why = match fault {
        ProbeFault::Html { status, .. } => format!("it answered {status} with a web page"),
        other => {
            let text = other.to_string();
            text.strip_prefix(&url).map_or(text.clone(), |rest| format!("it{rest}"))
        }
    };
    format!("{url} cannot be read: {why}")
}

/// `process_start_time_seconds` of a Prometheus text, to the second: it is exported with all its noise.
fn process_start(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("process_start_time_seconds"))?;
    let seconds: f64 = line.split_ascii_whitespace().last()?.parse().ok()?;
    (seconds > 0.0).then_some(seconds as u64)
}

impl TargetKind for Existing {
    fn kind(&self) -> &'static str {
        "endpoint"
    }

    fn about(&self) -> &'static str {
        "A server that runs already, by its URL: measured, never started, never ended."
    }

    fn target_keys(&self) -> &'static [Key] {
        &[]
    }

    fn deployment_keys(&self) -> &'static [Key] {
        KEYS
    }

    fn check(&self, plan: &Plan, deployment: &Deployment, problems: &mut Problems) {
        let at = |key: &str| deployment.values.span(key).or(deployment.span.as_ref()).cloned();
        let raw: Raw = match deployment.values.decode() {
            Ok(raw) => raw,
            Err(error) => {
                problems.push(Diagnostic::error(error.to_string()).at(deployment.span.clone()));
                return;
            }
        };
        let pages = raw.metrics_urls.iter().enumerate();
        let pages = pages.map(|(at, url)| (format!("metrics-urls.{at}"), check_metrics_url(url)));
        for (key, checked) in std::iter::once(("url".to_owned(), check_url(&raw.url))).chain(pages) {
            if let Err((message, help)) = checked {
                problems.push(Diagnostic::error(message).at(at(&key)).help(help));
            }
        }
        let variables = raw.headers_env.iter().map(|(header, name)| (format!("headers-env.{header}"), name));
        let key = raw.api_key_env.iter().map(|name| ("api-key-env".to_owned(), name));
        for (key, _) in variables.chain(key).filter(|(_, name)| !is_variable(name)) {
            // What stands there may be the secret itself, so it is not repeated.
            let message = format!("`{key}` takes the name of an environment variable");
            let help = "export the value under a name, write that name here, and revoke the value if it is a secret";
            problems.push(Diagnostic::error(message).at(at(&key)).help(help));
        }
        for name in raw.headers_env.keys() {
            if name.parse::<reqwest::header::HeaderName>().is_err() {
                let message = format!("`{name}` is no name of a header");
                problems.push(Diagnostic::error(message).at(at(&format!("headers-env.{name}"))));
            }
        }
        if let Some(file) = &raw.ca_file
            && !plan.dir.join(file).is_file()
        {
            let message = format!("{} does not exist", plan.dir.join(file).display());
            problems.push(Diagnostic::error(message).at(at("ca-file")));
        }
    }

    fn fingerprint(&self, _plan: &Plan, deployment: &Deployment) -> Value {
        json!({"url": deployment.values.json.get("url")})
    }

    fn gpus(&self, _plan: &Plan, _deployment: &Deployment) -> Option<f64> {
        None
    }

    fn describe(&self, _plan: &Plan, deployment: &Deployment) -> String {
        let url = deployment.values.json.get("url").and_then(Value::as_str).unwrap_or_default();
        format!("measure what runs at {url}; nothing is started")
    }

    fn simulated(&self, _deployment: &Deployment) -> bool {
        false
    }

    fn transport(&self, _plan: &Plan, _deployment: &Deployment) -> &'static str {
        "url"
    }
}

impl Target for Existing {
    fn discover<'a>(&'a self, _live: Live<'a>) -> BoxFuture<'a, Result<Value, TargetError>> {
        Box::pin(async { Ok(Value::Null) })
    }

    fn preflight<'a>(&'a self, live: Live<'a>) -> BoxFuture<'a, Result<Vec<String>, TargetError>> {
        Box::pin(async move {
            let endpoint = read(live)?;
            let needed = endpoint.headers_env.values().chain(&endpoint.api_key_env);
            for variable in needed {
                if std::env::var_os(variable).is_none() {
                    let error = TargetError::new(format!("the environment variable `{variable}` is not set"));
                    let help = "set it in the shell that starts dynbench".to_owned();
                    return Err(TargetError { help: Some(help), ..error });
                }
            }
            let at_url = |fault: ProbeFault| {
                let silent = fault.is_silence();
                let mut error = TargetError { key: Some("url".to_owned()), ..TargetError::from(fault) };
                if silent {
                    error.message = format!("nothing answers at the start: {}", error.message);
                    error.help = Some("start the server first, or correct `url`".to_owned());
                }
                error
            };
            let listing = ready::listed(self.prober, &endpoint).await.map_err(at_url)?;
            // The list is open to everybody on many servers; what is slow to answer is for the step that waits.
            let canary = self.prober.canary(&endpoint, ready::api_of(live.plan));
            if let Ok(Err(fault)) = tokio::time::timeout(CANARY_LIMIT, canary).await
                && fault.is_lasting()
            {
                return Err(at_url(fault));
            }
            Ok(vec![format!("{} lists {} ({} in all)", endpoint.url, endpoint.model, listing.ids.len())])
        })
    }

    fn deploy<'a>(&'a self, live: Live<'a>, _ledger: &'a dyn Ledger) -> BoxFuture<'a, Result<Deployed, TargetError>> {
        Box::pin(async move { Ok(Deployed { endpoint: read(live)?, state: Value::Null }) })
    }

    fn wait<'a>(
        &'a self,
        live: Live<'a>,
        deployed: &'a Deployed,
        ledger: &'a dyn Ledger,
    ) -> BoxFuture<'a, Result<Ready, TargetError>> {
        Box::pin(async move {
            let endpoint = deployed.endpoint.clone();
            let asked =
                ready::Asked { endpoint: &endpoint, api: ready::api_of(live.plan), cancel: live.cancel, runs: true };
            let mut facts = ready::until_ready(self.prober, asked, &|doing| ledger.doing(doing), &|| None).await?;
            let (incarnation, unread) = self.life(&endpoint).await;
            // That `url` itself has no metrics is nobody's mistake.
            if !unread.is_empty() && live.deployment.values.json.get("metrics-urls").is_some() {
                facts.insert(METRICS_UNREAD.to_owned(), unread.join("; "));
            }
            Ok(Ready { endpoint, incarnation, facts })
        })
    }

    fn incarnation<'a>(&'a self, _live: Live<'a>, deployed: &'a Deployed) -> BoxFuture<'a, Result<Value, TargetError>> {
        Box::pin(async { Ok(self.life(&deployed.endpoint).await.0) })
    }

    fn collect<'a>(
        &'a self,
        _live: Live<'a>,
        _deployed: &'a Deployed,
        _into: &'a Path,
    ) -> BoxFuture<'a, Result<Vec<String>, TargetError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn end<'a>(&'a self, _handle: &'a Value, _cancel: &'a CancellationToken) -> BoxFuture<'a, Result<(), TargetError>> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests;
