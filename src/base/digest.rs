//! SHA-256 digests, and the one canonical JSON text that is digested.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::files::FileError;

/// A SHA-256 digest in lower-case hexadecimal, 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// Digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::digest(bytes).as_slice())
    }

    fn from_hash(hash: &[u8]) -> Self {
        Self(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// All 64 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 characters: enough to tell two apart on a screen.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// JSON text that is the same for equal values: object keys sorted, no space.
///
/// Two plans that say the same thing in another order must have the same key, so nothing is ever digested in the
/// order in which it was written.
pub fn canonical_json(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by(|a, b| a.0.cmp(b.0));
                Value::Object(entries.into_iter().map(|(key, inner)| (key.clone(), sorted(inner))).collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }
    sorted(value).to_string()
}

/// Digest of a value's canonical JSON.
pub fn digest_json(value: &Value) -> Digest {
    Digest::of(canonical_json(value).as_bytes())
}

/// Digest of a file's bytes, and their number, read in pieces.
///
/// # Errors
/// When the file cannot be opened or read.
pub fn digest_file(path: &Path) -> Result<(Digest, u64), FileError> {
    let mut file = File::open(path).map_err(|source| FileError::new("open", path, source))?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        let read = file.read(&mut piece).map_err(|source| FileError::new("read", path, source))?;
        if read == 0 {
            return Ok((Digest::from_hash(hasher.finalize().as_slice()), length));
        }
        hasher.update(&piece[..read]);
        length += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_digest_is_sha256() {
        assert_eq!(Digest::of(b"").as_str(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn key_order_does_not_change_a_digest() {
        let one = json!({"b": {"y": 1, "x": [1, {"q": 2, "p": 3}]}, "a": null});
        let two = json!({"a": null, "b": {"x": [1, {"p": 3, "q": 2}], "y": 1}});
        assert_eq!(digest_json(&one), digest_json(&two));
    }

    #[test]
    fn list_order_changes_a_digest() {
        assert_ne!(digest_json(&json!([1, 2])), digest_json(&json!([2, 1])));
    }
}
