//! Whether a deployment that calls itself disaggregated is: prefill and decode workers are there, and one request was
//! worked on by one of each. Servers have been seen to fall back to aggregated serving in silence.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::probe::Workers;
use super::family::label;
use super::service::is_ready;

/// What a worker's pod is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Reads prompts.
    Prefill,
    /// Writes tokens.
    Decode,
}

/// The role of a pod, by its operator's labels or its own arguments; `None`: neither.
pub(super) fn role_of(pod: &Value) -> Option<Role> {
    let labels = ["nvidia.com/dynamo-sub-component-type", "nvidia.com/dynamo-component-type"];
    let named = labels.iter().find_map(|name| role_named(label(pod, name)?));
    named.or_else(|| words(pod).find_map(|(flag, value)| role_of_flag(flag, value)))
}

fn role_named(text: &str) -> Option<Role> {
    match text {
        "prefill" => Some(Role::Prefill),
        "decode" => Some(Role::Decode),
        _ => None,
    }
}

/// Flags of vLLM, SGLang and TensorRT-LLM workers, older and newer ones.
fn role_of_flag(flag: &str, value: &str) -> Option<Role> {
    match flag {
        "--disaggregation-mode" | "--disaggregation_mode" => role_named(value),
        "--is-prefill-worker" => Some(Role::Prefill),
        "--is-decode-worker" => Some(Role::Decode),
        _ => None,
    }
}

/// The words of all commands, each with its value: `--flag value`, `--flag=value`, and within a shell's `-c` text.
fn words(pod: &Value) -> impl Iterator<Item = (&str, &str)> {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    containers.flat_map(|container| {
        let parts = ["command", "args"].into_iter().filter_map(|key| container.get(key)?.as_array()).flatten();
        let words: Vec<&str> = parts.filter_map(Value::as_str).flat_map(str::split_whitespace).collect();
        let pairs: Vec<_> = words
            .iter()
            .enumerate()
            .map(|(at, word)| match word.split_once('=') {
                Some((flag, value)) => (flag, value),
                None => (*word, words.get(at + 1).copied().unwrap_or_default()),
            })
            .collect();
        pairs
    })
}

/// The roles that these pods have.
pub(super) fn roles(pods: &[Value]) -> BTreeSet<Role> {
    pods.iter().filter(|pod| is_ready(pod)).filter_map(role_of).collect()
}

/// What is known of it, for a deployment that has one of the roles.
pub(super) fn verdict(roles: &BTreeSet<Role>, workers: Option<&Workers>) -> String {
    match workers {
        _ if !roles.contains(&Role::Prefill) => "not proven: no prefill worker is ready".to_owned(),
        _ if !roles.contains(&Role::Decode) && workers.is_none() => "not proven: no decode worker is ready".to_owned(),
        None => "not proven: the server does not tell who worked on a request".to_owned(),
        Some(workers) if workers.prefill == workers.decode => {
            "not proven: one worker did both prefill and decode of a request".to_owned()
        }
        Some(_) => "proven: prefill and decode of one request were done by different workers".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(args: &[&str], labels: Value) -> Value {
        json!({
            "metadata": {"labels": labels},
            "spec": {"containers": [{"command": args}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        })
    }

    #[test]
    fn roles_are_read_from_labels_and_arguments() {
        let of = |args: &[&str]| role_of(&pod(args, json!({})));
        assert_eq!(of(&["python3", "-m", "dynamo.mocker", "--disaggregation-mode", "prefill"]), Some(Role::Prefill));
        assert_eq!(of(&["x", "--disaggregation-mode=decode"]), Some(Role::Decode));
        assert_eq!(of(&["sh", "-c", "exec python3 -m dynamo.vllm --is-prefill-worker"]), Some(Role::Prefill));
        assert_eq!(of(&["x", "--disaggregation-mode", "agg"]), None);
        let labelled = pod(&[], json!({"nvidia.com/dynamo-component-type": "prefill"}));
        assert_eq!(role_of(&labelled), Some(Role::Prefill));
        let old =
            json!({"nvidia.com/dynamo-component-type": "worker", "nvidia.com/dynamo-sub-component-type": "decode"});
        assert_eq!(role_of(&pod(&[], old)), Some(Role::Decode));
    }

    #[test]
    fn only_a_request_that_two_workers_worked_on_is_proof() {
        let both = BTreeSet::from([Role::Prefill, Role::Decode]);
        let workers = |prefill: &str, decode: &str| Workers { prefill: prefill.to_owned(), decode: decode.to_owned() };
        assert!(verdict(&both, Some(&workers("1", "2"))).starts_with("proven"));
        assert!(verdict(&both, Some(&workers("1", "1"))).starts_with("not proven: one worker"));
        assert!(verdict(&both, None).starts_with("not proven: the server does not tell"));
        let alone = BTreeSet::from([Role::Decode]);
        assert!(verdict(&alone, Some(&workers("1", "2"))).starts_with("not proven: no prefill"));
        assert!(verdict(&BTreeSet::from([Role::Prefill]), None).starts_with("not proven: no decode"));
    }
}
