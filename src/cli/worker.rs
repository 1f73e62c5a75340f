//! Commands for load from inside a cluster: `image`, and the hidden `worker`.

use tokio_util::sync::CancellationToken;

use super::args::{ImageArguments, WorkerFlags};
use super::print;
use super::running::runtime;
use crate::app::{self, AppError, ExitCode, ImageOptions, Stop, StopLevel, WorkerArguments};

pub(super) fn worker(flags: &WorkerFlags) -> Result<ExitCode, AppError> {
    let arguments = WorkerArguments {
        listen: flags.listen,
        dir: flags.dir.clone(),
        hold: flags.hold.clone(),
        idle: flags.idle.clone(),
    };
    runtime()?.block_on(async {
        let stop = Stop::default();
        // The first process of a container gets no signal that it does not ask for.
        let _signals = app::listen_to_signals(stop.clone())
            .map_err(|source| AppError::System { action: "listen to signals".to_owned(), source })?;
        let shutdown = CancellationToken::new();
        print::say(&format!("load worker {} listens at {}", env!("CARGO_PKG_VERSION"), arguments.listen));
        let why = tokio::select! {
            ended = app::worker(&arguments, shutdown.clone()) => ended?,
            () = stop.reached(StopLevel::Orderly) => "it was told to end",
        };
        print::say(&format!("load worker ends: {why}"));
        Ok(ExitCode::DONE)
    })
}

pub(super) fn image(arguments: &ImageArguments) -> Result<ExitCode, AppError> {
    let options = ImageOptions {
        binary: arguments.binary.clone(),
        architecture: arguments
            .arch
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|message: String| AppError::usage(message))?,
        out: arguments.out.clone(),
        name: arguments.name.clone(),
        push: arguments.push.clone(),
        insecure: arguments.insecure,
    };
    let made = runtime()?.block_on(app::image(&options))?;
    for line in &made.said {
        print::say(line);
    }
    if let Some(reference) = &made.reference {
        print::out(&format!("{reference}\n"))?;
    }
    Ok(ExitCode::DONE)
}
