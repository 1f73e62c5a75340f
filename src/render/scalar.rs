//! What a plain scalar of YAML means to kubectl.
//!
//! kubectl reads YAML 1.1 through Go: `yes` and `on` are booleans, `0755` and `0o755` are octal, `1_000` is a number,
//! dates stay text. Manifests that mean one thing to `kubectl apply` must not mean another thing here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Number, Value};

/// Largest whole number up to which every float that is whole can be written as an integer without loss.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The value of an unquoted scalar without a tag; `None` when it has none in JSON (`.nan`, `.inf`).
pub(super) fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return Some(Value::Bool(true));
        }
        "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Some(Value::Bool(false));
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => return None,
        _ => {}
    }
    if text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        let digits = text.replace('_', "");
        if let Some(number) = integer(&digits).or_else(|| float(&digits)) {
            return Some(Value::Number(number));
        }
    }
    Some(Value::String(text.to_owned()))
}

/// A whole number as Go's `ParseInt(text, 0, 64)` reads it.
fn integer(text: &str) -> Option<Number> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let prefix = unsigned.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match prefix.as_deref() {
        Some("0x") => (16, &unsigned[2..]),
        Some("0o") => (8, &unsigned[2..]),
        Some("0b") => (2, &unsigned[2..]),
        Some(other) if other.starts_with('0') => (8, &unsigned[1..]),
        Some(_) | None => (10, unsigned),
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    let whole = if negative { 0_i64.checked_sub_unsigned(size) } else { i64::try_from(size).ok() };
    // What no 64 bits with a sign hold is a float to Kubernetes.
    whole.map(Number::from).or_else(|| Number::from_f64(if negative { -(size as f64) } else { size as f64 }))
}

/// A number as a key, as Go prints it: shortest digits of 32 bits, with an exponent where it is long or tiny.
pub(super) fn key_of(number: &Number) -> String {
    if number.is_i64() {
        return number.to_string();
    }
    let value = number.as_f64().unwrap_or_default() as f32;
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// The text that `!!binary` holds; `None`: it is no base64. Bytes that are no text become the mark for that.
pub(super) fn bytes(text: &str) -> Option<String> {
    let text: String = text.split_whitespace().collect();
    let bytes = BASE64.decode(text).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A number with a fraction or an exponent; whole ones become integers, as they do on the way through Go's JSON.
fn float(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let allowed = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !unsigned.chars().all(allowed) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    if value.fract() == 0.0 && value.abs() < EXACT {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

/// Whether text, written without quotes, is read back as that same text.
pub(super) fn is_safe_plain(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_');
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | '=' | '@' | '(' | ')');
    // `12:30` is 750 to readers of YAML 1.1, `image:tag` is text to all.
    let colons = text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.ends_with(':');
    let inner = |c: char| inner(c) || (c == ':' && colons);
    text.starts_with(first) && text.chars().all(inner) && plain(text) == Some(Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_mean_what_they_mean_to_kubectl() {
        for (text, value) in [
            ("0755", json!(493)),
            ("0o755", json!(493)),
            ("0x1F", json!(31)),
            ("-0b11", json!(-3)),
            ("1_000", json!(1000)),
            ("+5", json!(5)),
            ("08", json!(8)),
            ("1.0", json!(1)),
            ("1e3", json!(1000)),
            ("1.5", json!(1.5)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("9223372036854775808", json!(9_223_372_036_854_775_808.0)),
            ("yes", json!(true)),
            ("off", json!(false)),
            ("True", json!(true)),
            ("~", json!(null)),
            ("2026-11-24", json!("2026-11-24")),
            ("1.2.3", json!("1.2.3")),
            ("8Gi", json!("8Gi")),
            ("-", json!("-")),
            ("--port", json!("--port")),
            ("0x", json!("0x")),
            ("e5", json!("e5")),
            (".5", json!(0.5)),
        ] {
            assert_eq!(plain(text), Some(value), "{text}");
        }
        assert_eq!(plain(".inf"), None);
    }

    #[test]
    fn numbers_as_keys_are_written_as_go_writes_them() {
        for (number, key) in [("16", "16"), ("-3", "-3"), ("0.50", "0.5"), ("1e-5", "1e-05")] {
            let Some(Value::Number(number)) = plain(number) else { panic!("{number}") };
            assert_eq!(key_of(&number), key);
        }
        let Some(Value::Number(huge)) = plain("18446744073709551616") else { panic!() };
        assert_eq!(key_of(&huge), "1.8446744e+19");
    }

    #[test]
    fn what_would_be_read_as_something_else_is_not_safe() {
        for text in ["yes", "0755", "1.0", "", "null", "- a", "a: b", "#x", "*a", "a b", "<<", "a:", "12:30"] {
            assert!(!is_safe_plain(text), "{text}");
        }
        for text in ["vllm/vllm-openai", "Qwen/Qwen3-0.6B", "apps/v1", "a=b", "image:v1.2"] {
            assert!(is_safe_plain(text), "{text}");
        }
    }
}
