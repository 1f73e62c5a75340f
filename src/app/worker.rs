//! `dynbench worker`: this program in a pod beside the server under test.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::AppError;
use crate::base::parse_duration;
use crate::load::{WorkerOptions, serve_worker};

/// What a worker is told on its command line.
#[derive(Debug, Clone)]
pub struct WorkerArguments {
    /// Where it listens.
    pub listen: SocketAddr,
    /// A folder of its own.
    pub dir: PathBuf,
    /// How long it holds a result, such as `12h`.
    pub hold: String,
    /// How long it stays without one, such as `30m`.
    pub idle: String,
}

/// Takes orders until `shutdown` is cancelled or nobody comes any more; says why it ended.
///
/// # Errors
/// When a duration is none, the port is taken or the folder cannot be used.
pub async fn worker(arguments: &WorkerArguments, shutdown: CancellationToken) -> Result<&'static str, AppError> {
    let duration = |text: &str| -> Result<Duration, AppError> {
        parse_duration(text).map_err(|_| AppError::usage(format!("`{text}` is no duration such as 12h or 90s")))
    };
    let options = WorkerOptions {
        dir: arguments.dir.clone(),
        hold: duration(&arguments.hold)?,
        idle: duration(&arguments.idle)?,
    };
    let listener = TcpListener::bind(arguments.listen)
        .map_err(|source| AppError::System { action: format!("listen at {}", arguments.listen), source })?;
    Ok(serve_worker(options, listener, shutdown).await?)
}
