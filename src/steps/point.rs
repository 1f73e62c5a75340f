//! From a level's records to the files of its point, in the attempt's folder.

use std::path::Path;

use super::hooks::{self, Moment};
use super::raw::SpilledResponses;
use super::surroundings::Surroundings;
use crate::base::digest_json;
use crate::load::{EndedBy, LevelRun};
use crate::measure::{
    Bound, Breach, CounterCheck, Level, PointData, PointMeta, PointSummary, RequestRecord, Series, ServerScrape,
    ServerView, Source, ValidityRules, excuse, judge, server_view,
};
use crate::plan::{Api, Plan, Workload};
use crate::report::{ExportInput, ExportSettings, Family, write_exports, write_point, write_server_metrics};
use crate::run::{FailureKind, StepFailure};
use crate::target::Ready;

/// What surrounded a level.
pub(super) struct Circumstances<'a> {
    pub(super) here: &'a Surroundings<'a>,
    pub(super) workload: &'a Workload,
    pub(super) ready: &'a Ready,
    pub(super) isl_method: &'static str,
    pub(super) overhead: Option<f64>,
    pub(super) level: Level,
    pub(super) transport: &'static str,
    /// Where requests went.
    pub(super) url: &'a str,
    /// Machines that the load came from.
    pub(super) generator: Option<String>,
}

/// What was seen of the server around a level.
pub(super) struct Observed {
    /// Its counters beside ours.
    pub(super) checks: Vec<CounterCheck>,
    /// What already makes the point unfit.
    pub(super) breaches: Vec<Breach>,
    /// What it said of itself meanwhile.
    pub(super) scrapes: Vec<ServerScrape>,
}

/// Sums up, judges, asks the hook, writes all files of the point.
pub(super) async fn finish(
    around: &Circumstances<'_>,
    run: LevelRun,
    observed: Observed,
    spill: Option<&Path>,
) -> Result<PointSummary, StepFailure> {
    let cx = around.here.cx;
    let plan = &cx.shared.plan;
    let ended_by = ended_by(run.ended_by, around.workload, &run.records);
    let mut data = PointData {
        meta: meta(around, &run),
        records: run.records,
        health: run.health,
        extra: std::collections::BTreeMap::new(),
        objectives: bounds(plan),
    };
    let summarize = |data: &PointData| {
        let mut summary = PointSummary::of(data);
        summary.server_counters.clone_from(&observed.checks);
        summary.server = view(data, &observed.scrapes);
        summary.ended_by = Some(ended_by.clone());
        summary.invalid = judge(&summary, &rules(plan, around.workload));
        summary.invalid.extend(observed.breaches.iter().cloned());
        excuse(&mut summary.invalid);
        summary
    };
    let mut summary = summarize(&data);
    let printed = hooks::run(cx, Moment::AfterLevel, &around.ready.endpoint, Some(&summary)).await?;
    if !printed.is_empty() {
        data.extra = printed;
        summary = summarize(&data);
    }
    let dir = cx.attempt_dir.clone();
    let scrapes = observed.scrapes;
    let settings = export_settings(around);
    let families = families(plan);
    let keep_raw = plan.exports.raw;
    let spill = spill.map(Path::to_owned);
    let written = tokio::task::spawn_blocking(move || {
        write_point(&dir, &data, &summary)?;
        write_server_metrics(&dir, &scrapes)?;
        if !families.is_empty() {
            let raw = spill.as_deref().map(|spill| SpilledResponses {
                spill,
                origin: data.meta.origin,
                keep_responses: keep_raw,
            });
            write_exports(
                &dir,
                &ExportInput {
                    summary: &summary,
                    records: &data.records,
                    objectives: &data.objectives,
                    settings: &settings,
                    raw: raw.as_ref().map(|raw| raw as _),
                },
                &families,
            )?;
        }
        Ok::<_, crate::report::ReportError>(summary)
    });
    match written.await {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(error)) => Err(StepFailure::from_error(FailureKind::Storage, &error)),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The server's own view while the point's requests were under way.
fn view(data: &PointData, scrapes: &[ServerScrape]) -> Vec<ServerView> {
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let from = data.records.iter().map(|record| record.sent).min().unwrap_or(0);
    let to = data.records.iter().map(|record| record.end).max().unwrap_or(0);
    server_view(scrapes, seconds(from), seconds(to))
}

fn meta(around: &Circumstances<'_>, run: &LevelRun) -> PointMeta {
    let (here, workload) = (around.here, around.workload);
    let (cx, deployment) = (here.cx, here.deployment);
    PointMeta {
        deployment: deployment.name.clone(),
        workload: workload.name.clone(),
        level: around.level,
        repeat: cx.spec.block,
        attempt: cx.attempt,
        run: cx.shared.id.clone(),
        origin: run.origin,
        model: around.ready.endpoint.model.clone(),
        url: around.url.to_owned(),
        api: match workload.request.api {
            Api::Chat => "chat",
            Api::Completions => "completions",
        }
        .to_owned(),
        simulated: here.target.simulated(deployment),
        transport: around.transport.to_owned(),
        gpus: deployment.gpus.or_else(|| here.target.gpus(&cx.shared.plan, deployment)),
        isl: f64::from(workload.isl),
        isl_std: workload.isl_std,
        osl: f64::from(workload.osl),
        osl_std: workload.osl_std,
        content: workload.content.describe(),
        alike: workload.content.is_alike(),
        template_overhead: around.overhead,
        isl_method: around.isl_method.to_owned(),
        measured_by: None,
        seed: workload.seed,
        incarnation: digest_json(&around.ready.incarnation).short().to_owned(),
        series: Series::of(&around.ready.facts, around.generator.clone()),
        facts: around.ready.facts.clone(),
    }
}

/// Why the level took no more requests, in words; where enough was known, with what is known.
fn ended_by(ended: EndedBy, workload: &Workload, records: &[RequestRecord]) -> String {
    let rule = workload.shape.precision.as_ref().filter(|_| ended == EndedBy::Precision);
    let mut by_end: Vec<&RequestRecord> = records.iter().collect();
    by_end.sort_by_key(|record| record.end);
    let reached = rule.and_then(|rule| {
        let values: Vec<f64> = by_end.iter().filter_map(|record| rule.value(record)).collect();
        Some((rule, rule.reached(&values)?))
    });
    if let Some((rule, reached)) = reached {
        return format!(
            "precision: {} {} known to {:.1} % of it at {} % confidence ({:.1} % asked; {})",
            rule.statistic.as_str(),
            rule.metric,
            100.0 * reached.relative,
            100.0 * rule.confidence,
            100.0 * rule.relative,
            rule.method()
        );
    }
    ended_word(ended).to_owned()
}

fn ended_word(ended: EndedBy) -> &'static str {
    match ended {
        EndedBy::Count => "requests",
        EndedBy::Time => "time",
        EndedBy::Precision => "precision",
        EndedBy::Failures => "failures",
        EndedBy::Cancelled => "interruption",
        EndedBy::Storage => "full storage",
    }
}

fn rules(plan: &Plan, workload: &Workload) -> ValidityRules {
    // The texts of a dataset are as long as they are: no length was asked that could be missed.
    let given = matches!(workload.content.source, Source::Dataset(_));
    ValidityRules {
        isl_tolerance: if given { f64::INFINITY } else { plan.validity.isl_tolerance },
        osl_tolerance: plan.validity.osl_tolerance,
        max_error_share: plan.validity.max_error_share,
        counters: plan.validity.counters,
        send_lag_ms: plan.validity.send_lag_ms,
        require_steady: plan.validity.require_steady,
    }
}

/// The plan's objectives in the words of `measure`.
pub(super) fn bounds(plan: &Plan) -> Vec<Bound> {
    let bound = |objective: &crate::plan::Objective| Bound {
        metric: objective.metric.clone(),
        statistic: objective.statistic.clone(),
        bound: objective.bound,
    };
    plan.objectives.iter().map(bound).collect()
}

/// Whose files the plan wants.
fn families(plan: &Plan) -> Vec<Family> {
    let wanted = [(plan.exports.genai_perf, Family::GenAiPerf), (plan.exports.aiperf, Family::AiPerf)];
    wanted.into_iter().filter_map(|(wanted, family)| wanted.then_some(family)).collect()
}

fn export_settings(around: &Circumstances<'_>) -> ExportSettings {
    let (workload, plan) = (around.workload, &around.here.cx.shared.plan);
    let tokenizer = around.here.deployment.tokenizer.as_ref().or(plan.model.tokenizer.as_ref());
    ExportSettings {
        extra: workload.request.extra.clone(),
        requests: workload.requests_at(around.level),
        warm_up_requests: workload.warm_up_requests,
        tokenizer: tokenizer.map(|path| path.display().to_string()),
        artifact_directory: crate::run::place(&around.here.cx.spec, plan.workloads.len() > 1)
            .unwrap_or_default()
            .display()
            .to_string(),
    }
}
