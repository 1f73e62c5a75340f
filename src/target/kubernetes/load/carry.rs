//! The binary brought into an image that does not have it, through the pod's own shell.
//!
//! In parts, each appended by a command of its own that reads exactly so many bytes; what is there already is asked
//! first, so that a connection that breaks costs one part. The program is put under its name only when its digest is the
//! right one: the pod starts whatever stands there.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::super::contract::{Ledger, TargetError};
use super::super::super::image::{Architecture, NotStatic, Program};
use super::super::client::Cluster;
use super::super::fault::chain;
use super::job::{BINARY, CONTAINER, PARTS, PROGRAM};
use crate::base::Digest;

/// Bytes of one command.
const PART: usize = 4 << 20;
/// Limit of one command.
const COMMAND: Duration = Duration::from_secs(120);
/// Commands that may fail in a row.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Carries a program into a pod, unless it is there.
///
/// # Errors
/// When the pod has other processors, no shell, no room, or does not let us in.
pub(super) async fn carry(
    cluster: &Cluster,
    pod: &str,
    program: &Program,
    digest: &Digest,
    ledger: &dyn Ledger,
) -> Result<(), TargetError> {
    let shell = Shell { pods: Api::namespaced(cluster.client.clone(), cluster.namespace()), cluster, pod };
    let ask = format!(
        "uname -m; if [ -x {BINARY} ]; then echo there; fi; if command -v gzip > /dev/null; then echo gzip; fi"
    );
    let first = shell.persist(&ask).await?;
    let mut lines = first.lines().map(str::trim);
    let machine: Result<Architecture, String> = lines.next().unwrap_or_default().parse();
    let said: Vec<_> = lines.collect();
    if said.contains(&"there") {
        return Ok(());
    }
    let fits = machine.map_err(TargetError::new).and_then(|machine| {
        let misfit = |error: NotStatic| TargetError { help: error.help(), ..TargetError::new(error.to_string()) };
        program.expect(machine).map_err(misfit)
    });
    fits.map_err(|error| TargetError {
        message: format!("dynbench cannot be carried into pod {pod}: {}", error.message),
        ..error
    })?;
    ledger.doing(&format!("packing dynbench for pod {pod}"));
    let packed = if said.contains(&"gzip") { Some(pack(program)?) } else { None };
    let bytes = packed.as_deref().unwrap_or(&program.bytes);
    let unpack = match packed {
        Some(_) => format!("gzip -dc < {PARTS} > {PROGRAM} && rm -f {PARTS}"),
        None => format!("mv {PARTS} {PROGRAM}"),
    };
    for _ in 0..2 {
        shell.send(bytes, ledger).await?;
        // Parts that do not fit together do not unpack.
        if shell.run(&unpack, &[]).await.is_ok() && shell.is_whole(digest).await? {
            shell.persist(&format!("chmod 755 {PROGRAM} && mv {PROGRAM} {BINARY}")).await?;
            return Ok(());
        }
        shell.persist(&format!("rm -f {PARTS} {PROGRAM}")).await?;
    }
    Err(TargetError::passing(format!("dynbench did not arrive whole in pod {pod}, twice")))
}

/// A program is mostly tables and names: packed it is a third.
fn pack(program: &Program) -> Result<Vec<u8>, TargetError> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let written = packed.write_all(&program.bytes).and_then(|()| packed.finish());
    written.map_err(|error| TargetError::new(format!("dynbench cannot be packed: {error}")))
}

/// Commands in a pod.
struct Shell<'a> {
    pods: Api<Pod>,
    cluster: &'a Cluster,
    pod: &'a str,
}

impl Shell<'_> {
    /// Brings the parts that are not there yet.
    async fn send(&self, bytes: &[u8], ledger: &dyn Ledger) -> Result<(), TargetError> {
        let mut at = self.length().await?;
        while at < bytes.len() {
            ledger.doing(&format!("carrying dynbench into pod {}: {} of {} MB", self.pod, at >> 20, bytes.len() >> 20));
            let part = &bytes[at..bytes.len().min(at + PART)];
            // A failure is no reason to begin anew: how much has arrived is asked again.
            let sent = self.run(&format!("head -c {} >> {PARTS}", part.len()), part).await;
            let now = self.length().await?;
            if now <= at {
                self.pause(sent.err().unwrap_or_else(|| "nothing arrived".to_owned())).await?;
            }
            at = now;
        }
        Ok(())
    }

    /// How much has arrived.
    async fn length(&self) -> Result<usize, TargetError> {
        let said = self.persist(&format!("if [ -f {PARTS} ]; then wc -c < {PARTS}; else echo 0; fi")).await?;
        let length = said.trim().parse();
        length.map_err(|_| TargetError::new(format!("pod {} counts bytes in a strange way: {}", self.pod, said.trim())))
    }

    /// Whether what is there has the digest. An image without the tool for it is believed: the worker tells its own
    /// digest once it runs.
    async fn is_whole(&self, digest: &Digest) -> Result<bool, TargetError> {
        let command = format!("if command -v sha256sum > /dev/null; then sha256sum {PROGRAM}; else echo unknown; fi");
        let said = self.persist(&command).await?;
        Ok(said.starts_with("unknown") || said.starts_with(digest.as_str()))
    }

    /// Runs a command until it succeeds.
    async fn persist(&self, command: &str) -> Result<String, TargetError> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.run(command, &[]).await {
                Ok(said) => return Ok(said),
                Err(why) => last = why,
            }
            if last.contains("forbidden") || last.contains("no such file") {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(self.failed(&last))
    }

    async fn pause(&self, why: String) -> Result<(), TargetError> {
        if why.contains("No space left") {
            return Err(self.failed(&why));
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    fn failed(&self, why: &str) -> TargetError {
        let help = if why.contains("forbidden") {
            "carrying needs the right `create` on pods/exec; or set `load.image` to an image that `dynbench image` made"
        } else {
            "set `load.image` to an image that `dynbench image` made, or `load.carrier` to one with a shell"
        };
        TargetError {
            help: Some(help.to_owned()),
            ..TargetError::passing(format!(
                "dynbench cannot be carried into pod {} ({}): {why}",
                self.pod, self.cluster.place
            ))
        }
    }

    /// One command; what it printed, or why it failed.
    async fn run(&self, command: &str, input: &[u8]) -> Result<String, String> {
        let ran = tokio::time::timeout(COMMAND, self.run_without_limit(command, input)).await;
        ran.unwrap_or_else(|_| Err(format!("no answer within {} s", COMMAND.as_secs())))
    }

    async fn run_without_limit(&self, command: &str, input: &[u8]) -> Result<String, String> {
        let parameters = AttachParams::default()
            .container(CONTAINER)
            .stdin(!input.is_empty())
            .stdout(true)
            .stderr(true)
            .max_stdin_buf_size(256 << 10);
        let mut process =
            self.pods.exec(self.pod, ["/bin/sh", "-c", command], &parameters).await.map_err(|error| chain(&error))?;
        let status = process.take_status();
        let (mut said, mut complained) = (String::new(), String::new());
        let (mut stdout, mut stderr) = (process.stdout(), process.stderr());
        let stdin = process.stdin();
        let write = async {
            if let (Some(mut stdin), false) = (stdin, input.is_empty()) {
                stdin.write_all(input).await.map_err(|error| error.to_string())?;
                stdin.flush().await.map_err(|error| error.to_string())?;
                // Held open until the command has read it all: not every cluster tells the end of an input.
                return Ok::<_, String>(Some(stdin));
            }
            Ok(None)
        };
        let read_out = async {
            if let Some(stdout) = &mut stdout {
                // What broke is told by the status.
                drop(stdout.read_to_string(&mut said).await);
            }
        };
        let read_err = async {
            if let Some(stderr) = &mut stderr {
                drop(stderr.read_to_string(&mut complained).await);
            }
        };
        let (written, (), ()) = tokio::join!(write, read_out, read_err);
        drop(written?);
        let ended = match status {
            Some(status) => status.await,
            None => None,
        };
        match ended {
            Some(status) if status.status.as_deref() == Some("Success") => Ok(said),
            Some(status) => {
                let why = status.message.unwrap_or_default();
                Err(format!("{why} {}", complained.trim()).trim().to_owned())
            }
            None => Err("the connection broke".to_owned()),
        }
    }
}
