//! One step of a frozen run.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::catalog::{NeedMode, StepClass};
use crate::base::{Digest, Name, Span};
use crate::measure::Level;

/// `agg/default/load/c64`: for people, selection and the journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(pub String);

impl Address {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address as one file name: `agg.default.load.c64`.
    pub fn file_stem(&self) -> String {
        self.0.replace('/', ".")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One thing that must have happened before a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The step needed.
    pub address: Address,
    /// How it must have ended.
    pub mode: NeedMode,
}

/// One step, frozen at the start of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Who it is.
    pub address: Address,
    /// Its row in the table of kinds.
    pub kind: String,
    /// How resume judges it.
    pub class: StepClass,
    /// What must have happened before.
    pub needs: Vec<Need>,
    /// Whether it may run beside other steps.
    pub overlaps: bool,
    /// Everything that decides what its result means; `explain` compares it field by field.
    pub fingerprint: Value,
    /// Digest of the fingerprint.
    pub key: Digest,
    /// One line for people: what it will do.
    pub summary: String,
    /// How long it will take, roughly, where that can be told.
    pub estimate: Option<Duration>,
    /// Its deployment.
    pub deployment: Option<Name>,
    /// Its workload.
    pub workload: Option<Name>,
    /// Its block, from 1.
    pub block: u32,
    /// Its level.
    pub level: Option<Level>,
    /// Its plot.
    pub plot: Option<String>,
    /// The line of the plan that asked for it.
    pub span: Option<Span>,
}
