//! For structs that read [`super::Values`]: durations stand in them as they were written (`30s`).
//!
//! Use it as `#[serde(with = "crate::plan::duration_text")]` on a [`Duration`].

use std::time::Duration;

use serde::de::{Deserialize as _, Deserializer, Error as _};
use serde::ser::Serializer;

use crate::base::parse_duration;

/// Reads `30s`, `5m`, `1h30m`.
///
/// # Errors
/// When it is no text, or no duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Writes whole milliseconds, which [`deserialize`] reads back.
///
/// # Errors
/// When the serializer fails.
pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{}ms", span.as_millis()))
}
