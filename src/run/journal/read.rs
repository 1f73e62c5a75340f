//! Reading a journal back: every line checked, a torn end told apart from damage.

use std::fs;
use std::path::Path;

use super::line::{FORMAT, Fault, Line, decode};
use crate::base::FileError;
use crate::run::error::RunError;

/// A line that was being written when the process or the machine died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// What is there of it.
    pub bytes: Vec<u8>,
}

/// All that a journal says.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// Its lines.
    pub lines: Vec<Line>,
    /// What stands after the last whole one.
    pub torn: Option<Torn>,
}

/// Reads a journal without changing it.
///
/// # Errors
/// When it is not there, damaged anywhere but in its last line, or of a newer format.
pub fn read(path: &Path) -> Result<Replay, RunError> {
    let bytes = fs::read(path).map_err(|source| FileError::new("read", path, source))?;
    let mut lines = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let rest = &bytes[offset..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let is_last = end.is_none_or(|end| offset + end + 1 == bytes.len());
        let torn = || Torn { offset: offset as u64, bytes: rest.to_vec() };
        let Some(end) = end else {
            return Ok(Replay { lines, torn: Some(torn()) });
        };
        let number = lines.len() + 1;
        match decode(&rest[..end]) {
            Ok(line) if line.seq == number as u64 => lines.push(line),
            Ok(line) => {
                let what = format!("it has number {} where {number} is due", line.seq);
                return Err(RunError::Damaged { path: path.to_owned(), line: number, what });
            }
            Err(Fault::Newer(found)) => {
                return Err(RunError::Newer { path: path.to_owned(), found, known: FORMAT });
            }
            Err(Fault::Damaged(_)) if is_last && number > 1 => return Ok(Replay { lines, torn: Some(torn()) }),
            Err(Fault::Damaged(what)) => {
                return Err(RunError::Damaged { path: path.to_owned(), line: number, what });
            }
        }
        offset += end + 1;
    }
    Ok(Replay { lines, torn: None })
}
