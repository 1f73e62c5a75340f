//! A server that answers as a test's script says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::load::EndpointSpec;

/// How one request is answered.
#[derive(Clone)]
pub(in crate::load) enum Reply {
    /// These bytes, each piece flushed before the next; then the connection stays open.
    Bytes(Vec<Vec<u8>>),
    /// The same, then it is closed.
    AndClose(Vec<Vec<u8>>),
    /// These bytes, then nothing for ever.
    AndHang(Vec<Vec<u8>>),
    /// The first bytes, then the others again and again.
    Then(Vec<u8>, Vec<u8>),
}

/// One request as it was seen.
#[derive(Clone, Debug)]
pub(in crate::load) struct Seen {
    /// Which connection, from 0.
    pub(in crate::load) connection: usize,
    /// `POST /v1/chat/completions`
    pub(in crate::load) line: String,
    pub(in crate::load) headers: HashMap<String, String>,
    pub(in crate::load) body: String,
}

type Script = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

/// See the module. Ends when dropped.
pub(in crate::load) struct Server {
    pub(in crate::load) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _task: JoinSet<()>,
}

impl Server {
    /// Answers each request by `script`, which is also told how many came before it.
    pub(in crate::load) async fn start(script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(script, None).await
    }

    /// The same over TLS.
    pub(in crate::load) async fn start_with(
        script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let script: Arc<Script> = Arc::new(script);
        let mut task = JoinSet::new();
        let log = Arc::clone(&seen);
        task.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (log, script, tls) = (Arc::clone(&log), Arc::clone(&script), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, number, &log, &*script).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, number, &log, &*script).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, seen, _task: task }
    }

    pub(in crate::load) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(in crate::load) fn spec(&self) -> EndpointSpec {
        EndpointSpec { url: self.url.clone(), ..EndpointSpec::default() }
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    log: &Mutex<Vec<Seen>>,
    script: &Script,
) {
    let mut buffer = Vec::new();
    while let Some(seen) = request(&mut stream, &mut buffer, connection).await {
        let before = {
            let mut log = log.lock().unwrap();
            log.push(seen.clone());
            log.len() - 1
        };
        let reply = script(&seen, before);
        let (pieces, after) = match reply {
            Reply::Bytes(pieces) => (pieces, 'k'),
            Reply::AndClose(pieces) => (pieces, 'c'),
            Reply::AndHang(pieces) => (pieces, 'h'),
            Reply::Then(head, piece) => {
                let _ = stream.write_all(&head).await;
                while stream.write_all(&piece).await.is_ok() {}
                return;
            }
        };
        for piece in pieces {
            if stream.write_all(&piece).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        match after {
            'k' => {}
            'h' => std::future::pending().await,
            _ => {
                // The client may be gone already.
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
}

async fn request(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, connection: usize) -> Option<Seen> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().rsplit_once(' ').unwrap().0.to_owned();
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < head_end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(buffer[head_end..head_end + length].to_vec()).unwrap();
    buffer.drain(..head_end + length);
    Some(Seen { connection, line, headers, body })
}

/// A whole answer of fixed length.
pub(in crate::load) fn answer(status: &str, kind: &str, more_headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{more_headers}content-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// Head of an event stream in chunked form.
pub(in crate::load) fn stream_head() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()
}

/// One HTTP chunk.
pub(in crate::load) fn http_chunk(content: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", content.len()).into_bytes();
    bytes.extend_from_slice(content);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// The end of a chunked body.
pub(in crate::load) const LAST: &[u8] = b"0\r\n\r\n";

/// An event with text.
pub(in crate::load) fn token(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n")
}

/// Finish chunk, usage chunk and `[DONE]`.
pub(in crate::load) fn ending(prompt_tokens: usize, tokens: usize) -> String {
    format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"length\"}}]}}\n\n\
         data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt_tokens},\"completion_tokens\":{tokens}}}}}\n\n\
         data: [DONE]\n\n"
    )
}

/// An event with text, and the count of output tokens so far.
pub(in crate::load) fn counted(text: &str, tokens: u64) -> String {
    let usage = format!(",\"usage\":{{\"completion_tokens\":{tokens}}}}}\n\n");
    token(text).replace("}\n\n", &usage)
}

/// Whether the server is asked to count along.
pub(in crate::load) fn counts_along(seen: &Seen) -> bool {
    seen.body.contains("continuous_usage_stats")
}

/// A good stream of chunks with so many tokens each, counted along.
pub(in crate::load) fn counting_along(prompt_tokens: usize, chunks: &[u64]) -> Vec<Vec<u8>> {
    let mut pieces = vec![stream_head()];
    let mut sum = 0;
    for tokens in chunks {
        sum += tokens;
        pieces.push(http_chunk(counted("a", sum).as_bytes()));
    }
    pieces.push(http_chunk(ending(prompt_tokens, usize::try_from(sum).unwrap()).as_bytes()));
    pieces.push(LAST.to_vec());
    pieces
}

/// A good stream of `tokens` tokens, one chunk each.
pub(in crate::load) fn good(prompt_tokens: usize, tokens: usize) -> Vec<Vec<u8>> {
    let mut pieces = vec![stream_head()];
    pieces.extend((0..tokens).map(|_| http_chunk(token("a").as_bytes())));
    pieces.push(http_chunk(ending(prompt_tokens, tokens).as_bytes()));
    pieces.push(LAST.to_vec());
    pieces
}

/// Tokens asked of a request.
pub(in crate::load) fn max_tokens(seen: &Seen) -> usize {
    let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
    usize::try_from(body["max_tokens"].as_u64().unwrap()).unwrap()
}

/// The prompt's text of a request.
pub(in crate::load) fn prompt(seen: &Seen) -> String {
    let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
    body["messages"][0]["content"].as_str().unwrap().to_owned()
}
