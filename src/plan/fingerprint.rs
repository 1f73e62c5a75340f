//! What decides the meaning of a step's result, field by field: `explain` compares it, its digest is the key.
//!
//! Never in it: run id, paths, namespaces, deadlines, the version of this tool, secrets, which plots are drawn, who
//! else is measured. A tokenizer is there by its digest: where its file lies says nothing. GPUs stand only with steps
//! that sum up, because a corrected number needs no new measurement.

use serde_json::{Map, Value, json};

use super::catalog::{Catalog, Scope, StepRow};
use super::model::{Deployment, Plan, Workload};
use super::rules::gpus_of;
use crate::base::digest_json;
use crate::measure::{Content, Level};

/// What a step is about.
pub(super) struct Subject<'a> {
    pub(super) row: &'a StepRow,
    pub(super) deployment: Option<&'a Deployment>,
    pub(super) workload: Option<&'a Workload>,
    pub(super) level: Option<Level>,
    pub(super) plot: Option<&'a str>,
}

/// The fingerprint of a step.
pub(super) fn fingerprint(subject: &Subject<'_>, plan: &Plan, catalog: &Catalog) -> Value {
    let mut fields = Map::new();
    fields.insert("kind".to_owned(), json!(subject.row.kind));
    fields.insert("version".to_owned(), json!(subject.row.version));
    if let Some(deployment) = subject.deployment {
        let target = catalog.target(&deployment.target.kind);
        let served = deployment.served_name.as_ref().unwrap_or(&plan.model.id);
        fields.insert("model".to_owned(), json!({ "id": plan.model.id, "served": served }));
        let of_target = target.map_or(Value::Null, |target| target.fingerprint(plan, deployment));
        fields.insert("target".to_owned(), json!({ "kind": deployment.target.kind, "is": of_target }));
        if let Some(workload) = subject.workload {
            fields.insert("transport".to_owned(), json!(target.map(|target| target.transport(plan, deployment))));
            let tokenizer = deployment.tokenizer.as_ref().or(plan.model.tokenizer.as_ref());
            let tokenizer = tokenizer.map(|path| plan.tokenizers.get(path));
            fields.insert(
                "workload".to_owned(),
                traffic(workload, &tokenizer.map_or(json!(false), |digest| json!(digest))),
            );
            match subject.level {
                Some(level) => {
                    fields.insert("level".to_owned(), json!(level));
                    fields.insert("requests".to_owned(), json!(workload.requests_at(level)));
                    fields.insert("duration-s".to_owned(), json!(workload.duration.as_secs_f64()));
                    fields.extend(workload.shape_at(level));
                    if workload.shape.search.is_some() {
                        // They decide which loads are measured at all.
                        fields.insert("objectives".to_owned(), objectives(plan));
                    }
                }
                None => {
                    fields.insert("warm-up-requests".to_owned(), json!(workload.warm_up_requests));
                }
            }
        }
    }
    match subject.row.scope {
        Scope::Run => {
            fields.insert("definition".to_owned(), summary_definition(plan, catalog));
        }
        Scope::Plot => {
            fields.insert("definition".to_owned(), plot_definition(subject.plot, plan, catalog));
        }
        Scope::Deployment | Scope::Block | Scope::Workload | Scope::Point => {}
    }
    Value::Object(fields)
}

/// Everything about the requests that is the same at every level.
fn traffic(workload: &Workload, tokenizer: &Value) -> Value {
    let request = &workload.request;
    let mut traffic = json!({
        "isl": workload.isl,
        "isl-std": workload.isl_std,
        "osl": workload.osl,
        "osl-std": workload.osl_std,
        "seed": workload.seed,
        "tokenizer": tokenizer,
        "request": {
            "api": request.api,
            "temperature": request.temperature,
            "extra": request.extra,
            "timeout-s": request.timeout.as_secs_f64(),
            "idle-timeout-s": request.idle_timeout.as_secs_f64(),
        },
    });
    // Only what is there: keys of plain workloads stay what they are.
    if workload.content != Content::default() {
        traffic["content"] = json!(digest_json(&json!(workload.content)));
    }
    traffic
}

fn gpus(plan: &Plan, catalog: &Catalog) -> Value {
    plan.deployments
        .values()
        .map(|deployment| (deployment.name.to_string(), json!(gpus_of(plan, deployment, catalog))))
        .collect::<Map<_, _>>()
        .into()
}

/// In the order of metrics and not of the file, so that reordering changes nothing.
fn objectives(plan: &Plan) -> Value {
    let mut objectives: Vec<_> = plan.objectives.iter().collect();
    objectives.sort_by(|one, other| (&one.metric, &one.statistic).cmp(&(&other.metric, &other.statistic)));
    json!(objectives)
}

fn summary_definition(plan: &Plan, catalog: &Catalog) -> Value {
    let first = plan.deployments.keys().next();
    json!({
        "objectives": objectives(plan),
        "validity": plan.validity,
        "compare": {
            "primary": plan.compare.primary,
            "margin": plan.compare.margin,
            "baseline": plan.compare.baseline.as_ref().or(first),
        },
        "gpus": gpus(plan, catalog),
    })
}

fn plot_definition(plot: Option<&str>, plan: &Plan, catalog: &Catalog) -> Value {
    let Some(id) = plot else { return Value::Null };
    let row = catalog.plots.iter().find(|row| row.id == id);
    let needs_gpus = row.is_some_and(|row| row.needs_gpus);
    let needs_objectives = row.is_some_and(|row| row.needs_objectives);
    match plan.plots.custom.get(id) {
        Some(custom) => json!({ "custom": custom, "gpus": gpus(plan, catalog) }),
        None if needs_gpus => json!({ "built-in": id, "gpus": gpus(plan, catalog) }),
        None if needs_objectives => json!({ "built-in": id, "objectives": objectives(plan) }),
        None => json!({ "built-in": id }),
    }
}
