//! Conversations over real HTTP: what is sent turn by turn, when, and by whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::levels::{classes, prompts};
use super::server::*;
use crate::load::*;
use crate::measure::{Content, Conversations, RequestRecord, Turn};

const DELAY: Duration = Duration::from_millis(20);

fn content(turns: u32, turns_std: f64, delay: Duration) -> Content {
    let conversations = Conversations { turns: Some(turns), turns_std, delay_s: delay.as_secs_f64(), delay_std_s: 0.0 };
    Content { conversations: Some(conversations), ..Content::default() }
}

fn closed(concurrency: u32, requests: u64) -> LevelSpec {
    LevelSpec { fill: false, threads: Some(1), ..LevelSpec::new(concurrency, requests, Duration::from_secs(60)) }
}

fn open(rate: f64, requests: u64) -> LevelSpec {
    LevelSpec {
        fill: false,
        threads: Some(2),
        pacing: Pacing::Open { rate, arrivals: Arrivals::Constant },
        ..LevelSpec::new(LevelSpec::UNLIMITED, requests, Duration::from_secs(60))
    }
}

async fn run_with(server: &Server, spec: &LevelSpec, prompts: Prompts) -> LevelRun {
    let endpoint = Endpoint::new(&server.spec()).unwrap();
    run_level(spec, &endpoint, Arc::new(prompts), &CancellationToken::new(), Arc::default()).await.unwrap()
}

async fn run(server: &Server, spec: &LevelSpec, content: Content) -> LevelRun {
    let prompts = Arc::into_inner(prompts()).unwrap();
    run_with(server, spec, Prompts { content, ..prompts }).await
}

/// The messages of a request: role and text.
fn messages(seen: &Seen) -> Vec<(String, String)> {
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = body["messages"].as_array().unwrap();
    all.iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
}

/// What the server answers to a request of so many messages: another word in each turn.
fn word(messages: usize) -> String {
    format!("w{messages}")
}

/// Tokens that the server counts: words, nine of the template, and five more for each message after the first.
fn counted(messages: &[(String, String)]) -> usize {
    let words: usize = messages.iter().map(|(_, text)| text.split_whitespace().count()).sum();
    words + 9 + 5 * (messages.len() - 1)
}

fn reply(seen: &Seen) -> Reply {
    let said = messages(seen);
    let (word, tokens) = (word(said.len()), max_tokens(seen));
    let mut pieces = vec![stream_head()];
    pieces.extend((0..tokens).map(|_| http_chunk(token(&format!(" {word}")).as_bytes())));
    pieces.extend([http_chunk(ending(counted(&said), tokens).as_bytes()), LAST.to_vec()]);
    Reply::Bytes(pieces)
}

async fn answering() -> Server {
    Server::start(|seen, _| reply(seen)).await
}

/// What was sent, by the id of its request.
fn sent(server: &Server) -> BTreeMap<String, Vec<(String, String)>> {
    server.seen().iter().map(|seen| (seen.headers["x-request-id"].clone(), messages(seen))).collect()
}

/// Records by conversation, in the order of their turns.
fn conversations(run: &LevelRun) -> BTreeMap<u64, Vec<&RequestRecord>> {
    let mut all: BTreeMap<u64, Vec<&RequestRecord>> = BTreeMap::new();
    for record in &run.records {
        all.entry(record.turn.unwrap().conversation).or_default().push(record);
    }
    all.values_mut().for_each(|records| records.sort_by_key(|record| record.turn.unwrap().turn));
    all
}

#[tokio::test]
async fn every_turn_carries_all_that_was_said_before_and_what_was_really_answered() {
    let server = answering().await;
    let run = run(&server, &closed(2, 12), content(3, 0.0, Duration::ZERO)).await;
    assert_eq!(classes(&run), BTreeMap::from([("ok", 12)]));
    let sent = sent(&server);
    let all = conversations(&run);
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    for (conversation, records) in all {
        let mut history = Vec::new();
        for (turn, record) in (1_u32..).zip(records) {
            assert_eq!(record.turn, Some(Turn { conversation, turn, of: 3 }));
            assert_eq!(record.index, 3 * conversation + u64::from(turn) - 1);
            let messages = &sent[&record.id];
            let (own, before) = messages.split_last().unwrap();
            assert_eq!((before, own.0.as_str()), (&history[..], "user"));
            let words: usize = messages.iter().map(|(_, text)| text.split_whitespace().count()).sum();
            assert_eq!(record.isl_asked as usize, words, "own text, all texts before it, and the answers");
            history.clone_from(messages);
            history.push(("assistant".to_owned(), format!(" {}", word(messages.len())).repeat(5)));
        }
        assert_eq!(history.len(), 6);
    }
}

#[tokio::test]
async fn no_user_says_the_same_twice() {
    let server = answering().await;
    run(&server, &LevelSpec { fill: true, ..closed(4, 40) }, content(4, 1.0, Duration::ZERO)).await;
    let sent = sent(&server);
    let texts: Vec<_> = sent.values().map(|messages| messages.last().unwrap().1.clone()).collect();
    assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len());
}

#[tokio::test]
async fn a_conversation_that_has_begun_goes_on_to_its_end_and_none_is_begun_when_there_are_enough_turns() {
    let server = answering().await;
    let run = run(&server, &closed(3, 10), content(3, 0.0, Duration::ZERO)).await;
    assert_eq!((run.records.len(), run.ended_by), (12, EndedBy::Count));
    assert!(conversations(&run).values().all(|records| records.len() == 3));
    assert_eq!(run.totals.ok, 12);
}

#[tokio::test]
async fn the_wave_is_one_first_turn_of_each_user_and_is_not_recorded() {
    let server = answering().await;
    let run = run(&server, &LevelSpec { fill: true, ..closed(3, 6) }, content(2, 0.0, Duration::ZERO)).await;
    assert_eq!((run.fill_requests, run.records.len()), (3, 6));
    let wave: Vec<_> = sent(&server).into_iter().filter(|(id, _)| id.contains("-f")).collect();
    assert_eq!(wave.iter().map(|(_, messages)| messages.len()).collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test]
async fn a_failed_turn_ends_its_conversation_and_no_other() {
    let server = Server::start(|seen, _| match seen.headers["x-request-id"].ends_with("-m1") {
        true => Reply::Bytes(vec![answer("500 Oops", "application/json", "", "{\"error\":\"no\"}")]),
        false => reply(seen),
    })
    .await;
    for level in [closed(1, 9), open(200.0, 9)] {
        let run = run(&server, &level, content(3, 0.0, Duration::ZERO)).await;
        assert_eq!(classes(&run), BTreeMap::from([("ok", 7), ("server-error", 1)]));
        let turns: Vec<_> = conversations(&run).values().map(Vec::len).collect();
        assert_eq!((turns, run.ended_by), (vec![2, 3, 3], EndedBy::Count));
    }
}

#[tokio::test]
async fn a_user_thinks_before_each_turn_but_the_first() {
    let server = answering().await;
    let run = run(&server, &closed(2, 6), content(3, 0.0, DELAY)).await;
    for records in conversations(&run).values() {
        for pair in records.windows(2) {
            let waited = Duration::from_nanos(pair[1].sent - pair[0].end);
            assert!(waited >= DELAY, "{waited:?}");
            assert_eq!((pair[0].slot, pair[1].due), (pair[1].slot, None), "a slot is a user");
        }
    }
}

#[tokio::test]
async fn users_who_think_do_not_all_begin_at_one_moment() {
    let server = answering().await;
    let delay = Duration::from_millis(100);
    let run = run(&server, &LevelSpec { fill: true, ..closed(4, 8) }, content(2, 0.0, delay)).await;
    let mut first: BTreeMap<u32, u64> = BTreeMap::new();
    for record in &run.records {
        first.entry(record.slot).or_insert(record.sent);
    }
    // By the golden ratio: 0, 62, 24 and 85 % of the delay after their part of the wave.
    for (slot, share) in [(1, 61), (2, 23), (3, 85)] {
        assert!(Duration::from_nanos(first[&slot]) >= delay * share / 100, "{first:?}");
    }
}

#[tokio::test]
async fn later_turns_of_an_open_loop_are_due_when_their_user_has_thought() {
    let server = answering().await;
    let run = run(&server, &open(500.0, 30), content(3, 0.0, DELAY)).await;
    assert_eq!((classes(&run), run.ended_by), (BTreeMap::from([("ok", 30)]), EndedBy::Count));
    let all = conversations(&run);
    let begun = all[&0][0].due.unwrap();
    for (conversation, records) in all {
        assert_eq!(records[0].due.unwrap() - begun, conversation * 2_000_000, "arrivals begin conversations");
        for pair in records.windows(2) {
            assert_eq!(pair[1].due, Some(pair[0].end + DELAY.as_nanos() as u64));
            assert!(pair[1].due == Some(pair[1].scheduled) && pair[1].scheduled <= pair[1].sent);
        }
    }
}

#[tokio::test]
async fn the_time_before_an_open_loop_lasts_until_one_of_its_conversations_has_ended() {
    let server = answering().await;
    let run = run(&server, &LevelSpec { fill: true, ..open(100.0, 8) }, content(2, 0.0, DELAY)).await;
    assert_eq!(classes(&run), BTreeMap::from([("ok", 8)]));
    let second_turns = sent(&server).iter().filter(|(id, messages)| id.contains("-f") && messages.len() == 3).count();
    assert!(second_turns >= 1 && run.fill_requests >= 3, "{second_turns} {}", run.fill_requests);
    assert!(conversations(&run).values().all(|records| records.len() == 2));
}

#[tokio::test]
async fn when_the_time_is_over_nobody_goes_on_thinking() {
    let server = answering().await;
    for level in [closed(2, 20), open(500.0, 20)] {
        let level = LevelSpec { duration: Duration::from_millis(100), ..level };
        let run = run(&server, &level, content(2, 0.0, Duration::from_secs(3600))).await;
        assert_eq!(run.ended_by, EndedBy::Time);
        assert!(!run.records.is_empty() && run.records.iter().all(|record| record.turn.unwrap().turn == 1));
    }
}

#[tokio::test]
async fn what_the_template_adds_to_each_turn_is_no_part_of_its_isl() {
    let server = answering().await;
    let shape = prompts().shape.clone();
    let (endpoint, takes) = (Endpoint::new(&server.spec()).unwrap(), Capabilities::default());
    let limit = Duration::from_secs(30);
    assert_eq!(turn_overhead(&endpoint, &shape, &takes, limit).await.unwrap(), Some(10.0));
    let calibration = calibrate(&endpoint, &shape, &takes, "n", limit).await.unwrap().unwrap();
    let ruler = Arc::new(Ruler::Calibrated(calibration));
    let content = content(4, 0.0, Duration::ZERO);
    let base = || Arc::into_inner(prompts()).unwrap();
    let known = Prompts { ruler: Arc::clone(&ruler), content: content.clone(), turn_overhead: Some(10.0), ..base() };
    let run = run_with(&server, &closed(2, 16), known).await;
    for record in &run.records {
        assert_eq!(record.isl, Some(record.isl_asked), "{:?}", record.turn);
    }
    let unknown = Prompts { ruler, content, ..base() };
    let later = run_with(&server, &closed(2, 16), unknown).await;
    assert!(later.records.iter().all(|record| record.isl.is_some() == (record.turn.unwrap().turn == 1)));
}

#[tokio::test]
async fn shares_of_a_level_have_whole_conversations_and_together_all_of_them() {
    let server = answering().await;
    let content = content(3, 1.5, Duration::ZERO);
    let places = |run: &LevelRun| {
        run.records.iter().map(|record| (record.index, record.turn.unwrap().conversation)).collect::<BTreeSet<_>>()
    };
    let whole = places(&run(&server, &closed(4, 60), content.clone()).await);
    let mut together = BTreeSet::new();
    for part in 0..3 {
        let share = LevelSpec { share: Share { part, of: 3 }, ..closed(2, 60) };
        let own = places(&run(&server, &share, content.clone()).await);
        assert!(own.iter().all(|(_, conversation)| conversation % 3 == u64::from(part)));
        assert!(together.is_disjoint(&own));
        together.extend(own);
    }
    assert_eq!(together, whole);
    assert!(whole.len() >= 60);
}

#[tokio::test]
async fn a_conversations_numbers_of_turns_have_the_mean_and_spread_asked() {
    let server = answering().await;
    let run = run(&server, &closed(8, 900), content(6, 2.0, Duration::ZERO)).await;
    let turns: Vec<f64> = conversations(&run).values().map(|records| records.len() as f64).collect();
    let found = crate::measure::Distribution::of(turns).unwrap();
    assert!((found.mean - 6.0).abs() < 0.5 && (found.std - 2.0).abs() < 0.4, "{found:?}");
}
