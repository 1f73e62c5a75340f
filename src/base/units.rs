//! Durations and quantities as people write and read them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A time span in milliseconds with fractions: the unit in which every latency is reported.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub f64);

impl Millis {
    /// From nanoseconds, the unit in which every time stamp is taken.
    pub fn from_nanos(nanos: u64) -> Self {
        Self(nanos as f64 / 1e6)
    }
}

/// Reads `500ms`, `30s`, `5m`, `12h`, `2d`, or several joined (`1h30m`).
///
/// # Errors
/// A sentence that says what is accepted.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const ACCEPTED: &str = "a duration is a number with a unit, such as 500ms, 30s, 5m, 12h, 1h30m or 2d";
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(ACCEPTED.to_owned());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(ACCEPTED)?;
        let number: f64 = rest[..digits].parse().map_err(|_| ACCEPTED)?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let seconds = match &rest[..letters] {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(ACCEPTED.to_owned()),
        };
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| "this duration is too long")?;
        total = total.checked_add(part).ok_or("this duration is too long")?;
        rest = &rest[letters..];
    }
    Ok(total)
}

/// A duration for people: `850ms`, `12.3s`, `4m05s`, `2h03m`, `3d04h`.
pub fn format_duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{}ms", span.as_millis()),
        1..60 => format!("{:.1}s", (span.as_secs_f64() * 10.0).floor() / 10.0),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

/// A number with about three significant digits and thousands marks: `0.123`, `12.3`, `1,234`.
pub fn format_quantity(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let size = value.abs();
    if size >= 999.5 {
        let digits = format!("{:.0}", size);
        let mut out = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place) % 3 == 0 {
                out.push(',');
            }
            out.push(digit);
        }
        return if value < 0.0 { format!("-{out}") } else { out };
    }
    let decimals = if size >= 99.95 || size == 0.0 {
        0
    } else if size >= 9.995 {
        1
    } else if size >= 0.9995 {
        2
    } else {
        3
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        for bad in ["", "5", "s", "5 parsecs", "-3s", "1e300d", "..s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_printed_short() {
        assert_eq!(format_duration(Duration::from_millis(850)), "850ms");
        assert_eq!(format_duration(Duration::from_millis(12_390)), "12.3s");
        assert_eq!(format_duration(Duration::from_secs(245)), "4m05s");
        assert_eq!(format_duration(Duration::from_secs(7380)), "2h03m");
    }

    #[test]
    fn quantities_have_three_digits() {
        assert_eq!(format_quantity(0.12345), "0.123");
        assert_eq!(format_quantity(12.345), "12.3");
        assert_eq!(format_quantity(1234567.0), "1,234,567");
        assert_eq!(format_quantity(f64::NAN), "-");
    }
}
