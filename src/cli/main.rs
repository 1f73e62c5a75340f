//! From arguments to an exit code.

use std::process;

use clap::{CommandFactory, Parser};

use super::args::{Arguments, Command, Init, InitTarget, Runs, Templates};
use super::{ask, cluster, engine, look, once, print, running, worker};
use crate::app::{self, AppError, ExitCode};

/// The whole program.
pub fn main() -> process::ExitCode {
    let arguments = Arguments::parse();
    app::raise_file_limit();
    // A panic is a bug of ours, and says so by its own exit code whatever thread it was in.
    let outcome = std::panic::catch_unwind(|| run(arguments.command));
    let code = match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            print::error(&error);
            error.exit_code()
        }
        Err(_) => {
            print::say("this is a bug of dynbench: please report it with the lines above");
            ExitCode::BUG
        }
    };
    process::ExitCode::from(code.0)
}

fn run(command: Command) -> Result<ExitCode, AppError> {
    match command {
        Command::Init(arguments) => init(&arguments),
        Command::Check(arguments) => ask::check(&arguments),
        Command::Plan(arguments) => ask::plan(&arguments),
        Command::Render(arguments) => ask::render(&arguments),
        Command::Graph(arguments) => ask::graph(&arguments),
        Command::Apply(arguments) => running::apply(&arguments),
        Command::Cleanup(arguments) => cluster::cleanup(&arguments),
        Command::Rbac(file) => cluster::rbac(&file),
        Command::Reap(arguments) => cluster::reap(&arguments),
        Command::Report(arguments) => look::report(&arguments),
        Command::Explain(arguments) => look::explain(&arguments),
        Command::Runs(which) => runs(&which),
        Command::Simulate(arguments) => engine::simulate(&arguments),
        Command::Load(arguments) => once::load(&arguments),
        Command::Schema => {
            print::json(&app::schema())?;
            Ok(ExitCode::DONE)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "dynbench", &mut script);
            print::out(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::DONE)
        }
        Command::Templates(Templates::List) => {
            for (name, about) in app::templates() {
                print::out(&format!("{name:<31} {about}\n"))?;
            }
            Ok(ExitCode::DONE)
        }
        Command::Templates(Templates::Show { name }) => {
            print::out(&app::show_template(&name)?)?;
            Ok(ExitCode::DONE)
        }
        Command::Image(arguments) => worker::image(&arguments),
        Command::Worker(flags) => worker::worker(&flags),
        Command::Hold { command } => Ok(engine::hold(&command)),
    }
}

fn runs(which: &Runs) -> Result<ExitCode, AppError> {
    match which {
        Runs::List { json } => look::list(*json),
        Runs::Show { run, json } => look::show(run, *json),
        Runs::Prune { keep, dry_run } => look::prune(*keep, *dry_run),
        Runs::Fsck { run } => look::fsck(run),
        Runs::Export { run, file } => look::export(run, file),
        Runs::Import { file } => look::import(file),
    }
}

fn init(arguments: &Init) -> Result<ExitCode, AppError> {
    let kind = match arguments.target {
        InitTarget::Simulated => app::InitKind::Simulated,
        InitTarget::Process => app::InitKind::Process,
        InitTarget::Endpoint => app::InitKind::Endpoint,
        InitTarget::Kubernetes => app::InitKind::Kubernetes,
    };
    app::init(&arguments.path, kind)?;
    print::say(&format!("wrote {}; next: dynbench check {0} && dynbench plan {0}", arguments.path.display()));
    Ok(ExitCode::DONE)
}
