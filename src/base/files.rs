//! Files: every error names its path, and whole-file writes are never seen half-done.
//!
//! A file appears under its name only after its bytes are on the disk (temporary file, fsync, rename, fsync of the
//! folder). A crash at any instant leaves the old file or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was tried: "open", "write", ...
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl FileError {
    /// An error about `path`.
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self { action, path: path.to_owned(), source }
    }
}

/// Turns an [`io::Error`] into one that names its path.
fn about(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { action, path, source }
}

/// Whether the disk, the quota or the mount is what refused a write.
pub fn is_storage_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Reads a text file whole.
///
/// # Errors
/// When it cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(about("read", path))
}

/// Reads at most `limit` bytes and refuses more, so that a wrong path never fills the memory.
///
/// # Errors
/// When the file cannot be read, or is longer (kind [`io::ErrorKind::FileTooLarge`]).
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(about("open", path))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(about("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(FileError::new("read", path, io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    Ok(bytes)
}

/// Names of a folder's entries, sorted. A folder that does not exist has none.
///
/// # Errors
/// When the folder cannot be read.
pub fn list_dir(path: &Path) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::new("list", path, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(about("list", path))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Makes a folder and those above it.
///
/// # Errors
/// When it cannot be made.
pub fn create_dir(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(about("create", path))
}

/// Makes a folder that must not exist yet (those above it may), so that two processes cannot both have made it.
///
/// # Errors
/// When it exists or cannot be made.
pub fn create_new_dir(path: &Path) -> Result<(), FileError> {
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    fs::create_dir(path).map_err(about("create", path))
}

/// Removes a folder and all in it; one that is gone already is no error.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove_dir(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::new("remove", path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Renames, and makes the change durable in the folder it lands in.
///
/// # Errors
/// When the system refuses.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(about("rename", from))?;
    sync_parent(to)
}

/// Makes a folder's entries durable.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_dir(path: &Path) -> Result<(), FileError> {
    let folder = File::open(path).map_err(about("open", path))?;
    folder.sync_all().map_err(about("sync", path))
}

fn sync_parent(path: &Path) -> Result<(), FileError> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes every file and folder below `path` durable, then `path` itself.
///
/// # Errors
/// When something cannot be opened or synced.
pub fn sync_tree(path: &Path) -> Result<(), FileError> {
    for name in list_dir(path)? {
        let entry = path.join(name);
        let kind = fs::symlink_metadata(&entry).map_err(about("look at", &entry))?;
        if kind.is_dir() {
            sync_tree(&entry)?;
        } else if kind.is_file() {
            let file = File::open(&entry).map_err(about("open", &entry))?;
            file.sync_all().map_err(about("sync", &entry))?;
        }
    }
    sync_dir(path)
}

/// Writes a whole file so that it is seen complete or not at all, and is on the disk when this returns.
///
/// # Errors
/// When any step fails; then the old file, if there was one, is as it was.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// The same for a file too large to be held: `fill` writes it piece by piece.
///
/// # Errors
/// When any step fails, `fill` included; then the old file, if there was one, is as it was.
pub fn write_atomic_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = (|| {
        let mut file = BufWriter::new(File::create(&temporary).map_err(about("create", &temporary))?);
        fill(&mut file).and_then(|()| file.flush()).map_err(about("write", path))?;
        file.get_ref().sync_all().map_err(about("sync", path))?;
        rename(&temporary, path)
    })();
    if written.is_err() {
        // The error that matters is the one above; a temporary file that cannot be removed is only litter.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Appends one line to a file, creating it, without syncing: for logs that may lose their end.
///
/// # Errors
/// When the file cannot be opened or written.
pub fn append_line(path: &Path, line: &str) -> Result<(), FileError> {
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(about("open", path))?;
    file.write_all(format!("{line}\n").as_bytes()).map_err(about("write", path))
}

/// Moves a finished folder to its final place in one step, durable when this returns. The place must be free.
///
/// # Errors
/// When the place is taken or the system refuses.
pub fn publish_dir(from: &Path, to: &Path) -> Result<(), FileError> {
    if to.exists() {
        return Err(FileError::new("publish to", to, io::Error::from(io::ErrorKind::AlreadyExists)));
    }
    if let Some(parent) = to.parent() {
        create_dir(parent)?;
    }
    rename(from, to)?;
    sync_parent(from)
}

/// Points the symbolic link `link` at `target` (a relative path), replacing what it pointed at, in one step.
///
/// # Errors
/// When `link` is something other than a link, or the system refuses.
pub fn link_latest(link: &Path, target: &Path) -> Result<(), FileError> {
    if fs::symlink_metadata(link).is_ok_and(|found| !found.is_symlink()) {
        return Err(FileError::new("replace", link, io::Error::from(io::ErrorKind::AlreadyExists)));
    }
    let mut name = link.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = link.with_file_name(name);
    std::os::unix::fs::symlink(target, &temporary).map_err(about("link", &temporary))?;
    rename(&temporary, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_write_replaces_the_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"a long first text").unwrap();
        write_atomic(&path, b"second").unwrap();
        assert_eq!(read_text(&path).unwrap(), "second");
        assert_eq!(list_dir(dir.path()).unwrap(), ["a.json"]);
    }

    #[test]
    fn a_failed_atomic_write_leaves_no_litter_and_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_atomic(&dir.path().join("no/such/a.json"), b"x").unwrap_err();
        assert!(error.to_string().contains("no/such/a.json"), "{error}");
        assert!(list_dir(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn reading_stops_at_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        write_atomic(&path, &[0; 100]).unwrap();
        assert_eq!(read_limited(&path, 100).unwrap().len(), 100);
        assert_eq!(read_limited(&path, 99).unwrap_err().source.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn publishing_never_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("out/to"));
        create_dir(&from).unwrap();
        publish_dir(&from, &to).unwrap();
        create_dir(&from).unwrap();
        assert!(publish_dir(&from, &to).is_err());
    }

    #[test]
    fn latest_moves_but_never_replaces_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("latest");
        link_latest(&link, Path::new("one")).unwrap();
        link_latest(&link, Path::new("two")).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("two"));
        let folder = dir.path().join("folder");
        create_dir(&folder).unwrap();
        assert!(link_latest(&folder, Path::new("two")).is_err());
    }
}
