//! What the rows of higher floors' tables tell this floor.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::{Deployment, Plan};
use super::shape::Key;
use crate::base::Problems;

/// The tables of the higher floors, as far as a plan needs to know them.
#[derive(Clone, Copy)]
pub struct Catalog {
    /// Ways for a deployment to come to life.
    pub targets: &'static [&'static dyn TargetKind],
    /// Kinds of steps, in the order in which a run meets them.
    pub steps: &'static [StepRow],
    /// Built-in plots.
    pub plots: &'static [PlotRow],
}

impl Catalog {
    /// The target of that kind.
    pub fn target(&self, kind: &str) -> Option<&'static dyn TargetKind> {
        self.targets.iter().copied().find(|target| target.kind() == kind)
    }
}

/// One way for a deployment to come to life, as far as a plan needs to know it. All of it is pure.
pub trait TargetKind: Send + Sync {
    /// The value of `kind`.
    fn kind(&self) -> &'static str;
    /// One sentence for the schema and the help.
    fn about(&self) -> &'static str;
    /// Keys of `[target]` beside `kind`.
    fn target_keys(&self) -> &'static [Key];
    /// Keys of `[deployments.NAME]` beside those that all kinds share.
    fn deployment_keys(&self) -> &'static [Key];
    /// Problems that single keys cannot show: combinations, templates, files that must exist.
    fn check(&self, plan: &Plan, deployment: &Deployment, problems: &mut Problems);
    /// What decides the meaning of results measured on this deployment: rendered objects, or URL, or commands and
    /// environment. No run id, no ports, no folders, no secret values, no deadlines.
    fn fingerprint(&self, plan: &Plan, deployment: &Deployment) -> Value;
    /// GPUs of the deployment, if they can be known without asking anybody; `deployment.gpus` goes before it.
    fn gpus(&self, plan: &Plan, deployment: &Deployment) -> Option<f64>;
    /// Why they cannot be known, if there is more to say than that the plan does not.
    fn gpus_unknown(&self, _plan: &Plan, _deployment: &Deployment) -> Option<String> {
        None
    }
    /// Flags that its engines get, `--flag value`, as far as they can be known.
    fn engine_arguments(&self, _plan: &Plan, _deployment: &Deployment) -> Vec<String> {
        Vec::new()
    }
    /// One line that says what a deploy step will do.
    fn describe(&self, plan: &Plan, deployment: &Deployment) -> String;
    /// Whether results of it are simulated and must say so everywhere.
    fn simulated(&self, deployment: &Deployment) -> bool;
    /// How requests reach it, for the key and for every result.
    fn transport(&self, plan: &Plan, deployment: &Deployment) -> &'static str;
}

/// How a step's result is judged on resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepClass {
    /// Same input, same output: redone when a digest differs.
    Pure,
    /// Changes or reads the world: never trusted from the journal, always looked at again.
    Effect,
    /// A good result is evidence: never measured twice, never merged.
    Measurement,
    /// Must happen as long as an obligation is open.
    Obligation,
}

/// For what a kind of step exists once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Once per run: `summarize`.
    Run,
    /// Once per deployment: `agg/render`.
    Deployment,
    /// Once per deployment and block: `agg/deploy`, `agg/deploy/r2`.
    Block,
    /// Once per deployment, block and workload: `agg/default/warm-up`.
    Workload,
    /// Once per point: `agg/default/load/c64`, `agg/default/load/c64/r2`.
    Point,
    /// Once per plot: `plot/pareto`.
    Plot,
}

/// One row of the table of step kinds.
#[derive(Debug, Clone)]
pub struct StepRow {
    /// Its name in addresses.
    pub kind: &'static str,
    /// One sentence: what it does.
    pub about: &'static str,
    /// How resume judges it.
    pub class: StepClass,
    /// For what it exists once.
    pub scope: Scope,
    /// Raised whenever the meaning of its result changes; part of the key.
    pub version: u32,
    /// What must have happened before.
    pub needs: &'static [NeedRule],
    /// Whether it may run beside other steps: never true of anything that could disturb a measurement.
    pub overlaps: bool,
}

/// What must have happened before a step.
#[derive(Debug, Clone, Copy)]
pub struct NeedRule {
    /// Steps of this kind ...
    pub kind: &'static str,
    /// ... out of these ...
    pub reach: Reach,
    /// ... must have ended thus.
    pub mode: NeedMode,
}

/// Which steps of a kind are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those that share what this step's scope names: for a point its own workload's, block's and deployment's.
    Own,
    /// All of the run.
    All,
    /// The last one that stands before this step in the order of the run: a chain.
    Previous,
}

/// How a needed step must have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NeedMode {
    /// With success.
    Succeeded,
    /// Somehow: an order, not a condition.
    Ended,
}

/// One row of the table of plots, as far as a plan needs to know it.
#[derive(Debug, Clone, Copy)]
pub struct PlotRow {
    /// Id, and file stem with hyphens.
    pub id: &'static str,
    /// One sentence: what it shows.
    pub about: &'static str,
    /// Whether it needs the number of GPUs of every deployment.
    pub needs_gpus: bool,
    /// Whether there is nothing to draw without objectives.
    pub needs_objectives: bool,
}
