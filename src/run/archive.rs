//! A run carried to another machine as one file, and taken in there only if nothing about it is wrong.
//!
//! The archive is a gzipped tar of the run's folder under its id, without locks. Its last entry says that it is
//! complete: an archive cut at any place is refused.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::error::RunError;
use super::fsck::fsck;
use super::layout::RunLayout;
use super::lock::{Holder, RunLock};
use super::open::read_state;
use crate::base::{
    FileError, Timestamp, create_dir, create_new_dir, list_dir, publish_dir, remove_dir, rename, sync_tree,
};

const END: &str = "export-complete";

/// Writes the run in a folder to a file, which appears only when it is complete.
///
/// # Errors
/// When it is no run, a process has it, or files cannot be read or written.
pub fn export_run(dir: &Path, to: &Path, now: Timestamp) -> Result<(), RunError> {
    let layout = RunLayout::new(dir);
    let state = read_state(&layout)?;
    let _lock = RunLock::take(&layout, &Holder::this_process(now))?;
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = to.with_file_name(name);
    let failed = |source| FileError::new("write", &part, source);
    let written = (|| {
        let file = File::create(&part).map_err(|source| FileError::new("create", &part, source))?;
        let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::default()));
        pack(&mut tar, &layout, dir, Path::new(state.run()))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        let end = Path::new(state.run()).join(END);
        tar.append_data(&mut header, end, io::empty()).map_err(failed)?;
        let file = tar.into_inner().and_then(GzEncoder::finish).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        Ok(rename(&part, to)?)
    })();
    if written.is_err() {
        // The error that matters is the one above; a part that cannot be removed is only litter.
        let _ = std::fs::remove_file(&part);
    }
    written
}

fn pack(tar: &mut tar::Builder<impl Write>, layout: &RunLayout, dir: &Path, name: &Path) -> Result<(), RunError> {
    tar.append_dir(name, dir).map_err(|source| FileError::new("pack", dir, source))?;
    for entry in list_dir(dir)? {
        let (path, name) = (dir.join(&entry), name.join(&entry));
        if path == layout.lock() || path == layout.lock_note() {
            continue;
        }
        let kind = std::fs::symlink_metadata(&path).map_err(|source| FileError::new("look at", &path, source))?;
        if kind.is_dir() {
            pack(tar, layout, &path, &name)?;
        } else if kind.is_file() {
            tar.append_path_with_name(&path, &name).map_err(|source| FileError::new("pack", &path, source))?;
        }
    }
    Ok(())
}

/// Takes a run in: it appears as `<results>/<plan>/<run>`, whose path is returned, after everything was checked.
///
/// # Errors
/// When the archive is incomplete, damaged, has entries outside of its run's folder or other than files and folders,
/// when its run is there already or does not pass [`fsck`], or when files cannot be written.
pub fn import_run(archive: &Path, results: &Path, now: Timestamp) -> Result<PathBuf, RunError> {
    let staging = results.join(format!(".import-{}", std::process::id()));
    remove_dir(&staging)?;
    create_new_dir(&staging)?;
    let taken = take_in(archive, &staging, results, now);
    remove_dir(&staging)?;
    taken
}

fn take_in(archive: &Path, staging: &Path, results: &Path, now: Timestamp) -> Result<PathBuf, RunError> {
    let refuse = |what: String| RunError::Archive { path: archive.to_owned(), what };
    let id = unpack(archive, staging)?;
    let dir = staging.join(&id);
    let state = read_state(&RunLayout::new(&dir))?;
    if state.run() != id {
        return Err(refuse(format!("it is called {id} but holds run {}", state.run())));
    }
    let findings = fsck(&dir, false, now)?;
    if let Some(finding) = findings.iter().find(|finding| !finding.mended) {
        return Err(refuse(finding.what.clone()));
    }
    let plan = state.plan().ok_or_else(|| refuse("it names no plan".to_owned()))?;
    let to = results.join(plan.as_str()).join(&id);
    if to.exists() {
        return Err(RunError::Exists { dir: to });
    }
    sync_tree(&dir)?;
    publish_dir(&dir, &to)?;
    Ok(to)
}

/// Unpacks into a folder; returns the name of the one folder that is in it.
fn unpack(archive: &Path, into: &Path) -> Result<String, RunError> {
    let refuse = |what: String| RunError::Archive { path: archive.to_owned(), what };
    let damaged = |error: io::Error| refuse(format!("it is incomplete or damaged ({error})"));
    let file = File::open(archive).map_err(|source| FileError::new("open", archive, source))?;
    let mut tar = tar::Archive::new(GzDecoder::new(file));
    let mut id: Option<String> = None;
    let mut complete = false;
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        if complete {
            return Err(refuse("something follows its end".to_owned()));
        }
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
                Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {
                    return Err(refuse(format!("{} lies outside of the run", path.display())));
                }
            }
        }
        let Some(first) = names.first() else { return Err(refuse("an entry has no name".to_owned())) };
        if id.get_or_insert_with(|| first.clone()) != first {
            return Err(refuse(format!("{} lies outside of the run", path.display())));
        }
        let to = into.join(&path);
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            create_dir(&to)?;
        } else if kind.is_file() && names.len() == 2 && names[1] == END {
            complete = true;
        } else if kind.is_file() {
            create_dir(to.parent().expect("a path below a folder has a parent"))?;
            let mut out = File::create_new(&to).map_err(|source| FileError::new("create", &to, source))?;
            io::copy(&mut entry, &mut out).map_err(damaged)?;
        } else {
            return Err(refuse(format!("{} is neither a file nor a folder", path.display())));
        }
    }
    // Only reading to the very end checks the checksum of the compressed stream.
    let mut rest = Vec::new();
    tar.into_inner().take(1 << 20).read_to_end(&mut rest).map_err(damaged)?;
    match id {
        Some(id) if complete => Ok(id),
        Some(_) | None => Err(refuse("it is incomplete".to_owned())),
    }
}
