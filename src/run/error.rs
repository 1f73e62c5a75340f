//! What can go wrong with a run as a whole.

use crate::base::FileError;

/// An error of the run's own files and rules.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file of the run.
    #[error(transparent)]
    File(#[from] FileError),
}
