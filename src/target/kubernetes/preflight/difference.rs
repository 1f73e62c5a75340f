//! How two objects differ, in lines that people can read.

use serde_json::Value;

/// Members of an object that say nothing of what was wished.
const NOISE: &[&str] = &["managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"];

/// How one value becomes another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// `spec.replicas: 1 -> 2`
    pub(super) changed: Vec<String>,
    /// Paths that only the second has.
    pub(super) added: Vec<String>,
    /// Paths that only the first has.
    pub(super) removed: Vec<String>,
}

/// Compares; `status` and what the API server writes by itself are left out.
pub(super) fn difference(before: &Value, after: &Value) -> Difference {
    let mut found = Difference::default();
    walk("", before, after, &mut found);
    found
}

fn walk(path: &str, before: &Value, after: &Value, found: &mut Difference) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            let hidden =
                |key: &str| (path.is_empty() && key == "status") || (path == "metadata" && NOISE.contains(&key));
            for (key, value) in old.iter().filter(|(key, _)| !hidden(key)) {
                match new.get(key) {
                    Some(other) => walk(&join(key), value, other, found),
                    None => found.removed.push(join(key)),
                }
            }
            let only_new = new.keys().filter(|key| !hidden(key) && !old.contains_key(*key));
            found.added.extend(only_new.map(|key| join(key)));
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (at, (one, other)) in old.iter().zip(new).enumerate() {
                walk(&format!("{path}[{at}]"), one, other, found);
            }
        }
        (one, other) if one == other => {}
        // A quantity may be written as a number.
        (Value::Number(number), Value::String(text)) if number.to_string() == *text => {}
        (one, other) => found.changed.push(format!("{path}: {one} -> {other}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_was_wished_is_compared() {
        let before =
            json!({"metadata": {"uid": "1", "labels": {"a": "b"}}, "spec": {"cpu": 4, "n": 1, "gone": 2, "l": [1, 2]}});
        let after = json!({"metadata": {"uid": "2", "labels": {"a": "b"}}, "spec": {"cpu": "4", "n": 2, "new": 3, "l": [1, 3]},
            "status": {"x": 1}});
        let found = difference(&before, &after);
        assert_eq!(found.changed, ["spec.n: 1 -> 2", "spec.l[1]: 2 -> 3"]);
        assert_eq!((found.removed, found.added), (vec!["spec.gone".to_owned()], vec!["spec.new".to_owned()]));
    }
}
