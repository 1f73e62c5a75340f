//! From the plan's words to the generator's: endpoint, request shape, prompts.

use std::time::Duration;

use crate::load;
use crate::load::{
    Arrivals, Asker, EndpointRef, FaultKind, Lengths, LevelSpec, MetricsPage, Pacing, PromptsOrder, RequestShape,
    RulerOrder, TokenizerFile, Tuning,
};
use crate::measure::Level;
use crate::plan::{Api, Deployment, Spread, Workload};
use crate::run::{FailureKind, StepContext, StepFailure};
use crate::target;
use crate::target::MetricsUrl;

/// Limit for a single question outside of a measurement, unless the plan's own limit of a request is shorter.
const QUESTION: Duration = Duration::from_secs(60);

/// How long a single question outside of a measurement may take.
pub(super) fn patience(workload: &Workload) -> Duration {
    QUESTION.min(workload.request.timeout)
}

/// The server as the generator knows it: secrets by the names of their variables.
pub(super) fn endpoint(found: &target::Endpoint) -> EndpointRef {
    let page = |page: &MetricsUrl| MetricsPage {
        url: page.url.clone(),
        role: page.role.clone(),
        gpus_of: page.gpus_of.clone(),
    };
    EndpointRef {
        url: found.url.clone(),
        headers_env: found.headers_env.clone(),
        api_key_env: found.api_key_env.clone(),
        ca_file: found.ca_file.clone(),
        metrics_pages: found.metrics_urls.iter().map(page).collect(),
    }
}

/// What every request of a workload has.
pub(super) fn shape(workload: &Workload, model: &str) -> RequestShape {
    RequestShape {
        api: match workload.request.api {
            Api::Chat => load::Api::Chat,
            Api::Completions => load::Api::Completions,
        },
        model: model.to_owned(),
        temperature: workload.request.temperature,
        extra: workload.request.extra.clone(),
    }
}

/// The local tokenizer of a deployment, if the plan names one.
pub(super) fn tokenizer(cx: &StepContext, deployment: &Deployment) -> Result<Option<TokenizerFile>, StepFailure> {
    let path = deployment.tokenizer.as_ref().or(cx.shared.plan.model.tokenizer.as_ref());
    path.map(|path| TokenizerFile::at(path)).transpose().map_err(|error| load_failure(&error))
}

/// The requests of one level.
pub(super) fn prompts(
    cx: &StepContext,
    deployment: &Deployment,
    workload: &Workload,
    tuning: &Tuning,
    ruler: RulerOrder,
    model: &str,
    level: &str,
) -> PromptsOrder {
    PromptsOrder {
        asker: Asker {
            seed: workload.seed,
            nonce: nonce(cx, deployment),
            level: format!("{}-{level}", workload.name),
            repeat: cx.spec.block,
            attempt: cx.attempt,
        },
        lengths: Lengths { isl: workload.isl, isl_std: workload.isl_std, osl: workload.osl, osl_std: workload.osl_std },
        content: workload.content.clone(),
        ruler,
        shape: shape(workload, model),
        capabilities: tuning.capabilities,
        turn_overhead: tuning.turn_overhead,
    }
}

/// The run's nonce; with the deployment's name where another deployment is the same server, whose cache would know
/// the prompts already.
fn nonce(cx: &StepContext, deployment: &Deployment) -> String {
    let server = |deployment: &Deployment| deployment.values.json.get("url").cloned();
    let shared = server(deployment).is_some()
        && cx.shared.plan.deployments.values().any(|other| {
            other.name != deployment.name
                && other.target.kind == deployment.target.kind
                && server(other) == server(deployment)
        });
    if shared { format!("{}-{}", cx.shared.nonce, deployment.name) } else { cx.shared.nonce.clone() }
}

/// One level of this workload.
pub(super) fn spec_of(workload: &Workload, level: Level) -> LevelSpec {
    let shape = &workload.shape;
    let requests = workload.requests_at(level);
    let (concurrency, pacing) = match level {
        Level::Concurrency(users) => (users, Pacing::Closed),
        Level::Rate(rate) => {
            let arrivals = match (&shape.trace, shape.arrivals) {
                (Some(trace), _) => Arrivals::At(trace.moments_us.iter().map(|moment| moment * 1000).collect()),
                (None, Spread::Constant) => Arrivals::Constant,
                (None, Spread::Poisson) => Arrivals::Poisson,
                (None, Spread::Gamma { burstiness }) => Arrivals::Gamma { burstiness },
            };
            let most = shape.max_concurrency.unwrap_or(LevelSpec::UNLIMITED);
            (most, Pacing::Open { rate: rate.per_second(), arrivals })
        }
    };
    LevelSpec {
        pacing,
        precision: shape.precision.clone(),
        least: workload.least(),
        grace: workload.grace(level),
        ..level_spec(workload, concurrency, requests)
    }
}

/// A closed loop of this workload.
pub(super) fn level_spec(workload: &Workload, concurrency: u32, requests: u64) -> LevelSpec {
    LevelSpec {
        timeout: workload.request.timeout,
        idle_timeout: workload.request.idle_timeout,
        grace: workload.request.timeout,
        ..LevelSpec::new(concurrency, requests, workload.duration)
    }
}

/// An error of the generator as a step's failure.
pub(super) fn load_failure(error: &load::LoadError) -> StepFailure {
    let kind = match error.kind() {
        FaultKind::Passing => FailureKind::Passing,
        FaultKind::Lasting => FailureKind::Lasting,
        FaultKind::Storage => FailureKind::Storage,
        FaultKind::Cancelled => FailureKind::Interrupted,
    };
    let failure = StepFailure::from_error(kind, error).details(error.details());
    match error.help() {
        Some(help) => failure.help(help),
        None => failure,
    }
}
