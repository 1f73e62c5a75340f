//! A plan as a document again: every value that holds, and which of them nobody wrote.
//!
//! The text is a plan itself: with the same names of things it checks to the same plan. `like` and the matrix are gone
//! from it, paths are absolute, tables without keys are left out. Secrets cannot be in it, because plans hold names of environment variables only.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::model::Values;
use crate::base::{Name, SourceId};

/// TOML text of a resolved plan. Values that were not written end in `# default`, those of a `--set` in `# --set`.
pub fn resolved_toml(resolved: &Values) -> String {
    let mut out = String::new();
    write_table(&mut out, resolved, &resolved.json, &mut Vec::new());
    out
}

fn write_table(out: &mut String, resolved: &Values, table: &Map<String, Value>, path: &mut Vec<String>) {
    let (tables, plain): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_object());
    if !path.is_empty() && !plain.is_empty() {
        let header: Vec<_> = path.iter().map(|segment| key(segment)).collect();
        let gap = if out.is_empty() { "" } else { "\n" };
        let _ = writeln!(out, "{gap}[{}]", header.join("."));
    }
    for (name, value) in plain {
        let line = match value {
            // Tables within a list take a line each.
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let lines: Vec<_> = items.iter().map(|item| format!("    {},\n", inline(item))).collect();
                format!("{} = [\n{}]", key(name), lines.concat())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                format!("{} = {}", key(name), inline(value))
            }
        };
        path.push(name.clone());
        let mark = match resolved.spans.get(&path.join(".")).map(|span| span.source) {
            Some(SourceId(0)) => "",
            Some(_) => "  # --set",
            None => "  # default",
        };
        path.pop();
        let _ = writeln!(out, "{line}{mark}");
    }
    for (name, value) in tables {
        let Value::Object(inner) = value else { continue };
        path.push(name.clone());
        write_table(out, resolved, inner, path);
        path.pop();
    }
}

/// A key, in quotation marks if it needs them.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if bare || Name::new(name).is_ok() { name.to_owned() } else { text(name) }
}

fn text(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

fn inline(value: &Value) -> String {
    match value {
        // TOML has no null; a checked plan holds none.
        Value::Null => "\"\"".to_owned(),
        Value::Bool(_) => value.to_string(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => format!("{float:.1}"),
            Some(_) | None => number.to_string(),
        },
        Value::String(value) => text(value),
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let entries: Vec<_> =
                map.iter().map(|(name, value)| format!("{} = {}", key(name), inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}
