//! From text to a frozen list of steps: the spanned document, the checked plan, the expansion.
//!
//! This floor cannot see targets, step kinds or plots: it defines what a row of those tables must tell it
//! ([`TargetKind`], [`StepRow`], [`PlotRow`]) and is handed a [`Catalog`] that `app` fills.

mod build;
mod catalog;
mod check;
mod content;
mod content_keys;
mod defaults;
mod document;
pub mod duration_text;
mod estimate;
mod expand;
mod expression;
mod fingerprint;
mod fit;
mod judgeable;
mod keys;
mod like;
mod load;
mod matrix;
mod model;
mod read;
mod requests;
mod resolved;
mod rules;
mod schema;
mod search;
mod sections;
mod select;
mod serving;
mod sets;
mod shape;
mod shapes;
mod steps;
mod trace;
mod words;

pub use catalog::{Catalog, NeedMode, NeedRule, PlotRow, Reach, Scope, StepClass, StepRow, TargetKind};
pub use defaults::key_faults;
pub use estimate::{Estimate, estimate, gpu_hours};
pub use expand::{Outcomes, expand, expand_searched};
pub use load::{Checked, check_text, load_plan};
pub use model::{
    Api, Comparison, Custom, Deployment, Engine, Exports, Hook, Hooks, IncarnationPolicy, LoadFrom, LoadSource, Model,
    Objective, OnFailure, Plan, PlotChoice, Policy, Request, SecretKey, ServerMetrics, TargetChoice, Teardown,
    Validity, Values, Workload,
};
pub use resolved::resolved_toml;
pub use schema::schema_json;
pub use search::{LoadOutcome, Walk, WalkState};
pub use select::{NoMatch, matches, select};
pub use shape::{Key, Shape};
pub use shapes::{LoadShape, Search, SearchOver, Spread};
pub use steps::{Address, Need, StepSpec};
pub use trace::Trace;
// The type of a field of `StepSpec`: floors that see steps need not see how they are measured.
pub use crate::measure::{Level, Rate};
