//! The server's routes, and what each answers.
//!
//! Errors have OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SERVER};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::body::{Account, Answer, Events, Telling};
use super::chunks::{Chunks, Usage};
use super::config::SimConfig;
use super::driver::{DriverHandle, TokenStream};
use super::engine::Refused;
use super::fault::{Fault, FaultKind, Mishap, Place};
use super::metrics::Tally;
use super::request::{Api, Ask, BadAsk};
use super::sequence::{Job, RequestId};
use super::time::{Nanos, TimeScale};
use super::trace::Trace;
use super::truth::{Ending, TRUTH_FORMAT, TruthRecord, TruthSink};
use crate::base::{Clock, SystemClock};

/// Largest body of a request, in bytes.
pub const BODY_LIMIT: usize = 8 << 20;

const REQUEST_ID: &str = "x-request-id";

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: SimConfig,
    pub(super) clock: SystemClock,
    pub(super) driver: DriverHandle,
    pub(super) tally: Arc<Tally>,
    pub(super) truth: Option<TruthSink>,
    /// Completion requests so far.
    pub(super) requests: AtomicU64,
    /// Cancelled when a fault says that the server ends itself.
    pub(super) exit: CancellationToken,
}

/// An error as it is answered.
struct Failure {
    status: StatusCode,
    kind: &'static str,
    param: Option<&'static str>,
    message: String,
}

impl Failure {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, param: None, message: message.into() }
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", message)
    }

    fn response(&self) -> Response<Answer> {
        let error = json!({"error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.status.as_u16(),
        }});
        let mut response = whole(self.status, "application/json", error.to_string());
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<BadAsk> for Failure {
    fn from(bad: BadAsk) -> Self {
        Self { param: bad.field, ..Self::bad_request(bad.message) }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::QueueFull { .. } => Self::unavailable(refused.to_string()),
            Refused::TooLong { .. } => Self::new(StatusCode::BAD_REQUEST, "context_length", refused.to_string()),
        }
    }
}

fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Some(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Answers one request.
pub(super) async fn answer(
    shared: Arc<Shared>,
    trace: Arc<Trace>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let arrival = shared.clock.elapsed();
    let id = request.headers().get(REQUEST_ID).cloned();
    let mut response = if shared.server_fault(FaultKind::Html).is_some() {
        whole(StatusCode::OK, "text/html", "<!doctype html><title>not an API</title><h1>It works!</h1>\n")
    } else {
        route(&shared, &trace, request, arrival).await
    };
    response.headers_mut().insert(SERVER, HeaderValue::from_static("dynbench-simulated"));
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    Ok(response)
}

/// The routes there are.
#[derive(Debug, Clone, Copy)]
enum Route {
    Health,
    Models,
    Metrics,
    Complete(Api),
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/health" => Some(Self::Health),
            "/v1/models" => Some(Self::Models),
            "/metrics" => Some(Self::Metrics),
            "/v1/chat/completions" => Some(Self::Complete(Api::Chat)),
            "/v1/completions" => Some(Self::Complete(Api::Completions)),
            _ => None,
        }
    }

    fn method(self) -> Method {
        match self {
            Self::Health | Self::Models | Self::Metrics => Method::GET,
            Self::Complete(_) => Method::POST,
        }
    }
}

async fn route(shared: &Shared, trace: &Arc<Trace>, request: Request<Incoming>, arrival: Duration) -> Response<Answer> {
    let Some(route) = Route::of(request.uri().path()) else {
        let message = format!("there is no route {}", request.uri().path());
        return Failure::new(StatusCode::NOT_FOUND, "not_found", message).response();
    };
    let allowed = route.method();
    if *request.method() != allowed {
        let message = format!("only {allowed} is allowed here");
        let mut response = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).response();
        let value = HeaderValue::from_str(allowed.as_str()).expect("a method's name is fit for a header");
        response.headers_mut().insert(ALLOW, value);
        return response;
    }
    match route {
        Route::Health => shared.health(),
        Route::Models => shared.models(),
        Route::Metrics => shared.metrics().await,
        Route::Complete(api) => shared.complete(trace, api, request, arrival).await,
    }
}

impl Shared {
    fn server_fault(&self, kind: FaultKind) -> Option<Fault> {
        self.config.faults.iter().copied().find(|fault| fault.kind == kind)
    }

    fn is_ready(&self) -> bool {
        let startup = TimeScale(self.config.time_scale).real(Nanos::from_millis(self.config.startup_ms));
        self.clock.elapsed() >= startup && self.server_fault(FaultKind::NeverReady).is_none()
    }

    /// The id that is listed and served.
    fn model(&self) -> String {
        match self.server_fault(FaultKind::WrongModel) {
            Some(_) => format!("not-{}", self.config.model),
            None => self.config.model.clone(),
        }
    }

    fn health(&self) -> Response<Answer> {
        let ready = self.is_ready();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let body = json!({
            "status": if ready { "ready" } else { "starting" },
            "simulated": true,
            "engine": self.config.engine,
            "time-scale": self.config.time_scale,
        });
        whole(status, "application/json", body.to_string())
    }

    fn models(&self) -> Response<Answer> {
        let listed = self.is_ready() && self.server_fault(FaultKind::NoModel).is_none();
        let created = self.clock.now().0 / 1_000_000_000;
        let model = || {
            json!({
                "id": self.model(), "object": "model", "created": created, "owned_by": "dynbench-simulated",
                "max_model_len": self.config.max_model_len,
            })
        };
        let data: Vec<_> = listed.then(model).into_iter().collect();
        whole(StatusCode::OK, "application/json", json!({"object": "list", "data": data}).to_string())
    }

    async fn metrics(&self) -> Response<Answer> {
        match self.driver.look().await {
            Ok(workers) => {
                let lost = self.truth.as_ref().map_or(0, TruthSink::lost);
                let page = self.tally.render(&self.config, &workers, lost);
                whole(StatusCode::OK, "text/plain; version=0.0.4", page)
            }
            Err(stopped) => Failure::unavailable(stopped.to_string()).response(),
        }
    }

    async fn complete(
        &self,
        trace: &Arc<Trace>,
        api: Api,
        request: Request<Incoming>,
        arrival: Duration,
    ) -> Response<Answer> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if self.server_fault(FaultKind::ExitAfter).is_some_and(|fault| number > fault.after) {
            self.exit.cancel();
        }
        trace.begin(|| self.record(&request, number, arrival));
        let mut account = Some(Account::new(Arc::clone(&self.tally), Arc::clone(trace)));
        let answered = self.try_complete(&mut account, api, request, number, arrival).await;
        answered.unwrap_or_else(|failure| {
            if let Some(mut account) = account {
                account.settle(failure.status.as_u16(), Ending::Refused);
            }
            failure.response()
        })
    }

    fn record(&self, request: &Request<Incoming>, number: u64, arrival: Duration) -> TruthRecord {
        let id = request.headers().get(REQUEST_ID).map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
        let arrival_ns = u64::try_from(arrival.as_nanos()).unwrap_or(u64::MAX);
        let since = u64::try_from(self.clock.elapsed().saturating_sub(arrival).as_nanos()).unwrap_or(u64::MAX);
        TruthRecord {
            format: TRUTH_FORMAT,
            id: id.unwrap_or_else(|| format!("sim-{number}")),
            status: 0,
            arrival_epoch_ns: self.clock.now().0.saturating_sub(since),
            arrival_ns,
            prompt_tokens: 0,
            cached_tokens: 0,
            first_byte_ns: None,
            token_ns: Vec::new(),
            late_max_ns: 0,
            ending: Ending::Disconnected,
        }
    }

    /// The account is taken out as soon as the answer itself keeps it.
    async fn try_complete(
        &self,
        account: &mut Option<Account>,
        api: Api,
        request: Request<Incoming>,
        number: u64,
        arrival: Duration,
    ) -> Result<Response<Answer>, Failure> {
        let body = read_body(request).await?;
        if !self.is_ready() {
            return Err(Failure::unavailable("the model is not ready"));
        }
        let ask = Ask::read(api, &body, &self.config)?;
        if ask.model != self.model() {
            let message = format!("the model `{}` does not exist", ask.model);
            let failure = Failure::new(StatusCode::NOT_FOUND, "not_found", message);
            return Err(Failure { param: Some("model"), ..failure });
        }
        let faults: Vec<_> = self.config.faults.iter().copied().filter(|fault| fault.befalls(number)).collect();
        refuse(&faults, &ask)?;
        let has = |kind| faults.iter().any(|fault| fault.kind == kind);
        let output_tokens =
            if has(FaultKind::Endless) { u32::MAX } else { ask.output_tokens(self.config.seed, number) };
        let chunks = Chunks::new(api, &ask.model, number, self.clock.now().0 / 1_000_000_000);
        let tokens = if has(FaultKind::ZeroTokens) {
            None
        } else {
            let whole = ask.blocks_with_answer(Chunks::word_of(number), output_tokens, self.config.max_model_len);
            let job = Job {
                prompt_tokens: ask.prompt_tokens,
                max_tokens: ask.max_tokens,
                output_tokens,
                prefix: ask.prefix,
                whole,
            };
            let submitted = self.driver.submit(arrival, RequestId(number), job).await;
            Some(submitted.map_err(|stopped| Failure::unavailable(stopped.to_string()))??)
        };
        let mut account = account.take().expect("it is taken only here");
        account.prompt(ask.prompt_tokens);
        let with_usage = !has(FaultKind::NoUsage);
        let telling = Telling {
            finish_reason: if output_tokens < ask.max_tokens { "stop" } else { "length" },
            include_usage: ask.include_usage && with_usage,
            continuous_usage: ask.continuous_usage
                && ask.include_usage
                && with_usage
                && !has(FaultKind::NoContinuousUsage),
            tokens_per_chunk: self.config.tokens_per_chunk,
            mishap: faults.iter().find_map(|fault| mishap(*fault)),
        };
        if ask.stream {
            let mut response = Response::new(Answer::Events(Box::new(Events::new(tokens, chunks, telling, account))));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            return Ok(response);
        }
        gather(tokens, &chunks, telling, account).await
    }
}

fn mishap(fault: Fault) -> Option<(Mishap, u64)> {
    match fault.kind.place() {
        Place::Stream(mishap) => Some((mishap, fault.after)),
        Place::Server | Place::Refusal(_) | Place::Answer => None,
    }
}

/// Refuses a request if a fault says so.
fn refuse(faults: &[Fault], ask: &Ask) -> Result<(), Failure> {
    for fault in faults {
        match (fault.kind.place(), &ask.extra) {
            (Place::Refusal(status), _) => {
                let status = StatusCode::from_u16(status).expect("faults name statuses of HTTP");
                return Err(Failure::new(status, "simulated_fault", "refused on purpose"));
            }
            (Place::Answer, Some(extra)) if fault.kind == FaultKind::RejectExtras => {
                return Err(Failure::bad_request(format!("Unsupported parameter(s): {extra}")));
            }
            (Place::Answer, _) if fault.kind == FaultKind::RejectContinuousUsage && ask.continuous_usage => {
                return Err(Failure::bad_request("Unsupported parameter(s): stream_options.continuous_usage_stats"));
            }
            (Place::Answer | Place::Server | Place::Stream(_), _) => {}
        }
    }
    Ok(())
}

async fn read_body(request: Request<Incoming>) -> Result<Bytes, Failure> {
    let too_large = || {
        let message = format!("the body is larger than {BODY_LIMIT} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message)
    };
    let body = request.into_body();
    if body.size_hint().lower() > BODY_LIMIT as u64 {
        return Err(too_large());
    }
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(Failure::bad_request(format!("the body cannot be read: {error}"))),
    }
}

/// Waits for all tokens and answers them at once.
async fn gather(
    mut tokens: Option<TokenStream>,
    chunks: &Chunks,
    telling: Telling,
    mut account: Account,
) -> Result<Response<Answer>, Failure> {
    let mut cached = 0;
    while let Some(stream) = &mut tokens {
        let Some(token) = poll_fn(|cx| stream.poll_next(cx)).await else {
            account.settle(503, Ending::Disconnected);
            return Err(Failure::unavailable("the engine has stopped"));
        };
        if account.output_tokens == 0 && token.cached_tokens > 0 {
            cached = token.cached_tokens;
            account.cached(cached);
        }
        account.token(token.due);
        if token.last {
            tokens = None;
        }
        if telling.mishap.is_some_and(|(_, after)| account.output_tokens > after) {
            account.settle(500, Ending::Faulted);
            return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "simulated_fault", "failed on purpose"));
        }
    }
    account.settle(200, Ending::Finished);
    let usage = Usage { prompt: account.prompt_tokens, cached, output: account.output_tokens };
    Ok(whole(StatusCode::OK, "application/json", chunks.whole(telling.finish_reason, usage)))
}
