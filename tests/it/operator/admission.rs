//! Admission over HTTPS, on this machine: the API server of the test cluster reaches it at [`HOST`].

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::knobs::{Admission, Knobs};

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
        Admission::Answers => {}
        Admission::Fails => return Ok(says(StatusCode::INTERNAL_SERVER_ERROR, "not now".to_owned())),
        Admission::Hangs => tokio::time::sleep(TOO_LONG).await,
    }
    let mutates = request.uri().path() == "/mutate";
    let Ok(body) = request.into_body().collect().await else {
        return Ok(says(StatusCode::BAD_REQUEST, String::new()));
    };
    let Ok(review) = serde_json::from_slice::<Value>(&body.to_bytes()) else {
        return Ok(says(StatusCode::BAD_REQUEST, "json".to_owned()));
    };
    let graph = &review["request"]["object"];
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    if mutates {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(ByteString(patch(graph).to_string().into_bytes()));
    } else {
        let causes = faults(graph);
        if !causes.is_empty() {
            let name = &graph["metadata"]["name"];
            response["allowed"] = json!(false);
            response["status"] = refusal(name, &causes);
        }
    }
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    Ok(says(StatusCode::OK, answer.to_string()))
}

/// Two annotations, and replicas where they were left out.
fn patch(graph: &Value) -> Value {
    let mut annotations = graph["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert("nvidia.com/workload-provider".to_owned(), json!("component"));
    annotations.insert("nvidia.com/dynamo-operator-origin-version".to_owned(), json!("1.5.0"));
    let mut patch = vec![json!({"op": "add", "path": "/metadata/annotations", "value": annotations})];
    let components = graph["spec"]["components"].as_array().into_iter().flatten().enumerate();
    for (index, _) in components.filter(|(_, component)| component["replicas"].is_null()) {
        patch.push(json!({"op": "add", "path": format!("/spec/components/{index}/replicas"), "value": 1}));
    }
    Value::Array(patch)
}

/// Field, reason, message of everything that the real one refuses of these.
fn faults(graph: &Value) -> Vec<(String, &'static str, &'static str)> {
    let components = graph["spec"]["components"].as_array().cloned().unwrap_or_default();
    if components.is_empty() {
        let message = "Required value: must have at least one component";
        return vec![("spec.components".to_owned(), "FieldValueRequired", message)];
    }
    let one = |(index, component): (usize, &Value)| {
        let image = component["podTemplate"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        let overridden = component["runtimeVersionOverride"].is_string();
        (!overridden && !has_version(image)).then(|| {
            let message = "Required value: is required when the specified main container image has no parseable \
                           semantic-version tag";
            (format!("spec.components[{index}].runtimeVersionOverride"), "FieldValueRequired", message)
        })
    };
    components.iter().enumerate().filter_map(one).collect()
}

/// Whether an image's tag is `1.6.1`, with or without `v` and a suffix after a hyphen.
fn has_version(image: &str) -> bool {
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map_or("", |(_, tag)| tag);
    let core = tag.trim_start_matches('v').split('-').next().unwrap_or_default();
    let parts: Vec<_> = core.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

fn refusal(name: &Value, faults: &[(String, &str, &str)]) -> Value {
    let said: Vec<_> = faults.iter().map(|(field, _, message)| format!("{field}: {message}")).collect();
    let said = if said.len() == 1 { said.concat() } else { format!("[{}]", said.join(", ")) };
    let causes: Vec<_> = faults
        .iter()
        .map(|(field, reason, message)| json!({"field": field, "reason": reason, "message": message}))
        .collect();
    let name = name.as_str().unwrap_or_default();
    json!({"code": 422, "reason": "Invalid",
        "message": format!("DynamoGraphDeployment.nvidia.com \"{name}\" is invalid: {said}"),
        "details": {"name": name, "group": "nvidia.com", "kind": "DynamoGraphDeployment", "causes": causes}})
}
