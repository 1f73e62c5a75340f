//! Whether a registry has an image, and for which architectures.

use reqwest::header::ACCEPT;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::client::{RegistryError, Repository};
use super::reference::ImageRef;

/// Every form in which a manifest may come.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// Platforms of an image (`linux/amd64`); `None`: the registry does not know it. Empty: it does not say.
///
/// # Errors
/// When the registry cannot be asked.
pub(in super::super) async fn platforms(
    repository: &Repository,
    image: &ImageRef,
) -> Result<Option<Vec<String>>, RegistryError> {
    let Some(manifest) = get(repository, &format!("manifests/{}", image.reference)).await? else { return Ok(None) };
    if let Some(list) = manifest.get("manifests").and_then(Value::as_array) {
        return Ok(Some(list.iter().filter_map(|entry| platform(entry.get("platform")?)).collect()));
    }
    // One image alone: its own configuration says what it is for.
    let Some(digest) = manifest.pointer("/config/digest").and_then(Value::as_str) else { return Ok(Some(Vec::new())) };
    let config = get(repository, &format!("blobs/{digest}")).await?;
    Ok(Some(config.as_ref().and_then(platform).into_iter().collect()))
}

async fn get(repository: &Repository, part: &str) -> Result<Option<Value>, RegistryError> {
    let url = repository.url(part)?;
    let answer = repository.send(Method::GET, &url, false, |request| request.header(ACCEPT, MANIFESTS)).await?;
    match answer.status() {
        StatusCode::NOT_FOUND => Ok(None),
        StatusCode::OK => answer.json().await.map(Some).map_err(|error| repository.not_there(&error)),
        status => Err(repository.odd(status, part)),
    }
}

/// `linux/amd64`. Attestations name `unknown/unknown` and are no images.
fn platform(of: &Value) -> Option<String> {
    let text = |key: &str| of.get(key).and_then(Value::as_str).filter(|text| *text != "unknown");
    Some(format!("{}/{}", text("os")?, text("architecture")?))
}
