//! What real servers sent (`tests/fixtures/sse`: heads and bodies as curl showed them), and anything at all.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::measure::Chunks;

/// Status, content type and body of a transcript; a body in HTTP chunks is put together.
fn transcript(bytes: &[u8]) -> (u16, Option<String>, Vec<u8>) {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head ends with an empty line");
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let body = &bytes[end + 4..];
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if status == 100 {
        return transcript(body);
    }
    let header = |name: &str| {
        head.lines().filter_map(|line| line.split_once(": ")).find(|(found, _)| found.eq_ignore_ascii_case(name))
    };
    let kind = header("content-type").map(|(_, value)| value.to_owned());
    (status, kind, unchunked(body).unwrap_or_else(|| body.to_vec()))
}

/// A body in HTTP's chunked form as its content; `None` when it is not in that form.
fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let line = body.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(content);
        }
        content.extend_from_slice(body.get(line + 2..line + 2 + size)?);
        body = body.get(line + 2 + size + 2..)?;
    }
}

/// Everything that was read, each part of the body at its own moment.
fn read(status: u16, kind: Option<&str>, parts: &[&[u8]]) -> (Reading, Outcome) {
    let mut reading = Reading::new(status, kind, 0, 16);
    for (place, part) in parts.iter().enumerate() {
        if reading.bytes(place as u64, place as u64, part).is_break() {
            break;
        }
    }
    let outcome = reading.outcome(BodyEnd::Whole);
    (reading, outcome)
}

/// What does not depend on how the body was cut into reads.
fn summary(reading: &Reading, outcome: &Outcome) -> String {
    let (class, detail) = match outcome {
        Outcome::Ok => ("ok", ""),
        Outcome::Failed { class, detail } => (class.as_str(), detail.as_str()),
    };
    let (tokens, source) = reading.output_tokens();
    let usage = reading.usage.unwrap_or_default();
    let seen = |moment: Option<u64>| if moment.is_some() { "yes" } else { "no" };
    format!(
        "outcome: {class}\ndetail: {detail}\nevents: {}\nchunks with text: {}\ntext: {}\noutput: {}\n\
         output tokens: {tokens:?} from {source:?}\nprompt tokens: {:?}, cached {:?}, reasoning {:?}\n\
         finish reason: {:?}\ndone: {}\nbytes: {}",
        reading.events,
        reading.chunks.len(),
        seen(reading.first_text),
        seen(reading.first_output),
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
        reading.finish_reason,
        reading.done,
        reading.bytes,
    )
}

fn fixtures() -> Vec<std::path::PathBuf> {
    fn walk(dir: &Path, into: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else {
                into.push(path);
            }
        }
    }
    let mut all = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sse"), &mut all);
    all.sort();
    all
}

#[test]
fn every_transcript_of_a_real_server_is_understood() {
    insta::glob!("../../../tests/fixtures/sse", "**/*.txt", |path| {
        let (status, kind, body) = transcript(&std::fs::read(path).unwrap());
        let (reading, outcome) = read(status, kind.as_deref(), &[&body]);
        insta::assert_snapshot!(format!("status: {status}\n{}", summary(&reading, &outcome)));
    });
}

/// Cuts a slice at some places.
fn cut_at<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut parts = Vec::new();
    let mut at = 0;
    for place in places {
        parts.push(&bytes[at..place]);
        at = place;
    }
    parts.push(&bytes[at..]);
    parts
}

#[test]
fn transcripts_byte_by_byte_mean_the_same() {
    for path in fixtures() {
        let (status, kind, body) = transcript(&std::fs::read(&path).unwrap());
        let (whole, outcome) = read(status, kind.as_deref(), &[&body]);
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        let (single, outcome_single) = read(status, kind.as_deref(), &bytes);
        let name = path.display();
        assert_eq!(summary(&single, &outcome_single), summary(&whole, &outcome), "{name}");
        assert_eq!(single.reads as usize, bytes.len(), "{name}");
    }
}

#[test]
fn a_chunk_has_the_moment_of_the_read_that_completed_it() {
    let event = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let (one, two) = (event("a"), event("日"));
    let cut = two.find('日').unwrap() + 1;
    let parts = [one.as_bytes(), &two.as_bytes()[..cut], &two.as_bytes()[cut..]];
    let mut reading = Reading::new(200, Some("text/event-stream"), 5, 4);
    for (stamp, part) in [10, 20, 30].into_iter().zip(parts) {
        assert!(reading.bytes(stamp, stamp, part).is_continue());
    }
    assert_eq!((reading.first_text, reading.second_text, reading.last_text), (Some(10), Some(30), Some(30)));
    assert_eq!((reading.first_byte, reading.reads, reading.events), (Some(10), 3, 2));
    assert_eq!(reading.chunks.finish(), Chunks::at([5, 25]));
}

fn stream(text: &str) -> (Reading, Outcome) {
    read(200, Some("text/event-stream"), &[text.as_bytes()])
}

fn class(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Failed { class, .. } => class.as_str(),
    }
}

const TOKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
const FINISH: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n";

#[test]
fn the_end_of_a_stream_must_have_been_said() {
    for (text, expected) in [
        (String::new(), "cut"),
        (TOKEN.to_owned(), "cut"),
        (format!("{TOKEN}{FINISH}"), "ok"),
        (format!("{TOKEN}data: [DONE]\n\n"), "ok"),
        (format!("{TOKEN}data: [DONE]"), "ok"),
        (format!("{TOKEN}data: {{\"choi"), "cut"),
        ("data: [DONE]\n\n".to_owned(), "no-tokens"),
        (FINISH.to_owned(), "no-tokens"),
        ("<html>\n<body>\n".to_owned(), "malformed"),
        (format!("{TOKEN}data: {{]\n\n{FINISH}"), "malformed"),
        (format!("{TOKEN}event: error\ndata: gone\n\ndata: [DONE]\n\n"), "error-event"),
    ] {
        assert_eq!(class(&stream(&text).1), expected, "{text}");
    }
}

#[test]
fn a_broken_connection_is_forgiven_only_after_done() {
    for (text, expected) in [(format!("{TOKEN}{FINISH}"), "cut"), (format!("{TOKEN}data: [DONE]\n\n"), "ok")] {
        let mut reading = Reading::new(200, None, 0, 4);
        assert!(reading.bytes(0, 0, text.as_bytes()).is_continue());
        assert_eq!(class(&reading.outcome(BodyEnd::Broken("reset".to_owned()))), expected);
    }
}

#[test]
fn statuses_and_other_bodies_have_their_class() {
    for (status, kind, expected) in [
        (200, "text/html", "not-a-stream"),
        (200, "application/json", "not-a-stream"),
        (302, "text/html", "not-a-stream"),
        (400, "application/json", "rejected"),
        (404, "text/plain", "rejected"),
        (429, "text/plain", "overloaded"),
        (500, "text/plain", "server-error"),
        (503, "text/event-stream", "overloaded"),
        (529, "application/json", "overloaded"),
    ] {
        assert_eq!(class(&read(status, Some(kind), &[b"no"]).1), expected, "{status} {kind}");
    }
}

#[test]
fn a_stream_without_end_and_a_body_without_end_are_left() {
    let mut reading = Reading::new(200, None, 0, 4);
    let many = TOKEN.repeat(1000);
    let taken = (0..1000).take_while(|read| reading.bytes(*read, *read, many.as_bytes()).is_continue()).count();
    assert_eq!((taken, reading.chunks.len()), (100, MAX_CHUNKS));
    assert_eq!(class(&reading.outcome(BodyEnd::Whole)), "too-large");

    let mut body = Reading::new(500, None, 0, 4);
    assert!((0..100).any(|read| body.bytes(read, read, &[b'x'; 1 << 16]).is_break()));
    assert_eq!(class(&body.outcome(BodyEnd::Whole)), "server-error");

    let mut event = Reading::new(200, None, 0, 4);
    let left = (0..200).find(|read| event.bytes(*read, *read, &[b'x'; 1 << 20]).is_break());
    assert_eq!(left, Some(8));
    assert_eq!(class(&event.outcome(BodyEnd::Whole)), "too-large");
}

#[test]
fn tokens_come_from_the_last_usage_and_else_from_chunks() {
    let usage = |tokens: u32| format!("data: {{\"choices\":[],\"usage\":{{\"completion_tokens\":{tokens}}}}}\n\n");
    let (counted, _) = stream(&format!("{TOKEN}{}{TOKEN}{}{FINISH}", usage(1), usage(9)));
    assert_eq!(counted.output_tokens(), (Some(9), TokenSource::Usage));
    let (zero, outcome) = stream(&format!("{TOKEN}{TOKEN}{}{FINISH}", usage(0)));
    assert_eq!((zero.output_tokens(), class(&outcome)), ((Some(2), TokenSource::Chunks), "ok"));
    let (textless, outcome) = stream(&format!("{}{FINISH}", usage(3)));
    assert_eq!((textless.output_tokens().0, textless.first_text, class(&outcome)), (Some(3), None, "ok"));
}

#[test]
fn tokens_that_came_without_text_are_those_of_the_next_chunk() {
    let counted = |delta: &str, tokens: u32| {
        format!("data: {{\"choices\":[{{\"delta\":{delta}}}],\"usage\":{{\"completion_tokens\":{tokens}}}}}\n\n")
    };
    let text = r#"{"content":"a"}"#;
    let events =
        [counted(r#"{"role":"assistant","content":""}"#, 0), counted("{}", 1), counted(text, 2), counted(text, 4)];
    let (reading, outcome) = stream(&format!("{}{FINISH}", events.concat()));
    assert_eq!(class(&outcome), "ok");
    assert_eq!(reading.chunks.finish(), Chunks::with_tokens([(0, 2), (0, 2)]));
}

#[test]
fn a_million_reads_of_one_byte_are_counted_and_mean_what_one_read_means() {
    let token = TOKEN.as_bytes();
    let body = [&token.repeat(1_000_000 / token.len()), FINISH.as_bytes()].concat();
    let mut reading = Reading::new(200, Some("text/event-stream"), 0, 16);
    for (at, byte) in (1..).zip(&body) {
        assert!(reading.bytes(at, at, std::slice::from_ref(byte)).is_continue());
    }
    let outcome = reading.outcome(BodyEnd::Whole);
    let (whole, _) = read(200, Some("text/event-stream"), &[&body]);
    assert_eq!((class(&outcome), reading.chunks.len()), ("ok", whole.chunks.len()));
    assert_eq!(u64::from(reading.reads), body.len() as u64);
}

proptest! {
    // A quarter of the usual number, which PROPTEST_CASES sets: each reads a whole transcript.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    #[test]
    fn transcripts_cut_anywhere_mean_the_same(
        which in any::<prop::sample::Index>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let all = fixtures();
        let (status, kind, body) = transcript(&std::fs::read(&all[which.index(all.len())]).unwrap());
        let (whole, outcome) = read(status, kind.as_deref(), &[&body]);
        let (parts, outcome_parts) = read(status, kind.as_deref(), &cut_at(&body, &cuts));
        prop_assert_eq!(summary(&parts, &outcome_parts), summary(&whole, &outcome));
    }

    #[test]
    fn damaged_transcripts_never_panic(
        which in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        end in any::<prop::sample::Index>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let all = fixtures();
        let (status, kind, mut body) = transcript(&std::fs::read(&all[which.index(all.len())]).unwrap());
        body.truncate(end.index(body.len() + 1));
        for (place, byte) in damage {
            if !body.is_empty() {
                let place = place.index(body.len());
                body[place] = byte;
            }
        }
        let (reading, outcome) = read(status, kind.as_deref(), &cut_at(&body, &cuts));
        prop_assert!(reading.bytes <= body.len() as u64);
        if let Outcome::Failed { detail, .. } = outcome {
            prop_assert!(detail.chars().count() <= MAX_DETAIL + 3);
        }
    }
}
