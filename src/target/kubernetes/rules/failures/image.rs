//! An image that cannot be pulled.

use std::time::Duration;

use super::super::super::seen::Failure;
use super::super::evidence::{brief, warnings};
use super::super::look::Look;
use super::super::pod::{Pod, State};

/// Reasons that no further try can change.
const FINAL: [&str; 3] = ["InvalidImageName", "ErrImageNeverPull", "ImageInspectError"];
/// Reasons of a pull that failed and will be tried again.
const FAILED: [&str; 3] = ["ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"];
/// Words of a registry, or of the way to it, that has a bad moment.
const PASSING: [&str; 8] = [
    "429",
    "too many requests",
    "toomanyrequests",
    "500 internal server",
    "502 bad gateway",
    "503 service unavailable",
    "timeout",
    "connection reset",
];
/// How long the first failed pull may stand before it counts as the second: the kubelet tries again after 10 s.
const ROUND: Duration = Duration::from_secs(10);
/// How long a registry may have a bad moment.
const MOMENT: Duration = Duration::from_secs(300);

pub(super) fn not_pulled(look: &mut Look<'_>, pod: Pod<'_>) -> Option<Failure> {
    let (container, reason, message) = pod.containers().find_map(|container| match container.state {
        State::Waiting { reason, message } if FINAL.contains(&reason) || FAILED.contains(&reason) => {
            Some((container, reason, message))
        }
        State::Waiting { .. } | State::Running | State::Ended(_) => None,
    })?;
    let told = look.events_of(pod.view).filter(|event| event.text("/reason") == "Failed");
    let told = told.map(|event| event.text("/message")).find(|message| message.starts_with("Failed to pull image"));
    // The state's own message is about this container; while the kubelet backs off it may be only that.
    let said = [message, told.unwrap_or_default()].into_iter().find(|said| said.contains(": ")).unwrap_or(message);
    let lower = said.to_lowercase();
    let passing = !FINAL.contains(&reason) && PASSING.iter().any(|word| lower.contains(word));
    let held = look.held(format!("image {}/{}", pod.view.uid(), container.name));
    let enough = match (passing, reason) {
        (true, _) => held >= MOMENT,
        (false, "ErrImagePull" | "RegistryUnavailable") => held >= ROUND,
        // Backing off: a whole round has failed.
        (false, _) => true,
    };
    enough.then(|| Failure {
        details: warnings(look, &[pod.view]),
        help: Some(help(&lower).to_owned()),
        passing,
        ..Failure::new(format!(
            "pod {}: the image {} of container {} cannot be pulled{}: {}",
            pod.name(),
            container.image,
            container.name,
            pod.on_node(),
            brief(cause(said, reason))
        ))
    })
}

/// The part of a pull's message that tells why: what stands before it repeats the image.
fn cause<'a>(said: &'a str, reason: &'a str) -> &'a str {
    const MARKS: [&str; 4] = [
        "failed to do request: ",
        "unexpected status",
        "failed to resolve reference ",
        "failed to pull and unpack image ",
    ];
    let from = MARKS.iter().find_map(|mark| said.find(mark));
    let cause = from.map_or(said, |from| &said[from..]);
    if cause.is_empty() { reason } else { cause }
}

fn help(said: &str) -> &'static str {
    let any = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if any(&["unauthorized", "authorization", "401", "403", "denied", "no basic auth"]) {
        "the registry wants a login: name a Secret with one in `image-pull-secrets`, and check that it may read this image"
    } else if any(&["not found", "manifest unknown", "404", "does not exist"]) {
        "no such image in that registry: check its name and tag"
    } else if any(&["name resolution", "no such host"]) {
        "the nodes do not know that registry's name: check it, or use a registry that they reach"
    } else if any(&["certificate", "http response to https"]) {
        "the nodes do not trust that registry: its certificate must be set up on them"
    } else if any(&["no match for platform", "exec format"]) {
        "the image is not made for the nodes' architecture"
    } else {
        "check the image's name, and that the nodes reach its registry"
    }
}
