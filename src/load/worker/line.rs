//! One connection to a worker, kept open and opened anew when it breaks.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, RANGE};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::super::exchange::chain;

/// Largest answer: a part of a file, or a status.
const MOST_BYTES: usize = 64 << 20;

/// One question.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Bytes,
    /// First byte wanted, and the one after the last.
    pub(super) range: Option<(u64, u64)>,
    pub(super) limit: Duration,
}

impl Question {
    pub(super) fn new(method: Method, path: String) -> Self {
        Self { method, path, body: Bytes::new(), range: None, limit: Duration::from_secs(15) }
    }

    pub(super) fn get(path: &str) -> Self {
        Self::new(Method::GET, path.to_owned())
    }
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(super) fn text(&self) -> String {
        super::super::reading::shorten(&String::from_utf8_lossy(&self.body))
    }
}

/// See the module.
pub(super) struct Line {
    /// `127.0.0.1:4711`
    authority: String,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// Drives the connection; ends with it.
    _driver: JoinSet<()>,
}

impl Line {
    pub(super) fn new(url: &str) -> Self {
        let authority = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { authority, open: None }
    }

    /// Asks once.
    ///
    /// # Errors
    /// In words, when no whole answer came within the question's limit; the connection is then given up.
    pub(super) async fn ask(&mut self, question: &Question) -> Result<Reply, String> {
        let limit = question.limit;
        let asked = tokio::time::timeout(limit, self.ask_without_limit(question)).await;
        let reply = asked.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs_f64())));
        if reply.is_err() {
            self.open = None;
        }
        reply
    }

    async fn ask_without_limit(&mut self, question: &Question) -> Result<Reply, String> {
        let broken = |error: hyper::Error| chain(&error);
        // A connection that was kept may have been closed meanwhile: then it is not the question that failed.
        if let Some(open) = &mut self.open
            && open.sender.ready().await.is_err()
        {
            self.open = None;
        }
        if self.open.is_none() {
            let stream = TcpStream::connect(&self.authority).await.map_err(|error| error.to_string())?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
            let mut driver = JoinSet::new();
            driver.spawn(async move {
                // What broke is seen by the question under way.
                drop(connection.await);
            });
            self.open = Some(Open { sender, _driver: driver });
        }
        let open = self.open.as_mut().expect("it was opened just now");
        let mut request = Request::builder()
            .method(question.method.clone())
            .uri(&question.path)
            .header(HOST, &self.authority)
            .body(Full::new(question.body.clone()))
            .map_err(|error| error.to_string())?;
        if let Some((from, to)) = question.range
            && let Ok(range) = format!("bytes={from}-{}", to.saturating_sub(1)).parse()
        {
            request.headers_mut().insert(RANGE, range);
        }
        let response = open.sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await.map_err(|error| error.to_string())?;
        Ok(Reply { status, body: body.to_bytes() })
    }
}
