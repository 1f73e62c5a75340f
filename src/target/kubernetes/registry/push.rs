//! Puts an image into a registry: its parts first, then the manifest that names them.

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Method, StatusCode};

use super::super::super::contract::TargetError;
use super::client::{RegistryError, Repository};
use super::login::login_of;
use super::reference::ImageRef;
use crate::target::image::{Blob, Image};

/// Pushes an image with the user's own login; returns the reference by digest, which no later push can change. A registry
/// of this machine is spoken to in plain HTTP, another one if it is `insecure`.
///
/// # Errors
/// When the reference is none, or the registry cannot be reached, refuses the login or the image.
pub async fn push_image(image: &Image, reference: &str, insecure: bool) -> Result<String, TargetError> {
    let parsed = ImageRef::parse(reference).filter(|parsed| !parsed.reference.contains(':'));
    let parsed = parsed.ok_or_else(|| TargetError {
        help: Some("write it as registry/path/name:tag".to_owned()),
        ..TargetError::new(format!("`{reference}` is no reference of an image that can be pushed"))
    })?;
    let login = login_of(&parsed.registry).await.map_err(TargetError::new)?;
    let insecure = insecure || is_this_machine(&parsed.registry);
    let failed = |error: RegistryError| TargetError {
        help: help(&error, &parsed, insecure),
        ..TargetError::new(format!("{reference} cannot be pushed: {error}"))
    };
    let repository = Repository::of(&parsed, login, insecure).map_err(failed)?;
    upload_all(&repository, image, &parsed).await.map_err(failed)?;
    Ok(format!("{}/{}@{}", parsed.registry, parsed.repository, image.manifest.name()))
}

fn is_this_machine(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.starts_with("127.") || host == "[::1]"
}

fn help(error: &RegistryError, image: &ImageRef, insecure: bool) -> Option<String> {
    match error {
        RegistryError::Denied { .. } => Some(format!("log in first: `docker login {}`", image.registry)),
        RegistryError::NotThere { .. } if !insecure => {
            Some("a registry that speaks plain HTTP needs `--insecure`".to_owned())
        }
        RegistryError::NotThere { .. } | RegistryError::Odd { .. } => None,
    }
}

/// Uploads what the registry does not have and tags it.
async fn upload_all(repository: &Repository, image: &Image, reference: &ImageRef) -> Result<(), RegistryError> {
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
