//! The plan file as text. A wrong path must never fill the memory or end in a riddle.

use std::io::ErrorKind;
use std::path::Path;

use crate::base::{Diagnostic, read_limited};

/// The largest plan, in bytes: a thousand times what a long one has.
const LARGEST: u64 = 1 << 20;

/// Reads a plan file, or says why it cannot be one.
pub(super) fn read_plan(path: &Path) -> Result<String, Diagnostic> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Diagnostic::error(format!("{shown} is a folder, not a plan"))
            .help(format!("name the file: {}", path.join("plan.toml").display())));
    }
    let bytes = read_limited(path, LARGEST).map_err(|error| match error.source.kind() {
        ErrorKind::FileTooLarge => Diagnostic::error(format!("{shown} is larger than 1 MiB"))
            .help("a plan has a few dozen lines: is this the file you meant?"),
        ErrorKind::NotFound => Diagnostic::error(format!("there is no file {shown}"))
            .help("look at the path, or write a first plan with `dynbench init`"),
        _ => Diagnostic::error(format!("{error}: {}", error.source)),
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        Diagnostic::error(format!("{shown} is not UTF-8 text: line {line}, byte {at} of the file"))
            .help("save it as UTF-8 in your editor")
    })?;
    if text.trim().is_empty() {
        return Err(Diagnostic::error(format!("{shown} is empty")).help("write a first plan with `dynbench init`"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.toml");
        std::fs::write(&path, bytes).unwrap();
        read_plan(&path).unwrap_err().message
    }

    #[test]
    fn what_cannot_be_a_plan_is_named() {
        assert!(refused(&vec![b'a'; 10 << 20]).ends_with("larger than 1 MiB"));
        assert!(refused(b" \n\n").ends_with("is empty"));
        assert!(refused(b"a = 1\nb = '\xff'\n").ends_with("is not UTF-8 text: line 2, byte 11 of the file"));
        let dir = tempfile::tempdir().unwrap();
        assert!(read_plan(dir.path()).unwrap_err().message.ends_with("is a folder, not a plan"));
        assert!(read_plan(&dir.path().join("no.toml")).unwrap_err().message.starts_with("there is no file"));
    }
}
