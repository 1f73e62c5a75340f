//! `[hooks]`: commands of the user at fixed moments.
//!
//! A hook gets one JSON object on stdin, has a deadline, and may print one JSON object whose numbers become metrics
//! (`hook.NAME`). It runs in a process group of its own, which is ended as a whole when it is late or the run stops.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::base::format_duration;
use crate::measure::PointSummary;
use crate::plan::Hook;
use crate::run::{FailureKind, Progress, StepContext, StepFailure};
use crate::target::Endpoint;

/// More output than this is not kept.
const OUTPUT_LIMIT: u64 = 1 << 20;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    AfterReady,
    BeforeLevel,
    AfterLevel,
    BeforeTeardown,
}

impl Moment {
    fn as_str(self) -> &'static str {
        match self {
            Self::AfterReady => "after-ready",
            Self::BeforeLevel => "before-level",
            Self::AfterLevel => "after-level",
            Self::BeforeTeardown => "before-teardown",
        }
    }
}

/// Runs the hook of that moment, if the plan has one; the numbers it printed, by name.
pub(super) async fn run(
    cx: &StepContext,
    moment: Moment,
    endpoint: &Endpoint,
    point: Option<&PointSummary>,
) -> Result<BTreeMap<String, f64>, StepFailure> {
    let hooks = &cx.shared.plan.hooks;
    let hook = match moment {
        Moment::AfterReady => &hooks.after_ready,
        Moment::BeforeLevel => &hooks.before_level,
        Moment::AfterLevel => &hooks.after_level,
        Moment::BeforeTeardown => &hooks.before_teardown,
    };
    let Some(hook) = hook else { return Ok(BTreeMap::new()) };
    cx.progress(Progress { doing: format!("hook {}", moment.as_str()), ..Progress::default() });
    let input = json!({
        "moment": moment.as_str(),
        "run": cx.shared.id,
        "run-dir": cx.run_dir(),
        "deployment": cx.spec.deployment,
        "workload": cx.spec.workload,
        "level": cx.spec.level.map(|level| level.to_string()),
        "repeat": cx.spec.block,
        "url": endpoint.url,
        "model": endpoint.model,
        "point": point,
    });
    execute(hook, moment, &input, cx).await.map_err(|failure| StepFailure { span: hook.span.clone(), ..failure })
}

async fn execute(
    hook: &Hook,
    moment: Moment,
    input: &Value,
    cx: &StepContext,
) -> Result<BTreeMap<String, f64>, StepFailure> {
    let name = format!("hook {} (`{}`)", moment.as_str(), hook.command.join(" "));
    let failed = |what: String| StepFailure::new(FailureKind::Lasting, format!("{name} {what}"));
    let (program, arguments) = hook.command.split_first().ok_or_else(|| failed("has no command".to_owned()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(&cx.shared.plan.dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("could not be started: {error}")))?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let outcome = tokio::select! {
        () = cx.cancel.cancelled() => None,
        outcome = tokio::time::timeout(hook.deadline, talk(&mut child, input)) => Some(outcome),
    };
    // Whatever the hook started itself must not outlive it; a group that is gone already is what is wanted.
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let (status, stdout, stderr) = match outcome {
        None => return Err(StepFailure::new(FailureKind::Interrupted, format!("{name} was interrupted"))),
        Some(Err(_)) => return Err(failed(format!("was not done after {}", late(hook.deadline)))),
        Some(Ok(Err(error))) => return Err(failed(format!("could not be talked to: {error}"))),
        Some(Ok(Ok(outcome))) => outcome,
    };
    if !status.success() {
        let lines: Vec<_> = stderr.lines().rev().take(10).map(str::to_owned).collect();
        return Err(failed(format!("failed: {status}")).details(lines.into_iter().rev()));
    }
    numbers(&stdout).map_err(|reason| failed(format!("printed something else than a JSON object of numbers: {reason}")))
}

fn late(deadline: Duration) -> String {
    format!("its deadline of {}", format_duration(deadline))
}

async fn talk(child: &mut Child, input: &Value) -> std::io::Result<(ExitStatus, String, String)> {
    let stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A hook need not read what it is told.
            let _ = stdin.write_all(format!("{input}\n").as_bytes()).await;
        }
    };
    let ((), stdout, stderr, status) = tokio::join!(write, read(stdout), read(stderr), child.wait());
    Ok((status?, stdout?, stderr?))
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(OUTPUT_LIMIT).read_to_end(&mut bytes).await?;
        // The rest is read and thrown away, so that the hook does not hang on a full pipe.
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The numbers of a printed JSON object; nothing printed is no numbers.
fn numbers(stdout: &str) -> Result<BTreeMap<String, f64>, String> {
    if stdout.trim().is_empty() {
        return Ok(BTreeMap::new());
    }
    let object: serde_json::Map<String, Value> = serde_json::from_str(stdout).map_err(|error| error.to_string())?;
    Ok(object.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_of_an_object_become_metrics() {
        let found = numbers("{\"watts\": 312.5, \"gpus\": 2, \"note\": \"warm\"}\n").unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("gpus".to_owned(), 2.0), ("watts".to_owned(), 312.5)]);
        assert!(numbers(" \n").unwrap().is_empty());
        assert!(numbers("312.5").is_err());
        assert!(numbers("done").is_err());
    }
}
