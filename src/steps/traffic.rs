//! From the plan's words to the generator's: endpoint, request shape, prompts.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load;
use crate::load::{
    Asker, Calibration, Capabilities, Lengths, LevelSpec, LocalTokenizer, Prompts, RequestShape, Ruler, SeriesSource,
};
use crate::plan::{Api, Deployment, Workload};
use crate::run::{FailureKind, StepContext, StepFailure};
use crate::target;
use crate::target::MetricsUrl;

/// The role of the part that takes a deployment's requests.
const FRONTEND: &str = "frontend";

/// Limit for a single question outside of a measurement, unless the plan's own limit of a request is shorter.
const QUESTION: Duration = Duration::from_secs(60);

/// How long a single question outside of a measurement may take.
pub(super) fn patience(workload: &Workload) -> Duration {
    QUESTION.min(workload.request.timeout)
}

/// How prompts are made for one deployment: found out once per incarnation, by `warm-up`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Tuning {
    pub(super) capabilities: Capabilities,
    /// The server's own count of words, when there is no local tokenizer.
    pub(super) calibration: Option<Calibration>,
    /// Tokens that the chat template adds, probed beside a local tokenizer.
    pub(super) overhead: Option<f64>,
}

/// The generator's endpoint. Values of headers and the key are read from the environment here, at each use.
pub(super) fn endpoint(found: &target::Endpoint) -> Result<load::Endpoint, StepFailure> {
    load::Endpoint::new(&endpoint_spec(found)?).map_err(|error| load_failure(&error))
}

/// Where the server's own counters are read that are compared with ours: at its frontend, where it is known which that is.
pub(super) fn metrics_endpoints(found: &target::Endpoint) -> Result<Vec<load::Endpoint>, StepFailure> {
    let sources = series_sources(found)?;
    let is_frontend = |source: &SeriesSource| source.role.as_deref() == Some(FRONTEND);
    let known = sources.iter().any(is_frontend);
    Ok(sources.into_iter().filter(|source| !known || is_frontend(source)).map(|source| source.endpoint).collect())
}

/// Where the server's own view is read: the pages of all its parts.
pub(super) fn series_sources(found: &target::Endpoint) -> Result<Vec<SeriesSource>, StepFailure> {
    let spec = endpoint_spec(found)?;
    let only = [MetricsUrl::from(found.url.clone())];
    let pages = if found.metrics_urls.is_empty() { &only[..] } else { &found.metrics_urls };
    let source = |page: &MetricsUrl| {
        let endpoint = load::Endpoint::at(&spec, &page.url).map_err(|error| load_failure(&error))?;
        Ok(SeriesSource { endpoint, role: page.role.clone() })
    };
    pages.iter().map(source).collect()
}

fn endpoint_spec(found: &target::Endpoint) -> Result<load::EndpointSpec, StepFailure> {
    let value = |name: &String| {
        env::var(name).map_err(|_| {
            StepFailure::new(FailureKind::Lasting, format!("the environment variable {name} is not set (or not UTF-8)"))
                .help("export it before `dynbench apply`; its value is never written anywhere")
        })
    };
    Ok(load::EndpointSpec {
        url: found.url.clone(),
        headers: found
            .headers_env
            .iter()
            .map(|(header, name)| Ok((header.clone(), value(name)?)))
            .collect::<Result<_, StepFailure>>()?,
        api_key: found.api_key_env.as_ref().map(value).transpose()?,
        ca_file: found.ca_file.clone(),
    })
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
pub(super) fn tokenizer(cx: &StepContext, deployment: &Deployment) -> Result<Option<LocalTokenizer>, StepFailure> {
    let path = deployment.tokenizer.as_ref().or(cx.shared.plan.model.tokenizer.as_ref());
    path.map(|path| LocalTokenizer::open(path)).transpose().map_err(|error| load_failure(&error))
}

/// The way to make prompts of so many tokens.
pub(super) fn ruler(tuning: &Tuning, tokenizer: Option<LocalTokenizer>) -> Ruler {
    match (tokenizer, &tuning.calibration) {
        (Some(tokenizer), _) => Ruler::Tokenizer { tokenizer: Arc::new(tokenizer), overhead: tuning.overhead },
        (None, Some(calibration)) => Ruler::Calibrated(calibration.clone()),
        (None, None) => Ruler::Words,
    }
}

/// The requests of one level.
pub(super) fn prompts(
    cx: &StepContext,
    deployment: &Deployment,
    workload: &Workload,
    tuning: &Tuning,
    ruler: Ruler,
    model: &str,
    level: &str,
) -> Arc<Prompts> {
    Arc::new(Prompts {
        asker: Asker {
            seed: workload.seed,
            nonce: nonce(cx, deployment),
            level: format!("{}-{level}", workload.name),
            repeat: cx.spec.block,
            attempt: cx.attempt,
        },
        lengths: Lengths { isl: workload.isl, isl_std: workload.isl_std, osl: workload.osl, osl_std: workload.osl_std },
        ruler: Arc::new(ruler),
        shape: shape(workload, model),
        capabilities: tuning.capabilities,
    })
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

/// A closed loop of this workload.
pub(super) fn level_spec(workload: &Workload, concurrency: u32, requests: u64) -> LevelSpec {
    LevelSpec {
        timeout: workload.request.timeout,
        idle_timeout: workload.request.idle_timeout,
        grace: workload.request.timeout,
        ..LevelSpec::new(concurrency, requests, workload.duration)
    }
}

/// An error of the generator as a step's failure: a server that is silent may come back, a full disk will not.
pub(super) fn load_failure(error: &load::LoadError) -> StepFailure {
    use load::LoadError as E;
    let kind = match error {
        E::Storage(_) => FailureKind::Storage,
        E::File(_) => FailureKind::Lasting,
        E::NotThere { .. } | E::Silent { .. } | E::Broken { .. } | E::Loading { .. } => FailureKind::Passing,
        // Too many requests, or a fault of the server's own: another time it may do.
        E::Refused { status, .. } if *status == 429 || *status >= 500 => FailureKind::Passing,
        E::Url { .. }
        | E::Header { .. }
        | E::Certificates { .. }
        | E::Tls { .. }
        | E::NotAnApi { .. }
        | E::Refused { .. }
        | E::ModelNotListed { .. }
        | E::Tokenizer { .. }
        | E::Thread(_)
        | E::Panicked => FailureKind::Lasting,
    };
    let mut failure = StepFailure::from_error(kind, error);
    if let E::ModelNotListed { nearest: Some(near), .. } = error {
        failure = failure.help(format!("did you mean `{near}`? Set `served-name` of the deployment, or `model.id`"));
    }
    failure
}
