//! The life of a deployment that consists of processes, whoever says which: started, awaited, looked at, ended.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::children::Children;
use super::end::{self, Handle, Quarry};
use super::ports::HeldPorts;
use super::procfs;
use super::shim::{Held, Shim};
use super::spec::{Command, Given, Resolved};
use crate::base::{self, Digest};
use crate::target::probe::Prober;
use crate::target::ready;
use crate::target::{Deployed, Endpoint, Ledger, Live, Ready, TargetError, served_model};

/// Lines of a log that an error shows.
const TAIL: usize = 20;
/// Bytes of a log in which those lines are looked for.
const TAIL_BYTES: u64 = 16 * 1024;

/// Starts, supervises and ends the processes of deployments.
#[derive(Debug)]
pub struct Launcher {
    shim: Shim,
    prober: &'static dyn Prober,
    grace: Duration,
    children: Children,
    lives: AtomicU64,
}

/// One process of a deployment, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Started {
    name: String,
    handle: Handle,
    log: PathBuf,
    key: String,
}

/// What [`Deployed::state`] holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    processes: Vec<Started>,
}

impl State {
    fn of(deployed: &Deployed) -> Result<Self, TargetError> {
        serde_json::from_value(deployed.state.clone())
            .map_err(|error| TargetError::new(format!("the journal's record of the processes is unreadable: {error}")))
    }
}

fn io_error(what: &str, error: &io::Error) -> TargetError {
    TargetError::new(format!("{what}: {error}"))
}

impl Launcher {
    /// A launcher that starts commands through `shim`.
    pub const fn new(shim: Shim, prober: &'static dyn Prober) -> Self {
        Self { shim, prober, grace: end::GRACE, children: Children::new(), lives: AtomicU64::new(0) }
    }

    /// The same, with another time between SIGTERM and SIGKILL.
    #[must_use]
    pub const fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Ends what earlier lives left behind, then starts all commands, each written down before it runs.
    ///
    /// # Errors
    /// When something cannot be started or written down; what was started by then is ended again.
    pub(in crate::target) async fn start(
        &self,
        live: Live<'_>,
        ledger: &dyn Ledger,
        port_names: &[String],
        resolve: &(dyn Fn(&Given) -> Result<Resolved, TargetError> + Sync),
    ) -> Result<Deployed, TargetError> {
        let place = place(live.dir)?;
        end::end(Quarry::Marked(&place), &self.children, self.grace, live.cancel).await?;
        let boot = procfs::boot_id().map_err(|error| io_error("processes can only be followed on Linux", &error))?;
        let work = absolute(&live.dir.join("work"))?;
        base::remove_dir(&work).and_then(|()| base::create_dir(&work)).map_err(|error| chained(&error))?;

        let no_port = |error| io_error("no free port on 127.0.0.1", &error);
        let ports = HeldPorts::take(port_names.iter().map(String::as_str)).map_err(no_port)?;
        let named = ports.named().map_err(no_port)?;
        let given = Given {
            port: json!(ports.main().map_err(no_port)?),
            ports: named.into_iter().map(|(name, port)| (name, json!(port))).collect(),
            dir: json!(work),
        };
        let resolved = resolve(&given)?;
        for (name, text) in &resolved.files {
            base::write_atomic(&work.join(name), text.as_bytes()).map_err(|error| chained(&error))?;
        }

        let own = procfs::stat(std::process::id()).map_or(0, |stat| stat.start);
        let life = format!("{place}/{}-{own}-{}", std::process::id(), self.lives.fetch_add(1, Ordering::Relaxed));
        let mut held: Vec<(Held, Started, String)> = Vec::new();
        for (number, command) in resolved.commands.iter().enumerate() {
            ledger.doing(&format!("starting {}", command.name));
            let token = format!("{life}/{number}");
            let prepared = self.prepare(live, command, number, &token, &boot);
            let opened = match prepared {
                Err(error) => Err(error),
                Ok((shim, started)) => {
                    let what = format!("process group {} ({})", started.handle.group, started.handle.command);
                    let handle = serde_json::to_value(&started.handle).expect("a handle is plain data");
                    match ledger.open(what, handle).await {
                        Ok(id) => Ok((shim, started, id)),
                        Err(error) => {
                            self.abandon(shim);
                            Err(error)
                        }
                    }
                }
            };
            match opened {
                Ok(opened) => held.push(opened),
                Err(error) => {
                    self.abandon_all(held, ledger).await;
                    return Err(error);
                }
            }
        }
        // Everything is written down. From here on a crash leaves obligations, and they are known.
        drop(ports);
        let mut processes = Vec::new();
        for (shim, started, _) in held {
            let (child, released) = shim.release();
            self.children.add(child);
            // A shim that is gone already is told by the supervision, with its log.
            drop(released);
            processes.push(started);
        }
        let endpoint = Endpoint {
            url: resolved.url,
            headers_env: BTreeMap::new(),
            api_key_env: None,
            ca_file: None,
            model: served_model(live.plan, live.deployment).to_owned(),
            metrics_urls: resolved.metrics_urls.into_iter().map(Into::into).collect(),
        };
        let state = serde_json::to_value(State { processes }).expect("the state is plain data");
        Ok(Deployed { endpoint, state })
    }

    /// Starts one shim and reads who it is.
    fn prepare(
        &self,
        live: Live<'_>,
        command: &Command,
        number: usize,
        token: &str,
        boot: &str,
    ) -> Result<(Held, Started), TargetError> {
        let blame = |mut error: TargetError| {
            error.key = Some(command.key.clone());
            error
        };
        let environment = environment(command, token).map_err(blame)?;
        let logs = absolute(&live.dir.join("logs"))?;
        base::create_dir(&logs).map_err(|error| chained(&error))?;
        let log = logs.join(format!("{}.{}.log", command.name, number + 1));
        let line = command.argv.join(" ");
        let file = open_log(&log, token, &line).map_err(|error| io_error("cannot open the log", &error))?;
        let shim = Held::start(self.shim, &command.argv, &environment, &command.dir, file)
            .map_err(|error| blame(io_error(&format!("cannot start `{line}` in {}", command.dir.display()), &error)))?;
        let Some(stat) = procfs::stat(shim.pid()) else {
            self.abandon(shim);
            return Err(blame(TargetError::new("the process that was just started is not in /proc")));
        };
        let handle = Handle {
            group: stat.pid,
            start: stat.start,
            session: stat.session,
            boot: boot.to_owned(),
            command: line,
            token: token.to_owned(),
        };
        Ok((shim, Started { name: command.name.clone(), handle, log, key: command.key.clone() }))
    }

    fn abandon(&self, shim: Held) {
        // It read end of file and started nothing; how it exited says nothing.
        drop(shim.abandon());
    }

    async fn abandon_all(&self, held: Vec<(Held, Started, String)>, ledger: &dyn Ledger) {
        for (shim, _, id) in held {
            self.abandon(shim);
            // An obligation that stays open is met at the next end: there is nothing left to be ended.
            drop(ledger.close(&id).await);
        }
    }

    /// Waits until the model is listed and answers, or until a process ends.
    ///
    /// # Errors
    /// Which process ended and how, or what the last answer was when the step is cancelled.
    pub(in crate::target) async fn wait(
        &self,
        live: Live<'_>,
        deployed: &Deployed,
        ledger: &dyn Ledger,
    ) -> Result<Ready, TargetError> {
        let state = State::of(deployed)?;
        let ended = || state.processes.iter().find_map(|started| self.ended(started));
        let api = ready::api_of(live.plan);
        let asked = ready::Asked { endpoint: &deployed.endpoint, api, cancel: live.cancel, runs: false };
        let facts = ready::until_ready(self.prober, asked, &|doing| ledger.doing(doing), &ended).await?;
        Ok(Ready { endpoint: deployed.endpoint.clone(), incarnation: incarnation(&state), facts })
    }

    /// This life of the deployment.
    ///
    /// # Errors
    /// When the state is not one of ours.
    pub(in crate::target) fn incarnation(&self, deployed: &Deployed) -> Result<Value, TargetError> {
        self.children.reap();
        Ok(incarnation(&State::of(deployed)?))
    }

    /// Copies the logs; returns what could not be had.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(in crate::target) fn collect(&self, live: Live<'_>, into: &Path) -> Result<Vec<String>, TargetError> {
        let logs = live.dir.join("logs");
        base::create_dir(into).map_err(|error| chained(&error))?;
        let names = base::list_dir(&logs).map_err(|error| chained(&error))?;
        let copied = names.iter().map(|name| (name, fs::copy(logs.join(name), into.join(name))));
        Ok(copied.filter_map(|(name, copy)| Some(format!("{name}: {}", copy.err()?))).collect())
    }

    /// Ends what a handle names.
    ///
    /// # Errors
    /// When something is left, with its pids.
    pub(in crate::target) async fn end(&self, handle: &Value, cancel: &CancellationToken) -> Result<(), TargetError> {
        let handle: Handle = serde_json::from_value(handle.clone())
            .map_err(|error| TargetError::new(format!("this obligation is not one of processes: {error}")))?;
        end::end(Quarry::Command(&handle), &self.children, self.grace, cancel).await?;
        self.children.forget(handle.group);
        Ok(())
    }

    /// Why a process does not live any more, if so.
    fn ended(&self, started: &Started) -> Option<TargetError> {
        let status = self.children.status(started.handle.group);
        if status.is_none() && is_alive(&started.handle) {
            return None;
        }
        let lived = procfs::age_seconds(started.handle.start).map(|age| format!(" after {age:.1} s"));
        let mut error = TargetError::new(format!(
            "`{}` {}{} before the model answered",
            started.name,
            how(status),
            lived.unwrap_or_default()
        ));
        error.details = tail(&started.log);
        error.key = Some(started.key.clone());
        error.help = Some(format!("its whole output: {}", started.log.display()));
        Some(error)
    }
}

/// How a process ended, as far as it can be known.
fn how(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("exited with code {code}"),
        Some((None, Some(signal))) => format!("was ended by signal {signal}"),
        Some((None, None)) | None => "ended".to_owned(),
    }
}

fn is_alive(handle: &Handle) -> bool {
    procfs::boot_id().is_ok_and(|boot| boot == handle.boot)
        && procfs::stat(handle.group).is_some_and(|stat| stat.start == handle.start && stat.alive())
}

/// Equal only when all processes live and are the same.
fn incarnation(state: &State) -> Value {
    let one = |started: &Started| {
        let handle = &started.handle;
        let life = if is_alive(handle) { json!(handle.start) } else { json!("gone") };
        json!({"name": started.name, "pid": handle.group, "start": life, "boot": handle.boot})
    };
    Value::Array(state.processes.iter().map(one).collect())
}

/// Names the folder of a deployment in one run: the part of the marker that all its lives share.
fn place(dir: &Path) -> Result<String, TargetError> {
    Ok(Digest::of(absolute(dir)?.as_os_str().as_encoded_bytes()).short().to_owned())
}

fn absolute(path: &Path) -> Result<PathBuf, TargetError> {
    std::path::absolute(path).map_err(|error| io_error("cannot tell the working directory", &error))
}

fn chained(error: &base::FileError) -> TargetError {
    TargetError::new(format!("{error}: {}", error.source))
}

/// What is added to our own environment.
fn environment(command: &Command, token: &str) -> Result<Vec<(String, OsString)>, TargetError> {
    let mut all: Vec<_> = command.env.iter().map(|(name, value)| (name.clone(), OsString::from(value))).collect();
    for (name, from) in &command.env_from {
        let value = std::env::var_os(from)
            .ok_or_else(|| TargetError::new(format!("the environment variable `{from}` is not set")))?;
        all.push((name.clone(), value));
    }
    all.push((procfs::MARKER.to_owned(), OsString::from(token)));
    Ok(all)
}

fn open_log(path: &Path, token: &str, line: &str) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "==== {token}: {line}")?;
    Ok(file)
}

/// The last lines of a log.
fn tail(path: &Path) -> Vec<String> {
    let read = || -> io::Result<String> {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => {
            let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("==== ")).collect();
            lines[lines.len().saturating_sub(TAIL)..].iter().map(|line| (*line).to_owned()).collect()
        }
        Err(error) => vec![format!("its log cannot be read: {error}")],
    }
}
