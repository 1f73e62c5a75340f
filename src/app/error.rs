//! Why something that was asked for could not be done, and the exit code for it.

use std::path::PathBuf;

use crate::base::{FileError, NameError};
use crate::load::{LoadError, WorkerError};
use crate::plan::NoMatch;
use crate::report::ReportError;
use crate::run::{ExitCode, RunError};
use crate::sim::SimError;
use crate::target::{NotStatic, TargetError};

/// Everything that can end a command.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The plan has errors; they are in the [`crate::plan::Checked`] that came with it.
    #[error("{} cannot be used", path.display())]
    Plan {
        /// The plan's file.
        path: PathBuf,
    },
    /// A run of the plan is there, unfinished or in the very folder that was asked for, and nobody said what to do about it.
    #[error("the run in {} is {}", dir.display(), if *finished { "there already" } else { "not finished" })]
    Unfinished {
        /// Its folder.
        dir: PathBuf,
        /// Whether it is finished.
        finished: bool,
        /// The plan's file.
        plan: PathBuf,
        /// `--output-dir DIR`, if one was given.
        output_dir: Option<PathBuf>,
    },
    /// A pattern of addresses matches no step.
    #[error("no step matches `{}`", .0.pattern)]
    NoStep(NoMatch),
    /// Something on the command line cannot be used.
    #[error("{message}")]
    Usage {
        /// What, in one line.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// The run's own rules and files.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The files of results.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Some other file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The generator.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The embedded engine.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// What a deployment's target said.
    #[error("{0}")]
    Target(TargetError),
    /// The system refused something.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: String,
        /// What it said.
        source: std::io::Error,
    },
}

impl From<NameError> for AppError {
    fn from(error: NameError) -> Self {
        Self::Usage { message: error.to_string(), help: None }
    }
}

impl From<NotStatic> for AppError {
    fn from(error: NotStatic) -> Self {
        Self::Usage { help: error.help(), message: error.to_string() }
    }
}

impl From<WorkerError> for AppError {
    fn from(error: WorkerError) -> Self {
        match error {
            WorkerError::Listen(source) => Self::System { action: "listen".to_owned(), source },
            WorkerError::Executable(source) => Self::System { action: "find its own executable".to_owned(), source },
            WorkerError::File(error) => Self::File(error),
        }
    }
}

impl AppError {
    /// Something on the command line cannot be used.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), help: None }
    }

    /// The exit code of a program that ends for this reason.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Plan { .. } | Self::NoStep(_) | Self::Usage { .. } => ExitCode::USAGE,
            Self::Unfinished { .. } => ExitCode::REFUSED,
            Self::Run(error) => error.exit_code(),
            Self::Target(_) => ExitCode::PREFLIGHT,
            Self::Report(ReportError::File(_)) | Self::File(_) | Self::Load(LoadError::Storage(_)) => ExitCode::STORAGE,
            Self::Report(_) => ExitCode::USAGE,
            Self::Load(
                LoadError::NotThere { .. }
                | LoadError::Silent { .. }
                | LoadError::Broken { .. }
                | LoadError::Loading { .. }
                | LoadError::NotAnApi { .. }
                | LoadError::NoCompletion { .. }
                | LoadError::Refused { .. }
                | LoadError::ModelNotListed { .. },
            ) => ExitCode::PREFLIGHT,
            Self::Load(LoadError::Panicked) => ExitCode::BUG,
            Self::Sim(SimError::Truth { .. }) => ExitCode::STORAGE,
            Self::Load(_) | Self::Sim(_) | Self::System { .. } => ExitCode::USAGE,
        }
    }

    /// Details, a line each.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Run(RunError::Refused { refusals }) => refusals
                .iter()
                .flat_map(|refusal| {
                    let differences = refusal.diffs.iter().map(|difference| format!("  {difference}"));
                    std::iter::once(refusal.address.to_string()).chain(differences)
                })
                .collect(),
            Self::Run(RunError::Ambiguous { runs, .. }) => runs.clone(),
            Self::Target(error) => error.details.clone(),
            _ => Vec::new(),
        }
    }

    /// What to do about it, where that is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unfinished { plan, output_dir, .. } => {
                let dir =
                    output_dir.as_ref().map_or_else(String::new, |dir| format!(" --output-dir {}", dir.display()));
                let new = if output_dir.is_some() {
                    "choose another --output-dir to start afresh".to_owned()
                } else {
                    format!("dynbench apply {} --new        starts another run", plan.display())
                };
                Some(format!(
                    "choose one:\n  dynbench apply {}{dir} --resume     goes on with it, measuring nothing twice\n  {new}",
                    plan.display()
                ))
            }
            Self::NoStep(no_match) => no_match.nearest.as_ref().map(|near| format!("did you mean `{near}`?")),
            Self::Usage { help, .. } => help.clone(),
            Self::Target(error) => error.help.clone(),
            Self::Run(error) => error.help().map(str::to_owned),
            Self::Load(LoadError::ModelNotListed { nearest, .. }) => {
                nearest.as_ref().map(|near| format!("did you mean `{near}`?"))
            }
            Self::Load(LoadError::Refused { status: 401 | 403, .. }) => {
                Some("name the environment variable that holds the key with --api-key-env".to_owned())
            }
            Self::Plan { .. }
            | Self::Report(_)
            | Self::File(_)
            | Self::Load(_)
            | Self::Sim(_)
            | Self::System { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_key_is_helped_with_the_name_of_its_option() {
        let refused = |status| {
            let error = LoadError::Refused { url: "u".to_owned(), status, message: "no".to_owned() };
            AppError::Load(error).help()
        };
        assert!(refused(401).is_some_and(|help| help.contains("--api-key-env")));
        assert_eq!(refused(404), None);
    }
}
