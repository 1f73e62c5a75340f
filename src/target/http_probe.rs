//! The prober over HTTP: no proxy, no redirects, short time limits, our own choice of certificates.

use std::error::Error as _;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url, redirect};
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::contract::{BoxFuture, Endpoint};
use super::probe::{Listing, ProbeFault, Prober, Workers};
use crate::plan::Api;

/// For questions that need no inference.
const LISTING_LIMIT: Duration = Duration::from_secs(10);
/// For the canary: the first request to a fresh engine compiles, and has been seen to take most of a minute.
const CANARY_LIMIT: Duration = Duration::from_secs(60);
/// Tokens the canary asks for.
const CANARY_TOKENS: u32 = 4;
/// Characters of a body that are shown.
const SHOWN: usize = 200;

/// The prober that asks over HTTP.
#[derive(Debug, Clone, Copy)]
pub struct HttpProber;

/// The one that targets use.
pub const HTTP_PROBER: &dyn Prober = &HttpProber;

impl Prober for HttpProber {
    fn models<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<Listing, ProbeFault>> {
        Box::pin(async move {
            let url = format!("{}/v1/models", endpoint.url);
            let answer = ask(endpoint, Method::GET, &url, None, LISTING_LIMIT).await?;
            let ids = serde_json::from_str::<Value>(&answer.body).ok().and_then(|body| {
                let ids = body.get("data")?.as_array()?.iter().filter_map(|model| model.get("id")?.as_str());
                Some(ids.map(str::to_owned).collect())
            });
            let unexpected = || ProbeFault::Unexpected { url, expected: "a list of models", said: shown(&answer.body) };
            Ok(Listing { ids: ids.ok_or_else(unexpected)?, server: answer.server })
        })
    }

    fn canary<'a>(&'a self, endpoint: &'a Endpoint, api: Api) -> BoxFuture<'a, Result<u64, ProbeFault>> {
        Box::pin(async move {
            let (url, body) = small_request(endpoint, api);
            let answer = ask(endpoint, Method::POST, &url, Some(body), CANARY_LIMIT).await?;
            let Ok(body) = serde_json::from_str::<Value>(&answer.body) else {
                return Err(ProbeFault::Unexpected { url, expected: "a completion", said: shown(&answer.body) });
            };
            match tokens(&body) {
                Some(0) => Err(ProbeFault::NoTokens { url }),
                Some(tokens) => Ok(tokens),
                None => Err(ProbeFault::Unexpected { url, expected: "a completion", said: shown(&answer.body) }),
            }
        })
    }

    fn metrics<'a>(&'a self, endpoint: &'a Endpoint, base: &'a str) -> BoxFuture<'a, Result<String, ProbeFault>> {
        Box::pin(async move {
            let url = format!("{base}/metrics");
            Ok(ask(endpoint, Method::GET, &url, None, LISTING_LIMIT).await?.body)
        })
    }

    fn workers<'a>(&'a self, endpoint: &'a Endpoint, api: Api) -> BoxFuture<'a, Result<Option<Workers>, ProbeFault>> {
        Box::pin(async move {
            let (url, mut body) = small_request(endpoint, api);
            // Dynamo's own extension; other servers refuse the field or pass it over.
            body["nvext"] = json!({"extra_fields": ["worker_id"]});
            match ask(endpoint, Method::POST, &url, Some(body), CANARY_LIMIT).await {
                Ok(answer) => Ok(serde_json::from_str(&answer.body).ok().as_ref().and_then(workers)),
                Err(ProbeFault::Status { .. }) => Ok(None),
                Err(fault) => Err(fault),
            }
        })
    }
}

/// URL and body of a request for a few tokens.
fn small_request(endpoint: &Endpoint, api: Api) -> (String, Value) {
    let (path, mut body) = match api {
        Api::Chat => ("chat/completions", json!({"messages": [{"role": "user", "content": "Say hello."}]})),
        Api::Completions => ("completions", json!({"prompt": "Say hello."})),
    };
    body["model"] = json!(endpoint.model);
    body["max_tokens"] = json!(CANARY_TOKENS);
    (format!("{}/v1/{path}", endpoint.url), body)
}

/// Who answered, by Dynamo's `nvext.worker_id`.
fn workers(body: &Value) -> Option<Workers> {
    let id = |role: &str| body.pointer("/nvext/worker_id")?.get(role).filter(|id| !id.is_null()).map(Value::to_string);
    Some(Workers { prefill: id("prefill_worker_id")?, decode: id("decode_worker_id")? })
}

/// Tokens of a completion: what the server counted, else one if there is any text.
fn tokens(body: &Value) -> Option<u64> {
    if let Some(counted) = body.pointer("/usage/completion_tokens").and_then(Value::as_u64) {
        return Some(counted);
    }
    let choice = body.get("choices")?.as_array()?.first()?;
    let texts = ["/text", "/message/content", "/message/reasoning_content", "/message/reasoning"];
    let any =
        texts.iter().any(|path| choice.pointer(path).and_then(Value::as_str).is_some_and(|text| !text.is_empty()));
    Some(u64::from(any))
}

struct Answer {
    body: String,
    server: Option<String>,
}

async fn ask(
    endpoint: &Endpoint,
    method: Method,
    url: &str,
    body: Option<Value>,
    limit: Duration,
) -> Result<Answer, ProbeFault> {
    let ours = |what: String| ProbeFault::Ours { what };
    let client = Client::builder()
        .no_proxy()
        // Headers hold secrets: they go to the server that the plan names, and to nobody whom that one names.
        .redirect(redirect::Policy::none())
        .tls_backend_preconfigured(tls(endpoint).map_err(ours)?)
        .default_headers(headers(endpoint).map_err(ours)?)
        .timeout(limit)
        .build()
        .map_err(|error| ours(format!("cannot make an HTTP client: {}", innermost(&error))))?;
    let mut request = client.request(method, url);
    if let Some(body) = &body {
        request = request.json(body);
    }
    let fault = |error: reqwest::Error| transport_fault(url, limit, &error);
    let response = request.send().await.map_err(fault)?;
    let status = response.status();
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let (server, kind) = (header("server"), header("content-type").unwrap_or_default());
    if status.is_redirection() {
        return Err(redirected(endpoint, url, &header("location").unwrap_or_default()));
    }
    let body = response.text().await.map_err(fault)?;
    judge(url, status, &kind, &body)?;
    Ok(Answer { body, server })
}

/// A redirect, with what to write instead: where it leads, less the path that was added to the base URL. The query is left
/// out: that of a log-in page may hold secrets.
fn redirected(endpoint: &Endpoint, url: &str, location: &str) -> ProbeFault {
    let to = match Url::parse(url).and_then(|asked| asked.join(location)) {
        Ok(mut to) if !location.is_empty() => {
            to.set_query(None);
            to.set_fragment(None);
            shown(to.as_str())
        }
        Ok(_) | Err(_) => "no address".to_owned(),
    };
    let added = url.strip_prefix(&endpoint.url).unwrap_or(url);
    let base = to.strip_suffix(added).map(str::to_owned);
    ProbeFault::Redirect { url: url.to_owned(), to, base }
}

fn judge(url: &str, status: StatusCode, kind: &str, body: &str) -> Result<(), ProbeFault> {
    let (url, said) = (url.to_owned(), shown(body));
    if kind.starts_with("text/html") || body.trim_start().starts_with("<!") || body.trim_start().starts_with("<html") {
        return Err(ProbeFault::Html { url, status: status.as_u16() });
    }
    match status.as_u16() {
        200..=299 => Ok(()),
        404 if said.is_empty() => Err(ProbeFault::EmptyNotFound { url }),
        503 => Err(ProbeFault::Loading { url, said }),
        status @ (401 | 403) => Err(ProbeFault::Denied { url, status, said }),
        status => Err(ProbeFault::Status { url, status, said }),
    }
}

fn transport_fault(url: &str, limit: Duration, error: &reqwest::Error) -> ProbeFault {
    let url = url.to_owned();
    if error.is_timeout() {
        return ProbeFault::TimedOut { url, after: limit };
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return ProbeFault::Refused { url };
        }
        source = cause.source();
    }
    ProbeFault::Unreachable { url, cause: innermost(error) }
}

/// The last cause of an error: the others repeat the URL and say "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// The start of a body on one line.
fn shown(body: &str) -> String {
    let line = body.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

fn headers(endpoint: &Endpoint) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let secret = |variable: &str, prefix: &str| {
        let value = std::env::var(variable).map_err(|_| format!("the environment variable `{variable}` is not set"))?;
        let mut value = HeaderValue::from_str(&format!("{prefix}{value}"))
            .map_err(|_| format!("the environment variable `{variable}` does not fit into a header"))?;
        value.set_sensitive(true);
        Ok::<_, String>(value)
    };
    for (name, variable) in &endpoint.headers_env {
        let name: HeaderName = name.parse().map_err(|_| format!("`{name}` is no name of a header"))?;
        headers.insert(name, secret(variable, "")?);
    }
    if let Some(variable) = &endpoint.api_key_env {
        headers.insert(reqwest::header::AUTHORIZATION, secret(variable, "Bearer ")?);
    }
    Ok(headers)
}

/// The certificates to trust: the endpoint's own file, else the system's; none at all for plain HTTP.
fn tls(endpoint: &Endpoint) -> Result<ClientConfig, String> {
    trusting(endpoint.ca_file.as_deref(), endpoint.url.starts_with("https://"))
}

/// A TLS set-up that trusts the certificates of a file, else those of the system if they are wanted.
pub(super) fn trusting(ca_file: Option<&Path>, system: bool) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = ca_file {
        let text = fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| format!("{} is no PEM file: {error}", file.display()))?;
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(format!("{} holds no usable certificate", file.display()));
        }
    } else if system {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn dynamo_tells_who_read_the_prompt_and_who_wrote_the_tokens() {
        // As a real frontend answered; ids of 64 bits are no JavaScript numbers.
        let body = r#"{"nvext":{"worker_id":{"prefill_worker_id":363650242680553368,"decode_worker_id":16361833316793988142}}}"#;
        let found = workers(&serde_json::from_str(body).unwrap()).unwrap();
        assert_eq!(found.prefill, "363650242680553368");
        assert_eq!(found.decode, "16361833316793988142");
        assert_eq!(workers(&json!({"nvext": {"worker_id": {"decode_worker_id": 1}}})), None);
        assert_eq!(workers(&json!({"usage": {}})), None);
    }

    /// A server that answers each of these once, in order, and returns the requests it read.
    async fn serving(answers: &[&str]) -> (Endpoint, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers: Vec<_> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let task = tokio::spawn(async move {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = vec![0; 65536];
                let read = stream.read(&mut bytes).await.unwrap();
                requests.push(String::from_utf8_lossy(&bytes[..read]).into_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            requests
        });
        let endpoint = Endpoint {
            url: url.clone(),
            headers_env: BTreeMap::new(),
            api_key_env: None,
            ca_file: None,
            model: "m".to_owned(),
            metrics_urls: vec![url.into()],
        };
        (endpoint, task)
    }

    fn answer(status: &str, kind: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nserver: s/1\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    }

    fn redacted(endpoint: &Endpoint, fault: &ProbeFault) -> String {
        fault.to_string().replace(&endpoint.url, "URL")
    }

    #[tokio::test]
    async fn every_way_to_be_not_ready_is_told_in_its_own_words() {
        let json = "application/json";
        let cases = [
            (
                answer("200 OK", "text/html", "<html></html>"),
                "URL/v1/models answered 200 with a web page: this is no OpenAI API",
            ),
            (answer("404 Not Found", json, ""), "URL/v1/models answered 404 with an empty body"),
            (
                answer("503 Service Unavailable", json, "{\"error\": \"Loading model\"}"),
                "URL/v1/models answered 503, it is loading: {\"error\": \"Loading model\"}",
            ),
            (answer("401 Unauthorized", json, "no"), "URL/v1/models answered 401, it does not accept our key: no"),
            (answer("500 Oops", json, "x\n y"), "URL/v1/models answered 500: x y"),
            (answer("200 OK", json, "[]"), "URL/v1/models answered 200 with something else than a list of models: []"),
        ];
        for (text, said) in cases {
            let (endpoint, server) = serving(&[&text]).await;
            let fault = HttpProber.models(&endpoint).await.unwrap_err();
            assert_eq!(redacted(&endpoint, &fault), said);
            server.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_redirect_is_told_and_never_followed() {
        let (other, asked) = serving(&[&answer("200 OK", "application/json", r#"{"data": [{"id": "m"}]}"#)]).await;
        let lead = |to: &str| answer("307 Temporary Redirect", &format!("text/html\r\nlocation: {to}"), "<html>");
        let cases = [
            (format!("{}/v1/models", other.url), "write that address as `url`: OTHER"),
            (format!("{}/login?secret=1", other.url), "write the address of the API itself as `url`"),
        ];
        for (to, help) in cases {
            let (mut endpoint, server) = serving(&[&lead(&to)]).await;
            endpoint.headers_env.insert("x-key".to_owned(), "PATH".to_owned());
            let fault = HttpProber.models(&endpoint).await.unwrap_err();
            let shown = to.split('?').next().unwrap();
            assert_eq!(redacted(&endpoint, &fault), format!("URL/v1/models answers with a redirect to {shown}"));
            assert_eq!(fault.help().unwrap().replace(&other.url, "OTHER"), help);
            server.await.unwrap();
        }
        assert!(!asked.is_finished(), "the other server was asked");
        asked.abort();
    }

    #[tokio::test]
    async fn nobody_listening_is_told_as_such() {
        let (endpoint, server) = serving(&[]).await;
        server.await.unwrap();
        let fault = HttpProber.models(&endpoint).await.unwrap_err();
        assert_eq!(redacted(&endpoint, &fault), "URL/v1/models refuses connections: nothing listens there");
        assert!(fault.is_silence());
    }

    #[tokio::test]
    async fn a_listing_has_ids_and_the_servers_name() {
        let text = answer("200 OK", "application/json", r#"{"data": [{"id": "m"}, {"id": "n"}]}"#);
        let (endpoint, server) = serving(&[&text]).await;
        let listing = HttpProber.models(&endpoint).await.unwrap();
        assert_eq!(listing, Listing { ids: vec!["m".to_owned(), "n".to_owned()], server: Some("s/1".to_owned()) });
        assert!(server.await.unwrap()[0].starts_with("GET /v1/models HTTP/1.1"));
    }

    #[tokio::test]
    async fn a_canary_without_tokens_is_no_success() {
        let completion = |body: &str| answer("200 OK", "application/json", body);
        let text = r#"{"choices": [{"message": {"content": "hi"}}]}"#;
        for (body, tokens) in [
            (r#"{"choices": [{"message": {"content": "x"}}], "usage": {"completion_tokens": 4}}"#, Some(4)),
            (text, Some(1)),
            (r#"{"choices": [{"message": {"content": ""}}], "usage": {"completion_tokens": 0}}"#, None),
            (r#"{"choices": [{"message": {"content": null}}]}"#, None),
            ("{}", None),
        ] {
            let (endpoint, server) = serving(&[&completion(body)]).await;
            assert_eq!(HttpProber.canary(&endpoint, Api::Chat).await.ok(), tokens, "{body}");
            let request = server.await.unwrap().remove(0);
            assert!(request.starts_with("POST /v1/chat/completions"), "{request}");
        }
    }

    #[tokio::test]
    async fn a_key_that_is_not_set_is_told_by_its_name() {
        let (mut endpoint, server) = serving(&[]).await;
        server.await.unwrap();
        endpoint.api_key_env = Some("DYNBENCH_TEST_NO_SUCH_KEY".to_owned());
        let fault = HttpProber.models(&endpoint).await.unwrap_err();
        assert_eq!(fault.to_string(), "the environment variable `DYNBENCH_TEST_NO_SUCH_KEY` is not set");
    }
}
