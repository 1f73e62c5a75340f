//! What makes a point unfit to be drawn or compared.

use serde::{Deserialize, Serialize};

/// One rule that a point broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breach {
    /// Its name, such as `errors`, `isl`, `osl`, `send-lag`, `counters`, `restarted`.
    pub rule: String,
    /// In words, with the figures.
    pub reason: String,
    /// Whether the moment was to blame (a restart, a cut, the generator) and not the configuration.
    pub momentary: bool,
}
