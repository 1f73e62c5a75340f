//! From an attempt's folder to a published result, so that a crash at any instant leaves either nothing or all of it.
//!
//! The order, each line durable before the next:
//! 1. the step writes into `<n>.part`;
//! 2. [`seal`]: `manifest.json` (digest and length of every file, and the step's outcome), the whole tree synced,
//!    `<n>.part` renamed to `<n>`;
//! 3. [`publish`]: what lies at the final place gives way to `superseded/`, `<n>` is renamed to the final place;
//! 4. the journal says so.
//!
//! A folder whose manifest verifies is a whole attempt wherever it lies, so each of these can be done again after a
//! crash: [`find_whole`] finds it and [`publish`] goes on from there. Repeats lie in `r<k>/` inside of the first
//! repeat's folder; they are moved out of the way and back, and [`put_repeats_back`] ends what a crash cut short.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::RunLayout;
use super::step::StepOutcome;
use crate::base::{
    Digest, FileError, create_dir, digest_file, list_dir, publish_dir, read_text, remove_dir, rename, sync_dir,
    sync_tree, write_atomic,
};
use crate::plan::Address;

const MANIFEST: &str = "manifest.json";

/// Format of `manifest.json`.
///
/// Changelog:
/// - 1: the first.
pub const MANIFEST_FORMAT: u32 = 1;

/// What a whole attempt consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`MANIFEST_FORMAT`].
    pub format: u32,
    /// The run's id.
    pub run: String,
    /// The step.
    pub address: Address,
    /// Which attempt at it.
    pub attempt: u32,
    /// What it means.
    pub key: Digest,
    /// How it ended.
    pub outcome: StepOutcome,
    /// Every file, sorted by path.
    pub files: Vec<FileEntry>,
}

/// One file of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Relative to the attempt's folder.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Digest of its content.
    pub sha256: Digest,
}

/// Whose attempt it is.
#[derive(Debug, Clone)]
pub(super) struct AttemptId {
    /// The run's id.
    pub run: String,
    /// The step.
    pub address: Address,
    /// Which attempt.
    pub attempt: u32,
    /// The step's key.
    pub key: Digest,
}

/// Makes an attempt whole: manifest, sync, rename. An attempt without files that needs none leaves no folder.
/// Returns the digest of the manifest.
///
/// # Errors
/// When a file cannot be read, written or renamed.
pub(super) fn seal(
    layout: &RunLayout,
    id: &AttemptId,
    outcome: &StepOutcome,
    even_if_empty: bool,
) -> Result<Option<Digest>, FileError> {
    let part = layout.part(&id.address, id.attempt);
    if !even_if_empty && list_dir(&part)?.is_empty() {
        remove_dir(&part)?;
        return Ok(None);
    }
    let digest = write_manifest(&part, id, outcome)?;
    sync_tree(&part)?;
    rename(&part, &layout.whole(&id.address, id.attempt))?;
    Ok(Some(digest))
}

pub(super) fn write_manifest(part: &Path, id: &AttemptId, outcome: &StepOutcome) -> Result<Digest, FileError> {
    let mut files = Vec::new();
    gather(part, Path::new(""), &mut files)?;
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        run: id.run.clone(),
        address: id.address.clone(),
        attempt: id.attempt,
        key: id.key.clone(),
        outcome: outcome.clone(),
        files,
    };
    let mut text = serde_json::to_string_pretty(&manifest).expect("a manifest holds nothing that JSON cannot say");
    text.push('\n');
    write_atomic(&part.join(MANIFEST), text.as_bytes())?;
    Ok(Digest::of(text.as_bytes()))
}

fn gather(root: &Path, below: &Path, into: &mut Vec<FileEntry>) -> Result<(), FileError> {
    for name in list_dir(&root.join(below))? {
        let path = below.join(name);
        let place = root.join(&path);
        let kind = fs::symlink_metadata(&place).map_err(|source| FileError::new("look at", &place, source))?;
        if kind.is_dir() {
            gather(root, &path, into)?;
        } else if path != Path::new(MANIFEST) {
            let (sha256, bytes) = digest_file(&place)?;
            into.push(FileEntry { path, bytes, sha256 });
        }
    }
    Ok(())
}

/// The manifest in a folder, with its digest, if there is one that can be read.
pub fn manifest_in(folder: &Path) -> Option<(Manifest, Digest)> {
    let text = read_text(&folder.join(MANIFEST)).ok()?;
    let manifest: Manifest = serde_json::from_str(&text).ok()?;
    (manifest.format == MANIFEST_FORMAT).then(|| (manifest, Digest::of(text.as_bytes())))
}

/// What is wrong with a whole attempt's folder: one sentence per fault, none when it is as it was sealed.
pub fn faults(folder: &Path) -> Vec<String> {
    let Some((manifest, _)) = manifest_in(folder) else {
        return vec![format!("{} has no manifest that can be read", folder.display())];
    };
    let fault = |entry: &FileEntry| {
        let path = folder.join(&entry.path);
        match digest_file(&path) {
            Err(error) => Some(format!("{error}: {}", error.source)),
            Ok((_, bytes)) if bytes != entry.bytes => {
                Some(format!("{} has {bytes} bytes where {} were written", path.display(), entry.bytes))
            }
            Ok((sha256, _)) if sha256 != entry.sha256 => Some(format!("{} has other content", path.display())),
            Ok(_) => None,
        }
    };
    manifest.files.iter().filter_map(fault).collect()
}

/// Where the whole attempt with this number lies: published, waiting to be, or only lacking its last rename.
/// `manifest`: the digest that its manifest must have, when it is known.
pub(super) fn find_whole(
    layout: &RunLayout,
    address: &Address,
    attempt: u32,
    place: Option<&Path>,
    manifest: Option<&Digest>,
) -> Option<(PathBuf, Manifest, Digest)> {
    let published = place.map(|place| layout.root().join(place));
    let folders = published.into_iter().chain([layout.whole(address, attempt), layout.part(address, attempt)]);
    folders.into_iter().find_map(|folder| {
        let (found, digest) = manifest_in(&folder)?;
        let is_it = found.address == *address
            && found.attempt == attempt
            && manifest.is_none_or(|expected| *expected == digest)
            && faults(&folder).is_empty();
        is_it.then_some((folder, found, digest))
    })
}

/// Brings a whole attempt from where it lies to its final place. Does nothing when it is there already.
///
/// # Errors
/// When something cannot be renamed.
pub(super) fn publish(layout: &RunLayout, address: &Address, from: &Path, place: &Path) -> Result<(), FileError> {
    let to = layout.root().join(place);
    if from == to {
        return Ok(());
    }
    give_way(layout, address, place)?;
    // Only repeats can be left there now. A folder can be renamed over an empty one only, so they go along.
    for name in list_dir(&to)? {
        rename(&to.join(&name), &from.join(&name))?;
    }
    if to.exists() {
        remove_dir(&to)?;
    }
    publish_dir(from, &to)?;
    // The folders above may be new as well.
    for above in to.ancestors().skip(1).take_while(|above| above.starts_with(layout.root())) {
        sync_dir(above)?;
    }
    Ok(())
}

/// Moves what lies at a step's place to `superseded/`; repeats inside of it stay where they are.
///
/// # Errors
/// When something cannot be renamed.
pub(super) fn give_way(layout: &RunLayout, address: &Address, place: &Path) -> Result<(), FileError> {
    let published = layout.root().join(place);
    let aside = match manifest_in(&published) {
        Some((manifest, _)) => layout.superseded(address, manifest.attempt),
        None if list_dir(&published)?.iter().all(|name| is_repeat(&published, name)) => return Ok(()),
        // Somebody took the manifest away: what is left is not ours to judge, and not ours to destroy.
        None => layout.all_superseded().join(address.file_stem()).join("stray"),
    };
    let aside = free(aside);
    publish_dir(&published, &aside)?;
    return_repeats(&aside, &published)
}

/// Ends what a crash in the middle of [`publish`] or [`give_way`] left: every repeat goes back into its place.
/// `places`: where each step is published.
///
/// # Errors
/// When something cannot be read or renamed.
pub(super) fn put_repeats_back<'a>(
    layout: &RunLayout,
    places: impl IntoIterator<Item = (&'a Address, PathBuf)>,
) -> Result<(), FileError> {
    for (address, place) in places {
        for folder in [layout.attempts(address), layout.all_superseded().join(address.file_stem())] {
            for name in list_dir(&folder)? {
                return_repeats(&folder.join(name), &layout.root().join(&place))?;
            }
        }
    }
    Ok(())
}

/// Only folders with a manifest of their own are repeats: a step may call its own folders what it likes.
fn is_repeat(folder: &Path, name: &str) -> bool {
    name.strip_prefix('r').is_some_and(|k| k.parse::<u32>().is_ok()) && manifest_in(&folder.join(name)).is_some()
}

/// Moves published repeats out of a folder into another.
fn return_repeats(from: &Path, to: &Path) -> Result<(), FileError> {
    for name in list_dir(from)? {
        if is_repeat(from, &name) && !to.join(&name).exists() {
            publish_dir(&from.join(&name), &to.join(&name))?;
        }
    }
    Ok(())
}

/// Makes the empty folder of a new attempt. Whatever has that name is from a journal that lost its end: kept aside.
///
/// # Errors
/// When it cannot be made.
pub(super) fn prepare(layout: &RunLayout, address: &Address, attempt: u32) -> Result<PathBuf, FileError> {
    let part = layout.part(address, attempt);
    for stray in [part.clone(), layout.whole(address, attempt)] {
        if stray.exists() {
            publish_dir(&stray, &free(layout.superseded(address, attempt)))?;
        }
    }
    create_dir(&part)?;
    Ok(part)
}

/// This path, or the first of `<path>-2`, `<path>-3` ... that does not exist.
fn free(path: PathBuf) -> PathBuf {
    let mut candidate = path.clone();
    let mut number = 2;
    while candidate.exists() {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!("-{number}"));
        candidate = path.with_file_name(name);
        number += 1;
    }
    candidate
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
