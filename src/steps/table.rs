//! The table of step kinds.

use std::sync::{Arc, LazyLock};

use super::{collect, deploy, discover, load, plot, preflight, render, summarize, teardown, wait, warm_up};
use crate::plan::StepRow;
use crate::run::StepAction;

/// One kind: what a plan must know of it, and what it does.
pub struct Step {
    /// Scope, class, needs.
    pub row: StepRow,
    /// Makes the deed.
    pub action: fn() -> Arc<dyn StepAction>,
}

/// All kinds, in the order in which a run meets them.
pub static STEPS: [Step; 11] = [
    Step { row: discover::ROW, action: || Arc::new(discover::Discover) },
    Step { row: render::ROW, action: || Arc::new(render::Render) },
    Step { row: preflight::ROW, action: || Arc::new(preflight::Preflight) },
    Step { row: deploy::ROW, action: || Arc::new(deploy::Deploy) },
    Step { row: wait::ROW, action: || Arc::new(wait::Wait) },
    Step { row: warm_up::ROW, action: || Arc::new(warm_up::WarmUp) },
    Step { row: load::ROW, action: || Arc::new(load::Load) },
    Step { row: collect::ROW, action: || Arc::new(collect::Collect) },
    Step { row: teardown::ROW, action: || Arc::new(teardown::Teardown) },
    Step { row: summarize::ROW, action: || Arc::new(summarize::Summarize) },
    Step { row: plot::ROW, action: || Arc::new(plot::Plot) },
];

/// The rows alone, as a catalog wants them.
pub static STEP_ROWS: LazyLock<Vec<StepRow>> = LazyLock::new(|| STEPS.iter().map(|step| step.row.clone()).collect());

/// What the kind of that name does.
pub fn action(kind: &str) -> Option<Arc<dyn StepAction>> {
    STEPS.iter().find(|step| step.row.kind == kind).map(|step| (step.action)())
}
