//! The tables of all floors, put together for the plan floor, which cannot see them.

use std::sync::LazyLock;

use crate::plan::{Catalog, TargetKind};
use crate::steps::{STEP_ROWS, plot_rows};
use crate::target::TARGETS;

static KINDS: LazyLock<Vec<&'static dyn TargetKind>> =
    LazyLock::new(|| TARGETS.iter().map(|target| *target as &dyn TargetKind).collect());

/// Every target, step kind and built-in plot.
pub fn catalog() -> Catalog {
    Catalog { targets: &KINDS, steps: &STEP_ROWS, plots: plot_rows() }
}
