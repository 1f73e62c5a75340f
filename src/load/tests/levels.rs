//! The closed loop.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};
use tokio_util::sync::CancellationToken;

use super::server::*;
use crate::load::*;
use crate::measure::{FailureClass, Outcome, RequestRecord, SpillReader, TokenSource};

pub(super) fn prompts() -> Arc<Prompts> {
    Arc::new(Prompts {
        asker: Asker { seed: 1, nonce: "t".to_owned(), level: "c".to_owned(), repeat: 1, attempt: 1 },
        lengths: Lengths { isl: 30, isl_std: 3.0, osl: 5, osl_std: 0.0 },
        content: crate::measure::Content::default(),
        turn_overhead: None,
        ruler: Arc::new(Ruler::Words),
        shape: RequestShape { api: Api::Chat, model: "m".to_owned(), temperature: None, extra: Map::new() },
        capabilities: Capabilities::default(),
    })
}

pub(super) fn spec(concurrency: u32, requests: u64) -> LevelSpec {
    LevelSpec { fill: false, threads: Some(1), ..LevelSpec::new(concurrency, requests, Duration::from_secs(60)) }
}

pub(super) async fn run(server: &Server, spec: &LevelSpec) -> LevelRun {
    let endpoint = Endpoint::new(&server.spec()).unwrap();
    run_closed(spec, &endpoint, prompts(), &CancellationToken::new(), Arc::default()).await.unwrap()
}

pub(super) fn class(record: &RequestRecord) -> &'static str {
    match &record.outcome {
        Outcome::Ok => "ok",
        Outcome::Failed { class, .. } => class.as_str(),
    }
}

pub(super) fn classes(run: &LevelRun) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for record in &run.records {
        *counts.entry(class(record)).or_default() += 1;
    }
    counts
}

/// The class of a single request that is answered so.
pub(super) async fn class_of(reply: Reply) -> (String, RequestRecord) {
    let server = Server::start(move |_, _| reply.clone()).await;
    let mut level = spec(1, 1);
    // Long enough for any answer on loopback; what hangs hangs for ever.
    level.timeout = Duration::from_millis(400);
    level.idle_timeout = Duration::from_millis(200);
    let run = run(&server, &level).await;
    assert_eq!(run.records.len(), 1);
    (class(&run.records[0]).to_owned(), run.records[0].clone())
}

#[tokio::test]
async fn a_level_sends_what_was_asked_and_records_each_once() {
    let server = Server::start(|seen, _| Reply::Bytes(good(41, max_tokens(seen)))).await;
    let run = run(&server, &LevelSpec { threads: Some(2), ..spec(4, 50) }).await;
    assert_eq!(classes(&run), BTreeMap::from([("ok", 50)]));
    assert_eq!((run.ended_by, run.failed.as_deref(), run.fill_requests), (EndedBy::Count, None, 0));
    let indices: HashSet<_> = run.records.iter().map(|record| record.index).collect();
    assert_eq!(indices, (0..50).collect());
    assert_eq!(run.totals, Totals { ok: 50, prompt_tokens: 50 * 41, output_tokens: 250, other: 0 });
    let ids: HashSet<_> = server.seen().iter().map(|seen| seen.headers["x-request-id"].clone()).collect();
    assert_eq!(ids, run.records.iter().map(|record| record.id.clone()).collect());
    assert_eq!(server.seen().iter().map(|seen| seen.connection).collect::<HashSet<_>>().len(), 4);
    for record in &run.records {
        assert_eq!((record.output_tokens, record.token_source), (Some(5), TokenSource::Usage));
        assert_eq!((record.prompt_tokens, record.chunks.len(), record.status), (Some(41), 5, Some(200)));
        let moments = [
            Some(record.scheduled),
            Some(record.sent),
            record.headers,
            record.first_byte,
            record.first_text,
            record.second_text,
            record.last_text,
            Some(record.end),
        ];
        assert!(moments.is_sorted() && moments.iter().all(Option::is_some), "{record:?}");
        assert_eq!(record.connect, None);
    }
    assert!(run.records.is_sorted_by_key(|record| record.sent));
}

#[tokio::test]
async fn the_fill_wave_is_sent_and_not_recorded_and_no_prompt_is_sent_twice() {
    let server = Server::start(|seen, _| Reply::Bytes(good(41, max_tokens(seen)))).await;
    let run = run(&server, &LevelSpec { fill: true, ..spec(8, 40) }).await;
    assert_eq!(run.records.len(), 40);
    assert_eq!(run.fill_requests, 8);
    let seen = server.seen();
    assert_eq!(seen.len() as u64, 40 + run.fill_requests);
    assert_eq!(run.totals.ok, seen.len() as u64);
    assert_eq!(seen.iter().map(prompt).collect::<HashSet<_>>().len(), seen.len());
    assert_eq!(seen.iter().filter(|seen| seen.headers["x-request-id"].contains("-f")).count(), 8);
}

#[tokio::test]
async fn slots_change_over_from_the_wave_one_by_one() {
    // Whoever sends the first request waits for it in vain; the other slot goes on and measures.
    let server = Server::start(|seen, before| match before {
        0 => Reply::AndHang(vec![stream_head()]),
        _ => Reply::Bytes(good(1, max_tokens(seen))),
    })
    .await;
    let mut level = LevelSpec { fill: true, ..spec(2, 3) };
    level.idle_timeout = Duration::from_millis(300);
    let run = run(&server, &level).await;
    assert_eq!((classes(&run), run.fill_requests), (BTreeMap::from([("ok", 3)]), 2));
    let slots: HashSet<_> = run.records.iter().map(|record| record.slot).collect();
    assert_eq!(slots.len(), 1);
}

#[tokio::test]
async fn streams_as_they_really_come_are_read() {
    let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n";
    let merged = format!("{role}{}{}: ping\n\n{}", token("a"), token("日本"), ending(7, 2));
    let crlf = merged.replace('\n', "\r\n");
    let whole = |text: &str| [stream_head(), http_chunk(text.as_bytes()), LAST.to_vec()].concat();
    let split = {
        let cut = merged.find('本').unwrap() + 1;
        let (before, after) = merged.as_bytes().split_at(cut);
        vec![stream_head(), http_chunk(before), http_chunk(after), LAST.to_vec()]
    };
    let dribble: Vec<Vec<u8>> = whole(&merged).chunks(1).map(<[u8]>::to_vec).collect();
    for (name, pieces) in
        [("merged", vec![whole(&merged)]), ("crlf", vec![whole(&crlf)]), ("split", split), ("dribble", dribble)]
    {
        let (class, record) = class_of(Reply::Bytes(pieces)).await;
        assert_eq!((class.as_str(), record.chunks.len(), record.output_tokens), ("ok", 2, Some(2)), "{name}");
        assert_eq!(record.events, 6, "{name}");
        assert_eq!(record.prompt_tokens, Some(7), "{name}");
    }
}

#[tokio::test]
async fn tokens_of_merged_chunks_are_known_where_the_server_counts_along() {
    let (class, record) = class_of(Reply::Bytes(counting_along(7, &[3, 1, 2]))).await;
    assert_eq!((class.as_str(), record.output_tokens, record.first_tokens()), ("ok", Some(6), 3));
    assert_eq!(record.chunks.iter().map(|chunk| chunk.tokens).collect::<Vec<_>>(), [3, 1, 2]);
    // One chunk without a count: nothing is known of any.
    let pieces = vec![
        stream_head(),
        http_chunk(format!("{}{}{}", counted("a", 2), token("b"), ending(7, 3)).as_bytes()),
        LAST.to_vec(),
    ];
    let (class, record) = class_of(Reply::Bytes(pieces)).await;
    assert_eq!((class.as_str(), record.chunks.first_tokens(), record.first_tokens()), ("ok", None, 1));
}

#[tokio::test]
async fn every_way_to_fail_has_its_class() {
    let stream = |text: &str| vec![stream_head(), http_chunk(text.as_bytes()), LAST.to_vec()];
    let error = "data: {\"error\":{\"message\":\"gone\",\"code\":503}}\n\ndata: [DONE]\n\n";
    let json = "application/json";
    for (expected, reply) in [
        ("ok", Reply::AndClose(stream(&format!("{}{}", token("a"), ending(1, 1))))),
        ("error-event", Reply::Bytes(stream(&format!("{}{error}", token("a"))))),
        ("rejected", Reply::Bytes(vec![answer("400 Bad Request", json, "", "{\"message\":\"unknown field\"}")])),
        ("overloaded", Reply::Bytes(vec![answer("429 Too Many", json, "retry-after: 1\r\n", "{}")])),
        ("overloaded", Reply::Bytes(vec![answer("503 No", json, "", "{}")])),
        ("server-error", Reply::Bytes(vec![answer("500 No", json, "", "{}")])),
        ("not-a-stream", Reply::Bytes(vec![answer("200 OK", "text/html", "", "<html></html>")])),
        ("reset", Reply::AndClose(Vec::new())),
        ("reset", Reply::AndClose(vec![b"HTTP/1.1 200 OK\r\ncontent-".to_vec()])),
        ("reset", Reply::AndClose(vec![b"no http at all\r\n\r\n".to_vec()])),
        ("cut", Reply::Bytes(stream(""))),
        ("cut", Reply::Bytes(stream(&token("a")))),
        ("cut", Reply::AndClose(vec![stream_head(), http_chunk(token("a").as_bytes())])),
        ("no-tokens", Reply::Bytes(stream("data: [DONE]\n\n"))),
        ("malformed", Reply::Bytes(stream("data: {\"choices\": oh\n\n"))),
        ("malformed", Reply::Bytes(stream("some text\nwithout events\n"))),
        ("idle-timeout", Reply::AndHang(Vec::new())),
        ("idle-timeout", Reply::AndHang(vec![stream_head(), http_chunk(token("a").as_bytes())])),
    ] {
        let (class, record) = class_of(reply).await;
        assert_eq!(class, expected, "{record:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_its_target_is_told() {
    let (class, record) =
        class_of(Reply::Bytes(vec![answer("307 Moved", "text/html", "location: http://h:1/v1\r\n", "<html>")])).await;
    assert_eq!(class, "not-a-stream");
    let crate::measure::Outcome::Failed { detail, .. } = record.outcome else { panic!("it failed") };
    assert_eq!(detail, "a redirect to http://h:1/v1, status 307: <html>");
}

#[tokio::test]
async fn an_answer_that_comes_byte_by_byte_is_read_as_any_other() {
    let bytes = good(41, 5).concat();
    let server = Server::start(move |_, _| Reply::Bytes(bytes.iter().map(|byte| vec![*byte]).collect())).await;
    let run = run(&server, &spec(1, 3)).await;
    assert_eq!(classes(&run), BTreeMap::from([("ok", 3)]));
    assert!(run.records.iter().all(|record| record.chunks.len() == 5 && record.output_tokens == Some(5)));
}

#[tokio::test]
async fn a_server_that_never_ends_after_done_is_no_failure() {
    let text = format!("{}{}", token("a"), ending(1, 1));
    let server = Server::start(move |_, _| Reply::AndHang(vec![stream_head(), http_chunk(text.as_bytes())])).await;
    let mut level = spec(1, 2);
    level.idle_timeout = Duration::from_millis(100);
    let run = run(&server, &level).await;
    assert_eq!(classes(&run), BTreeMap::from([("ok", 2)]));
    assert_eq!(server.seen().iter().map(|seen| seen.connection).collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn a_connection_closed_between_requests_is_opened_again() {
    let server = Server::start(|seen, _| Reply::AndClose(good(1, max_tokens(seen)))).await;
    let run = run(&server, &spec(1, 4)).await;
    assert_eq!(server.seen().iter().map(|seen| seen.connection).collect::<HashSet<_>>().len(), server.seen().len());
    // Whether the close is seen before the next request is sent is a race; it is never retried in silence.
    assert_eq!(run.records.len(), 4);
    assert!(run.records.iter().all(|record| matches!(class(record), "ok" | "reset")), "{:?}", classes(&run));
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_gets_a_connection_for_each_request() {
    let server = Server::start(|seen, _| Reply::AndClose(good(1, max_tokens(seen)))).await;
    let endpoint = Endpoint::new(&server.spec()).unwrap();
    let mut prompts = Arc::into_inner(prompts()).unwrap();
    prompts.capabilities.keep_alive = false;
    let cancel = CancellationToken::new();
    let run = run_closed(&spec(3, 30), &endpoint, Arc::new(prompts), &cancel, Arc::default()).await.unwrap();
    assert_eq!(classes(&run), BTreeMap::from([("ok", 30)]));
    assert_eq!(run.records.iter().filter(|record| record.connect.is_some()).count(), 27);
}

#[tokio::test]
async fn a_used_connection_that_breaks_under_the_next_request_is_a_class_of_its_own_and_nothing_is_sent_twice() {
    let server = Server::start(|seen, before| {
        if before % 2 == 1 { Reply::AndClose(Vec::new()) } else { Reply::Bytes(good(1, max_tokens(seen))) }
    })
    .await;
    let run = run(&server, &spec(1, 4)).await;
    let order: Vec<_> = run.records.iter().map(class).collect();
    assert_eq!(order, ["ok", "stale-connection", "ok", "stale-connection"]);
    assert_eq!(server.seen().len(), 4);
    assert!(run.records[2].connect.is_some());
}

#[tokio::test]
async fn twenty_failures_in_a_row_end_a_level() {
    let json = "application/json";
    let server =
        Server::start(move |_, _| Reply::Bytes(vec![answer("500 No", json, "", "{\"message\":\"broken\"}")])).await;
    let run = run(&server, &LevelSpec { fill: true, ..spec(25, 1000) }).await;
    assert_eq!(run.ended_by, EndedBy::Failures);
    assert!(run.failed.unwrap().contains("in a row failed, the last by server-error: status 500: broken"));
    assert!(server.seen().len() < 60);
}

#[tokio::test]
async fn one_failure_in_ten_ends_a_level_after_fifty() {
    let server = Server::start(|seen, before| {
        if before % 5 == 4 {
            Reply::Bytes(vec![answer("400 No", "application/json", "", "{}")])
        } else {
            Reply::Bytes(good(1, max_tokens(seen)))
        }
    })
    .await;
    let run = run(&server, &spec(10, 1000)).await;
    assert_eq!(run.ended_by, EndedBy::Failures);
    assert!(run.failed.unwrap().contains("requests failed, the last by rejected"));
    assert!((50..100).contains(&run.records.len()), "{}", run.records.len());
}

#[tokio::test]
async fn nobody_there_is_a_failed_level_and_no_hang() {
    let server = Server::start(|_, _| Reply::AndClose(Vec::new())).await;
    let url = {
        let spare = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        format!("http://{}", spare.local_addr().unwrap())
    };
    drop(server);
    let endpoint = Endpoint::new(&EndpointSpec { url, ..EndpointSpec::default() }).unwrap();
    let cancel = CancellationToken::new();
    let run = run_closed(&spec(20, 100), &endpoint, prompts(), &cancel, Arc::default()).await.unwrap();
    assert_eq!((run.ended_by, classes(&run)), (EndedBy::Failures, BTreeMap::from([("connect", 20)])));
}

#[tokio::test]
async fn the_time_limit_stops_new_requests_and_lets_others_end() {
    let server = Server::start(|seen, _| Reply::Bytes(good(1, max_tokens(seen)))).await;
    let run = run(&server, &LevelSpec { duration: Duration::from_millis(50), ..spec(2, 20_000) }).await;
    assert_eq!(run.ended_by, EndedBy::Time);
    assert_eq!(classes(&run).keys().copied().collect::<Vec<_>>(), ["ok"]);
    assert_eq!(server.seen().len(), run.records.len());
}

#[tokio::test]
async fn time_does_not_end_a_level_before_it_has_the_answers_that_it_needs() {
    let server = Server::start(|seen, _| Reply::Bytes(good(1, max_tokens(seen)))).await;
    let level = LevelSpec { duration: Duration::from_nanos(1), least: 300, ..spec(2, 20_000) };
    let run = run(&server, &level).await;
    assert_eq!(run.ended_by, EndedBy::Time);
    assert!(run.totals.ok >= 300, "{}", run.totals.ok);
}

#[tokio::test]
async fn what_outlasts_the_grace_period_is_given_up() {
    let server = Server::start(|_, _| Reply::AndHang(vec![stream_head()])).await;
    let mut level = spec(3, 100);
    (level.duration, level.grace) = (Duration::from_millis(20), Duration::from_millis(20));
    let run = run(&server, &level).await;
    assert_eq!((run.ended_by, classes(&run)), (EndedBy::Time, BTreeMap::from([("cancelled", 3)])));
    assert_eq!(run.failed, None);
}

#[tokio::test]
async fn cancelling_ends_a_level_at_once_with_its_records() {
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let server = Server::start(move |_, before| {
        if before == 3 {
            stop.cancel();
        }
        Reply::AndHang(vec![stream_head(), http_chunk(token("a").as_bytes())])
    })
    .await;
    let endpoint = Endpoint::new(&server.spec()).unwrap();
    let run = run_closed(&spec(4, 100), &endpoint, prompts(), &cancel, Arc::default()).await.unwrap();
    assert_eq!((run.ended_by, classes(&run)), (EndedBy::Cancelled, BTreeMap::from([("cancelled", 4)])));
}

#[tokio::test]
async fn a_level_that_is_cancelled_before_it_begins_sends_nothing() {
    let server = Server::start(|seen, _| Reply::Bytes(good(1, max_tokens(seen)))).await;
    let endpoint = Endpoint::new(&server.spec()).unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let run = run_closed(&spec(4, 1_000_000_000), &endpoint, prompts(), &cancel, Arc::default()).await.unwrap();
    assert_eq!(run.ended_by, EndedBy::Cancelled);
    assert!(run.records.iter().all(|record| class(record) == FailureClass::Cancelled.as_str()));
}

#[tokio::test]
async fn raw_responses_are_kept_as_they_came() {
    let server = Server::start(|seen, _| Reply::Bytes(good(1, max_tokens(seen)))).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    let run = run(&server, &LevelSpec { spill: Some(path.clone()), fill: true, ..spec(2, 6) }).await;
    let mut kept: Vec<_> = SpillReader::new(File::open(path).unwrap()).unwrap().map(Result::unwrap).collect();
    kept.sort_by_key(|raw| raw.index);
    assert_eq!(kept.len(), 6);
    let body = format!("{}{}", token("a").repeat(5), ending(1, 5));
    for raw in kept {
        let record = run.records.iter().find(|record| record.index == raw.index).unwrap();
        assert_eq!((&raw.id, raw.sent), (&record.id, record.sent));
        assert_eq!(raw.chunks.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>(), body.as_bytes());
        assert!(raw.chunks.iter().all(|(time, _)| (record.sent..=record.end).contains(time)));
        assert!(server.seen().iter().any(|seen| seen.body.as_bytes() == raw.request_body));
    }
}

#[tokio::test]
async fn a_disk_that_refuses_is_an_error_of_the_level() {
    let server = Server::start(|seen, _| Reply::Bytes(good(1, max_tokens(seen)))).await;
    let endpoint = Endpoint::new(&server.spec()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("no/such/folder"), "/dev/full".into()] {
        let level = LevelSpec { spill: Some(path), ..spec(2, 50) };
        let cancel = CancellationToken::new();
        let error = run_closed(&level, &endpoint, prompts(), &cancel, Arc::default()).await.unwrap_err();
        assert!(matches!(error, LoadError::Storage(_)), "{error:?}");
    }
}

#[tokio::test]
async fn progress_can_be_looked_at() {
    let server = Server::start(|seen, _| Reply::Bytes(good(1, max_tokens(seen)))).await;
    let endpoint = Endpoint::new(&server.spec()).unwrap();
    let progress: Arc<LiveProgress> = Arc::default();
    let cancel = CancellationToken::new();
    run_closed(&spec(2, 9), &endpoint, prompts(), &cancel, Arc::clone(&progress)).await.unwrap();
    let load = |value: &std::sync::atomic::AtomicU64| value.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((load(&progress.done), load(&progress.failed), load(&progress.tokens)), (9, 0, 45));
    assert_eq!(load(&progress.ttft_count), 9);
}

#[tokio::test]
async fn a_warm_up_says_how_it_went() {
    let server = Server::start(|seen, before| match before {
        0 => Reply::Bytes(vec![answer("400 No", "application/json", "", "{\"message\":\"odd\"}")]),
        _ => Reply::Bytes(good(1, max_tokens(seen))),
    })
    .await;
    let endpoint = Endpoint::new(&server.spec()).unwrap();
    let cancel = CancellationToken::new();
    let found = warm_up(&spec(1, 3), &endpoint, prompts(), &cancel, Arc::default()).await.unwrap();
    assert_eq!((found.ok, found.failed), (2, 1));
    assert_eq!(found.example.as_deref(), Some("rejected: status 400: odd"));
}

#[tokio::test]
async fn https_is_spoken_to_who_the_given_authority_vouches_for_and_to_nobody_else() {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
    let chain = vec![CertificateDer::from_pem_file(fixtures.join("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(fixtures.join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let server = Server::start_with(|seen, _| Reply::Bytes(good(1, max_tokens(seen))), Some(acceptor)).await;
    let trusted = EndpointSpec { ca_file: Some(fixtures.join("ca.pem")), ..server.spec() };
    let endpoint = Endpoint::new(&trusted).unwrap();
    let cancel = CancellationToken::new();
    let run = run_closed(&spec(2, 6), &endpoint, prompts(), &cancel, Arc::default()).await.unwrap();
    assert_eq!(classes(&run), BTreeMap::from([("ok", 6)]));
    assert!(run.records.iter().all(|record| record.chunks.len() == 5));
    if let Ok(others) = Endpoint::new(&server.spec()) {
        let run = run_closed(&spec(1, 1), &others, prompts(), &cancel, Arc::default()).await.unwrap();
        assert_eq!(classes(&run), BTreeMap::from([("connect", 1)]));
    }
}
