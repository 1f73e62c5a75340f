//! Puts an image into a registry: its parts first, then the manifest that names them.

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Method, StatusCode};

use super::client::{RegistryError, Repository};
use super::reference::ImageRef;
use crate::target::image::{Blob, Image};

/// Uploads what the registry does not have and tags it.
///
/// # Errors
/// When the registry cannot be reached, refuses the login or the image.
pub(in super::super) async fn push(
    repository: &Repository,
    image: &Image,
    reference: &ImageRef,
) -> Result<(), RegistryError> {
    for blob in [&image.layer, &image.config] {
        upload(repository, blob).await?;
    }
    let url = repository.url(&format!("manifests/{}", reference.reference))?;
    let manifest = &image.manifest;
    let put = repository
        .send(Method::PUT, &url, true, |request| {
            request.header(CONTENT_TYPE, manifest.media_type).body(manifest.bytes.clone())
        })
        .await?;
    if put.status().is_success() { Ok(()) } else { Err(repository.odd(put.status(), "the manifest")) }
}

async fn upload(repository: &Repository, blob: &Blob) -> Result<(), RegistryError> {
    let there = repository.url(&format!("blobs/{}", blob.name()))?;
    // Asked as a writer from the start, so that one token does for all.
    if repository.send(Method::HEAD, &there, true, |request| request).await?.status() == StatusCode::OK {
        return Ok(());
    }
    let start = repository.url("blobs/uploads/")?;
    let begun = repository.send(Method::POST, &start, true, |request| request.header(CONTENT_LENGTH, 0)).await?;
    if begun.status() != StatusCode::ACCEPTED {
        return Err(repository.odd(begun.status(), "an upload"));
    }
    let location = begun.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let location = location.and_then(|location| start.join(location).ok());
    let mut location = location.ok_or_else(|| repository.odd(begun.status(), "an upload, without a place for it"))?;
    location.query_pairs_mut().append_pair("digest", &blob.name());
    let put = repository
        .send(Method::PUT, &location, true, |request| {
            request.header(CONTENT_TYPE, "application/octet-stream").body(blob.bytes.clone())
        })
        .await?;
    if put.status() == StatusCode::CREATED { Ok(()) } else { Err(repository.odd(put.status(), "a part of the image")) }
}
