//! The shim: between "a process exists" and "the command runs" lies the moment in which it is written down.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What is sent to a shim once its obligation is on the disk.
const GO: &str = "go";

/// Why a shim did not become its command.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// Whoever started it died, or gave up, before it said `go`. Nothing was started, which is as it should be.
    #[error("abandoned before the command was started")]
    Abandoned,
    /// It was given no command.
    #[error("no command to hold")]
    NoCommand,
    /// The system refused to run the command.
    #[error("cannot run {}", program.display())]
    Exec {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HoldError {
    /// Whether nothing was started because nobody wanted it any more.
    pub fn is_abandoned(&self) -> bool {
        match self {
            Self::Abandoned => true,
            Self::NoCommand | Self::Exec { .. } => false,
        }
    }
}

/// The hidden subcommand `hold`: waits for `go` on stdin, then becomes `argv`. It comes back only when it could not.
pub fn hold(argv: &[OsString]) -> HoldError {
    let mut line = String::new();
    match io::stdin().read_line(&mut line) {
        Ok(_) if line.trim_end() == GO => {}
        Ok(_) | Err(_) => return HoldError::Abandoned,
    }
    let Some((program, arguments)) = argv.split_first() else { return HoldError::NoCommand };
    let source = Command::new(program).args(arguments).stdin(Stdio::null()).exec();
    HoldError::Exec { program: PathBuf::from(program), source }
}

/// What is started as the shim.
#[derive(Debug, Clone, Copy)]
pub enum Shim {
    /// This binary with its hidden subcommand.
    Own,
    /// Another program that keeps the protocol, given the command as further arguments: for tests of this library, in
    /// which the running binary is the test.
    Program(&'static [&'static str]),
}

impl Shim {
    fn command(self) -> io::Result<Command> {
        match self {
            Self::Own => {
                let mut command = Command::new(own_binary()?);
                command.args(["hold", "--"]);
                Ok(command)
            }
            Self::Program(words) => {
                let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
                let mut command = Command::new(program);
                command.args(arguments);
                Ok(command)
            }
        }
    }
}

/// This binary, also when its file was replaced while it runs.
pub(in crate::target) fn own_binary() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let link = Path::new("/proc/self/exe");
    Ok(if !path.exists() && link.exists() { link.to_owned() } else { path })
}

/// A shim that waits.
#[derive(Debug)]
pub(super) struct Held {
    child: Child,
}

impl Held {
    /// Starts a shim in a process group of its own.
    pub(super) fn start(
        shim: Shim,
        argv: &[String],
        environment: &[(String, OsString)],
        dir: &Path,
        log: File,
    ) -> io::Result<Self> {
        let mut command = shim.command()?;
        command
            .args(argv)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(Self { child: command.spawn()? })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it become its command.
    pub(super) fn release(mut self) -> (Child, io::Result<()>) {
        let mut stdin = self.child.stdin.take().expect("it was started with a pipe");
        let sent = writeln!(stdin, "{GO}");
        (self.child, sent)
    }

    /// Lets it exit without having started anything.
    pub(super) fn abandon(mut self) -> io::Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().map(drop)
    }
}
