//! Waiting until a server is ready: the model is listed *and* a canary came back with tokens.
//!
//! Everything else keeps waiting until the step's deadline, with two exceptions: what serves the deployment has ended,
//! or what only a person can change is there and stays: another model is listed, or our key is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::contract::{Endpoint, TargetError};
use super::probe::{Listing, ProbeFault, Prober};
use crate::base::some_of;
use crate::plan::{Api, Deployment, Plan};

/// Time between two questions.
const TICK: Duration = Duration::from_millis(250);
/// Another model that is listed for so long, or a key that is refused for so long, is there to stay.
const STEADY: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) api: Api,
    pub(super) cancel: &'a CancellationToken,
    /// It ran before we came: whom it refuses now it will refuse. One that is starting may not know its keys yet.
    pub(super) runs: bool,
}

/// The model's id on a deployment.
pub(super) fn served_model<'a>(plan: &'a Plan, deployment: &'a Deployment) -> &'a str {
    deployment.served_name.as_deref().unwrap_or(&plan.model.id)
}

/// The API that a canary must use: what is measured must work.
pub(super) fn api_of(plan: &Plan) -> Api {
    plan.workloads.values().next().map_or(Api::Chat, |workload| workload.request.api)
}

impl From<ProbeFault> for TargetError {
    fn from(fault: ProbeFault) -> Self {
        Self { help: fault.help(), passing: true, ..Self::new(fault.to_string()) }
    }
}

/// Waits; `say` is told what is awaited, `ended` looks whether there is anything left to wait for.
///
/// # Errors
/// What `ended` says, another model or a refused key that stays, or the last fault when the step is cancelled.
pub(super) async fn until_ready(
    prober: &dyn Prober,
    asked: Asked<'_>,
    say: &(dyn Fn(&str) + Sync),
    ended: &(dyn Fn() -> Option<TargetError> + Sync),
) -> Result<BTreeMap<String, String>, TargetError> {
    let mut last: Option<ProbeFault> = None;
    let mut stays_for = Duration::ZERO;
    say(&format!("waiting for {} to list {}", asked.endpoint.url, asked.endpoint.model));
    loop {
        let answer = tokio::select! {
            answer = attempt(prober, asked, say) => answer,
            error = watch(ended) => return Err(error),
            () = asked.cancel.cancelled() => return Err(not_ready(last)),
        };
        let fault = match answer {
            Ok(listing) => return Ok(facts(&listing)),
            Err(fault) => fault,
        };
        say(&format!("waiting: {fault}"));
        let same = last.as_ref().is_some_and(|last| last.is_like(&fault));
        let stays = same && (fault.is_lasting() || matches!(fault, ProbeFault::OtherModel { .. }));
        stays_for = if stays { stays_for + TICK } else { Duration::ZERO };
        if stays_for >= STEADY || asked.runs && fault.is_lasting() {
            return Err(TargetError { passing: false, ..fault.into() });
        }
        last = Some(fault);
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            error = watch(ended) => return Err(error),
            () = asked.cancel.cancelled() => return Err(not_ready(last)),
        }
    }
}

/// One look: listed, and answering.
pub(super) async fn attempt(
    prober: &dyn Prober,
    asked: Asked<'_>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Listing, ProbeFault> {
    let listing = listed(prober, asked.endpoint).await?;
    say(&format!("{} is listed, waiting for the first tokens", asked.endpoint.model));
    prober.canary(asked.endpoint, asked.api).await?;
    Ok(listing)
}

/// Whether the model is listed.
pub(super) async fn listed(prober: &dyn Prober, endpoint: &Endpoint) -> Result<Listing, ProbeFault> {
    let listing = prober.models(endpoint).await?;
    if listing.ids.is_empty() {
        return Err(ProbeFault::NoModel { url: format!("{}/v1/models", endpoint.url) });
    }
    if !listing.ids.contains(&endpoint.model) {
        return Err(ProbeFault::OtherModel { wanted: endpoint.model.clone(), listed: listing.ids });
    }
    Ok(listing)
}

/// Facts worth keeping of a server that is ready.
pub(super) fn facts(listing: &Listing) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::from([("models".to_owned(), some_of(&listing.ids))]);
    facts.extend(listing.server.clone().map(|server| ("server".to_owned(), server)));
    facts
}

async fn watch(ended: &(dyn Fn() -> Option<TargetError> + Sync)) -> TargetError {
    loop {
        if let Some(error) = ended() {
            return error;
        }
        tokio::time::sleep(TICK).await;
    }
}

fn not_ready(last: Option<ProbeFault>) -> TargetError {
    let Some(fault) = last else { return TargetError::passing("not ready yet, and nothing was heard of it") };
    let help = fault.help();
    TargetError { help, ..TargetError::passing(format!("not ready yet: {fault}")) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::contract::BoxFuture;
    use super::*;

    /// Answers from a script; the last answer is repeated.
    #[derive(Debug)]
    struct Scripted {
        models: Mutex<Vec<Result<Vec<&'static str>, ProbeFault>>>,
        canary: Mutex<Vec<Result<u64, ProbeFault>>>,
    }

    fn next<T: Clone>(script: &Mutex<Vec<T>>) -> T {
        let mut script = script.lock().unwrap();
        if script.len() > 1 { script.remove(0) } else { script[0].clone() }
    }

    impl Prober for Scripted {
        fn models<'a>(&'a self, _: &'a Endpoint) -> BoxFuture<'a, Result<Listing, ProbeFault>> {
            let ids = next(&self.models).map(|ids| ids.into_iter().map(str::to_owned).collect());
            Box::pin(async { Ok(Listing { ids: ids?, server: None }) })
        }

        fn canary<'a>(&'a self, _: &'a Endpoint, _: Api) -> BoxFuture<'a, Result<u64, ProbeFault>> {
            let answer = next(&self.canary);
            Box::pin(async { answer })
        }

        fn metrics<'a>(&'a self, _: &'a Endpoint, base: &'a str) -> BoxFuture<'a, Result<String, ProbeFault>> {
            Box::pin(async move { Err(refused(base)) })
        }
    }

    fn refused(url: &str) -> ProbeFault {
        ProbeFault::Refused { url: url.to_owned() }
    }

    fn no_tokens() -> ProbeFault {
        ProbeFault::NoTokens { url: "u".to_owned() }
    }

    async fn run(
        models: Vec<Result<Vec<&'static str>, ProbeFault>>,
        canary: Vec<Result<u64, ProbeFault>>,
        limit: Duration,
        ended: &(dyn Fn() -> Option<TargetError> + Sync),
    ) -> (Result<BTreeMap<String, String>, TargetError>, Vec<String>) {
        run_of(false, models, canary, limit, ended).await
    }

    async fn run_of(
        runs: bool,
        models: Vec<Result<Vec<&'static str>, ProbeFault>>,
        canary: Vec<Result<u64, ProbeFault>>,
        limit: Duration,
        ended: &(dyn Fn() -> Option<TargetError> + Sync),
    ) -> (Result<BTreeMap<String, String>, TargetError>, Vec<String>) {
        let prober = Scripted { models: Mutex::new(models), canary: Mutex::new(canary) };
        let endpoint = Endpoint {
            url: "u".to_owned(),
            headers_env: BTreeMap::new(),
            api_key_env: None,
            ca_file: None,
            model: "tiny-llama".to_owned(),
            metrics_urls: Vec::new(),
        };
        let cancel = CancellationToken::new();
        let asked = Asked { endpoint: &endpoint, api: Api::Chat, cancel: &cancel, runs };
        let said = Mutex::new(Vec::new());
        let say = |text: &str| said.lock().unwrap().push(text.to_owned());
        let deadline = async {
            tokio::time::sleep(limit).await;
            cancel.cancel();
            std::future::pending::<()>().await;
        };
        let result = tokio::select! {
            result = until_ready(&prober, asked, &say, ended) => result,
            () = deadline => unreachable!("the deadline only cancels"),
        };
        (result, said.into_inner().unwrap())
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_server_is_ready_only_when_it_lists_the_model_and_gives_tokens() {
        let models = vec![Err(refused("u")), Ok(vec![]), Ok(vec!["tiny-llama"])];
        let (result, said) = run(models, vec![Err(no_tokens()), Ok(4)], HOUR, &|| None).await;
        assert_eq!(result.unwrap()["models"], "tiny-llama");
        assert_eq!(
            said,
            [
                "waiting for u to list tiny-llama",
                "waiting: u refuses connections: nothing listens there",
                "waiting: u/v1/models lists no model",
                "tiny-llama is listed, waiting for the first tokens",
                "waiting: u answered 200 without a single token",
                "tiny-llama is listed, waiting for the first tokens",
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn another_model_that_stays_is_given_up_with_the_nearest_name() {
        let (result, said) = run(vec![Ok(vec!["tiny-lama", "x"])], vec![Ok(1)], HOUR, &|| None).await;
        let error = result.unwrap_err();
        assert_eq!(error.message, "the model `tiny-llama` is not listed; listed: tiny-lama, x");
        assert!(error.help.unwrap().starts_with("did you mean `tiny-lama`?"));
        assert!(!error.passing);
        assert_eq!(said.len(), 42);
    }

    #[tokio::test(start_paused = true)]
    async fn another_model_that_passes_is_only_waited_for() {
        let mut models: Vec<_> = (0..30).map(|_| Ok(vec!["draft"])).collect();
        models.push(Ok(vec!["draft", "tiny-llama"]));
        assert!(run(models, vec![Ok(1)], HOUR, &|| None).await.0.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_key_ends_the_waiting_at_once_where_the_server_ran_before_else_when_it_stays() {
        let denied =
            |said: usize| Err(ProbeFault::Denied { url: "u".to_owned(), status: 401, said: format!("request {said}") });
        let all: Vec<_> = (0..100).map(denied).collect();
        for (runs, seconds) in [(true, 0), (false, STEADY.as_secs())] {
            let began = tokio::time::Instant::now();
            let (result, _) = run_of(runs, vec![Ok(vec!["tiny-llama"])], all.clone(), HOUR, &|| None).await;
            let error = result.unwrap_err();
            assert!(error.message.contains("does not accept our key") && !error.passing, "{error:?}");
            assert_eq!(began.elapsed().as_secs(), seconds);
        }
        let passes = vec![denied(0), denied(1), Ok(4)];
        assert!(run(vec![Ok(vec!["tiny-llama"])], passes, HOUR, &|| None).await.0.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_tells_the_last_fault() {
        let (result, _) = run(vec![Err(refused("u"))], vec![Ok(1)], Duration::from_secs(5), &|| None).await;
        assert_eq!(result.unwrap_err().message, "not ready yet: u refuses connections: nothing listens there");
    }

    #[tokio::test(start_paused = true)]
    async fn an_ended_server_is_not_waited_for() {
        let ended = || Some(TargetError::new("it exited"));
        let (result, _) = run(vec![Err(refused("u"))], vec![Ok(1)], HOUR, &ended).await;
        assert_eq!(result.unwrap_err().message, "it exited");
    }
}
