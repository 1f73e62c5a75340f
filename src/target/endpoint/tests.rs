use super::*;
use crate::base::SourceMap;
use crate::plan::Api;
use crate::target::Listing;
use crate::target::fixtures::{self, Memory};

/// A server that answers at once; the digit is its process's start.
#[derive(Debug)]
struct Server {
    answers: bool,
    /// Whether it takes our key.
    opens: bool,
    started: u64,
}

impl Prober for Server {
    fn models<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<Listing, ProbeFault>> {
        let refused = ProbeFault::Refused { url: endpoint.url.clone() };
        let listing = Listing { ids: vec![endpoint.model.clone()], server: Some("s".to_owned()) };
        Box::pin(async move { if self.answers { Ok(listing) } else { Err(refused) } })
    }

    fn canary<'a>(&'a self, endpoint: &'a Endpoint, _: Api) -> BoxFuture<'a, Result<u64, ProbeFault>> {
        let denied = ProbeFault::Denied { url: endpoint.url.clone(), status: 401, said: "no".to_owned() };
        Box::pin(async move { if self.opens { Ok(1) } else { Err(denied) } })
    }

    fn metrics<'a>(&'a self, _: &'a Endpoint, _: &'a str) -> BoxFuture<'a, Result<String, ProbeFault>> {
        Box::pin(async { Ok(format!("process_start_time_seconds {}", self.started)) })
    }
}

async fn with<T>(prober: &'static dyn Prober, keys: Value, test: impl AsyncFnOnce(Existing, Live<'_>) -> T) -> T {
    let deployment = fixtures::deployment(keys);
    let plan = fixtures::plan(Path::new("/plans"));
    let cancel = CancellationToken::new();
    let live = Live { plan: &plan, deployment: &deployment, run: "r", dir: Path::new("/live"), cancel: &cancel };
    test(Existing::asking(prober), live).await
}

#[tokio::test]
async fn nothing_is_started_and_a_restart_is_another_incarnation() {
    static FIRST: Server = Server { answers: true, opens: true, started: 7 };
    static SECOND: Server = Server { answers: true, opens: true, started: 8 };
    let keys = json!({"url": "http://h:1/"});
    let ledger = Memory::default();
    let ready = with(&FIRST, keys.clone(), async |target, live| {
        let deployed = target.deploy(live, &ledger).await.unwrap();
        assert_eq!(deployed.endpoint.url, "http://h:1");
        let ready = target.wait(live, &deployed, &ledger).await.unwrap();
        assert_eq!(target.incarnation(live, &deployed).await.unwrap(), ready.incarnation);
        ready
    })
    .await;
    assert!(ledger.handles().is_empty());
    with(&SECOND, keys, async |target, live| {
        let deployed = target.deploy(live, &ledger).await.unwrap();
        assert_ne!(target.incarnation(live, &deployed).await.unwrap(), ready.incarnation);
    })
    .await;
}

#[tokio::test]
async fn preflight_says_when_nothing_answers_and_which_key_is_missing() {
    static SILENT: Server = Server { answers: false, opens: true, started: 0 };
    let preflight =
        async |keys| with(&SILENT, keys, async |target, live| target.preflight(live).await.unwrap_err().message).await;
    assert_eq!(
        preflight(json!({"url": "http://h:1"})).await,
        "nothing answers at the start: http://h:1 refuses connections: nothing listens there"
    );
    assert_eq!(
        preflight(json!({"url": "http://h:1", "api-key-env": "DYNBENCH_TEST_UNSET"})).await,
        "the environment variable `DYNBENCH_TEST_UNSET` is not set"
    );
}

#[tokio::test]
async fn a_key_that_only_completions_refuse_is_found_by_the_preflight() {
    static CLOSED: Server = Server { answers: true, opens: false, started: 0 };
    let error =
        with(&CLOSED, json!({"url": "http://h:1"}), async |target, live| target.preflight(live).await.unwrap_err())
            .await;
    assert_eq!(error.message, "http://h:1 answered 401, it does not accept our key: no");
    assert_eq!(error.key.as_deref(), Some("url"));
}

/// A server whose pages of metrics hang, refuse, or are those of something else, by the host's name.
#[derive(Debug)]
struct Unread;

impl Prober for Unread {
    fn models<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<Listing, ProbeFault>> {
        Box::pin(async { Ok(Listing { ids: vec![endpoint.model.clone()], server: None }) })
    }

    fn canary<'a>(&'a self, _: &'a Endpoint, _: Api) -> BoxFuture<'a, Result<u64, ProbeFault>> {
        Box::pin(async { Ok(1) })
    }

    fn metrics<'a>(&'a self, _: &'a Endpoint, base: &'a str) -> BoxFuture<'a, Result<String, ProbeFault>> {
        let url = format!("{base}/metrics");
        Box::pin(async move {
            match base {
                "http://hangs" => {
                    let after = Duration::from_secs(10);
                    tokio::time::sleep(after).await;
                    Err(ProbeFault::TimedOut { url, after })
                }
                "http://page" => Err(ProbeFault::Html { url, status: 200 }),
                _ => Err(ProbeFault::Refused { url }),
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_metrics_that_cannot_be_read_are_told_if_they_were_named_and_not_waited_for_twice() {
    let ledger = Memory::default();
    let keys = json!({"url": "http://h", "metrics-urls": ["http://hangs", "http://page", "http://gone"]});
    with(&Unread, keys, async |target, live| {
        let deployed = target.deploy(live, &ledger).await.unwrap();
        let ready = target.wait(live, &deployed, &ledger).await.unwrap();
        assert_eq!(
            ready.facts[METRICS_UNREAD],
            "http://hangs/metrics cannot be read: it did not answer within 10 s; \
             http://page/metrics cannot be read: it answered 200 with a web page; \
             http://gone/metrics cannot be read: it refuses connections: nothing listens there"
        );
        let began = tokio::time::Instant::now();
        assert_eq!(target.incarnation(live, &deployed).await.unwrap(), ready.incarnation);
        assert_eq!(began.elapsed(), SLOW_LIMIT);
    })
    .await;
    with(&Unread, json!({"url": "http://h"}), async |target, live| {
        let deployed = target.deploy(live, &ledger).await.unwrap();
        let ready = target.wait(live, &deployed, &ledger).await.unwrap();
        assert_eq!(ready.facts.get(METRICS_UNREAD), None);
    })
    .await;
}

#[tokio::test]
async fn a_plan_with_a_bad_url_header_or_file_is_refused() {
    static ANY: Server = Server { answers: true, opens: true, started: 0 };
    let keys = json!({
        "url": "http://h/v1", "headers-env": {"a b": "X"}, "ca-file": "no.pem", "metrics-urls": ["h"],
    });
    with(&ANY, keys, async |target, live| {
        let mut problems = Problems::default();
        target.check(live.plan, live.deployment, &mut problems);
        insta::assert_snapshot!(problems.render(&SourceMap::default(), false), @r"
        error: `http://h/v1` has the path `/v1`, which dynbench adds itself
         |
         = help: write `http://h`

        error: `h` is no URL: relative URL without a base
         |
         = help: write it as http://HOST:PORT or https://HOST

        error: `a b` is no name of a header

        error: /plans/no.pem does not exist
        ");
    })
    .await;
}

#[test]
fn a_base_url_is_checked_with_advice() {
    let help = |url: &str| check_url(url).unwrap_err().1;
    assert_eq!(help("http://h:8000/v1"), "write `http://h:8000`");
    assert_eq!(help("https://h/openai/v1/"), "write `https://h/openai`");
    assert_eq!(help("http://h/v1/chat/completions"), "write `http://h`");
    assert!(help("http://user:pw@h").contains("api-key-env"));
    for bad in ["h:8000", "ftp://h", "http://", "", "http://h?x=1", "http://h:99999"] {
        assert!(check_url(bad).is_err(), "{bad}");
    }
    assert_eq!(check_metrics_url("http://h:9/a/metrics/").unwrap_err().1, "write `http://h:9/a`");
    assert_eq!(check_metrics_url("http://h:9"), Ok(()));
    for good in ["http://127.0.0.1:8000", "https://h/openai/", "http://[::1]:80", "http://h/v12"] {
        assert_eq!(check_url(good), Ok(()), "{good}");
    }
}

#[test]
fn the_start_of_a_process_is_read_from_its_metrics() {
    let text = "# HELP process_start_time_seconds x\nprocess_start_time_seconds 1.795558203e+09\n";
    assert_eq!(process_start(text), Some(1_795_558_203));
    assert_eq!(process_start("up 1\n"), None);
}
