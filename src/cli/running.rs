//! The command that runs: apply.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::args::Apply;
use super::display::Display;
use super::{ask, print};
use crate::app::{
    self, AppError, Applied, ApplyOptions, EditChoice, EventReceiver, ExitCode, Overrides, RunEvent, Stop, StopLevel,
};
use crate::base::FileError;

/// The runtime of everything but the generator, which has threads of its own.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, AppError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| AppError::System { action: "start the runtime".to_owned(), source })
}

fn edits(arguments: &Apply) -> Result<EditChoice, AppError> {
    match (arguments.resume, arguments.new, arguments.frozen, arguments.accept_changes) {
        (true, true, ..) => Err(AppError::usage("--resume goes on with a run and --new starts one: choose")),
        (_, true, ..) => Ok(EditChoice::New),
        (true, false, false, false) => Ok(EditChoice::Resume),
        (true, false, true, _) => Ok(EditChoice::ResumeFrozen),
        (true, false, false, true) => Ok(EditChoice::ResumeAccepting),
        (false, false, false, false) => Ok(EditChoice::Start),
        (false, ..) => Err(AppError::Usage {
            message: "--frozen and --accept-changes say what a resume does about edits".to_owned(),
            help: Some("add --resume".to_owned()),
        }),
    }
}

pub(super) fn apply(arguments: &Apply) -> Result<ExitCode, AppError> {
    let choice = edits(arguments)?;
    let file = &arguments.file;
    let output_dir = arguments.output_dir.as_deref();
    let mut sets = ask::overrides(file).all();
    if arguments.resume && sets.is_empty() {
        sets = app::frozen_sets(&file.plan, output_dir)?;
        if !sets.is_empty() {
            print::say(&format!("as this run was started: --set {}", sets.join(" --set ")));
        }
    }
    let checked = app::check(&file.plan, &Overrides { sets: sets.clone(), namespace: None });
    print::problems(&checked);
    let plan = app::usable(&file.plan, &checked)?;
    if let Some(resolved) = &checked.resolved {
        print::say(&format!("# {} as resolved\n\n{}", file.plan.display(), app::resolved_toml(resolved)));
    }
    let preview = app::preview(&plan, output_dir)?;
    print::say(&format!("# {}\n", ask::cost(&preview)));

    let (sink, receiver) = app::event_channel();
    let display = Display::new(arguments.verbose, checked.sources, &preview.steps);
    let to_stdout = arguments.events.as_deref() == Some(Path::new("-"));
    let listener = listen(receiver, display, arguments.events.as_deref())?;
    let stop = Stop::default();
    let options = ApplyOptions {
        edits: choice,
        output_dir: arguments.output_dir.clone(),
        only: arguments.only.clone(),
        rerun: arguments.rerun.clone(),
        until: arguments.until.clone(),
        keep: arguments.keep,
        stop: stop.clone(),
        sinks: vec![Arc::new(sink)],
    };
    let applied = runtime()?.block_on(async {
        let _signals = app::listen_to_signals(stop.clone())
            .map_err(|source| AppError::System { action: "listen to signals".to_owned(), source })?;
        tokio::select! {
            applied = app::apply(&file.plan, &sets, plan, options) => applied,
            () = stop.reached(StopLevel::Now) => {
                print::say("stopped at once; `dynbench cleanup` ends what is left, `--resume` goes on");
                std::process::exit(i32::from(stop.signal().map_or(ExitCode::INTERRUPTED, app::exit_code_of).0));
            }
        }
    });
    // All sinks are gone now, so the listener ends when it has shown everything.
    let shown = listener.join();
    let applied = applied?;
    if let Ok(Err(error)) = shown {
        print::error(&AppError::File(error));
    }
    conclude(arguments, &applied, to_stdout)
}

/// Shows events, and writes them if asked to, on a thread of its own: neither can hold up the run.
fn listen(
    mut receiver: EventReceiver,
    mut display: Display,
    to: Option<&Path>,
) -> Result<std::thread::JoinHandle<Result<(), FileError>>, AppError> {
    let mut file: Option<(std::path::PathBuf, Box<dyn Write + Send>)> = match to {
        None => None,
        Some(path) if path == Path::new("-") => Some((path.to_owned(), Box::new(io::stdout()))),
        Some(path) => {
            let created = std::fs::File::create(path).map_err(|source| FileError::new("create", path, source))?;
            Some((path.to_owned(), Box::new(created)))
        }
    };
    let listen = move || {
        let mut failed = Ok(());
        while let Some(event) = receiver.blocking_next() {
            display.show(&event);
            if let Some((path, writer)) = &mut file
                && let Err(source) = write_line(writer.as_mut(), &event)
            {
                failed = Err(FileError::new("write", path, source));
                file = None;
            }
        }
        display.finish();
        failed
    };
    std::thread::Builder::new()
        .name("events".to_owned())
        .spawn(listen)
        .map_err(|source| AppError::System { action: "start a thread".to_owned(), source })
}

fn write_line(writer: &mut dyn Write, event: &RunEvent) -> io::Result<()> {
    writeln!(writer, "{}", event.to_json())?;
    writer.flush()
}

/// The last words: what came out, what is wrong, how to go on.
fn conclude(arguments: &Apply, applied: &Applied, events_on_stdout: bool) -> Result<ExitCode, AppError> {
    let report = &applied.report;
    let code = report.exit_code();
    // What to do next is said also when this cannot be printed.
    let printed = if arguments.json {
        let outcome = json!({
            "run-dir": applied.dir, "code": code, "causes": report.causes, "steps": report.steps,
            "outstanding": report.outstanding, "obligations": report.obligations, "unrecorded": report.unrecorded,
        });
        if events_on_stdout { print::json_line(&outcome) } else { print::json(&outcome) }
    } else {
        let summary = applied.summary.as_ref().filter(|_| !events_on_stdout);
        summary.map_or(Ok(()), |summary| print::out(summary))
    };
    let counts: Vec<_> = report.counts().into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    print::say(&format!("\nsteps: {}", counts.join(", ")));
    for cause in &report.causes {
        print::say(&format!("exit code {}: {}", cause.code.0, cause.message));
    }
    for line in &report.unrecorded {
        print::say(&format!("happened, but could not be written to the journal: {line}"));
    }
    for note in &applied.notes {
        print::say(note);
    }
    for open in &report.obligations {
        print::say(&format!("still there: {}", open.what));
    }
    if !report.obligations.is_empty() {
        print::say(&format!("end it with: dynbench cleanup --run {}", applied.dir.display()));
    }
    let again = |step: &app::StepReport| {
        matches!(step.state.as_str(), "failed" | "interrupted") || step.invalid.iter().any(|reason| reason.momentary)
    };
    if !report.outstanding.is_empty() || report.steps.iter().any(again) {
        let dir =
            arguments.output_dir.as_ref().map_or_else(String::new, |dir| format!(" --output-dir {}", dir.display()));
        print::say(&format!("go on with: dynbench apply {}{dir} --resume", arguments.file.plan.display()));
    }
    print::say(&format!("results: {}", applied.dir.display()));
    if io::stderr().is_terminal() && code == ExitCode::DONE {
        print::say(&format!("pictures: {}", applied.dir.join("plots").display()));
    }
    printed.map(|()| code)
}
