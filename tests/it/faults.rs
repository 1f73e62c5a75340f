//! What can go wrong with servers: one clear error or a marked point each time, nothing lost, never a hang.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::world::{SMALL, World};
use insta::assert_snapshot;

/// The small plan with a server that misbehaves.
///
/// Its 40 first requests are questions and warm-up. The first level's are 41 (its own wave) to 47, the second's are
/// from 48 on.
fn with_fault(fault: &str) -> World {
    let plan = SMALL.replace("itl-ms = 1 }", &format!("itl-ms = 1 }}\nfaults = [{fault}]"));
    World::new(&(plan + "\n[policy]\nready-deadline = \"1s\"\nretries = 0\n"))
}

/// The small plan with another target.
fn with_target(kind: &str, deployment: &str) -> World {
    let plan = SMALL
        .replace("\"simulated\"", &format!("\"{kind}\""))
        .replace("engine = \"aggregated\"\nfixed = { ttft-ms = 5, itl-ms = 1 }", deployment);
    World::new(&(plan + "\n[policy]\nready-deadline = \"1s\"\nretries = 0\n"))
}

/// What was said, and what the summary says of it; nothing that was started is left.
fn outcome(world: &World, code: i32) -> String {
    let ran = world.ends(code, &["apply", "plan.toml"]);
    let summary = world.path("results/small/latest/SUMMARY.txt");
    let summary = if summary.is_file() { failures(&world.summary()) } else { "no SUMMARY.txt".to_owned() };
    let left = world.ends(0, &["cleanup", "--dry-run"]).stdout;
    assert_eq!(left, "", "something is left");
    world.ends(0, &["runs", "fsck"]);
    format!("{}\n\n{summary}", ran.essence())
}

/// The sections of the summary that tell of failures.
fn failures(summary: &str) -> String {
    let sections = summary.split("\n\n").filter(|section| {
        let title = section.trim_start().lines().next().unwrap_or_default();
        ["FAIL", "NOT ", "STEPS", "INVALID", "POINTS", "WHAT"].iter().any(|word| title.starts_with(word))
    });
    sections.collect::<Vec<_>>().join("\n\n")
}

macro_rules! outcomes {
    ($($name:ident: $code:literal, $world:expr;)*) => {$(
        #[test]
        fn $name() {
            let world = $world;
            let outcome = outcome(&world, $code);
            world.filters().bind(|| assert_snapshot!(outcome));
        }
    )*};
}

outcomes! {
    a_server_that_never_has_its_model: 3, with_fault("{ kind = 'never-ready' }");
    a_server_that_lists_nothing: 3, with_fault("{ kind = 'no-model' }");
    a_server_that_lists_another_model: 3, with_fault("{ kind = 'wrong-model' }");
    a_server_that_answers_html: 3, with_fault("{ kind = 'html' }");
    a_server_that_dies_in_the_warm_up: 3, with_fault("{ kind = 'exit-after', after = 2 }");
    a_server_that_dies_in_the_midst_of_a_level: 3, with_fault("{ kind = 'exit-after', after = 40 }");
    a_server_that_refuses_with_429: 3, with_fault("{ kind = 'too-many-requests', every = 43 }");
    a_server_that_refuses_with_503: 3, with_fault("{ kind = 'unavailable', every = 43 }");
    a_server_that_refuses_with_500: 3, with_fault("{ kind = 'server-error', every = 43 }");
    a_server_that_refuses_everything: 3, with_fault("{ kind = 'server-error' }");
    a_stream_that_is_cut: 3, with_fault("{ kind = 'cut-stream', every = 9, after = 2 }");
    an_error_in_the_midst_of_a_stream: 3, with_fault("{ kind = 'error-event', every = 9, after = 2 }");
    a_stream_of_broken_json: 3, with_fault("{ kind = 'malformed-sse', every = 9, after = 2 }");
    a_stream_without_tokens: 3, with_fault("{ kind = 'zero-tokens', every = 9 }");
    a_server_without_tokens: 3, with_fault("{ kind = 'zero-tokens' }");
    a_server_that_never_sends_usage: 0, with_fault("{ kind = 'no-usage' }");
    a_server_that_takes_openai_fields_only: 3, with_fault("{ kind = 'reject-extras' }");
    a_process_that_ends_at_once: 3, with_target(
        "process",
        "[[deployments.agg.commands]]\ncommand = ['sh', '-c', 'echo no GPU found >&2; exit 3']",
    );
    a_command_that_does_not_exist: 7, with_target(
        "process",
        "[[deployments.agg.commands]]\ncommand = ['no-such-server', '--port', '{{ port }}']",
    );
    a_header_whose_variable_is_not_set: 7, with_target(
        "endpoint",
        "url = 'http://127.0.0.1:9'\nheaders-env = { x-team = 'NO_SUCH_VARIABLE' }",
    );
    a_key_whose_variable_is_not_set: 7, with_target(
        "endpoint",
        "url = 'http://127.0.0.1:9'\napi-key-env = 'NO_SUCH_VARIABLE'",
    );
    a_server_that_is_not_there: 7, with_target("endpoint", "url = 'http://127.0.0.1:9'");
}

fn with_timeouts(fault: &str) -> World {
    let world = with_fault(fault);
    world.edit("[target]", "[workload.request]\ntimeout = '1s'\nidle-timeout = '200ms'\n\n[target]");
    world
}

outcomes! {
    a_stream_that_stalls: 3, with_timeouts("{ kind = 'stall', every = 9, after = 2 }");
    a_stream_that_never_ends: 3, with_timeouts("{ kind = 'endless', every = 43 }");
}

/// A server that answers every request by a script, until the test ends.
fn scripted(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || serve(stream, &answer));
        }
    });
    url
}

/// Reads requests of one connection and lets the script answer each.
fn serve(mut stream: TcpStream, answer: &impl Fn(&str, &mut TcpStream)) {
    let mut seen = Vec::new();
    let mut block = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut block) {
        seen.extend_from_slice(&block[..count]);
        let text = String::from_utf8_lossy(&seen).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            answer(head.lines().next().unwrap_or_default(), &mut stream);
            seen.clear();
        }
    }
}

/// A whole answer.
fn respond(stream: &mut TcpStream, status: &str, kind: &str, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}");
    // The other side may have gone away; its own words tell.
    let _ = stream.write_all(text.as_bytes());
}

/// Lists the model, and answers completions by the script.
fn with_completions(answer: impl Fn(&mut TcpStream) + Send + Sync + Clone + 'static) -> World {
    let url = scripted(move |line, stream| {
        if line.starts_with("GET /v1/models") {
            respond(stream, "200 OK", "application/json", r#"{"data":[{"id":"tiny"}]}"#);
        } else if line.starts_with("POST") {
            answer(stream);
        } else {
            respond(stream, "404 Not Found", "text/plain", "no such page");
        }
    });
    with_target("endpoint", &format!("url = '{url}'"))
}

outcomes! {
    a_url_that_is_a_web_site: 7, with_target("endpoint", &format!("url = '{}'", scripted(|_, stream| {
        respond(stream, "200 OK", "text/html", "<html><body>Welcome!</body></html>");
    })));
    a_url_that_wants_a_key: 7, with_target("endpoint", &format!("url = '{}'", scripted(|_, stream| {
        respond(stream, "401 Unauthorized", "application/json", r#"{"error":{"message":"Incorrect API key"}}"#);
    })));
    a_url_with_another_model: 7, with_target("endpoint", &format!("url = '{}'", scripted(|_, stream| {
        respond(stream, "200 OK", "application/json", r#"{"data":[{"id":"tiny-v2"}]}"#);
    })));
    a_url_that_says_nothing: 7, with_target("endpoint", &format!("url = '{}'", scripted(|_, _| {})));
    completions_that_say_nothing: 3, with_completions(|_| {});
    completions_that_stream_nothing: 3, with_completions(|stream| {
        respond(stream, "200 OK", "text/event-stream", "");
    });
    completions_that_are_no_http: 3, with_completions(|stream| {
        let _ = stream.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n");
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    completions_with_a_line_that_never_ends: 3, with_completions(|stream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: ";
        let mut sent = stream.write_all(head.as_bytes());
        while sent.is_ok() {
            sent = stream.write_all(&[b'x'; 65536]);
        }
    });
}

#[test]
fn a_level_that_failed_is_measured_again_and_the_good_one_is_kept() {
    // Enough for the first level, and enough for the second alone, but not for both.
    let world = with_fault("{ kind = 'exit-after', after = 48 }");
    let ran = world.ends(3, &["apply", "plan.toml"]);
    assert!(ran.stderr.contains("go on with: dynbench apply plan.toml --resume"), "{}", ran.stderr);
    let measured = world.read("results/small/latest/agg/c1/requests.jsonl");
    let before = world.summary();
    assert!(before.contains("c1     6    0"), "{before}");
    let ran = world.ends(0, &["apply", "plan.toml", "--resume"]);
    assert!(!ran.stderr.contains("start    agg/default/load/c1"), "{}", ran.stderr);
    assert_eq!(world.read("results/small/latest/agg/c1/requests.jsonl"), measured);
    let after = world.summary();
    assert!(after.contains("c2     6    0") && !after.contains("not valid"), "{after}");
}

#[test]
fn tokens_that_the_server_does_not_tell_are_said_to_be_counted_otherwise() {
    let world = with_fault("{ kind = 'no-usage' }");
    world.ends(0, &["apply", "plan.toml"]);
    let summary = world.summary();
    let words = summary.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("ISL not told by the server"), "{summary}");
    assert!(words.contains("output tokens from counting chunks (a lower bound)"), "{summary}");
}
