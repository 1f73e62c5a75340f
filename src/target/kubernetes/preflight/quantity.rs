//! Kubernetes quantities: `4`, `1500m`, `2Gi`, `1e3`.

use serde_json::Value;

/// The number that a quantity is, in its base unit (cores, bytes, pieces); `None`: it is none.
pub(super) fn quantity(value: &Value) -> Option<f64> {
    if let Some(number) = value.as_f64() {
        return Some(number);
    }
    parse(value.as_str()?)
}

/// The same, of text.
pub(super) fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        // `inf` and `nan` parse, and are no quantities.
        return number.is_finite().then_some(number);
    }
    let digits = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..digits].parse().ok()?;
    let factor = match &text[digits..] {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        _ => return None,
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_the_api_server_reads_them() {
        for (text, number) in
            [("4", 4.0), ("1500m", 1.5), ("2Gi", 2147483648.0), ("1e3", 1000.0), ("12E", 12e18), ("0.5", 0.5)]
        {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in ["", "Gi", "4GB", "inf", "four"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
