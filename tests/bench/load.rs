//! What the generator's inner parts cost: the reader and the parser per event, a record and a kept response per request, the
//! statistics per sample, a prompt.
//!
//! `cargo bench --bench load`

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box_drop};
use dynbench::load::{
    Api, Asker, Calibration, Capabilities, Lengths, Prompts, Reading, RequestShape, Ruler, SseReader, parse_chunk,
};
use dynbench::measure::{Chunks, Distribution, Outcome, RequestRecord, SpillWriter, TokenSource};

fn main() {
    divan::main();
}

/// A body as NVIDIA Dynamo streams it, many tokens long.
fn body(tokens: usize) -> String {
    let event = "data: {\"id\":\"chatcmpl-bc52e2f6-e2fb-478b-b3c3-10e8ba9a7433\",\"choices\":[{\"index\":0,\"delta\":\
                 {\"content\":\" group\"},\"finish_reason\":null,\"logprobs\":null}],\"created\":1795486898,\"model\":\
                 \"tiny-llama\",\"object\":\"chat.completion.chunk\"}\n\n";
    let mut body = event.repeat(tokens);
    body.push_str("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n");
    body
}

const TOKENS: usize = 10_000;

/// Cutting the body into events; one event a read, or several and parts of them.
#[divan::bench(args = [222, 1000, 8192])]
fn sse_reader(bencher: Bencher<'_, '_>, read: usize) {
    let body = body(TOKENS);
    bencher.counter(ItemsCount::new(TOKENS)).counter(BytesCount::new(body.len())).bench(|| {
        let mut reader = SseReader::new(8 << 20);
        let mut bytes = 0;
        for part in body.as_bytes().chunks(read) {
            let fed = reader.feed(part, |event| {
                bytes += event.data.len();
                ControlFlow::Continue(())
            });
            fed.expect("no event is too long");
        }
        bytes
    });
}

/// One event's JSON.
#[divan::bench]
fn chunk(bencher: Bencher<'_, '_>) {
    let body = body(1);
    let data = body.lines().next().and_then(|line| line.strip_prefix("data: ")).expect("the first line is an event");
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench(|| parse_chunk(black_box(data.as_bytes())).map(|found| found.content));
}

/// Everything that is done with a body: reader, parser and record.
#[divan::bench(args = [222, 1000, 8192])]
fn reading(bencher: Bencher<'_, '_>, read: usize) {
    let body = body(TOKENS);
    bencher.counter(ItemsCount::new(TOKENS)).bench(|| {
        let mut reading = Reading::new(200, Some("text/event-stream"), 0, TOKENS);
        for (stamp, part) in body.as_bytes().chunks(read).enumerate() {
            assert!(reading.bytes(stamp as u64, stamp as u64, part).is_continue());
        }
        reading.chunks.len()
    });
}

/// What is known of one request of so many tokens.
fn record(tokens: u64) -> RequestRecord {
    let at = |token: u64| 100_000_000 + 10_013_007 * token;
    let (sent, last) = (7_000_000_000, at(tokens - 1));
    RequestRecord {
        id: "20261129-101500-c64-r1-a1-m17".to_owned(),
        index: 17,
        slot: 17,
        turn: None,
        scheduled: sent,
        due: None,
        sent,
        connect: None,
        headers: Some(sent + at(0)),
        first_byte: Some(sent + at(0)),
        first_text: Some(sent + at(0)),
        second_text: Some(sent + at(1)),
        first_output: Some(sent + at(0)),
        last_text: Some(sent + last),
        end: sent + last,
        chunks: Chunks::at((0..tokens).map(at)),
        reads: tokens as u32,
        events: tokens as u32 + 2,
        bytes: 222 * tokens,
        isl_asked: 200,
        osl_asked: tokens as u32,
        isl: Some(200),
        prompt_tokens: Some(208),
        cached_tokens: Some(0),
        output_tokens: Some(tokens as u32),
        reasoning_tokens: None,
        token_source: TokenSource::Usage,
        finish_reason: Some("length".to_owned()),
        status: Some(200),
        outcome: Outcome::Ok,
    }
}

/// The line that a request becomes in `requests.jsonl`.
#[divan::bench(args = [128, 2000])]
fn recorder(bencher: Bencher<'_, '_>, tokens: u64) {
    let record = record(tokens);
    let mut line = Vec::with_capacity(64 << 10);
    bencher.counter(ItemsCount::new(tokens)).bench_local(|| {
        line.clear();
        serde_json::to_writer(&mut line, black_box(&record)).expect("a record becomes JSON");
        line.len()
    });
}

/// A response as it came, on its way to the spill file; one event a piece.
#[divan::bench]
fn spill(bencher: Bencher<'_, '_>) {
    let body = body(TOKENS);
    let pieces: Vec<(u64, usize)> = (1..=TOKENS).map(|piece| (piece as u64, piece * 222)).collect();
    let mut writer = SpillWriter::new(std::io::sink()).expect("a sink takes everything");
    bencher.counter(ItemsCount::new(TOKENS)).bench_local(|| {
        writer.write((1, 2, "id", b"{}"), body.as_bytes(), black_box(&pieces)).expect("a sink takes everything");
    });
}

/// Mean, deviation and nine percentiles.
#[divan::bench(args = [400, 100_000, 1_000_000])]
fn distribution(bencher: Bencher<'_, '_>, size: usize) {
    let sample: Vec<f64> = (0..size).map(|place| ((place * 7919) % size) as f64).collect();
    bencher.counter(ItemsCount::new(size)).with_inputs(|| sample.clone()).bench_values(Distribution::of);
}

/// A prompt of 200 tokens and its body.
#[divan::bench]
fn prompt(bencher: Bencher<'_, '_>) {
    let words = ["about", "above", "after", "again", "the", "animal"].map(|word| (word.to_owned(), 1.0)).to_vec();
    let prompts = Prompts {
        asker: Asker { seed: 1, nonce: "n".to_owned(), level: "c64".to_owned(), repeat: 1, attempt: 1 },
        lengths: Lengths { isl: 200, isl_std: 10.0, osl: 200, osl_std: 0.0 },
        ruler: Arc::new(Ruler::Calibrated(Calibration { overhead: 9.0, words, residual: 0.0, probes: 1 })),
        shape: RequestShape { api: Api::Chat, model: "m".to_owned(), temperature: None, extra: serde_json::Map::new() },
        capabilities: Capabilities::default(),
        content: dynbench::measure::Content::default(),
        turn_overhead: None,
    };
    let mut index = 0;
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        index += 1;
        black_box_drop(prompts.measured(index));
    });
}
