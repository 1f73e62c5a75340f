//! Kubernetes objects written as YAML that every reader understands alike.
//!
//! Text that some reader might take for something else is quoted as in JSON, so that it never matters which version of
//! YAML the reader speaks.

use serde_json::Value;

use super::scalar;

/// All objects as one text of several documents.
pub fn write_yaml(documents: &[Value]) -> String {
    let mut out = String::new();
    for (number, document) in documents.iter().enumerate() {
        if number > 0 {
            out.push_str("---\n");
        }
        block(document, 0, &mut out);
    }
    out
}

/// Writes a value as lines of their own, each ending with a line break.
fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                pad(indent, out);
                entry(key, inner, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                pad(indent, out);
                out.push_str("- ");
                nested(item, indent + 2, out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            pad(indent, out);
            inline(value, out);
            out.push('\n');
        }
    }
}

/// What follows `- `: the first key of a mapping stands on the same line.
fn nested(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (number, (key, inner)) in map.iter().enumerate() {
                if number > 0 {
                    pad(indent, out);
                }
                entry(key, inner, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    pad(indent, out);
                }
                out.push_str("- ");
                nested(item, indent + 2, out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            inline(value, out);
            out.push('\n');
        }
    }
}

fn entry(key: &str, value: &Value, indent: usize, out: &mut String) {
    text(key, out);
    out.push(':');
    let is_block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if is_block {
        out.push('\n');
        // Lists stand at the indentation of their key, as in Kubernetes' own examples.
        let indent = if value.is_array() { indent } else { indent + 2 };
        block(value, indent, out);
    } else {
        out.push(' ');
        inline(value, out);
        out.push('\n');
    }
}

/// A value on one line: JSON is YAML too.
fn inline(value: &Value, out: &mut String) {
    match value {
        Value::String(string) => text(string, out),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            out.push_str(&value.to_string());
        }
    }
}

fn text(string: &str, out: &mut String) {
    if scalar::is_safe_plain(string) {
        out.push_str(string);
    } else {
        out.push_str(&Value::from(string).to_string());
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::yaml::read_yaml;
    use super::*;

    #[test]
    fn objects_are_written_as_people_write_them() {
        let object = json!({
            "apiVersion": "v1",
            "data": {"on": "yes", "mode": "0755", "empty": {}, "none": null},
            "list": [{"name": "a", "args": ["--port", "8000"]}, [1, [2]], []],
        });
        insta::assert_snapshot!(write_yaml(&[object, json!({"b": 1.5})]), @r#"
        apiVersion: v1
        data:
          "on": "yes"
          mode: "0755"
          empty: {}
          none: null
        list:
        - name: a
          args:
          - "--port"
          - "8000"
        - - 1
          - - 2
        - []
        ---
        b: 1.5
        "#);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "[a-z0-9:#<*& .\n\t\"'~-]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z0-9<:.yn-]{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_the_same(value in any_value()) {
            let object = json!({ "value": value });
            let text = write_yaml(std::slice::from_ref(&object));
            let read = read_yaml(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(&read[0].value, &object, "{}", text);
            // A reader of YAML 1.2, by somebody else.
            let elsewhere: Value = serde_yaml::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(&elsewhere, &object, "{}", text);
        }
    }
}
