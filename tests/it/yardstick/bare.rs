//! The least that a client can do: requests over hyper, every byte of their streams read and thrown away.
//!
//! Nothing is stamped, parsed or kept. It is a process of its own, so that its cost can be told as the generator's is: this test
//! binary, started once more with a task in its environment. Connections, threads and requests are those that the generator
//! has; the connection is driven by a task of its own, as hyper's documentation does it.

use std::process::{Command, Stdio};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::process::{Cost, watch};

/// What the process is to do, as `ADDRESS STREAMS REQUESTS OSL`.
const TASK: &str = "DYNBENCH_TEST_BARE";
/// Streams of one thread, as the generator has them.
const STREAMS_PER_THREAD: usize = 64;

/// Streams `requests` requests of `osl` tokens over each of `streams` connections in a process of its own.
pub(crate) fn read_and_throw_away(url: &str, streams: u32, requests: u32, osl: u32) -> Cost {
    let address = url.trim_start_matches("http://");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "yardstick::bare::program"])
        .env(TASK, format!("{address} {streams} {requests} {osl}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let cost = watch(child);
    assert!(cost.code == 0 && cost.stdout.contains("1 passed"), "{}", cost.stdout);
    cost
}

#[test]
#[ignore = "no test but the program that the accuracy table starts"]
fn program() {
    let Ok(task) = std::env::var(TASK) else { return };
    let [address, streams, requests, osl] = task.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let (streams, requests): (usize, usize) = (streams.parse().unwrap(), requests.parse().unwrap());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = streams.div_ceil(STREAMS_PER_THREAD).min(cores);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let own = (thread..streams).step_by(threads).len();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let mut tasks = JoinSet::new();
                    for _ in 0..own {
                        tasks.spawn(stream(address.to_owned(), requests, osl.to_owned()));
                    }
                    tasks.join_all().await;
                });
            });
        }
    });
}

async fn stream(address: String, requests: usize, osl: String) {
    let tcp = TcpStream::connect(&address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let prompt = "word ".repeat(200);
    let body = Bytes::from(format!(
        r#"{{"model":"simulated-model","messages":[{{"role":"user","content":"{prompt}"}}],"stream":true,"max_tokens":{osl},"min_tokens":{osl},"ignore_eos":true,"stream_options":{{"include_usage":true,"continuous_usage_stats":true}}}}"#
    ));
    for _ in 0..requests {
        sender.ready().await.unwrap();
        let request = Request::post("/v1/chat/completions")
            .header("host", &address)
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            drop(frame.unwrap());
        }
    }
}
