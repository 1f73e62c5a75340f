//! Commands that become a server: `simulate`, and the hidden `hold`.

use std::error::Error as _;
use std::ffi::OsString;

use tokio_util::sync::CancellationToken;

use super::args::Simulate;
use super::print;
use crate::app::{self, AppError, ExitCode, SimulateOptions, Stop, StopLevel};

pub(super) fn simulate(arguments: &Simulate) -> Result<ExitCode, AppError> {
    let options = SimulateOptions {
        engine: arguments.engine.clone(),
        model: arguments.model.clone(),
        config: arguments.config.clone(),
        sets: arguments.sets.clone(),
        truth: arguments.truth.clone(),
    };
    let config = app::simulate_config(&options)?;
    if let Some(path) = &arguments.truth {
        app::writable(path)?;
    }
    let listener = app::listen(arguments.host, arguments.port)?;
    let address =
        listener.local_addr().map_err(|source| AppError::System { action: "see the port".to_owned(), source })?;
    print::say(&format!(
        "serving {} (simulated, {}, time-scale {}) at http://{address}; Ctrl-C ends it",
        config.model,
        config.engine.as_str(),
        config.time_scale
    ));
    // One thread for the server: it shares the machine with the generator that it is there for.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| AppError::System { action: "start the runtime".to_owned(), source })?;
    runtime.block_on(async {
        let stop = Stop::default();
        let _signals = app::listen_to_signals(stop.clone())
            .map_err(|source| AppError::System { action: "listen to signals".to_owned(), source })?;
        let shutdown = CancellationToken::new();
        let stopping = async {
            stop.reached(StopLevel::Orderly).await;
            shutdown.cancel();
            stop.reached(StopLevel::Quick).await;
        };
        tokio::select! {
            served = app::simulate(config, listener, arguments.truth.clone(), shutdown.clone()) => served,
            () = stopping => Ok(()),
        }
    })?;
    Ok(ExitCode::DONE)
}

/// Exit code of a shim whose program could not be started, as in shells.
const NOT_STARTED: ExitCode = ExitCode(127);

pub(super) fn hold(command: &[OsString]) -> ExitCode {
    // Returns only when nothing was started.
    let error = app::hold(command);
    if error.is_abandoned() {
        return ExitCode::DONE;
    }
    print::say(&format!("dynbench: {error}"));
    if let Some(cause) = error.source() {
        print::say(&format!("  because: {cause}"));
    }
    NOT_STARTED
}
