//! From text to a frozen list of steps: the spanned document, the checked plan, the expansion.
//!
//! This floor cannot see targets, step kinds or plots: it defines what a row of those tables must tell it
//! ([`TargetKind`], [`StepRow`], [`PlotRow`]) and is handed a [`Catalog`] that `app` fills.

mod catalog;
mod model;
mod shape;
mod steps;

pub use catalog::{Catalog, NeedMode, NeedRule, PlotRow, Reach, Scope, StepClass, StepRow, TargetKind};
pub use model::{
    Api, Comparison, Custom, Deployment, Exports, Hook, Hooks, IncarnationPolicy, Model, Objective, OnFailure, Plan,
    PlotChoice, Policy, Request, TargetChoice, Teardown, Validity, Values, Workload,
};
pub use shape::{Key, Shape};
pub use steps::{Address, Need, StepSpec};
