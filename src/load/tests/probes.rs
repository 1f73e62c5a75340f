//! What a server is and how it counts.

use std::time::Duration;

use serde_json::{Map, Value};

use super::server::*;
use crate::load::lengths::rng_of;
use crate::load::*;

const LIMIT: Duration = Duration::from_secs(10);

fn shape() -> RequestShape {
    RequestShape { api: Api::Chat, model: "m".to_owned(), temperature: None, extra: Map::new() }
}

fn endpoint(server: &Server) -> Endpoint {
    Endpoint::new(&server.spec()).unwrap()
}

async fn answering(status: &'static str, kind: &'static str, body: &'static str) -> Server {
    Server::start(move |_, _| Reply::Bytes(vec![answer(status, kind, "", body)])).await
}

#[tokio::test]
async fn a_listed_model_is_found_and_another_is_answered_with_what_there_is() {
    let list = r#"{"object":"list","data":[{"id":"Qwen/Qwen3-0.6B"},{"id":"tiny-llama"}]}"#;
    let server = answering("200 OK", "application/json", list).await;
    check_model(&endpoint(&server), "tiny-llama", LIMIT).await.unwrap();
    let error = check_model(&endpoint(&server), "tiny-lama", LIMIT).await.unwrap_err();
    assert!(
        error.to_string().contains("does not list the model `tiny-lama`; it lists `Qwen/Qwen3-0.6B`, `tiny-llama`")
    );
    let LoadError::ModelNotListed { nearest, .. } = error else { panic!("{error:?}") };
    assert_eq!(nearest.as_deref(), Some("tiny-llama"));
}

#[tokio::test]
async fn every_kind_of_wrong_server_is_told_apart() {
    let kind = |error: LoadError| format!("{error:?}").split([' ', '(']).next().unwrap().to_owned();
    for (status, content, body, expected) in [
        ("200 OK", "text/html", "<html>welcome</html>", "NotAnApi"),
        ("404 Not Found", "text/html", "<html>none</html>", "NotAnApi"),
        ("404 Not Found", "text/plain", "", "Refused"),
        ("401 Unauthorized", "application/json", r#"{"error":{"message":"no key"}}"#, "Refused"),
        ("401 Unauthorized", "text/html", "<html>no</html>", "Refused"),
        ("503 No", "application/json", r#"{"error":{"message":"Loading model"}}"#, "Loading"),
        ("200 OK", "application/json", r#"{"models":[]}"#, "NotAnApi"),
    ] {
        let server = answering(status, content, body).await;
        let error = models(&endpoint(&server), LIMIT).await.unwrap_err();
        assert_eq!(kind(error), expected, "{status} {body}");
    }
    let gone = Server::start(|_, _| Reply::AndClose(Vec::new())).await;
    assert_eq!(kind(models(&endpoint(&gone), LIMIT).await.unwrap_err()), "Broken");
    let hanging = Server::start(|_, _| Reply::AndHang(Vec::new())).await;
    let short = Duration::from_millis(50);
    assert_eq!(kind(models(&endpoint(&hanging), short).await.unwrap_err()), "Silent");
    let spare = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let nobody = Endpoint::new(&EndpointSpec { url: format!("http://{spare}"), ..EndpointSpec::default() }).unwrap();
    assert_eq!(kind(models(&nobody, LIMIT).await.unwrap_err()), "NotThere");
}

#[tokio::test]
async fn an_answer_without_tokens_is_no_refusal() {
    let server = answering("200 OK", "text/event-stream", "data: [DONE]\n\n").await;
    let error = canary(&endpoint(&server), &shape(), LIMIT).await.unwrap_err().to_string();
    assert!(error.contains("answered 200 without a completion: 1 events and no token in any"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_told_with_where_it_leads() {
    let moved = |_: &Seen, _| Reply::Bytes(vec![answer("308 Moved", "text/html", "location: https://h/v1/x\r\n", "")]);
    let server = Server::start(moved).await;
    let error = models(&endpoint(&server), LIMIT).await.unwrap_err().to_string();
    assert!(error.contains("(308): a redirect to https://h/v1/x; it is not followed"), "{error}");
}

/// A server that refuses some fields, and says so or not.
async fn refusing(fields: &'static [&'static str], names_them: bool) -> Server {
    Server::start(move |seen, _| {
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        let has = |field: &&&str| body.get(**field).is_some() || body["stream_options"].get(**field).is_some();
        match fields.iter().find(has) {
            Some(field) => {
                let name = if names_them { field } else { "something" };
                let text = format!("{{\"message\":\"Unsupported parameter(s): `{name}`\"}}");
                Reply::Bytes(vec![answer("400 Bad Request", "application/json", "", &text)])
            }
            None if counts_along(seen) => Reply::Bytes(counting_along(12, &[1, 1, 1, 1])),
            None => Reply::Bytes(good(12, 4)),
        }
    })
    .await
}

#[tokio::test]
async fn refused_fields_are_found_out_whether_or_not_they_are_named() {
    let all = Capabilities::default();
    let no_continuous = Capabilities { continuous_usage: false, ..all };
    let no_eos = Capabilities { ignore_eos: false, ..all };
    let neither = Capabilities { ignore_eos: false, min_tokens: false, ..all };
    let no_usage = Capabilities { include_usage: false, continuous_usage: false, ..all };
    for (fields, expected) in [
        (&[][..], all),
        (&["continuous_usage_stats"][..], no_continuous),
        (&["ignore_eos"][..], no_eos),
        (&["ignore_eos", "min_tokens"][..], neither),
        (&["stream_options"][..], no_usage),
    ] {
        for named in [true, false] {
            let server = refusing(fields, named).await;
            let found = canary(&endpoint(&server), &shape(), LIMIT).await.unwrap();
            assert_eq!(found.capabilities, expected, "{fields:?} named {named}");
            assert_eq!((found.output_tokens, found.prompt_tokens), (Some(4), Some(12)));
        }
    }
}

#[tokio::test]
async fn a_server_that_passes_over_the_running_count_is_not_asked_for_it() {
    let server = Server::start(|_, _| Reply::Bytes(good(12, 4))).await;
    let capabilities = canary(&endpoint(&server), &shape(), LIMIT).await.unwrap().capabilities;
    assert!(capabilities.include_usage && !capabilities.continuous_usage);
    assert!(counts_along(&server.seen()[0]));
}

#[tokio::test]
async fn a_server_that_wants_the_newer_name_of_the_limit_gets_it() {
    let server = Server::start(|seen, _| {
        if seen.body.contains("\"max_tokens\"") {
            let text = r#"{"error":{"message":"'max_tokens' is not supported. Use 'max_completion_tokens' instead."}}"#;
            return Reply::Bytes(vec![answer("400 Bad Request", "application/json", "", text)]);
        }
        Reply::Bytes(good(12, 4))
    })
    .await;
    assert!(!canary(&endpoint(&server), &shape(), LIMIT).await.unwrap().capabilities.max_tokens);
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_is_found_out() {
    let closing = Server::start(|_, _| Reply::AndClose(good(12, 4))).await;
    assert!(!canary(&endpoint(&closing), &shape(), LIMIT).await.unwrap().capabilities.keep_alive);
    let keeping = Server::start(|_, _| Reply::Bytes(good(12, 4))).await;
    assert!(canary(&endpoint(&keeping), &shape(), LIMIT).await.unwrap().capabilities.keep_alive);
}

#[tokio::test]
async fn a_canary_that_is_refused_for_another_reason_says_why() {
    let server = answering("400 Bad Request", "application/json", r#"{"message":"no such template"}"#).await;
    let error = canary(&endpoint(&server), &shape(), LIMIT).await.unwrap_err();
    assert!(error.to_string().contains("no such template"), "{error}");
    let empty = Server::start(|_, _| Reply::Bytes(good(3, 0))).await;
    let error = canary(&endpoint(&empty), &shape(), LIMIT).await.unwrap_err();
    assert!(error.to_string().contains("no token in any"), "{error}");
}

/// A server that counts prompt tokens by some rule.
async fn counting(rule: fn(&str) -> usize) -> Server {
    Server::start(move |seen, _| Reply::Bytes(good(rule(&prompt(seen)), 1))).await
}

async fn calibrated(server: &Server) -> Option<Calibration> {
    calibrate(&endpoint(server), &shape(), &Capabilities::default(), "n", LIMIT).await.unwrap()
}

fn text(ruler: &Ruler, tokens: u32) -> String {
    ruler.text(tokens, &mut rng_of(&[b"first", &tokens.to_le_bytes()]), &mut rng_of(&[b"rest"])).text
}

#[tokio::test]
async fn a_server_that_counts_by_word_is_calibrated_exactly() {
    // Nine tokens of template; a word is one token for every three letters, a single letter one.
    let rule = |text: &str| 9 + text.split(' ').map(|word| word.len().div_ceil(3)).sum::<usize>();
    let found = calibrated(&counting(rule).await).await.unwrap();
    assert_eq!((found.overhead, found.residual), (9.0, 0.0));
    let ruler = Ruler::Calibrated(found);
    for tokens in [1, 2, 10, 200, 1000] {
        assert_eq!(rule(&text(&ruler, tokens)), 9 + tokens as usize);
    }
}

#[tokio::test]
async fn a_server_that_estimates_by_characters_is_calibrated_within_two_percent() {
    let rule = |text: &str| 5 + text.len() / 4;
    let found = calibrated(&counting(rule).await).await.unwrap();
    assert!(found.residual <= 0.02, "{found:?}");
    let ruler = Ruler::Calibrated(found);
    let lengths =
        (200..240).map(|tokens| rule(&text(&ruler, tokens)) as f64 / (f64::from(tokens) + ruler.overhead().unwrap()));
    let mean = lengths.sum::<f64>() / 40.0;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
}

#[tokio::test]
async fn a_server_that_does_not_count_is_not_calibrated() {
    let constant = counting(|_| 14).await;
    assert_eq!(calibrated(&constant).await, None);
    let silent = Server::start(|_, _| {
        let text = format!("{}data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"length\"}}]}}\n\n", token("a"));
        Reply::Bytes(vec![stream_head(), http_chunk(text.as_bytes()), LAST.to_vec()])
    })
    .await;
    assert_eq!(calibrated(&silent).await, None);
}

#[tokio::test]
async fn counters_are_scraped_and_a_missing_page_has_none() {
    let server = answering("200 OK", "text/plain", "vllm:prompt_tokens_total{} 7\n").await;
    assert_eq!(scrape(&endpoint(&server), LIMIT).await.unwrap().prompt_tokens, Some(7.0));
    let missing = answering("404 Not Found", "text/plain", "vllm:prompt_tokens_total{} 7\n").await;
    assert_eq!(scrape(&endpoint(&missing), LIMIT).await.unwrap(), CounterSnapshot::default());
}

#[tokio::test]
async fn headers_and_key_are_sent_with_every_question() {
    let server = answering("200 OK", "application/json", r#"{"data":[]}"#).await;
    let spec = EndpointSpec {
        headers: vec![("x-team".to_owned(), "a".to_owned())],
        api_key: Some("k".to_owned()),
        ..server.spec()
    };
    models(&Endpoint::new(&spec).unwrap(), LIMIT).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!((seen.headers["x-team"].as_str(), seen.headers["authorization"].as_str()), ("a", "Bearer k"));
    assert_eq!(seen.line, "GET /v1/models");
}

#[tokio::test]
async fn a_tokenizer_of_another_model_is_known_by_a_long_text() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer/tiny-bpe.json");
    let tokenizer = std::sync::Arc::new(LocalTokenizer::open(&path).unwrap());
    for (factor, expected) in [(1.0, 0.0), (1.3, 0.3), (0.5, -0.5)] {
        let counting = std::sync::Arc::clone(&tokenizer);
        let server = Server::start(move |seen, _| {
            let body: Value = serde_json::from_str(&seen.body).unwrap();
            let text = body["messages"][0]["content"].as_str().unwrap();
            Reply::Bytes(good((counting.count(text) as f64 * factor) as usize + 11, 1))
        })
        .await;
        let (shape, endpoint) = (shape(), endpoint(&server));
        let about = ("nonce", 11.0);
        let error =
            tokenizer_error(&endpoint, &shape, &Capabilities::default(), &tokenizer, about, LIMIT).await.unwrap();
        assert!((error.unwrap() - expected).abs() < 0.005, "{error:?} is not {expected}");
    }
    let short = answering("400 Bad Request", "application/json", r#"{"error":{"message":"too long"}}"#).await;
    let told =
        tokenizer_error(&endpoint(&short), &shape(), &Capabilities::default(), &tokenizer, ("n", 0.0), LIMIT).await;
    assert_eq!(told.unwrap(), None);
}
