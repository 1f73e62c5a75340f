//! Containers that end when they should run: a command that cannot start, too little memory, a crash loop.

use super::super::super::seen::Failure;
use super::super::evidence::{brief, warnings};
use super::super::look::Look;
use super::super::pod::{Container, Ended, Pod, State};

/// Exit codes of a container that was told to go: SIGKILL and SIGTERM.
const KILLED: [i64; 2] = [137, 143];

/// A command that the runtime cannot start: no such file, not executable, the wrong architecture.
pub(super) fn cannot_start(look: &mut Look<'_>, pod: Pod<'_>) -> Option<Failure> {
    let (container, ended) = pod.containers().find_map(|container| {
        let ended = container.newest_end()?;
        matches!(ended.reason, "StartError" | "ContainerCannotRun").then_some((container, ended))
    })?;
    Some(Failure {
        details: warnings(look, &[pod.view]),
        help: Some("check `command` and `args`: the image has no such program, or it cannot be executed".to_owned()),
        ..Failure::new(format!(
            "pod {}: container {} cannot be started{}: {}",
            pod.name(),
            container.name,
            pod.on_node(),
            brief(runtime_cause(ended.message))
        ))
    })
}

/// A container that the kernel killed for its memory. It will ask for as much again.
pub(super) fn out_of_memory(look: &mut Look<'_>, pod: Pod<'_>) -> Option<Failure> {
    let container = pod.containers().find(|container| {
        !container.ready && container.newest_end().is_some_and(|ended| ended.reason == "OOMKilled")
    })?;
    let limit = spec_of(pod, container).map_or("", |spec| spec.text("/resources/limits/memory"));
    let limit = if limit.is_empty() { "without a limit of its own".to_owned() } else { format!("limit {limit}") };
    Some(Failure {
        details: warnings(look, &[pod.view]),
        help: Some("raise `resources.limits.memory` of this container, or let it load less".to_owned()),
        logs_of: Some((pod.name().to_owned(), container.name.to_owned())),
        ..Failure::new(format!(
            "pod {}: container {} was killed for lack of memory{} (OOMKilled, exit code 137, {limit})",
            pod.name(),
            container.name,
            pod.on_node()
        ))
    })
}

/// A container that ends again and again, or that its startup probe kills.
pub(super) fn again_and_again(look: &mut Look<'_>, pod: Pod<'_>) -> Option<Failure> {
    let limit = i64::from(look.patience.restarts);
    let (container, ended, times) = pod.containers().find_map(|container| {
        let down = match container.state {
            State::Ended(_) => !container.done(),
            State::Waiting { reason, .. } => reason == "CrashLoopBackOff",
            State::Running => false,
        };
        // While it waits to be started again its last end is not counted as a restart yet.
        let ends = container.restarts + i64::from(down);
        let ended = container.newest_end()?;
        (!container.ready && !container.done() && ends >= limit).then_some((container, ended, ends))
    })?;
    let probe = startup_probe(look, pod).filter(|_| KILLED.contains(&ended.exit_code));
    let (message, help) = match probe {
        Some(said) => (
            format!("was killed {times} times by its startup probe: {}", brief(&said)),
            format!("it needs longer to start than {}: raise `failureThreshold`", probe_time(pod, container)),
        ),
        None => (
            format!("ended {times} times, last with {}, exit code {}", ended.reason, ended.exit_code),
            meaning(ended).to_owned(),
        ),
    };
    Some(Failure {
        details: warnings(look, &[pod.view]),
        help: Some(help),
        logs_of: Some((pod.name().to_owned(), container.name.to_owned())),
        ..Failure::new(format!("pod {}: container {}{} {message}", pod.name(), container.name, pod.on_node()))
    })
}

/// What the startup probe said, if it was the one that killed.
fn startup_probe(look: &Look<'_>, pod: Pod<'_>) -> Option<String> {
    let events = || look.events_of(pod.view);
    let killed = events()
        .any(|event| event.text("/reason") == "Killing" && event.text("/message").contains("failed startup probe"));
    let said = events().filter(|event| event.text("/reason") == "Unhealthy").map(|event| event.text("/message"));
    let said = said.filter(|said| said.starts_with("Startup probe")).last()?;
    killed.then(|| said.to_owned())
}

fn spec_of<'a>(pod: Pod<'a>, container: Container<'a>) -> Option<super::super::view::View<'a>> {
    let list = if container.init { "/spec/initContainers" } else { "/spec/containers" };
    pod.view.list(list).find(|spec| spec.text("/name") == container.name)
}

/// How long a startup probe waits, from its own numbers.
fn probe_time<'a>(pod: Pod<'a>, container: Container<'a>) -> String {
    let Some(probe) = spec_of(pod, container).and_then(|spec| spec.at("/startupProbe")) else {
        return "its startup probe waits".to_owned();
    };
    let number = |pointer, default| probe.int(pointer).unwrap_or(default);
    let seconds = number("/initialDelaySeconds", 0) + number("/periodSeconds", 10) * number("/failureThreshold", 3);
    format!("the {seconds} s that its startup probe waits")
}

/// What an exit code says about where to look.
fn meaning(ended: Ended<'_>) -> &'static str {
    match ended.exit_code {
        0 => "it ends by itself without an error: a server must go on running; check `command` and `args`",
        126 => "exit code 126: the command cannot be executed",
        127 => "exit code 127: there is no such command; check `command` and `args`",
        132 => "exit code 132 (SIGILL): the image is made for another processor",
        134 | 139 => "it crashed (SIGABRT or SIGSEGV); its log's last lines say where",
        137 => "exit code 137 (SIGKILL): killed from outside, by a probe or for memory of the whole node",
        143 => "exit code 143 (SIGTERM): told to end, by a probe or by its own supervisor",
        _ => "the last lines of its log say why",
    }
}

/// The part of a runtime's message that tells why.
fn runtime_cause(said: &str) -> &str {
    said.rfind("exec: ")
        .or_else(|| said.rfind("starting container process caused: "))
        .map_or(said, |from| &said[from..])
}
