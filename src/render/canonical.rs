//! Objects in the form in which Kubernetes keeps them: what an operator would rewrite is rewritten here, before it is sent.
//!
//! A stored object that differs from what was sent in form alone makes a new generation, and a new round of reconciling
//! in the middle of a measurement.

use serde_json::{Map, Number, Value};

/// Leaves out what is empty: templates write all that they know, and most of it is empty most of the time. What means
/// something when it is empty (`emptyDir: {}`) stays.
pub(super) fn without_empties(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter_map(|(name, value)| {
                let value = if name == "emptyDir" { value } else { without_empties(value) };
                let keep = name == "emptyDir" || !is_empty(&value);
                keep.then_some((name, value))
            });
            Value::Object(kept.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_empties).collect()),
        other => other,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Quantities as Kubernetes prints them, and the protocol of ports.
pub(super) fn canonical(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields.iter_mut() {
                match (name.as_str(), &mut *inner) {
                    ("limits" | "requests" | "hard", Value::Object(quantities)) => {
                        quantities.values_mut().for_each(quantity);
                    }
                    ("sizeLimit" | "sharedMemorySize", size) => quantity(size),
                    ("ports", Value::Array(ports)) => ports.iter_mut().for_each(protocol),
                    (_, inner) => canonical(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(canonical),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn protocol(port: &mut Value) {
    let numbered = ["containerPort", "port"].iter().any(|key| port.get(key).is_some_and(Value::is_number));
    if let Value::Object(port) = port
        && numbered
    {
        port.entry("protocol").or_insert_with(|| "TCP".into());
    }
}

/// Suffixes and their powers, smallest first.
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, u32); 6] = [("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

fn quantity(value: &mut Value) {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => plain(number),
        // Gang limits and the like: not a quantity after all.
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return,
    };
    if let Some(canonical) = canonical_quantity(&text) {
        *value = canonical.into();
    }
}

fn plain(number: &Number) -> String {
    number.to_string()
}

/// The canonical text of a quantity: the largest suffix of its own kind that leaves a whole number. `None` for what is
/// none, or has more digits than 64 bits of thousandths hold: the server judges it.
fn canonical_quantity(text: &str) -> Option<String> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        let whole: i128 = number.parse().ok()?;
        return Some(largest(whole << power, &BINARY, |power| 1_i128 << power));
    }
    let power = match suffix {
        "m" => 0,
        "" => 3,
        other => DECIMAL.iter().find(|(name, _)| *name == other)?.1 + 3,
    };
    let thousandths = decimal(number, power)?;
    if thousandths % 1000 != 0 {
        return Some(format!("{thousandths}m"));
    }
    Some(largest(thousandths / 1000, &DECIMAL, |power| 10_i128.pow(power)))
}

fn largest(amount: i128, suffixes: &[(&str, u32)], size: impl Fn(u32) -> i128) -> String {
    let fits = suffixes.iter().rev().find(|(_, power)| amount != 0 && amount % size(*power) == 0);
    fits.map_or_else(|| amount.to_string(), |(suffix, power)| format!("{}{suffix}", amount / size(*power)))
}

/// A decimal number times a power of ten, if that is whole.
fn decimal(number: &str, power: u32) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    let missing = power.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    digits.checked_mul(10_i128.checked_pow(missing)?)
}

/// A table without values that say nothing.
pub(super) fn tidy(object: Value) -> Value {
    let mut object = without_empties(object);
    canonical(&mut object);
    object
}

/// A `Map` from pairs, for tests and conversions.
pub(super) fn table<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_printed_as_kubernetes_prints_them() {
        for (given, expected) in [
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1536Mi", "1536Mi"),
            ("8Gi", "8Gi"),
            ("1000", "1k"),
            ("2", "2"),
            ("0", "0"),
            ("1.5Gi", "1.5Gi"),
            ("1e3", "1e3"),
            ("1000M", "1G"),
            ("0.0001", "0.0001"),
        ] {
            let mut value = json!(given);
            quantity(&mut value);
            assert_eq!(value, json!(expected), "{given}");
        }
        let mut number = json!(4);
        quantity(&mut number);
        assert_eq!(number, json!("4"));
    }

    #[test]
    fn what_is_empty_goes_and_what_means_something_stays() {
        let object = json!({"spec": {"nodeSelector": {}, "args": [], "name": "", "replicas": 0, "on": false,
            "volumes": [{"name": "x", "emptyDir": {}}], "affinity": null,
            "ports": [{"containerPort": 8000}], "resources": {"limits": {"cpu": "1000m"}, "requests": {}}}});
        assert_eq!(
            tidy(object),
            json!({"spec": {"replicas": 0, "on": false, "volumes": [{"name": "x", "emptyDir": {}}],
                "ports": [{"containerPort": 8000, "protocol": "TCP"}], "resources": {"limits": {"cpu": "1"}}}})
        );
    }
}
