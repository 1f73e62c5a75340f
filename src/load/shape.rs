//! One call for every shape of load.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::closed::run_closed;
use super::endpoint::Endpoint;
use super::error::LoadError;
use super::level::{LevelRun, LevelSpec, LiveProgress, Pacing};
use super::open::run_open;
use super::prompt::Prompts;

/// Runs one level of any shape.
///
/// # Errors
/// When the host has no address, raw responses cannot be written, or a thread cannot be started or panics. A server
/// that fails is no error: its failures are records, and `failed` says that they were too many.
pub async fn run_level(
    spec: &LevelSpec,
    endpoint: &Endpoint,
    prompts: Arc<Prompts>,
    cancel: &CancellationToken,
    progress: Arc<LiveProgress>,
) -> Result<LevelRun, LoadError> {
    match &spec.pacing {
        Pacing::Closed => run_closed(spec, endpoint, prompts, cancel, progress).await,
        Pacing::Open { rate, arrivals } => run_open((spec, *rate, arrivals), endpoint, prompts, cancel, progress).await,
    }
}
