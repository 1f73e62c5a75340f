//! `ready` of a deployment: what the plan itself says about when its custom resource is ready.
//!
//! ```toml
//! ready = "exists"
//! ready = { condition = "Ready" }
//! ready = { path = "status.state", equals = "successful", failed = "failed" }
//! ready = { kind = "InferenceService", condition = "Ready" }
//! ```
//!
//! It replaces our own rule for custom resources (of one `kind`, or all); Kubernetes' own kinds, pods and the endpoint
//! are judged as ever.

use serde_json::{Map, Value};

use super::super::seen::{Failure, Judgement};
use super::kinds::of_kubernetes;
use super::view::View;
use crate::base::nearest;

/// A checked `ready`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Asked {
    kind: Option<String>,
    sign: Sign,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Sign {
    Exists,
    Condition(String),
    Value { pointer: String, equals: String, failed: Option<String> },
}

const KEYS: [&str; 5] = ["condition", "equals", "failed", "kind", "path"];
const SHAPES: &str = "write `ready = \"exists\"`, `ready = { condition = \"Ready\" }` or \
                      `ready = { path = \"status.state\", equals = \"successful\", failed = \"failed\" }`";

/// What is wrong with a `ready`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(in super::super) struct Misasked {
    /// In one line.
    pub(in super::super) message: String,
    /// What to do.
    pub(in super::super) help: String,
}

impl Misasked {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

impl Asked {
    /// Reads the plan's value.
    ///
    /// # Errors
    /// When it has another shape.
    pub(in super::super) fn parse(value: &Value) -> Result<Self, Misasked> {
        match value {
            Value::String(text) if text == "exists" => Ok(Self { kind: None, sign: Sign::Exists }),
            Value::Object(map) => Self::parse_table(map),
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                Err(Misasked::new("`ready` names no sign by which a custom resource is ready", SHAPES))
            }
        }
    }

    fn parse_table(map: &Map<String, Value>) -> Result<Self, Misasked> {
        if let Some(unknown) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let near = nearest(unknown, KEYS);
            let help = near.map_or(SHAPES.to_owned(), |near| format!("did you mean `{near}`?"));
            return Err(Misasked::new(format!("`ready` has no key `{unknown}`"), help));
        }
        let text = |key: &str| match map.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
            // `true` and numbers are compared as they are written.
            Some(value @ (Value::Bool(_) | Value::Number(_))) if key != "path" => Ok(Some(value.to_string())),
            Some(_) => Err(Misasked::new(format!("`{key}` of `ready` must be text"), SHAPES)),
        };
        let kind = text("kind")?;
        let sign = match (text("condition")?, text("path")?, text("equals")?, text("failed")?) {
            (Some(condition), None, None, None) => Sign::Condition(condition),
            (None, Some(path), Some(equals), failed) => {
                let pointer = path.split('.').map(|part| part.replace('~', "~0").replace('/', "~1"));
                let pointer = pointer.fold(String::new(), |pointer, part| format!("{pointer}/{part}"));
                Sign::Value { pointer, equals, failed }
            }
            (None, Some(_), None, _) => {
                return Err(Misasked::new("`path` of `ready` stands without `equals`", SHAPES));
            }
            (None, None, _, _) => return Err(Misasked::new("`ready` has neither `condition` nor `path`", SHAPES)),
            (Some(_), _, _, _) => {
                return Err(Misasked::new(
                    "`condition` of `ready` stands beside a path: only one can be meant",
                    SHAPES,
                ));
            }
        };
        Ok(Self { kind, sign })
    }

    /// Whether this object is judged by it.
    pub(super) fn is_about(&self, object: View<'_>) -> bool {
        !of_kubernetes(object.group()) && self.kind.as_ref().is_none_or(|kind| kind == object.kind())
    }

    /// Whether an object is ready by it.
    pub(super) fn status(&self, object: View<'_>) -> Judgement {
        let called = object.called();
        let not_yet = |what: String| Judgement::NotYet(format!("{called}: {what}"));
        if !matches!(self.sign, Sign::Exists) && !object.observed() {
            return not_yet("its controller has not seen this version yet".to_owned());
        }
        match &self.sign {
            Sign::Exists => Judgement::Ready,
            Sign::Condition(kind) => match object.condition(kind) {
                Some(condition) if condition.generation.is_some_and(|seen| Some(seen) != object.generation()) => {
                    not_yet(format!("its condition {kind} speaks of an older version"))
                }
                Some(condition) if condition.holds() => Judgement::Ready,
                Some(condition) => not_yet(format!("not {kind}: {}", condition.words())),
                None => not_yet(format!("no condition {kind} yet")),
            },
            Sign::Value { pointer, equals, failed } => {
                let value = object.at(pointer).map(View::as_words);
                let path = pointer.trim_start_matches('/').replace('/', ".");
                match value {
                    Some(value) if value == *equals => Judgement::Ready,
                    Some(value) if Some(&value) == failed.as_ref() => {
                        Judgement::Failed(Failure::new(format!("{called} failed: its {path} is {value}")))
                    }
                    Some(value) => not_yet(format!("{path} is {value}, not {equals}")),
                    None => not_yet(format!("no {path} yet")),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(ready: Value, status: Value) -> Judgement {
        let object = json!({"apiVersion": "x.io/v1", "kind": "Thing", "status": status,
            "metadata": {"name": "t", "generation": 2}});
        Asked::parse(&ready).unwrap().status(View::of(&object))
    }

    #[test]
    fn a_value_of_the_status_can_say_ready_and_failed() {
        let rule = json!({"path": "status.state", "equals": "successful", "failed": "failed"});
        assert_eq!(judged(rule.clone(), json!({"state": "successful"})), Judgement::Ready);
        assert!(matches!(judged(rule.clone(), json!({"state": "pending"})), Judgement::NotYet(_)));
        assert!(matches!(judged(rule.clone(), json!({})), Judgement::NotYet(_)));
        assert!(matches!(judged(rule.clone(), json!({"state": "failed"})), Judgement::Failed(_)));
        let stale = json!({"state": "successful", "observedGeneration": 1});
        assert!(matches!(judged(rule, stale), Judgement::NotYet(_)));
        let flag = json!({"path": "status.up", "equals": true});
        assert_eq!(judged(flag, json!({"up": true})), Judgement::Ready);
    }

    #[test]
    fn a_condition_of_an_older_version_does_not_count() {
        let conditions =
            |seen: i64| json!({"conditions": [{"type": "Up", "status": "True", "observedGeneration": seen}]});
        assert_eq!(judged(json!({"condition": "Up"}), conditions(2)), Judgement::Ready);
        assert!(matches!(judged(json!({"condition": "Up"}), conditions(1)), Judgement::NotYet(_)));
        assert_eq!(judged(json!("exists"), json!({"observedGeneration": 1})), Judgement::Ready);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_can_be_written() {
        let said = |value| Asked::parse(&value).unwrap_err();
        assert!(said(json!("ready")).help.contains("exists"));
        assert_eq!(said(json!({"conditions": "Ready"})).help, "did you mean `condition`?");
        assert!(said(json!({"path": "status.state"})).message.contains("without `equals`"));
        assert!(said(json!({"condition": "Ready", "path": "x", "equals": "y"})).message.contains("only one"));
        assert!(said(json!({})).message.contains("neither"));
    }

    #[test]
    fn it_is_about_custom_resources_only() {
        let asked = Asked::parse(&json!({"kind": "Thing", "condition": "Ready"})).unwrap();
        let about = |version: &str, kind: &str| asked.is_about(View::of(&json!({"apiVersion": version, "kind": kind})));
        assert!(about("x.io/v1", "Thing"));
        assert!(!about("x.io/v1", "Other"));
        assert!(!about("apps/v1", "Thing"));
    }
}
