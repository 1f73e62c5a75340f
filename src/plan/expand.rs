//! From a checked plan to the list of steps, in the order of the run.
//!
//! The order: steps of whole deployments, kind by kind; then the blocks. In each block every deployment has its steps
//! in the order of the table, and the order of the deployments turns round from block to block (A B, B A, A B):
//! whatever drifts with time then falls on all of them alike. Within a deployment's block all steps of one workload
//! stand together. Steps of the run and plots come last.
//!
//! A block exists for a deployment as long as some workload has so many repeats. Addresses and keys come from names
//! alone, never from a place in the file.

use std::collections::{BTreeMap, HashMap};

use super::catalog::{Catalog, NeedRule, PlotRow, Reach, Scope, StepRow};
use super::estimate;
use super::fingerprint::{Subject, fingerprint};
use super::model::{Deployment, Plan, Workload};
use super::rules::gpus_of;
use super::search::LoadOutcome;
use super::steps::{Address, Need, StepSpec};
use crate::base::{Name, Span, digest_json, format_duration};
use crate::measure::Level;

/// The kind whose summary is the target's own description of what it starts.
const DEPLOY: &str = "deploy";

/// What was found at points of searches: deployment, workload, block and level, and whether the objectives were kept.
pub type Outcomes = BTreeMap<(Name, Name, u32, Level), LoadOutcome>;

/// A step before its needs are known.
struct Draft<'a> {
    row: &'static StepRow,
    deployment: Option<&'a Deployment>,
    workload: Option<&'a Workload>,
    block: u32,
    level: Option<Level>,
    plot: Option<&'a str>,
}

/// All steps of a plan, in the order of the run.
pub fn expand(plan: &Plan, catalog: &Catalog) -> Vec<StepSpec> {
    expand_searched(plan, catalog, &Outcomes::new())
}

/// All steps of a plan of which these points have been measured: its searches have got so far.
pub fn expand_searched(plan: &Plan, catalog: &Catalog, outcomes: &Outcomes) -> Vec<StepSpec> {
    let plots = plots_of(plan, catalog);
    let drafts = drafts(plan, catalog, &plots, outcomes);
    let addresses: Vec<Address> = drafts.iter().map(Draft::address).collect();
    let mut by_kind: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, draft) in drafts.iter().enumerate() {
        by_kind.entry(draft.row.kind).or_default().push(at);
    }
    let needs = |at: usize| {
        let rules = drafts[at].row.needs.iter();
        let mut needs: Vec<Need> = Vec::new();
        for rule in rules {
            for other in needed(at, rule, &drafts, by_kind.get(rule.kind).map_or(&[], Vec::as_slice)) {
                let need = Need { address: addresses[other].clone(), mode: rule.mode };
                if !needs.contains(&need) {
                    needs.push(need);
                }
            }
        }
        needs
    };
    drafts.iter().enumerate().map(|(at, draft)| draft.finish(addresses[at].clone(), needs(at), plan, catalog)).collect()
}

/// Ids of the plots that will be drawn: those asked for, else all built-in ones that GPUs and objectives allow; then the
/// user's.
fn plots_of(plan: &Plan, catalog: &Catalog) -> Vec<String> {
    let known = plan.deployments.values().all(|deployment| gpus_of(plan, deployment, catalog).is_some());
    let built_in: Vec<String> = match &plan.plots.set {
        Some(set) => set.clone(),
        None => {
            let drawn =
                |row: &&PlotRow| (known || !row.needs_gpus) && (!row.needs_objectives || !plan.objectives.is_empty());
            catalog.plots.iter().filter(drawn).map(|row| row.id.to_owned()).collect()
        }
    };
    built_in.into_iter().chain(plan.plots.custom.keys().map(|name| name.as_str().to_owned())).collect()
}

fn drafts<'a>(plan: &'a Plan, catalog: &Catalog, plots: &'a [String], outcomes: &Outcomes) -> Vec<Draft<'a>> {
    let levels_of = |deployment: &Deployment, workload: &Workload, block| {
        searched_levels((plan, catalog), deployment, workload, block, outcomes)
    };
    let rows = || catalog.steps.iter();
    let mut drafts = Vec::new();
    for row in rows().filter(|row| row.scope == Scope::Deployment) {
        drafts.extend(plan.deployments.values().map(|deployment| Draft::of(row).on(deployment)));
    }
    let inner: Vec<&'static StepRow> = rows()
        .filter(|row| match row.scope {
            Scope::Block | Scope::Workload | Scope::Point => true,
            Scope::Run | Scope::Deployment | Scope::Plot => false,
        })
        .collect();
    let blocks = plan.workloads.values().map(|workload| workload.repeats).max().unwrap_or(0);
    for block in 1..=blocks {
        let mut deployments: Vec<_> = plan.deployments.values().collect();
        if block % 2 == 0 {
            deployments.reverse();
        }
        for deployment in deployments {
            // Rows of workloads and points that follow each other are gone through workload by workload.
            for group in inner.chunk_by(|one, other| (one.scope == Scope::Block) == (other.scope == Scope::Block)) {
                if group[0].scope == Scope::Block {
                    drafts.extend(group.iter().map(|row| Draft { block, ..Draft::of(row).on(deployment) }));
                    continue;
                }
                for workload in plan.workloads.values().filter(|workload| workload.repeats >= block) {
                    let levels = levels_of(deployment, workload, block);
                    workload_steps(group, (deployment, workload), &levels, block, &mut drafts);
                }
            }
        }
    }
    drafts.extend(rows().filter(|row| row.scope == Scope::Run).map(Draft::of));
    for row in rows().filter(|row| row.scope == Scope::Plot) {
        drafts.extend(plots.iter().map(|plot| Draft { plot: Some(plot), ..Draft::of(row) }));
    }
    drafts
}

/// One workload's steps in one block: rows of points that follow each other are gone through level by level.
fn workload_steps<'a>(
    rows: &[&'static StepRow],
    (deployment, workload): (&'a Deployment, &'a Workload),
    levels: &[Level],
    block: u32,
    drafts: &mut Vec<Draft<'a>>,
) {
    let draft = |row| Draft { workload: Some(workload), block, ..Draft::of(row).on(deployment) };
    for group in rows.chunk_by(|one, other| one.scope == other.scope) {
        if group[0].scope == Scope::Workload {
            drafts.extend(group.iter().map(|row| draft(row)));
            continue;
        }
        for level in levels {
            drafts.extend(group.iter().map(|row| Draft { level: Some(*level), ..draft(row) }));
        }
    }
}

/// The levels of a workload: those that the plan lists, or those on the way of its search.
fn searched_levels(
    (plan, catalog): (&Plan, &Catalog),
    deployment: &Deployment,
    workload: &Workload,
    block: u32,
    outcomes: &Outcomes,
) -> Vec<Level> {
    let Some(search) = &workload.shape.search else {
        return workload.levels(gpus_of(plan, deployment, catalog));
    };
    let key = |level| (deployment.name.clone(), workload.name.clone(), block, level);
    search.walk(|level| outcomes.get(&key(level)).copied()).path
}

/// Places of the steps that a rule names for the step at `at`.
fn needed(at: usize, rule: &NeedRule, drafts: &[Draft<'_>], of_kind: &[usize]) -> Vec<usize> {
    match rule.reach {
        Reach::All => of_kind.iter().copied().filter(|other| *other != at).collect(),
        Reach::Own => {
            let own = &drafts[at];
            of_kind.iter().copied().filter(|other| *other != at && own.shares_with(&drafts[*other])).collect()
        }
        Reach::Previous => of_kind.iter().copied().rfind(|other| *other < at).into_iter().collect(),
    }
}

impl<'a> Draft<'a> {
    fn of(row: &'static StepRow) -> Self {
        Self { row, deployment: None, workload: None, block: 1, level: None, plot: None }
    }

    fn on(self, deployment: &'a Deployment) -> Self {
        Self { deployment: Some(deployment), ..self }
    }

    /// Whether nothing that both scopes name differs.
    fn shares_with(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.is_none() || other.is_none() || one == other
        }
        agree(self.deployment.map(|d| &d.name), other.deployment.map(|d| &d.name))
            && agree(self.workload.map(|w| &w.name), other.workload.map(|w| &w.name))
            && agree(self.level, other.level)
            && agree(self.plot, other.plot)
            && agree(self.own_block(), other.own_block())
    }

    /// The block, for scopes that have one.
    fn own_block(&self) -> Option<u32> {
        match self.row.scope {
            Scope::Block | Scope::Workload | Scope::Point => Some(self.block),
            Scope::Run | Scope::Deployment | Scope::Plot => None,
        }
    }

    fn address(&self) -> Address {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.deployment.map(|deployment| deployment.name.to_string()));
        parts.extend(self.workload.map(|workload| workload.name.to_string()));
        parts.push(self.row.kind.to_owned());
        parts.extend(self.level.map(|level| level.to_string()));
        parts.extend(self.plot.map(str::to_owned));
        if self.block > 1 {
            parts.push(format!("r{}", self.block));
        }
        Address(parts.join("/"))
    }

    fn finish(&self, address: Address, needs: Vec<Need>, plan: &Plan, catalog: &Catalog) -> StepSpec {
        let subject = Subject {
            row: self.row,
            deployment: self.deployment,
            workload: self.workload,
            level: self.level,
            plot: self.plot,
        };
        let fingerprint = fingerprint(&subject, plan, catalog);
        StepSpec {
            kind: self.row.kind.to_owned(),
            class: self.row.class,
            needs,
            overlaps: self.row.overlaps,
            key: digest_json(&fingerprint),
            fingerprint,
            summary: self.summary(plan, catalog),
            estimate: match (self.row.scope, self.workload, self.level) {
                (Scope::Workload, Some(workload), _) => Some(estimate::warm_up(workload)),
                (Scope::Point, Some(workload), Some(level)) => Some(estimate::point(workload, level)),
                (Scope::Run | Scope::Deployment | Scope::Block | Scope::Plot | Scope::Workload | Scope::Point, ..) => {
                    None
                }
            },
            deployment: self.deployment.map(|deployment| deployment.name.clone()),
            workload: self.workload.map(|workload| workload.name.clone()),
            block: self.block,
            level: self.level,
            plot: self.plot.map(str::to_owned),
            span: self.span(),
            address,
        }
    }

    /// What it will do, with the figures that decide it.
    fn summary(&self, plan: &Plan, catalog: &Catalog) -> String {
        match (self.deployment, self.workload, self.level, self.plot) {
            (_, Some(workload), Some(level), _) => format!(
                "{}, {} requests or {}{}, {}",
                workload.describe(level),
                workload.requests_at(level),
                seconds(workload.duration),
                if workload.least() > 0 { format!(" and {} answers", workload.least()) } else { String::new() },
                lengths(workload)
            ),
            (_, Some(workload), None, _) => {
                format!("{}: {} requests, {}", self.row.about, workload.warm_up_requests, lengths(workload))
            }
            (Some(deployment), None, _, _) if self.row.kind == DEPLOY => catalog
                .target(&deployment.target.kind)
                .map_or_else(|| self.row.about.to_owned(), |target| target.describe(plan, deployment)),
            (_, _, _, Some(plot)) => {
                let about = catalog.plots.iter().find(|row| row.id == plot).map(|row| row.about.to_owned());
                let custom = plan.plots.custom.get(plot).map(|plot| format!("{} against {}", plot.y, plot.x));
                about.or(custom).unwrap_or_else(|| self.row.about.to_owned())
            }
            (_, None, _, None) => self.row.about.to_owned(),
        }
    }

    fn span(&self) -> Option<Span> {
        let workload = self.workload.and_then(|workload| workload.span.clone());
        workload.or_else(|| self.deployment.and_then(|deployment| deployment.span.clone()))
    }
}

/// Whole seconds as such (`180s`): the number that was written.
fn seconds(span: std::time::Duration) -> String {
    if span.subsec_nanos() == 0 { format!("{}s", span.as_secs()) } else { format_duration(span) }
}

/// `ISL 200±10, OSL 200`, and where the requests come from if they are not plain ones.
fn lengths(workload: &Workload) -> String {
    let length = |name: &str, mean: u32, std: f64| {
        if std > 0.0 { format!("{name} {mean}±{std}") } else { format!("{name} {mean}") }
    };
    let mut text =
        format!("{}, {}", length("ISL", workload.isl, workload.isl_std), length("OSL", workload.osl, workload.osl_std));
    text.extend(workload.content.describe().map(|content| format!(" ({content})")));
    text
}
