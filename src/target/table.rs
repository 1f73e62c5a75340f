//! The table of targets.

use super::contract::Target;
use super::endpoint::Existing;
use super::process::Process;
use super::simulated::Simulated;

static PROCESS: Process = Process::new();
static ENDPOINT: Existing = Existing::new();
static SIMULATED: Simulated = Simulated::new();

/// Every way for a deployment to come to life.
pub static TARGETS: &[&dyn Target] = &[&PROCESS, &ENDPOINT, &SIMULATED];
