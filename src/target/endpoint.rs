//! `kind = "endpoint"`: a server that runs already. Nothing is started, nothing is ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::contract::{BoxFuture, Deployed, Endpoint, Ledger, Live, Ready, Target, TargetError};
use super::http_probe::HTTP_PROBER;
use super::probe::Prober;
use super::ready::{self, served_model};
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
        metrics_urls,
    })
}

/// The target that measures what runs already.
#[derive(Debug)]
pub struct Existing {
    prober: &'static dyn Prober,
}

impl Existing {
    /// Asks over HTTP.
    pub const fn new() -> Self {
        Self { prober: HTTP_PROBER }
    }

    /// What tells one life of the server from another, as far as it lets us know.
    async fn life(&self, endpoint: &Endpoint) -> Value {
        let server = self.prober.models(endpoint).await.ok().and_then(|listing| listing.server);
        let mut starts = BTreeMap::new();
        for base in &endpoint.metrics_urls {
            // A server without metrics is no fault: its restarts are then not seen.
            if let Some(start) = self.prober.metrics(endpoint, base).await.ok().as_deref().and_then(process_start) {
                starts.insert(base.clone(), start);
            }
        }
        json!({"url": endpoint.url, "server": server, "process-start": starts})
    }
}

impl Default for Existing {
    fn default() -> Self {
        Self::new()
    }
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
        let numbered = raw.metrics_urls.iter().enumerate().map(|(at, url)| (format!("metrics-urls.{at}"), url));
        for (key, url) in std::iter::once(("url".to_owned(), &raw.url)).chain(numbered) {
            if let Err((message, help)) = check_url(url) {
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
            let listing = ready::listed(self.prober, &endpoint).await.map_err(|fault| {
                let silent = fault.is_silence();
                let mut error = TargetError { key: Some("url".to_owned()), ..TargetError::from(fault) };
                if silent {
                    error.message = format!("nothing answers at the start: {}", error.message);
                    error.help = Some("start the server first, or correct `url`".to_owned());
                }
                error
            })?;
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
            let asked = ready::Asked { endpoint: &endpoint, api: ready::api_of(live.plan), cancel: live.cancel };
            let facts = ready::until_ready(self.prober, asked, &|doing| ledger.doing(doing), &|| None).await?;
            let incarnation = self.life(&endpoint).await;
            Ok(Ready { endpoint, incarnation, facts })
        })
    }

    fn incarnation<'a>(&'a self, _live: Live<'a>, deployed: &'a Deployed) -> BoxFuture<'a, Result<Value, TargetError>> {
        Box::pin(async { Ok(self.life(&deployed.endpoint).await) })
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
mod tests {
    use super::*;
    use crate::base::SourceMap;
    use crate::plan::Api;
    use crate::target::fixtures::{self, Memory};
    use crate::target::{Listing, ProbeFault};

    /// A server that answers at once; the digit is its process's start.
    #[derive(Debug)]
    struct Server {
        answers: bool,
        started: u64,
    }

    impl Prober for Server {
        fn models<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<Listing, ProbeFault>> {
            let refused = ProbeFault::Refused { url: endpoint.url.clone() };
            let listing = Listing { ids: vec![endpoint.model.clone()], server: Some("s".to_owned()) };
            Box::pin(async move { if self.answers { Ok(listing) } else { Err(refused) } })
        }

        fn canary<'a>(&'a self, _: &'a Endpoint, _: Api) -> BoxFuture<'a, Result<u64, ProbeFault>> {
            Box::pin(async { Ok(1) })
        }

        fn metrics<'a>(&'a self, _: &'a Endpoint, _: &'a str) -> BoxFuture<'a, Result<String, ProbeFault>> {
            Box::pin(async { Ok(format!("process_start_time_seconds {}", self.started)) })
        }
    }

    async fn with<T>(prober: &'static Server, keys: Value, test: impl AsyncFnOnce(Existing, Live<'_>) -> T) -> T {
        let deployment = fixtures::deployment(keys);
        let plan = fixtures::plan(Path::new("/plans"));
        let cancel = CancellationToken::new();
        let live = Live { plan: &plan, deployment: &deployment, run: "r", dir: Path::new("/live"), cancel: &cancel };
        test(Existing { prober }, live).await
    }

    #[tokio::test]
    async fn nothing_is_started_and_a_restart_is_another_incarnation() {
        static FIRST: Server = Server { answers: true, started: 7 };
        static SECOND: Server = Server { answers: true, started: 8 };
        let keys = json!({"url": "http://h:1/"});
        let ledger = Memory::default();
        let ready = with(&FIRST, keys.clone(), async |target, live| {
            let deployed = target.deploy(live, &ledger).await.unwrap();
            assert_eq!(deployed.endpoint.url, "http://h:1");
            let ready = target.wait(live, &deployed, &ledger).await.unwrap();
            assert_eq!(target.incarnation(live, &deployed).await.unwrap(), ready.incarnation);
            ready
        })
        .await;
        assert!(ledger.handles().is_empty());
        with(&SECOND, keys, async |target, live| {
            let deployed = target.deploy(live, &ledger).await.unwrap();
            assert_ne!(target.incarnation(live, &deployed).await.unwrap(), ready.incarnation);
        })
        .await;
    }

    #[tokio::test]
    async fn preflight_says_when_nothing_answers_and_which_key_is_missing() {
        static SILENT: Server = Server { answers: false, started: 0 };
        let preflight = async |keys| {
            with(&SILENT, keys, async |target, live| target.preflight(live).await.unwrap_err().message).await
        };
        assert_eq!(
            preflight(json!({"url": "http://h:1"})).await,
            "nothing answers at the start: http://h:1 refuses connections: nothing listens there"
        );
        assert_eq!(
            preflight(json!({"url": "http://h:1", "api-key-env": "DYNBENCH_TEST_UNSET"})).await,
            "the environment variable `DYNBENCH_TEST_UNSET` is not set"
        );
    }

    #[tokio::test]
    async fn a_plan_with_a_bad_url_header_or_file_is_refused() {
        static ANY: Server = Server { answers: true, started: 0 };
        let keys = json!({
            "url": "http://h/v1", "headers-env": {"a b": "X"}, "ca-file": "no.pem", "metrics-urls": ["h"],
        });
        with(&ANY, keys, async |target, live| {
            let mut problems = Problems::default();
            target.check(live.plan, live.deployment, &mut problems);
            insta::assert_snapshot!(problems.render(&SourceMap::default(), false), @r"
            error: `http://h/v1` has the path `/v1`, which dynbench adds itself
             |
             = help: write `http://h`

            error: `h` is no URL: relative URL without a base
             |
             = help: write it as http://HOST:PORT or https://HOST

            error: `a b` is no name of a header

            error: /plans/no.pem does not exist
            ");
        })
        .await;
    }

    #[test]
    fn a_base_url_is_checked_with_advice() {
        let help = |url: &str| check_url(url).unwrap_err().1;
        assert_eq!(help("http://h:8000/v1"), "write `http://h:8000`");
        assert_eq!(help("https://h/openai/v1/"), "write `https://h/openai`");
        assert_eq!(help("http://h/v1/chat/completions"), "write `http://h`");
        assert!(help("http://user:pw@h").contains("api-key-env"));
        for bad in ["h:8000", "ftp://h", "http://", "", "http://h?x=1", "http://h:99999"] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        for good in ["http://127.0.0.1:8000", "https://h/openai/", "http://[::1]:80", "http://h/v12"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn the_start_of_a_process_is_read_from_its_metrics() {
        let text = "# HELP process_start_time_seconds x\nprocess_start_time_seconds 1.795558203e+09\n";
        assert_eq!(process_start(text), Some(1_795_558_203));
        assert_eq!(process_start("up 1\n"), None);
    }
}
