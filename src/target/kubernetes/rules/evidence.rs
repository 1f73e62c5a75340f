//! What the cluster itself said, as the details of a failure: warning events, each once, the noise left out.

use super::look::Look;
use super::view::View;

/// Lines that details may have.
const LINES: usize = 10;

/// Texts of warnings that come in good starts too.
const NOISE: [&str; 2] = ["the object has been modified", "failed to sync"];

/// Warnings about these objects, newest last, at most ten.
pub(super) fn warnings(look: &Look<'_>, objects: &[View<'_>]) -> Vec<String> {
    let mut lines: Vec<(String, i64)> = Vec::new();
    for object in objects {
        for event in look.events_of(*object).filter(|event| event.text("/type") == "Warning") {
            let message = event.text("/message");
            if NOISE.iter().any(|noise| message.contains(noise)) {
                continue;
            }
            let line = format!("{} {}: {}", object.called(), event.text("/reason"), plain(message, *object));
            let times = event.int("/count").or(event.int("/series/count")).unwrap_or(1).max(1);
            match lines.iter_mut().find(|(known, _)| *known == line) {
                Some((_, count)) => *count += times,
                None => lines.push((line, times)),
            }
        }
    }
    let from = lines.len().saturating_sub(LINES);
    let counted = |(line, times): (String, i64)| if times > 1 { format!("{line} ({times} times)") } else { line };
    lines.into_iter().skip(from).map(counted).collect()
}

/// A message without what differs at each repetition: a prefix of its sender, the names of pods that were never made.
fn plain(message: &str, object: View<'_>) -> String {
    let message = message.strip_prefix("(combined from similar events): ").unwrap_or(message);
    let message = message.lines().collect::<Vec<_>>().join(" ");
    let pod = format!("pods \"{}-", object.name());
    match message.split_once(&pod) {
        Some((before, after)) => {
            let rest = after.split_once('"').map_or("", |(_, rest)| rest);
            format!("{before}a pod{rest}")
        }
        None => message,
    }
}

/// A message of the cluster, shortened to what a line can hold.
pub(super) fn brief(message: &str) -> String {
    const LONGEST: usize = 300;
    let line = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{} ...", &line[..cut]),
        None => line,
    }
}
