//! Why a key differs: two fingerprints compared field by field.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldDiff {
    /// Where: `workload.isl`, `commands.0.env.FOO`.
    pub path: String,
    /// What it was; `None`: it was not there.
    pub before: Option<Value>,
    /// What it is; `None`: it is not there.
    pub after: Option<Value>,
}

impl fmt::Display for FieldDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), short);
        write!(f, "{}: {} -> {}", self.path, text(&self.before), text(&self.after))
    }
}

/// A value on a screen: a whole rendered object would hide what matters.
fn short(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    let mut cut: String = text.chars().take(LONGEST - 1).collect();
    cut.push('…');
    cut
}

/// Every field that differs, sorted by path; numbers in paths are places in lists.
pub fn explain(before: &Value, after: &Value) -> Vec<FieldDiff> {
    let mut diffs = Vec::new();
    compare("", Some(before), Some(after), &mut diffs);
    diffs
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, into: &mut Vec<FieldDiff>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (before, after) {
        (Some(one), Some(other)) if one == other => {}
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            for key in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
                compare(&below(key), one.get(key), other.get(key), into);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for at in 0..one.len().max(other.len()) {
                compare(&below(&at.to_string()), one.get(at), other.get(at), into);
            }
        }
        (before, after) => {
            into.push(FieldDiff { path: path.to_owned(), before: before.cloned(), after: after.cloned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_fields_that_differ_are_named() {
        let before = json!({"isl": 200, "same": {"deep": [1, 2]}, "env": [{"a": 1}, {"b": 2}], "gone": true});
        let after = json!({"same": {"deep": [1, 2]}, "isl": 300, "env": [{"a": 1}, {"b": 3}, {"c": 4}]});
        let texts: Vec<_> = explain(&before, &after).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["env.1.b: 2 -> 3", "env.2: nothing -> {\"c\":4}", "gone: true -> nothing", "isl: 200 -> 300"]
        );
        assert!(explain(&before, &before).is_empty());
    }
}
