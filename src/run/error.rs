//! What can go wrong with a run as a whole, and what to do about it.

use std::path::PathBuf;

use super::decide::Refusal;
use super::graph::GraphError;
use super::outcome::ExitCode;
use super::state::IllegalEvent;
use crate::base::FileError;
use crate::plan::Address;

/// An error of the run's own files and rules.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file of the run.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of the run holds something else than it should.
    #[error("{} cannot be understood", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The folder is no run.
    #[error("{} holds no run", dir.display())]
    NotARun {
        /// The folder.
        dir: PathBuf,
    },
    /// A text that names several runs.
    #[error("{} runs match `{text}`", runs.len())]
    Ambiguous {
        /// The text.
        text: String,
        /// Their ids.
        runs: Vec<String>,
    },
    /// A new run was to be made where one is.
    #[error("{} holds a run already", dir.display())]
    Exists {
        /// The folder.
        dir: PathBuf,
    },
    /// A new run was to be made in a folder that holds other things.
    #[error("{} is not empty and holds no run", dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// Another process has the run.
    #[error("the run in {} is in use by {holder}", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// Who, as far as that is known.
        holder: String,
    },
    /// The journal is damaged elsewhere than at its end.
    #[error("line {line} of {} is damaged: {what}", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The journal comes from a newer version.
    #[error("{} was written in journal format {found}; this version reads up to {known}", path.display())]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format known here.
        known: u64,
    },
    /// A line of the journal says what cannot have happened after the lines before it.
    #[error("line {line} of {} cannot follow the lines before it", path.display())]
    Impossible {
        /// The journal.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The rule it breaks.
        source: IllegalEvent,
    },
    /// Something that may not happen now.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// The journal cannot be written any more.
    #[error("the journal cannot be written: {reason}")]
    JournalBroken {
        /// What the system said when it happened.
        reason: String,
    },
    /// Edits of the plan would invalidate measured points.
    #[error("the plan was edited in a way that invalidates {} measured {}", refusals.len(), points(refusals.len()))]
    Refused {
        /// Each of them, with what changed.
        refusals: Vec<Refusal>,
    },
    /// The list of steps cannot be run.
    #[error(transparent)]
    Steps(#[from] GraphError),
    /// A step's kind is not known to this version.
    #[error("this version knows no step kind `{kind}` ({address})")]
    UnknownKind {
        /// The kind.
        kind: String,
        /// A step of it.
        address: Address,
    },
    /// A step that was chosen is not one of the run's.
    #[error("the run has no step {address}")]
    UnknownStep {
        /// What was chosen.
        address: Address,
    },
    /// An archive that cannot be taken in.
    #[error("{} cannot be taken in: {what}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

fn points(count: usize) -> &'static str {
    if count == 1 { "point" } else { "points" }
}

impl RunError {
    /// The exit code of a program that ends for this reason.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Locked { .. } => ExitCode::LOCKED,
            Self::Refused { .. } => ExitCode::REFUSED,
            Self::File(_) | Self::JournalBroken { .. } => ExitCode::STORAGE,
            Self::Illegal(_) | Self::UnknownKind { .. } | Self::Steps(_) => ExitCode::BUG,
            Self::Decode { .. }
            | Self::NotARun { .. }
            | Self::Ambiguous { .. }
            | Self::Exists { .. }
            | Self::NotEmpty { .. }
            | Self::Damaged { .. }
            | Self::Newer { .. }
            | Self::Impossible { .. }
            | Self::UnknownStep { .. }
            | Self::Archive { .. } => ExitCode::USAGE,
        }
    }

    /// What to do about it, where that is known.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Locked { .. } => Some("wait for it, or stop it with Ctrl-C there"),
            Self::Refused { .. } => Some(
                "`--frozen` goes on with the plan as it was, `--accept-changes` measures these points again, `--new` \
                 starts another run",
            ),
            Self::Damaged { .. } | Self::Impossible { .. } => {
                Some("`dynbench runs fsck` says what can be saved; results that are published stay as they are")
            }
            Self::Newer { .. } => Some("use the newer version that wrote it"),
            Self::Exists { .. } => Some("continue it with `--resume`, or start another with `--new`"),
            Self::Ambiguous { .. } => Some("give as much of the id as only one of them has, or its folder"),
            Self::NotEmpty { .. } => Some("choose a folder that does not exist yet"),
            Self::JournalBroken { .. } => Some("make room or make the folder writable, then `--resume`"),
            Self::File(_)
            | Self::Decode { .. }
            | Self::NotARun { .. }
            | Self::Illegal(_)
            | Self::Steps(_)
            | Self::UnknownKind { .. }
            | Self::UnknownStep { .. }
            | Self::Archive { .. } => None,
        }
    }
}
