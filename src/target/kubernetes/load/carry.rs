//! The binary brought into an image that does not have it, through the pod's own shell.
//!
//! In parts, each appended by a command of its own that reads exactly so many bytes; what is there already is asked
//! first, so that a connection that breaks costs one part. The program is put under its name only when its digest is the
//! right one: the pod starts whatever stands there.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::super::contract::{Ledger, TargetError};
use super::super::super::image::{Architecture, Program};
use super::super::client::Cluster;
use super::super::fault::chain;
use super::job::{BINARY, CONTAINER, PARTS};
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
    let first = shell.persist(&format!("uname -m; [ -x {BINARY} ] && echo there"), &[]).await?;
    let mut lines = first.lines();
    let machine: Result<Architecture, String> = lines.next().unwrap_or_default().trim().parse();
    if lines.next() == Some("there") {
        return Ok(());
    }
    let fits = machine.map_err(TargetError::new).and_then(|machine| {
        program
            .expect(machine)
            .map_err(|error| TargetError { help: error.help(), ..TargetError::new(error.to_string()) })
    });
    fits.map_err(|error| TargetError {
        message: format!("dynbench cannot be carried into pod {pod}: {}", error.message),
        ..error
    })?;
    let total = program.bytes.len();
    for _ in 0..2 {
        let mut at = shell.length().await?;
        while at < total {
            ledger.doing(&format!("carrying dynbench into pod {pod}: {} of {} MB", at >> 20, total >> 20));
            let part = &program.bytes[at..total.min(at + PART)];
            // A failure is no reason to begin anew: how much has arrived is asked again.
            let sent = shell.run(&format!("head -c {} >> {PARTS}", part.len()), part).await;
            let now = shell.length().await?;
            if now <= at {
                shell.pause(sent.err().unwrap_or_else(|| "nothing arrived".to_owned())).await?;
            }
            at = now;
        }
        if at == total && shell.is_whole(digest).await? {
            shell.persist(&format!("chmod 755 {PARTS} && mv {PARTS} {BINARY}"), &[]).await?;
            return Ok(());
        }
        shell.persist(&format!("rm -f {PARTS}"), &[]).await?;
    }
    Err(TargetError::passing(format!("dynbench did not arrive whole in pod {pod}, twice")))
}

/// Commands in a pod.
struct Shell<'a> {
    pods: Api<Pod>,
    cluster: &'a Cluster,
    pod: &'a str,
}

impl Shell<'_> {
    /// How much of the program is there.
    async fn length(&self) -> Result<usize, TargetError> {
        let said = self.persist(&format!("[ -f {PARTS} ] && wc -c < {PARTS} || echo 0"), &[]).await?;
        let length = said.trim().parse();
        length.map_err(|_| TargetError::new(format!("pod {} counts bytes in a strange way: {}", self.pod, said.trim())))
    }

    /// Whether what is there has the digest. An image without the tool for it is believed: the worker tells its own
    /// digest once it runs.
    async fn is_whole(&self, digest: &Digest) -> Result<bool, TargetError> {
        let command = format!("command -v sha256sum > /dev/null && sha256sum {PARTS} || echo unknown");
        let said = self.persist(&command, &[]).await?;
        Ok(said.starts_with("unknown") || said.starts_with(digest.as_str()))
    }

    /// Runs a command until it succeeds.
    async fn persist(&self, command: &str, input: &[u8]) -> Result<String, TargetError> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.run(command, input).await {
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
