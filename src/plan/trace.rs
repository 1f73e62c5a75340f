//! Recorded arrivals: a JSON object a line, `timestamp` in milliseconds, as Mooncake's traces have it. Other members are
//! of no matter here.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::measure::Rate;

/// More arrivals than this are no trace that one run can follow.
const MOST: usize = 1_000_000;
/// A longer time than this between the first arrival and the last is another unit, not a trace that anybody plays.
const LONGEST_MS: f64 = 30.0 * 86_400.0 * 1e3;

/// When requests arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Microseconds after the first, ascending, never none.
    pub moments_us: Vec<u64>,
}

impl Trace {
    /// The mean rate, to three digits: the name of the trace's level.
    pub fn rate(&self) -> Rate {
        let seconds = self.seconds();
        let gaps = self.moments_us.len().saturating_sub(1) as f64;
        let mean = if seconds > 0.0 && gaps > 0.0 { gaps / seconds } else { 1.0 };
        let digits = 10_f64.powf(2.0 - mean.log10().floor());
        let named = ((mean * digits).round() / digits).clamp(Rate::LOWEST, Rate::HIGHEST);
        Rate::new(named).expect("it was brought between the limits")
    }

    /// From the first arrival to the last.
    pub fn seconds(&self) -> f64 {
        self.moments_us.last().map_or(0.0, |last| *last as f64 / 1e6)
    }
}

/// What is wrong with a trace.
#[derive(Debug, thiserror::Error)]
pub(super) enum TraceFault {
    #[error("cannot be read")]
    Read(#[from] std::io::Error),
    #[error("line {line} is no JSON object with a number `timestamp`")]
    Line { line: usize },
    #[error("the timestamp of line {line} is negative")]
    Negative { line: usize },
    #[error("line {line} arrives before the line above it")]
    Order { line: usize },
    #[error("line {line} arrives more than 30 days after the first: timestamps are milliseconds")]
    Far { line: usize },
    #[error("it has no arrivals")]
    Empty,
    #[error("it has more than {MOST} arrivals")]
    Long,
}

/// Reads a trace.
pub(super) fn read(path: &Path) -> Result<Trace, TraceFault> {
    parse(BufReader::new(File::open(path)?))
}

fn parse(text: impl BufRead) -> Result<Trace, TraceFault> {
    let mut moments: Vec<f64> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text?;
        if text.trim().is_empty() {
            continue;
        }
        let entry: Map<String, Value> = serde_json::from_str(&text).map_err(|_| TraceFault::Line { line })?;
        let timestamp = entry.get("timestamp").and_then(Value::as_f64).ok_or(TraceFault::Line { line })?;
        if timestamp < 0.0 {
            return Err(TraceFault::Negative { line });
        }
        if moments.last().is_some_and(|last| timestamp < *last) {
            return Err(TraceFault::Order { line });
        }
        if moments.first().is_some_and(|first| timestamp - first > LONGEST_MS) {
            return Err(TraceFault::Far { line });
        }
        if moments.len() == MOST {
            return Err(TraceFault::Long);
        }
        moments.push(timestamp);
    }
    let first = *moments.first().ok_or(TraceFault::Empty)?;
    Ok(Trace { moments_us: moments.iter().map(|moment| ((moment - first) * 1e3).round() as u64).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<u64>, String> {
        parse(text.as_bytes()).map(|trace| trace.moments_us).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_trace_begins_with_its_first_arrival_and_keeps_all_others_apart_as_they_were() {
        let text = "{\"timestamp\": 27000, \"input_length\": 9}\n\n{\"timestamp\": 27000}\n{\"timestamp\": 30000.5}\n";
        assert_eq!(of(text), Ok(vec![0, 0, 3_000_500]));
        assert_eq!(parse(text.as_bytes()).unwrap().rate().to_string(), "0.667");
        assert_eq!(parse("{\"timestamp\": 5}".as_bytes()).unwrap().rate().to_string(), "1");
    }

    #[test]
    fn what_is_no_trace_is_refused_with_its_line() {
        assert_eq!(of(""), Err("it has no arrivals".to_owned()));
        assert_eq!(
            of("{\"timestamp\": 2}\n{\"timestamp\": 1}"),
            Err("line 2 arrives before the line above it".to_owned())
        );
        let absurd = "{\"timestamp\": 0}\n{\"timestamp\": 1e300}";
        assert_eq!(
            of(absurd),
            Err("line 2 arrives more than 30 days after the first: timestamps are milliseconds".to_owned())
        );
        assert_eq!(of("{\"timestamp\": 0}\n{\"timestamp\": 2592000000}"), Ok(vec![0, 2_592_000_000_000]));
        assert_eq!(of("{\"timestamp\": -1}"), Err("the timestamp of line 1 is negative".to_owned()));
        for bad in ["x", "{}", "{\"timestamp\": null}", "{\"timestamp\": \"1\"}", "[1]"] {
            assert!(of(bad).unwrap_err().starts_with("line 1 is no JSON object"), "{bad}");
        }
    }
}
