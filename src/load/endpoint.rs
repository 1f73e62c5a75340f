//! Where requests go: a base URL, headers and trust, checked once.

use std::fmt;
use std::io::Cursor;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Uri;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::error::LoadError;
use crate::base::read_limited;

/// What is needed to reach a server. Values of headers and the key are secrets: never printed.
#[derive(Clone, Default)]
pub struct EndpointSpec {
    /// Base URL; `/v1` at its end is allowed and ignored.
    pub url: String,
    /// Headers to send with every request.
    pub headers: Vec<(String, String)>,
    /// Sent as `authorization: Bearer ...`.
    pub api_key: Option<String>,
    /// PEM file of certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for EndpointSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("EndpointSpec")
            .field("url", &self.url)
            .field("headers", &names)
            .field("api_key", &self.api_key.as_ref().map(|_| "..."))
            .field("ca_file", &self.ca_file)
            .finish()
    }
}

/// A checked endpoint. No proxy of the environment is ever used.
#[derive(Clone)]
pub struct Endpoint {
    base: String,
    host: String,
    port: u16,
    path: String,
    pub(super) headers: HeaderMap,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.base).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Checks URL, headers and certificates. Asks nobody.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn new(spec: &EndpointSpec) -> Result<Self, LoadError> {
        let bad = |reason: &str| LoadError::Url { url: spec.url.clone(), reason: reason.to_owned() };
        let trimmed = spec.url.trim().trim_end_matches('/');
        let base = trimmed.strip_suffix("/v1").unwrap_or(trimmed);
        let uri: Uri = base.parse().map_err(|_| bad("is no URL"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(bad("is neither http:// nor https://")),
            None => return Err(bad("does not start with http:// or https://")),
        };
        // What the other parser passes over: a port that is none would be taken for the usual one.
        let strict = reqwest::Url::parse(base).map_err(|error| bad(&format!("is no URL: {error}")))?;
        if strict.fragment().is_some() {
            return Err(bad("carries a fragment"));
        }
        let authority = uri.authority().ok_or_else(|| bad("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("carries a user or password; use headers instead"));
        }
        if uri.query().is_some() {
            return Err(bad("carries a query"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(bad("names no host"));
        }
        let tls = if secure {
            let name = ServerName::try_from(host.clone()).map_err(|_| bad("names a host that TLS cannot check"))?;
            Some((Arc::new(client_config(spec.ca_file.as_deref())?), name))
        } else {
            None
        };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(authority.as_str()).map_err(|_| bad("names no host"))?);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("dynbench/", env!("CARGO_PKG_VERSION"))));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let key = spec.api_key.iter().map(|key| (AUTHORIZATION.to_string(), format!("Bearer {key}")));
        for (name, value) in key.chain(spec.headers.iter().cloned()) {
            let wrong = || LoadError::Header { name: name.clone() };
            let mut value = HeaderValue::from_str(&value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value);
        }
        Ok(Self {
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            path: uri.path().trim_end_matches('/').to_owned(),
            base: base.to_owned(),
            host,
            headers,
            tls,
        })
    }

    /// The base URL, without `/v1`.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The same server and trust at another base URL, such as that of a worker's `/metrics`.
    ///
    /// # Errors
    /// When the URL cannot be used.
    pub fn at(spec: &EndpointSpec, url: &str) -> Result<Self, LoadError> {
        Self::new(&EndpointSpec { url: url.to_owned(), ..spec.clone() })
    }

    /// The target of a request line.
    pub(super) fn target(&self, path: &str) -> Uri {
        format!("{}{path}", self.path).parse().expect("the path of a checked URL with a literal path is one")
    }

    /// The whole URL of a path, for messages.
    pub(super) fn whole(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// All addresses of the host.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, LoadError> {
        let not_there = |reason: String| LoadError::NotThere { url: self.base.clone(), reason };
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let all: Vec<_> = found.map_err(|error| not_there(error.to_string()))?.collect();
        if all.is_empty() { Err(not_there("the host has no address".to_owned())) } else { Ok(all) }
    }
}

/// Trust in the system's certificates, or in those of one file.
fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, LoadError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let wrong = |reason: String| LoadError::Certificates { path: path.to_owned(), reason };
        let pem = read_limited(path, 16 << 20)?;
        for certificate in CertificateDer::pem_reader_iter(Cursor::new(pem)) {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(wrong("it holds none".to_owned()));
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let reason = found.errors.first().map_or("the system has no certificates".to_owned(), ToString::to_string);
            return Err(LoadError::Tls { reason });
        }
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| LoadError::Tls { reason: error.to_string() })?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Result<Endpoint, LoadError> {
        Endpoint::new(&EndpointSpec { url: url.to_owned(), ..EndpointSpec::default() })
    }

    #[test]
    fn a_base_url_may_end_with_a_slash_or_v1_and_have_a_path() {
        for url in ["http://h:1/a", "http://h:1/a/", "http://h:1/a/v1", "http://h:1/a/v1/"] {
            assert_eq!(endpoint(url).unwrap().target("/v1/models"), "/a/v1/models", "{url}");
        }
        assert_eq!(endpoint("http://[::1]:7").unwrap().host, "::1");
        assert_eq!(endpoint("http://h").unwrap().port, 80);
    }

    #[test]
    fn urls_that_cannot_be_used_say_why() {
        for (url, reason) in [
            ("h:1", "does not start with"),
            ("ftp://h", "is neither"),
            ("http://me:pw@h", "user or password"),
            ("http://h/?a=b", "query"),
            ("http://", "does not start with"),
            ("", "is no URL"),
            ("http://h:99999", "is no URL: invalid port number"),
            ("http://127.0.0.1:99999/v1", "is no URL: invalid port number"),
            ("http://256.1.1.1:80", "is no URL: invalid IPv4 address"),
            ("http://h/#a", "fragment"),
        ] {
            let error = endpoint(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let spec = EndpointSpec {
            url: "http://h".to_owned(),
            headers: vec![("x-key".to_owned(), "hush\n".to_owned())],
            api_key: Some("hush".to_owned()),
            ca_file: None,
        };
        let error = Endpoint::new(&spec).unwrap_err();
        assert!(!format!("{spec:?} {error} {error:?}").contains("hush"));
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let spec = EndpointSpec {
            url: "https://h".to_owned(),
            ca_file: Some(file.path().to_owned()),
            ..EndpointSpec::default()
        };
        assert!(Endpoint::new(&spec).unwrap_err().to_string().contains("it holds none"));
    }
}
