//! The open loop, and levels that end by precision.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::levels::{class, classes, prompts};
use super::server::*;
use crate::base::{Clock, SystemClock, Timestamp};
use crate::load::*;
use crate::measure::{KnownStatistic, PrecisionRule, RequestRecord};

/// An even open loop without unrecorded arrivals.
fn spec(rate: f64, requests: u64) -> LevelSpec {
    LevelSpec {
        fill: false,
        threads: Some(2),
        pacing: Pacing::Open { rate, arrivals: Arrivals::Constant },
        ..LevelSpec::new(LevelSpec::UNLIMITED, requests, Duration::from_secs(60))
    }
}

async fn run(server: &Server, spec: &LevelSpec) -> LevelRun {
    let endpoint = Endpoint::new(&server.spec()).unwrap();
    run_level(spec, &endpoint, prompts(), &CancellationToken::new(), Arc::default()).await.unwrap()
}

/// Every answer is as long as was asked: its mean is known exactly.
fn lengths_known() -> PrecisionRule {
    PrecisionRule {
        metric: "output-sequence-length".to_owned(),
        statistic: KnownStatistic::Mean,
        relative: 0.02,
        confidence: 0.95,
        min_requests: 40,
    }
}

async fn answering() -> Server {
    Server::start(|seen, _| Reply::Bytes(good(41, max_tokens(seen)))).await
}

/// Moments of arrival after the first, by index.
fn offsets(run: &LevelRun) -> Vec<u64> {
    let mut due: Vec<_> = run.records.iter().map(|record| (record.index, record.due.unwrap())).collect();
    due.sort_unstable();
    due.iter().map(|(_, moment)| moment - due[0].1).collect()
}

#[tokio::test]
async fn every_arrival_has_the_moment_for_which_it_was_scheduled_and_the_one_at_which_it_was_sent() {
    let server = answering().await;
    let run = run(&server, &spec(500.0, 100)).await;
    assert_eq!(classes(&run), BTreeMap::from([("ok", 100)]));
    assert_eq!((run.ended_by, run.fill_requests, run.totals.ok), (EndedBy::Count, 0, 100));
    assert_eq!(offsets(&run), (0..100).map(|index| index * 2_000_000).collect::<Vec<u64>>());
    for record in &run.records {
        assert!(record.due == Some(record.scheduled) && record.scheduled <= record.sent, "{record:?}");
    }
}

#[tokio::test]
async fn drawn_arrivals_are_those_of_the_schedule() {
    let server = answering().await;
    let arrivals = Arrivals::Gamma { burstiness: 0.5 };
    let level = LevelSpec { pacing: Pacing::Open { rate: 400.0, arrivals: arrivals.clone() }, ..spec(400.0, 60) };
    let run = run(&server, &level).await;
    let expected: Vec<u64> = Schedule::new(&arrivals, 400.0, &prompts().asker, "measured").take(60).collect();
    assert_eq!(offsets(&run), expected);
}

#[tokio::test]
async fn the_level_begins_with_arrivals_that_are_not_recorded_and_goes_on_without_a_gap() {
    let server = answering().await;
    let run = run(&server, &LevelSpec { fill: true, ..spec(500.0, 40) }).await;
    assert_eq!(classes(&run), BTreeMap::from([("ok", 40)]));
    assert!(run.fill_requests > 0);
    let seen = server.seen();
    assert_eq!(seen.len() as u64, 40 + run.fill_requests);
    assert_eq!(seen.iter().map(prompt).collect::<HashSet<_>>().len(), seen.len());
    assert_eq!(run.totals.ok, seen.len() as u64);
}

#[tokio::test]
async fn a_server_that_answers_nobody_meets_every_arrival_and_what_was_never_sent_is_recorded_as_such() {
    let server = Server::start(|_, _| Reply::AndHang(vec![stream_head()])).await;
    let level = LevelSpec { concurrency: 2, grace: Duration::from_millis(50), ..spec(1000.0, 30) };
    let run = run(&server, &level).await;
    assert_eq!(classes(&run), BTreeMap::from([("cancelled", 2), ("unsent", 28)]));
    assert_eq!(offsets(&run), (0..30).map(|index| index * 1_000_000).collect::<Vec<u64>>());
    assert_eq!((run.ended_by, run.totals.other, server.seen().len()), (EndedBy::Count, 2, 2));
    assert!(run.failed.is_none(), "{:?}", run.failed);
}

#[tokio::test]
async fn no_more_than_the_cap_are_under_way_and_waiting_counts_from_arrival() {
    let server = answering().await;
    let run = run(&server, &LevelSpec { concurrency: 1, ..spec(100_000.0, 50) }).await;
    assert_eq!(classes(&run), BTreeMap::from([("ok", 50)]));
    let mut by_sending: Vec<&RequestRecord> = run.records.iter().collect();
    by_sending.sort_by_key(|record| record.sent);
    assert!(by_sending.windows(2).all(|pair| pair[0].last_text.unwrap() <= pair[1].sent), "two at a time");
    let last = by_sending.last().unwrap();
    assert!(last.begun() == last.scheduled && last.sent > last.scheduled);
    // The wait was asked for: it is no lateness of the generator.
    let longest_wait = run.records.iter().map(|record| record.sent - record.scheduled).max().unwrap() as f64 / 1e6;
    assert!(run.health.send_lag_max_ms < longest_wait, "{} {longest_wait}", run.health.send_lag_max_ms);
}

#[tokio::test]
async fn an_open_loop_with_too_many_failures_ends() {
    let server =
        Server::start(|_, _| Reply::Bytes(vec![answer("503 Service Unavailable", "text/plain", "", "no")])).await;
    let run = run(&server, &spec(1000.0, 5000)).await;
    assert_eq!(run.ended_by, EndedBy::Failures);
    assert!(run.failed.unwrap().contains("in a row failed"));
    assert!(run.records.len() < 5000);
    assert!(run.records.iter().all(|record| ["overloaded", "cancelled", "unsent"].contains(&class(record))));
}

#[tokio::test]
async fn a_server_that_closes_each_connection_meets_one_that_is_open_already() {
    let server = Server::start(|seen, _| Reply::AndClose(good(41, max_tokens(seen)))).await;
    let mut prompts = Arc::into_inner(prompts()).unwrap();
    prompts.capabilities.keep_alive = false;
    let endpoint = Endpoint::new(&server.spec()).unwrap();
    let level = spec(1000.0, 600);
    let run = run_level(&level, &endpoint, Arc::new(prompts), &CancellationToken::new(), Arc::default()).await.unwrap();
    assert_eq!(classes(&run), BTreeMap::from([("ok", 600)]));
    // Those opened before the clock starts are used up soon.
    let waited = run.records.iter().filter(|record| record.connect.is_some()).count();
    assert!(waited < 150, "{waited} of 600 waited for a connection");
}

#[tokio::test]
async fn an_arrival_whose_connection_breaks_under_it_is_sent_once() {
    // Every connection takes a second request, and does not answer it.
    let used = Mutex::new(HashSet::new());
    let server = Server::start(move |seen, _| {
        if used.lock().unwrap().insert(seen.connection) {
            Reply::Bytes(good(41, max_tokens(seen)))
        } else {
            Reply::AndClose(Vec::new())
        }
    })
    .await;
    // One at a time, so that a connection is used again.
    let run = run(&server, &LevelSpec { threads: Some(1), concurrency: 1, ..spec(500.0, 30) }).await;
    let classes = classes(&run);
    assert_eq!(classes.keys().copied().collect::<Vec<_>>(), ["ok", "stale-connection"], "{classes:?}");
    assert!(run.failed.is_some() || classes.values().sum::<usize>() == 30, "{classes:?}");
    let seen = server.seen();
    assert_eq!(seen.len(), classes.values().sum::<usize>());
    assert_eq!(seen.iter().map(prompt).collect::<HashSet<_>>().len(), seen.len());
}

#[tokio::test]
async fn an_open_loop_ends_when_enough_is_known() {
    let server = answering().await;
    let rule = lengths_known();
    let run = run(&server, &LevelSpec { precision: Some(rule), ..spec(1000.0, 50_000) }).await;
    assert_eq!(run.ended_by, EndedBy::Precision);
    assert!((40..50_000).contains(&run.records.len()), "{}", run.records.len());
    assert_eq!(classes(&run).keys().copied().collect::<Vec<_>>(), ["ok"]);
}

#[tokio::test]
async fn arrivals_of_an_open_loop_that_nobody_takes_are_failures_to_connect() {
    let spare = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let nobody = Endpoint::new(&EndpointSpec { url: format!("http://{spare}"), ..EndpointSpec::default() }).unwrap();
    let level = spec(500.0, 10);
    let run = run_level(&level, &nobody, prompts(), &CancellationToken::new(), Arc::default()).await.unwrap();
    assert_eq!(classes(&run), BTreeMap::from([("connect", 10)]));
}

#[tokio::test]
async fn time_ends_an_open_loop_and_those_under_way_are_answered() {
    let server = answering().await;
    let run = run(&server, &LevelSpec { duration: Duration::from_millis(100), ..spec(200.0, 100_000) }).await;
    assert_eq!((run.ended_by, classes(&run).keys().copied().collect::<Vec<_>>()), (EndedBy::Time, vec!["ok"]));
}

#[tokio::test]
async fn a_trace_is_sent_as_it_was_recorded() {
    let server = answering().await;
    let arrivals = Arrivals::At(vec![0, 3_000_000, 3_000_000, 50_000_000]);
    let level = LevelSpec { fill: true, pacing: Pacing::Open { rate: 80.0, arrivals }, ..spec(80.0, 4) };
    assert_eq!(offsets(&run(&server, &level).await), [0, 3_000_000, 3_000_000, 50_000_000]);
}

#[tokio::test]
async fn two_generators_send_together_what_one_would_have_sent() {
    let server = answering().await;
    let mut indices = HashSet::new();
    for part in 0..2 {
        let level = LevelSpec { share: Share { part, of: 2 }, ..spec(500.0, 10) };
        let run = run(&server, &level).await;
        assert_eq!(offsets(&run), (0..10).map(|place| place * 4_000_000).collect::<Vec<u64>>());
        indices.extend(run.records.iter().map(|record| record.index));
    }
    assert_eq!(indices, (0..20).collect());
}

#[tokio::test]
async fn generators_that_share_a_level_change_over_at_one_moment() {
    let server = answering().await;
    let start = Some(Timestamp(SystemClock::default().now().0 + 50_000_000));
    let of_part = async |part| {
        let level = LevelSpec { fill: true, start, share: Share { part, of: 2 }, ..spec(20.0, 3) };
        let run = run(&server, &level).await;
        run.records.iter().map(|record| run.origin.0 + record.scheduled).collect::<Vec<_>>()
    };
    let (one, other) = tokio::join!(of_part(0), of_part(1));
    let mut all: Vec<u64> = one.into_iter().chain(other).collect();
    all.sort_unstable();
    // 20 a second, by two clocks that are read one after the other.
    for gap in all.windows(2).map(|pair| pair[1] - pair[0]) {
        assert!((40_000_000..60_000_000).contains(&gap), "{all:?}");
    }
}

#[tokio::test]
async fn a_level_ends_when_what_was_asked_is_known_well_enough() {
    let server = answering().await;
    let rule = lengths_known();
    let closed = LevelSpec { fill: false, ..LevelSpec::new(2, 100_000_000, Duration::from_secs(60)) };
    let level = LevelSpec { precision: Some(rule.clone()), ..closed };
    let found = run(&server, &level).await;
    assert_eq!(found.ended_by, EndedBy::Precision);
    assert!(found.records.len() >= 40);
    // A percentile is known only once there are values beyond its interval.
    let tail = PrecisionRule { statistic: KnownStatistic::P99, ..rule.clone() };
    let found = run(&server, &LevelSpec { precision: Some(tail), ..level.clone() }).await;
    assert_eq!(found.ended_by, EndedBy::Precision);
    assert!(found.records.len() >= 400, "{}", found.records.len());
    // What cannot be known so well ends by count.
    let never = PrecisionRule { metric: "time-to-first-token".to_owned(), relative: 1e-9, ..rule };
    let level = LevelSpec { precision: Some(never), requests: 200, ..level };
    assert_eq!(run(&server, &level).await.ended_by, EndedBy::Count);
}
