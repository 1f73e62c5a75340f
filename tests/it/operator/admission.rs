//! Admission and conversion over HTTPS, on this machine: the API server of the test cluster reaches it at [`HOST`].

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::knobs::{Admission, Knobs};
use super::review::{converted, mutated, validated};

/// This machine, as the cluster's nodes see it; the certificate is for this address.
pub(super) const HOST: &str = "198.18.0.1";
/// The certificate: its own authority.
pub(super) const CERTIFICATE: &str = include_str!("../../fixtures/tls/webhook.pem");
const KEY: &str = include_str!("../../fixtures/tls/webhook.key");
/// Longer than the API server waits for a webhook.
const TOO_LONG: Duration = Duration::from_secs(15);

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, knobs: Arc<Mutex<Knobs>>) {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, knobs) = (acceptor.clone(), Arc::clone(&knobs));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = hyper::service::service_fn(move |request| answer(request, Arc::clone(&knobs)));
            // A client that hangs up is no concern of ours.
            let _ended =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    knobs: Arc<Mutex<Knobs>>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let says = |code: StatusCode, body: String| Response::builder().status(code).body(Full::from(body)).unwrap();
    let mode = knobs.lock().unwrap().admission;
    match mode {
        Admission::Answers | Admission::Absent => {}
        Admission::Fails => return Ok(says(StatusCode::INTERNAL_SERVER_ERROR, "not now".to_owned())),
        Admission::Hangs => tokio::time::sleep(TOO_LONG).await,
    }
    let path = request.uri().path().to_owned();
    let Ok(body) = request.into_body().collect().await else {
        return Ok(says(StatusCode::BAD_REQUEST, String::new()));
    };
    let Ok(review) = serde_json::from_slice::<Value>(&body.to_bytes()) else {
        return Ok(says(StatusCode::BAD_REQUEST, "json".to_owned()));
    };
    let response = match path.as_str() {
        "/mutate" => mutated(&review),
        "/validate" => validated(&review),
        "/convert" => converted(&review),
        _ => return Ok(says(StatusCode::NOT_FOUND, path)),
    };
    let answer = json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response});
    Ok(says(StatusCode::OK, answer.to_string()))
}
