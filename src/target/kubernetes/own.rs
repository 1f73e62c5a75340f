//! How objects of ours are known: labels on objects and pods, annotations, one field manager.
//!
//! Cleaning up works from these alone, on any machine: whatever carries [`RUN`] was made by that run, and nothing
//! without it is ever changed or deleted.

/// The field manager of every apply. One for all runs: an old run's manager would own fields for ever.
pub(super) const MANAGER: &str = "dynbench";

/// Label of everything we make; its value is [`MANAGER`].
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label: id of the run.
pub(super) const RUN: &str = "dynbench.dev/run";
/// Label: name of the plan.
pub(super) const PLAN: &str = "dynbench.dev/plan";
/// Label: name of the deployment.
pub(super) const DEPLOYMENT: &str = "dynbench.dev/deployment";
/// Label: what an object of our own is for, such as `load` or `reaper`; absent on a deployment's objects.
pub(super) const ROLE: &str = "dynbench.dev/role";
/// Annotation: digest of what was sent. The stored spec cannot be compared with it: operators rewrite it.
pub(super) const SENT: &str = "dynbench.dev/sent";
