//! Servers that send too much: garbage, nothing at all, or one thing without end, at full speed. Each is left within bounded
//! memory, and has an error class.

use std::collections::BTreeMap;
use std::fs::File;

use super::levels::{class, class_of, classes, run, spec};
use super::server::*;
use crate::load::*;
use crate::measure::SpillReader;

#[tokio::test]
async fn a_stream_without_end_is_given_up() {
    // Without length and chunks: a body until the connection closes, and it never does.
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_owned();
    // One at a time, so that its time is over before its bytes are.
    let (class, record) = class_of(Reply::Then(head.into_bytes(), b": still here\n\n".to_vec())).await;
    assert_eq!(class, "timeout", "{record:?}");
}

#[tokio::test]
async fn a_stream_that_says_nothing_at_full_speed_is_read_no_further_than_the_limit_and_neither_kept() {
    let comments = ": nothing\n\n".repeat(6000).into_bytes();
    let server = Server::start(move |_, _| Reply::Then(open_head(), comments.clone())).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    let run = run(&server, &LevelSpec { spill: Some(path.clone()), ..spec(1, 1) }).await;
    let record = &run.records[0];
    assert_eq!(class(record), "too-large", "{record:?}");
    assert!((64 << 20..66 << 20).contains(&record.bytes), "{}", record.bytes);
    assert!(std::fs::metadata(path).unwrap().len() < 72 << 20);
}

#[tokio::test]
async fn a_hundred_megabytes_in_one_event_are_an_error_and_never_held() {
    // Whole and well-formed, but for its size.
    let event =
        [b"data: {\"choices\":[{\"delta\":{\"content\":\"".to_vec(), vec![b'a'; 100 << 20], b"\"}}]}\n\n".to_vec()];
    let pieces = vec![open_head(), event.concat()];
    let server = Server::start(move |_, _| Reply::AndClose(pieces.clone())).await;
    let run = run(&server, &spec(1, 1)).await;
    let record = &run.records[0];
    assert_eq!(class(record), "too-large", "{record:?}");
    assert!(record.bytes < MAX_EVENT_BYTES as u64 + (4 << 20), "{}", record.bytes);
}

#[tokio::test]
async fn answers_larger_than_may_wait_for_the_disk_are_written_all_the_same() {
    // Each takes the whole room for itself.
    let comment = http_chunk(format!(": {}\n\n", "x".repeat(7 << 20)).as_bytes()).repeat(5);
    let said = http_chunk(format!("{}{}", token("a"), ending(1, 1)).as_bytes());
    let body = vec![stream_head(), comment, said, LAST.to_vec()];
    let server = Server::start(move |_, _| Reply::Bytes(body.clone())).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    let run = run(&server, &LevelSpec { spill: Some(path.clone()), ..spec(2, 4) }).await;
    assert_eq!(classes(&run), BTreeMap::from([("ok", 4)]));
    let kept = SpillReader::new(File::open(path).unwrap()).unwrap().filter(Result::is_ok).count();
    assert_eq!(kept, 4);
}

/// The head of a body that ends with its connection.
fn open_head() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_vec()
}

#[tokio::test]
async fn a_million_reads_of_one_byte_each_are_one_answer_in_bounded_memory() {
    const TOKENS: usize = 14_000;
    // Text a byte at a time: every one is a chunk of HTTP, and handed over by itself.
    let body = format!("{}{}", token("a").repeat(TOKENS), ending(1, TOKENS));
    assert!(body.len() > 1_000_000);
    let pieces: Vec<u8> = body.bytes().flat_map(|byte| http_chunk(&[byte])).chain(LAST.iter().copied()).collect();
    let pieces = vec![stream_head(), pieces];
    let server = Server::start(move |_, _| Reply::Bytes(pieces.clone())).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    let run = run(&server, &LevelSpec { spill: Some(path.clone()), ..spec(1, 1) }).await;
    let record = &run.records[0];
    assert_eq!((class(record), record.chunks.len(), record.bytes), ("ok", TOKENS, body.len() as u64));
    // Each byte with its moment.
    assert!(std::fs::metadata(path).unwrap().len() < 32 * body.len() as u64);
}

#[tokio::test]
async fn garbage_at_full_speed_is_soon_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for garbage in ["\u{0}\u{7f}nothing of any sense here\n", "{\"a\": [\r", "data data data\n\n"] {
        // At once, and after an event that was a good one.
        for good in [String::new(), token("a")] {
            let head = [open_head(), good.into_bytes()].concat();
            let body = garbage.repeat(500).into_bytes();
            let server = Server::start(move |_, _| Reply::Then(head.clone(), body.clone())).await;
            let path = dir.path().join("raw");
            let run = run(&server, &LevelSpec { spill: Some(path.clone()), ..spec(1, 1) }).await;
            let record = &run.records[0];
            assert_eq!(class(record), "malformed", "{record:?}");
            assert!(record.bytes < 4 << 20, "{}", record.bytes);
            assert!(std::fs::metadata(path).unwrap().len() < 8 << 20);
        }
    }
}

#[tokio::test]
async fn an_event_without_end_is_read_no_further_than_the_limit() {
    let head = [open_head(), b"data: ".to_vec()].concat();
    let server = Server::start(move |_, _| Reply::Then(head.clone(), vec![b'x'; 1 << 16])).await;
    let run = run(&server, &spec(1, 1)).await;
    let record = &run.records[0];
    assert_eq!(class(record), "too-large", "{record:?}");
    let limit = MAX_EVENT_BYTES as u64;
    assert!((limit..limit + (4 << 20)).contains(&record.bytes), "{}", record.bytes);
}
