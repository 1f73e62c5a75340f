//! `kind = "process"`: several commands of the plan, started on this machine.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::launch::Launcher;
use super::shim::Shim;
use super::spec::{self, Command, Given, Raw, Resolved, Unfilled};
use crate::base::{Diagnostic, Problems};
use crate::plan::{Deployment, Key, Plan, TargetKind};
use crate::target::HTTP_PROBER;
use crate::target::endpoint::check_url;
use crate::target::{BoxFuture, Deployed, Ledger, Live, Ready, Target, TargetError};

/// The target that starts commands.
#[derive(Debug)]
pub struct Process {
    launcher: Launcher,
}

impl Process {
    /// With this binary as the shim.
    pub const fn new() -> Self {
        Self::with_launcher(Launcher::new(Shim::Own, HTTP_PROBER))
    }

    /// With another launcher, for tests.
    pub const fn with_launcher(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

impl Default for Process {
    fn default() -> Self {
        Self::new()
    }
}

fn read(deployment: &Deployment) -> Result<Raw, TargetError> {
    Raw::read(deployment).map_err(|error| TargetError::new(format!("the keys of this deployment do not fit: {error}")))
}

fn resolve(raw: &Raw, live: Live<'_>, given: &Given) -> Result<Resolved, TargetError> {
    raw.resolve(live.plan, live.deployment, given).map_err(|unfilled| {
        let Unfilled { key, error } = unfilled.into_iter().next().expect("an empty list would have been a success");
        TargetError { help: error.help.clone(), key: Some(key), ..TargetError::new(error.to_string()) }
    })
}

impl TargetKind for Process {
    fn kind(&self) -> &'static str {
        "process"
    }

    fn about(&self) -> &'static str {
        "Commands started on this machine, supervised, and ended as process groups."
    }

    fn target_keys(&self) -> &'static [Key] {
        &[]
    }

    fn deployment_keys(&self) -> &'static [Key] {
        spec::KEYS
    }

    fn check(&self, plan: &Plan, deployment: &Deployment, problems: &mut Problems) {
        let raw = match Raw::read(deployment) {
            Ok(raw) => raw,
            Err(error) => {
                problems.push(Diagnostic::error(error.to_string()).at(deployment.span.clone()));
                return;
            }
        };
        raw.check(plan, deployment, problems);
        let given = Given {
            port: json!(1),
            ports: raw.port_names().map(|name| (name.to_owned(), json!(1))).collect(),
            dir: json!("/"),
        };
        if let Ok(resolved) = raw.resolve(plan, deployment, &given)
            && let Err((message, help)) = check_url(&resolved.url)
        {
            let place = deployment.values.span("url").or(deployment.span.as_ref()).cloned();
            problems.push(Diagnostic::error(message).at(place).help(help));
        }
    }

    fn fingerprint(&self, plan: &Plan, deployment: &Deployment) -> Value {
        let resolved = Raw::read(deployment).ok().and_then(|raw| {
            let given = Given::stand_ins(&raw);
            raw.resolve(plan, deployment, &given).ok()
        });
        let Some(resolved) = resolved else { return json!({"unresolved": deployment.values.json}) };
        let commands: Vec<_> = resolved
            .commands
            .iter()
            .map(|command| json!({"command": command.argv, "env": command.env, "env-from": command.env_from}))
            .collect();
        json!({"commands": commands, "url": resolved.url})
    }

    fn gpus(&self, _plan: &Plan, _deployment: &Deployment) -> Option<f64> {
        None
    }

    fn describe(&self, _plan: &Plan, deployment: &Deployment) -> String {
        let programs = Raw::read(deployment).map(|raw| raw.names().join(", ")).unwrap_or_default();
        format!("start on this machine: {programs}")
    }

    fn simulated(&self, _deployment: &Deployment) -> bool {
        false
    }

    fn transport(&self, _plan: &Plan, _deployment: &Deployment) -> &'static str {
        "loopback"
    }
}

impl Target for Process {
    fn discover<'a>(&'a self, _live: Live<'a>) -> BoxFuture<'a, Result<Value, TargetError>> {
        Box::pin(async { Ok(Value::Null) })
    }

    fn preflight<'a>(&'a self, live: Live<'a>) -> BoxFuture<'a, Result<Vec<String>, TargetError>> {
        Box::pin(async move {
            let raw = read(live.deployment)?;
            let resolved = resolve(&raw, live, &Given::stand_ins(&raw))?;
            resolved.commands.iter().map(look_at).collect()
        })
    }

    fn deploy<'a>(&'a self, live: Live<'a>, ledger: &'a dyn Ledger) -> BoxFuture<'a, Result<Deployed, TargetError>> {
        Box::pin(async move {
            let raw = read(live.deployment)?;
            let names: Vec<_> = raw.port_names().map(str::to_owned).collect();
            self.launcher.start(live, ledger, &names, &|given| resolve(&raw, live, given)).await
        })
    }

    fn wait<'a>(
        &'a self,
        live: Live<'a>,
        deployed: &'a Deployed,
        ledger: &'a dyn Ledger,
    ) -> BoxFuture<'a, Result<Ready, TargetError>> {
        Box::pin(self.launcher.wait(live, deployed, ledger))
    }

    fn incarnation<'a>(&'a self, _live: Live<'a>, deployed: &'a Deployed) -> BoxFuture<'a, Result<Value, TargetError>> {
        Box::pin(async { self.launcher.incarnation(deployed) })
    }

    fn collect<'a>(
        &'a self,
        live: Live<'a>,
        _deployed: &'a Deployed,
        into: &'a Path,
    ) -> BoxFuture<'a, Result<Vec<String>, TargetError>> {
        Box::pin(async move { self.launcher.collect(live, into) })
    }

    fn end<'a>(&'a self, handle: &'a Value, cancel: &'a CancellationToken) -> BoxFuture<'a, Result<(), TargetError>> {
        Box::pin(self.launcher.end(handle, cancel))
    }
}

/// What can be known of a command before it is started.
fn look_at(command: &Command) -> Result<String, TargetError> {
    let blame = |key: &str, message: String, help: &str| TargetError {
        key: Some(format!("{}.{key}", command.key)),
        help: Some(help.to_owned()),
        ..TargetError::new(message)
    };
    // The empty folder is made at the start, and stands as a word until then.
    if !command.dir.is_dir() && !command.dir.to_string_lossy().contains("<dir>") {
        let message = format!("the working directory {} of `{}` does not exist", command.dir.display(), command.name);
        return Err(blame("dir", message, "make it, or correct `dir`"));
    }
    for from in command.env_from.values() {
        if std::env::var_os(from).is_none() {
            let message = format!("the environment variable `{from}`, which `{}` needs, is not set", command.name);
            return Err(blame("env-from", message, "set it in the shell that starts dynbench"));
        }
    }
    let program = command.argv.first().map_or("", String::as_str);
    let search = command.env.get("PATH").map(OsString::from).or_else(|| std::env::var_os("PATH"));
    match find(program, &command.dir, search) {
        Some(path) => Ok(format!("{}: {}", command.name, path.display())),
        None => {
            let message = format!("the program `{program}` of `{}` is not there or is not executable", command.name);
            Err(blame("command", message, "install it, or write its full path"))
        }
    }
}

/// Finds a program as the system will: by path from the working directory, or by name along PATH.
fn find(program: &str, dir: &Path, search: Option<OsString>) -> Option<PathBuf> {
    let executable =
        |path: &PathBuf| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        return Some(dir.join(program)).filter(executable);
    }
    std::env::split_paths(&search?).map(|folder| folder.join(program)).find(executable)
}
