//! Real sockets on loopback; counts and order only, never durations.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::super::fault::{Fault, FaultKind};
use super::super::truth::{Ending, read_truth};
use super::super::{BODY_LIMIT, metrics};
use super::*;

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), SimError>>,
}

impl Server {
    fn start(config: SimConfig, truth: Option<PathBuf>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(config, listener, truth, shutdown.clone()));
        Self { address, shutdown, serving }
    }

    async fn stop(self) -> Result<(), SimError> {
        self.shutdown.cancel();
        self.serving.await.unwrap()
    }

    async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client { sender }
    }

    /// `/metrics` by name and labels.
    async fn metrics(&self) -> BTreeMap<String, f64> {
        let (status, body) = self.connect().await.get("/metrics").await;
        assert_eq!(status, 200);
        let values = body.lines().filter(|line| !line.starts_with('#'));
        values
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    }
}

struct Client {
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    async fn send(&mut self, method: &str, path: &str, id: &str, body: String) -> Response<Incoming> {
        let request = Request::builder().method(method).uri(path).header("host", "sim").header("x-request-id", id);
        self.sender.ready().await.unwrap();
        self.sender.send_request(request.body(Full::from(body)).unwrap()).await.unwrap()
    }

    async fn get(&mut self, path: &str) -> (u16, String) {
        read(self.send("GET", path, "probe", String::new()).await).await
    }

    async fn post(&mut self, path: &str, body: &Value) -> (u16, String) {
        read(self.send("POST", path, "post", body.to_string()).await).await
    }

    /// The data of all events of a streamed chat.
    async fn stream(&mut self, id: &str, body: &Value) -> Vec<String> {
        let response = self.send("POST", "/v1/chat/completions", id, body.to_string()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-request-id"], id);
        let (_, text) = read(response).await;
        events(&text)
    }
}

async fn read(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn events(text: &str) -> Vec<String> {
    text.split("\n\n").filter_map(|event| event.trim().strip_prefix("data: ")).map(str::to_owned).collect()
}

/// Fast enough for tests; nothing depends on how fast.
fn fast(config: SimConfig) -> SimConfig {
    SimConfig { model: "tiny".to_owned(), time_scale: 0.01, ..config }
}

fn with_fault(fault: Fault) -> SimConfig {
    SimConfig { faults: vec![fault], ..fast(SimConfig::vanilla(1)) }
}

fn chat(tokens: u32) -> Value {
    json!({
        "model": "tiny", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": tokens,
        "ignore_eos": true, "stream": true, "stream_options": {"include_usage": true},
    })
}

fn plus(mut body: Value, key: &str, value: impl Into<Value>) -> Value {
    body[key] = value.into();
    body
}

/// How many events carry text.
fn tokens_in(events: &[String]) -> usize {
    let has_text = |event: &&String| {
        serde_json::from_str::<Value>(event).is_ok_and(|event| event["choices"][0]["delta"]["content"].is_string())
    };
    events.iter().filter(has_text).count()
}

/// Names of all keys, nested ones too: the shape of an event.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<_, _> = fields.iter().map(|(key, value)| (key.clone(), shape(value))).collect();
            json!(sorted)
        }
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::Null,
    }
}

fn shapes(events: &[String]) -> Vec<Value> {
    let mut shapes: Vec<_> =
        events.iter().map(|event| serde_json::from_str(event).map_or(json!(event), |event| shape(&event))).collect();
    shapes.dedup();
    shapes
}

#[tokio::test]
async fn a_stream_has_the_shape_of_a_real_one() {
    let transcript = include_str!("../../../tests/fixtures/sse/dynamo-agg-kv/chat-stream-usage.txt");
    let transcript = &transcript[transcript.find("data: ").unwrap()..];
    let server = Server::start(fast(SimConfig::aggregated(1)), None);
    let ours = server.connect().await.stream("a", &chat(16)).await;
    assert_eq!(shapes(&ours), shapes(&events(transcript)));
    assert_eq!(tokens_in(&ours), 16);
    let usage: Value = serde_json::from_str(&ours[ours.len() - 2]).unwrap();
    assert_eq!(usage["usage"]["completion_tokens"], 16);
    assert_eq!(usage["usage"]["prompt_tokens"], 8 + 3);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn usage_comes_only_if_asked_and_on_every_chunk_if_asked() {
    let server = Server::start(fast(SimConfig::aggregated(1)), None);
    let mut client = server.connect().await;
    let without = client.stream("a", &plus(chat(4), "stream_options", Value::Null)).await;
    assert!(without.iter().all(|event| !event.contains("usage")), "{without:?}");
    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    let every = client.stream("b", &plus(chat(4), "stream_options", options)).await;
    let counts: Vec<_> = every
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok()?["usage"]["completion_tokens"].as_u64())
        .collect();
    assert_eq!(counts, [1, 2, 3, 4, 4, 4]);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn every_engine_counts_what_it_answered() {
    for config in [SimConfig::aggregated(2), SimConfig::disaggregated(1, 1), SimConfig::vanilla(1)] {
        let server = Server::start(fast(config.clone()), None);
        let mut client = server.connect().await;
        let (mut prompt, mut output) = (0, 0);
        for (path, body) in [
            ("/v1/chat/completions", plus(chat(7), "stream", false)),
            ("/v1/chat/completions", plus(plus(chat(9), "stream", false), "ignore_eos", false)),
            ("/v1/completions", json!({"model": "tiny", "prompt": [1, 2, 3], "max_completion_tokens": 5})),
        ] {
            let (status, text) = client.post(path, &body).await;
            assert_eq!(status, 200, "{text}");
            let answer: Value = serde_json::from_str(&text).unwrap();
            prompt += answer["usage"]["prompt_tokens"].as_u64().unwrap();
            output += answer["usage"]["completion_tokens"].as_u64().unwrap();
        }
        client.stream("a", &chat(6)).await;
        let metrics = server.metrics().await;
        assert_eq!(metrics[metrics::PROMPT_TOKENS_TOTAL], (prompt + 11) as f64);
        assert_eq!(metrics[metrics::OUTPUT_TOKENS_TOTAL], (output + 6) as f64);
        assert_eq!(metrics[r#"simulated_requests_total{status="200",ending="finished"}"#], 4.0);
        let by_role = |name: &str, role: &str| -> f64 {
            let prefix = format!(r#"{name}{{role="{role}""#);
            metrics.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, value)| value).sum()
        };
        match config.engine {
            super::super::EngineKind::Disaggregated => {
                assert!(by_role(metrics::PREFILL_TOKENS_TOTAL, "prefill") > 0.0);
                assert_eq!(by_role(metrics::DECODE_TOKENS_TOTAL, "decode"), (output + 6) as f64);
            }
            super::super::EngineKind::Aggregated => {
                assert_eq!(by_role(metrics::DECODE_TOKENS_TOTAL, "mixed"), (output + 6) as f64);
            }
            super::super::EngineKind::Vanilla => {
                assert_eq!(by_role(metrics::DECODE_TOKENS_TOTAL, "prefill-first"), (output + 6) as f64);
            }
        }
        assert_eq!(by_role(metrics::RUNNING, ""), 0.0);
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_turn_that_begins_with_an_earlier_one_and_its_answer_finds_both_in_the_cache() {
    for (config, expected) in [
        // 8 of the template, 40 words and 24 of the answer are four blocks of 16 and a half.
        (SimConfig::aggregated(1), 64),
        (SimConfig::vanilla(1), 64),
        // Who prefills has seen the prompt alone.
        (SimConfig::disaggregated(1, 1), 48),
        (SimConfig { prefix_cache: false, ..SimConfig::aggregated(1) }, 0),
    ] {
        let server = Server::start(fast(config.clone()), None);
        let mut client = server.connect().await;
        let mut body = plus(chat(24), "messages", json!([{"role": "user", "content": "w ".repeat(40)}]));
        body["ignore_eos"] = true.into();
        body["stream"] = false.into();
        let ask = async |client: &mut Client, body: &Value| {
            let (status, text) = client.post("/v1/chat/completions", body).await;
            assert_eq!(status, 200, "{text}");
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let first = ask(&mut client, &body).await;
        assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
        let answer = first["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
        assert_eq!(answer.split_whitespace().count(), 24);
        let history = body["messages"].as_array_mut().unwrap();
        history.push(json!({"role": "assistant", "content": answer}));
        history.push(json!({"role": "user", "content": "v ".repeat(40)}));
        let second = ask(&mut client, &body).await;
        assert_eq!(second["usage"]["prompt_tokens"], 8 + 40 + 24 + 40);
        assert_eq!(second["usage"]["prompt_tokens_details"]["cached_tokens"], expected, "{config:?}");
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_decides_the_status() {
    let server = Server::start(fast(SimConfig::aggregated(1)), None);
    let mut client = server.connect().await;
    let chats = "/v1/chat/completions";
    for (method, path, body, expected) in [
        ("GET", "/health", String::new(), 200),
        ("GET", "/v1/nope", String::new(), 404),
        ("GET", chats, String::new(), 405),
        ("POST", "/v1/models", String::new(), 405),
        ("POST", chats, "{nope".to_owned(), 400),
        ("POST", chats, json!({"model": "tiny"}).to_string(), 400),
        ("POST", chats, plus(chat(4), "model", "other").to_string(), 404),
        ("POST", chats, chat(1_000_000).to_string(), 400),
        ("POST", "/v1/completions", json!({"model": "tiny"}).to_string(), 400),
    ] {
        let (status, text) = read(client.send(method, path, "a", body.clone()).await).await;
        assert_eq!(status, expected, "{method} {path} {body}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["error"]["code"].as_u64().is_some(), status != 200, "{text}");
    }
    let (_, models) = client.get("/v1/models").await;
    let models: Value = serde_json::from_str(&models).unwrap();
    assert_eq!(models["data"][0]["id"], "tiny");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let server = Server::start(fast(SimConfig::aggregated(1)), None);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST /v1/completions HTTP/1.1\r\nhost: sim\r\ncontent-length: {}\r\n\r\n", BODY_LIMIT + 1);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_sequence() {
    // Steps of an hour: whatever is in the batch stays there unless it is freed.
    let config = SimConfig { decode_step_ms: 3_600_000.0, ..fast(SimConfig::aggregated(1)) };
    let server = Server::start(config, None);
    let mut client = server.connect().await;
    let mut response = client.send("POST", "/v1/chat/completions", "a", chat(5).to_string()).await;
    response.frame().await.unwrap().unwrap();
    let running = r#"simulated_requests_running{role="mixed",worker="0"}"#;
    let kv = r#"simulated_kv_usage_ratio{role="mixed",worker="0"}"#;
    let metrics = server.metrics().await;
    assert!(metrics[running] == 1.0 && metrics[kv] > 0.0, "{metrics:?}");
    drop((response, client));
    let mut metrics = server.metrics().await;
    for _ in 0..10_000 {
        if metrics[running] == 0.0 {
            break;
        }
        metrics = server.metrics().await;
    }
    assert_eq!((metrics[running], metrics[kv]), (0.0, 0.0));
    assert_eq!(metrics[r#"simulated_requests_total{status="200",ending="disconnected"}"#], 1.0);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_queue_is_said_so() {
    let slow = SimConfig { decode_step_ms: 3_600_000.0, max_batch: 1, max_queue: 1, ..fast(SimConfig::vanilla(1)) };
    let server = Server::start(slow, None);
    let mut running = server.connect().await;
    let mut first = running.send("POST", "/v1/chat/completions", "a", chat(5).to_string()).await;
    first.frame().await.unwrap().unwrap();
    let mut waiting = server.connect().await;
    let _second = waiting.send("POST", "/v1/chat/completions", "b", chat(5).to_string()).await;
    let mut client = server.connect().await;
    let third = client.send("POST", "/v1/chat/completions", "c", chat(5).to_string()).await;
    assert_eq!((third.status().as_u16(), third.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_log_of_the_truth_knows_every_request_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("truth.jsonl");
    let server =
        Server::start(SimConfig { model: "tiny".to_owned(), ..SimConfig::fixed(3.0, 1.0) }, Some(path.clone()));
    let mut client = server.connect().await;
    for (id, tokens) in [("first", 3), ("second", 8)] {
        client.stream(id, &chat(tokens)).await;
    }
    client.send("POST", "/v1/chat/completions", "wrong", "{".to_owned()).await;
    client.send("POST", "/v1/chat/completions", "whole", plus(chat(5), "stream", false).to_string()).await;
    server.stop().await.unwrap();
    let records = read_truth(&path).unwrap();
    let known: Vec<_> = records
        .iter()
        .map(|record| (record.id.as_str(), record.token_ns.len(), record.status, record.ending))
        .collect();
    assert_eq!(
        known,
        [
            ("first", 3, 200, Ending::Finished),
            ("second", 8, 200, Ending::Finished),
            ("wrong", 0, 400, Ending::Refused),
            ("whole", 5, 200, Ending::Finished),
        ]
    );
    for record in &records[..2] {
        assert_eq!(record.prompt_tokens, 11);
        // A server may be late, never early: first token 3 ms after the arrival, one each millisecond.
        for (number, offset) in (0..).zip(&record.token_ns) {
            assert!(*offset >= 3_000_000 + number * 1_000_000, "{record:?}");
        }
        assert!(record.first_byte_ns.unwrap() <= record.token_ns[0]);
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_has_no_end() {
    let server = Server::start(with_fault(Fault { kind: FaultKind::CutStream, every: 2, after: 3 }), None);
    let mut client = server.connect().await;
    assert_eq!(tokens_in(&client.stream("whole", &chat(5)).await), 5);
    let mut cut = client.send("POST", "/v1/chat/completions", "cut", chat(5).to_string()).await;
    let mut text = String::new();
    let error = loop {
        match cut.frame().await.expect("it must end with an error") {
            Ok(frame) => text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap()),
            Err(error) => break error,
        }
    };
    assert!(error.is_incomplete_message() || error.to_string().contains("body"), "{error}");
    assert_eq!(tokens_in(&events(&text)), 3);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn faults_of_a_stream_are_as_they_say() {
    for (kind, check) in [
        (
            FaultKind::ErrorEvent,
            (|events| events[3].contains(r#""error""#) && events[4] == "[DONE]") as fn(&[String]) -> bool,
        ),
        (FaultKind::MalformedSse, |events| {
            serde_json::from_str::<Value>(&events[3]).is_err() && tokens_in(events) == 5
        }),
        (FaultKind::ZeroTokens, |events| tokens_in(events) == 0 && events.last().unwrap() == "[DONE]"),
        (FaultKind::NoUsage, |events| tokens_in(events) == 5 && events.iter().all(|event| !event.contains("usage"))),
    ] {
        let server = Server::start(with_fault(Fault { kind, every: 1, after: 3 }), None);
        let events = server.connect().await.stream("a", &chat(5)).await;
        assert!(check(&events), "{kind:?}: {events:?}");
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn an_endless_stream_goes_on_and_a_stalled_one_does_not() {
    for (kind, tokens) in [(FaultKind::Endless, 50), (FaultKind::Stall, 3)] {
        let server = Server::start(with_fault(Fault { kind, every: 1, after: 3 }), None);
        let mut client = server.connect().await;
        let mut response = client.send("POST", "/v1/chat/completions", "a", chat(5).to_string()).await;
        let mut text = String::new();
        while tokens_in(&events(&text)) < tokens {
            let frame = response.frame().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        server.stop().await.unwrap();
        while let Some(Ok(frame)) = response.frame().await {
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        assert!(!text.contains("[DONE]"), "{kind:?}");
        assert_eq!(tokens_in(&events(&text)) == tokens, kind == FaultKind::Stall, "{kind:?}");
    }
}

#[tokio::test]
async fn faults_of_a_request_are_refusals() {
    for (kind, expected) in [
        (FaultKind::TooManyRequests, 429),
        (FaultKind::Unavailable, 503),
        (FaultKind::ServerError, 500),
        (FaultKind::RejectExtras, 400),
        (FaultKind::NeverReady, 503),
        (FaultKind::WrongModel, 404),
    ] {
        let server = Server::start(with_fault(Fault::always(kind)), None);
        let (status, text) = server.connect().await.post("/v1/chat/completions", &chat(5)).await;
        assert_eq!(status, expected, "{kind:?}: {text}");
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn faults_of_the_server_show_in_its_probes() {
    for (kind, health, models) in [
        (FaultKind::NeverReady, 503, json!([])),
        (FaultKind::NoModel, 200, json!([])),
        (FaultKind::WrongModel, 200, json!(["not-tiny"])),
    ] {
        let server = Server::start(with_fault(Fault::always(kind)), None);
        let mut client = server.connect().await;
        assert_eq!(client.get("/health").await.0, health);
        let listed: Value = serde_json::from_str(&client.get("/v1/models").await.1).unwrap();
        let ids: Value = listed["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
        assert_eq!(ids, models, "{kind:?}");
        server.stop().await.unwrap();
    }
    let server = Server::start(with_fault(Fault::always(FaultKind::Html)), None);
    assert!(server.connect().await.get("/v1/models").await.1.starts_with("<!doctype html>"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_ends_itself_says_why() {
    let server = Server::start(with_fault(Fault { kind: FaultKind::ExitAfter, every: 1, after: 1 }), None);
    let mut client = server.connect().await;
    client.stream("a", &chat(2)).await;
    client.sender.ready().await.unwrap();
    let request = Request::post("/v1/chat/completions").body(Full::from(chat(5).to_string())).unwrap();
    let answered = client.sender.send_request(request).await;
    if let Ok(response) = answered {
        assert!(response.into_body().collect().await.is_err());
    }
    assert!(matches!(server.serving.await.unwrap(), Err(SimError::Exit)));
}

#[tokio::test]
async fn a_config_with_problems_does_not_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = SimConfig { replicas: 0, ..SimConfig::default() };
    let error = serve(config, listener, None, CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("`replicas` must be from 1 to 1024"), "{error}");
}
