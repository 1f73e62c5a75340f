//! A bare Pod: ready, or over with success. Nobody starts it again once it has failed.

use super::super::super::seen::{Failure, Judgement};
use super::super::look::Look;
use super::super::pod::{Pod, State};
use super::super::view::View;

pub(super) fn status(look: &mut Look<'_>, view: View<'_>) -> Judgement {
    let pod = Pod { view };
    match pod.phase() {
        "Failed" => {
            let ended = pod.containers().find_map(|container| match container.state {
                State::Ended(ended) if ended.exit_code != 0 => Some((container, ended)),
                State::Ended(_) | State::Waiting { .. } | State::Running => None,
            });
            let name = pod.name();
            let (message, logs_of) = match ended {
                Some((container, ended)) => (
                    format!(
                        "pod {name} failed{}: container {} ended with {}, exit code {}, and nothing starts it again",
                        pod.on_node(),
                        container.name,
                        ended.reason,
                        ended.exit_code
                    ),
                    Some((name.to_owned(), container.name.to_owned())),
                ),
                None => (format!("pod {name} failed{}: {}", pod.on_node(), pod.view.text("/status/message")), None),
            };
            let details = super::super::evidence::warnings(look, &[view]);
            Judgement::Failed(Failure { details, logs_of, ..Failure::new(message) })
        }
        "Succeeded" => Judgement::Ready,
        _ if pod.ready() => Judgement::Ready,
        _ => Judgement::NotYet(pod.awaited()),
    }
}
