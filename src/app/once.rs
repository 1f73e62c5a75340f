//! `dynbench load URL`: one level, once, without a plan and without a run. The same generator, the same metrics.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::error::AppError;
use crate::base::{Name, some_of};
use crate::load::{
    self, Api, Arrivals, Asker, Endpoint, EndpointSpec, Lengths, LevelRun, LevelSpec, LiveProgress, Pacing, Prompts,
    RequestShape, Ruler, TokenizerFile, Totals, TuneOrder, this_machine,
};
use crate::measure::{
    Content, Conversations, Facts, Formula, Level, LevelKind, METRICS, PointData, PointMeta, PointSummary, Rate,
    RequestRecord, Series, ValidityRules, judge,
};

/// Limit for a single question outside of the measurement, unless that of a request is shorter.
const QUESTION: Duration = Duration::from_secs(60);
/// By which share the mean ISL may miss what was asked, as in plans.
const ISL_TOLERANCE: f64 = 0.02;
/// How long requests of an open loop may go on after its end.
const OPEN_GRACE: Duration = Duration::from_secs(30);

/// What to send, and where.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Base URL.
    pub url: String,
    /// Environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// The model; `None`: the only one that is listed.
    pub model: Option<String>,
    /// Concurrent requests.
    pub concurrency: u32,
    /// An open loop instead.
    pub open: Option<OpenLoop>,
    /// Requests to measure; `None`: see [`Self::requests`].
    pub requests: Option<u64>,
    /// The level ends after this time even if requests are left.
    pub duration: Duration,
    /// Limit for one whole request.
    pub timeout: Duration,
    /// Prompt tokens, mean.
    pub isl: u32,
    /// Prompt tokens, standard deviation.
    pub isl_std: f64,
    /// Output tokens.
    pub osl: u32,
    /// Requests are turns of conversations.
    pub conversations: Option<Conversations>,
    /// A local tokenizer.
    pub tokenizer: Option<PathBuf>,
    /// `/v1/completions` instead of chat.
    pub completions: bool,
    /// Seed of prompts and lengths.
    pub seed: u64,
    /// Requests before, not measured; `None`: 2 x concurrency.
    pub warm_up: Option<u64>,
    /// Different at every call.
    pub nonce: String,
}

/// Arrivals that wait for nobody.
#[derive(Debug, Clone)]
pub struct OpenLoop {
    /// How many a second.
    pub rate: Rate,
    /// How they are spread.
    pub arrivals: Arrivals,
    /// The most requests under way.
    pub max_concurrency: Option<u32>,
}

impl LoadOptions {
    /// Turns of a conversation, mean; 1 without any.
    pub fn turns(&self) -> f64 {
        content(self).mean_turns()
    }

    /// Requests to measure: as asked, else the larger of 10 x concurrency, or a minute's arrivals, and 400; of conversations
    /// at least two a user.
    pub fn requests(&self) -> u64 {
        let turns = self.turns();
        let usual = match &self.open {
            None => (f64::from(self.concurrency) * f64::max(10.0, 2.0 * turns)).ceil() as u64,
            Some(open) => (60.0 * turns * open.rate.per_second()).ceil() as u64,
        };
        self.requests.unwrap_or(usual.max(400))
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Loaded {
    /// All numbers.
    pub summary: PointSummary,
    /// Every request.
    pub records: Vec<RequestRecord>,
    /// Requests of the unrecorded wave at the level's start.
    pub fill_requests: u64,
    /// What all requests, those of the wave included, asked of the server.
    pub totals: Totals,
    /// Why the level must count as failed.
    pub failed: Option<String>,
}

impl Loaded {
    /// Every metric by its short name: of a per-request metric `mean`, `p50`, `p90`, `p99` (in milliseconds where it is
    /// a time; `null` where there are too few requests for it), of others their value. `totals` are over all requests, those of the
    /// unrecorded wave included: to be compared with the server's counters.
    pub fn to_json(&self) -> Value {
        let summary = &self.summary;
        let mut out = Map::new();
        for metric in METRICS {
            let value = match metric.formula {
                Formula::PerRequest(_) | Formula::Pooled(_) => summary.distributions.get(metric.id).map(|found| {
                    json!({
                        "mean": found.mean,
                        "p50": found.trusted_percentile(50),
                        "p90": found.trusted_percentile(90),
                        "p99": found.trusted_percentile(99),
                        "min": found.min,
                        "max": found.max,
                        "std": found.std,
                        "n": found.n,
                        "unit": metric.unit,
                    })
                }),
                Formula::PerPoint(_) => summary.values.get(metric.id).map(|value| json!(value)),
            };
            out.insert(metric.short.to_owned(), value.unwrap_or(Value::Null));
        }
        out.insert("model".to_owned(), json!(summary.meta.model));
        let level = match summary.meta.level.kind() {
            LevelKind::Concurrency => "concurrency",
            LevelKind::Rate => "request_rate",
        };
        out.insert(level.to_owned(), json!(summary.meta.level.value()));
        out.insert("duration_s".to_owned(), json!(summary.duration_s));
        out.insert("requests".to_owned(), json!(summary.counts));
        if let Some(conversations) = &summary.conversations {
            out.insert("conversations".to_owned(), json!(conversations));
        }
        out.insert("failures".to_owned(), json!(summary.failures));
        out.insert(
            "totals".to_owned(),
            json!({
                "ok": self.totals.ok,
                "other": self.totals.other,
                "prompt_tokens": self.totals.prompt_tokens,
                "output_tokens": self.totals.output_tokens,
                "fill_requests": self.fill_requests,
            }),
        );
        out.insert("chunk_tokens_told".to_owned(), json!(summary.chunk_tokens_told));
        out.insert("steady".to_owned(), json!(summary.steady));
        out.insert("isl_method".to_owned(), json!(summary.meta.isl_method));
        out.insert("invalid".to_owned(), json!(summary.invalid));
        out.insert("generator".to_owned(), json!(summary.health));
        Value::Object(out)
    }
}

/// Measures one level.
///
/// # Errors
/// When the server is not there, does not list the model, or refuses every request; when the tokenizer is none.
pub async fn load_once(
    options: &LoadOptions,
    cancel: &CancellationToken,
    progress: Arc<LiveProgress>,
) -> Result<Loaded, AppError> {
    let (endpoint, question) = (endpoint(options)?, question(options));
    let model = model(options, &endpoint).await?;
    let shape = RequestShape {
        api: if options.completions { Api::Completions } else { Api::Chat },
        model: model.clone(),
        temperature: None,
        extra: Map::new(),
    };
    let tokenizer = options.tokenizer.as_deref().map(TokenizerFile::at).transpose()?;
    let order = TuneOrder {
        shape: shape.clone(),
        tokenizer: tokenizer.clone(),
        nonce: options.nonce.clone(),
        limit: question,
        conversations: options.conversations.is_some(),
    };
    let tuning = order.ask(&endpoint).await?;
    if let Some(message) = tuning.other_tokenizer(ISL_TOLERANCE) {
        return Err(AppError::Usage { message, help: Some(load::OTHER_TOKENIZER_HELP.to_owned()) });
    }
    let (capabilities, turn_overhead) = (tuning.capabilities, tuning.turn_overhead);
    let ruler = Arc::new(tuning.ruler(tokenizer).resolve()?);
    let prompts = |level: String, content: &Content| {
        Arc::new(Prompts {
            asker: Asker { seed: options.seed, nonce: options.nonce.clone(), level, repeat: 1, attempt: 1 },
            lengths: Lengths { isl: options.isl, isl_std: options.isl_std, osl: options.osl, osl_std: 0.0 },
            content: content.clone(),
            ruler: Arc::clone(&ruler),
            shape: shape.clone(),
            capabilities,
            turn_overhead,
        })
    };
    let content = content(options);
    let concurrency = options.concurrency;
    let warm_up = options.warm_up.unwrap_or(2 * u64::from(concurrency));
    if warm_up > 0 {
        let spec = LevelSpec { timeout: options.timeout, ..LevelSpec::new(concurrency, warm_up, options.duration) };
        // Nobody thinks in a warm-up.
        let content = Content {
            conversations: content.conversations.map(|found| Conversations { delay_s: 0.0, delay_std_s: 0.0, ..found }),
            ..Content::default()
        };
        load::warm_up(&spec, &endpoint, prompts("warm-up".to_owned(), &content), cancel, Arc::default()).await?;
    }
    let requests = options.requests();
    let (level, spec) = match &options.open {
        None => (Level::Concurrency(concurrency), LevelSpec::new(concurrency, requests, options.duration)),
        Some(open) => {
            let most = open.max_concurrency.unwrap_or(LevelSpec::UNLIMITED);
            let pacing = Pacing::Open { rate: open.rate.per_second(), arrivals: open.arrivals.clone() };
            let grace = OPEN_GRACE;
            (Level::Rate(open.rate), LevelSpec { pacing, grace, ..LevelSpec::new(most, requests, options.duration) })
        }
    };
    let (timeout, grace) = (options.timeout, spec.grace.min(options.timeout));
    let spec = LevelSpec { timeout, grace, ..spec };
    let mut run = load::run_level(&spec, &endpoint, prompts(level.to_string(), &content), cancel, progress).await?;
    run.health.ceiling_events_per_s = load::ceiling_of(&run.health).await;
    Ok(loaded(options, &endpoint, &ruler, model, level, run))
}

/// What requests hold beside their lengths.
fn content(options: &LoadOptions) -> Content {
    Content { conversations: options.conversations, ..Content::default() }
}

fn endpoint(options: &LoadOptions) -> Result<Endpoint, AppError> {
    let key = |name: &String| {
        std::env::var(name)
            .map_err(|_| AppError::usage(format!("the environment variable {name} is not set (or not UTF-8)")))
    };
    Ok(Endpoint::new(&EndpointSpec {
        url: options.url.clone(),
        headers: Vec::new(),
        api_key: options.api_key_env.as_ref().map(key).transpose()?,
        ca_file: None,
    })?)
}

/// Limit for a single question outside of the measurement.
fn question(options: &LoadOptions) -> Duration {
    QUESTION.min(options.timeout)
}

async fn model(options: &LoadOptions, endpoint: &Endpoint) -> Result<String, AppError> {
    let question = question(options);
    if let Some(model) = &options.model {
        load::check_model(endpoint, model, question).await?;
        return Ok(model.clone());
    }
    let listed = load::models(endpoint, question).await?;
    match listed.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(AppError::usage(format!("{} lists no model", endpoint.url()))),
        several => Err(AppError::Usage {
            message: format!("{} lists {} models: {}", endpoint.url(), several.len(), some_of(several)),
            help: Some("choose one with --model".to_owned()),
        }),
    }
}

fn loaded(
    options: &LoadOptions,
    endpoint: &Endpoint,
    ruler: &Ruler,
    model: String,
    level: Level,
    run: LevelRun,
) -> Loaded {
    let name = |text| Name::new(text).expect("a literal that is fit for a name");
    let (fill_requests, totals) = (run.fill_requests, run.totals);
    let data = PointData {
        meta: PointMeta {
            deployment: name("url"),
            workload: name("default"),
            level,
            repeat: 1,
            attempt: 1,
            run: options.nonce.clone(),
            origin: run.origin,
            model,
            url: endpoint.url().to_owned(),
            api: if options.completions { "completions" } else { "chat" }.to_owned(),
            simulated: false,
            transport: "direct".to_owned(),
            gpus: None,
            isl: f64::from(options.isl),
            isl_std: options.isl_std,
            osl: f64::from(options.osl),
            osl_std: 0.0,
            content: content(options).describe(),
            alike: content(options).is_alike(),
            template_overhead: ruler.overhead(),
            isl_method: ruler.method().to_owned(),
            measured_by: None,
            seed: options.seed,
            incarnation: String::new(),
            series: Series::of(&Facts::new(), Some(this_machine())),
            facts: Facts::new(),
        },
        records: run.records,
        health: run.health,
        extra: BTreeMap::new(),
        objectives: Vec::new(),
    };
    let mut summary = PointSummary::of(&data);
    let rules = ValidityRules {
        isl_tolerance: ISL_TOLERANCE,
        osl_tolerance: 0.02,
        max_error_share: 0.01,
        counters: false,
        send_lag_ms: 1.0,
        require_steady: false,
    };
    summary.invalid = judge(&summary, &rules);
    Loaded { summary, records: data.records, fill_requests, totals, failed: run.failed }
}
