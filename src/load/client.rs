//! Single questions to a server, outside of any measurement: models, canaries, metrics.
//!
//! The same HTTP stack as the measured path (no proxy, no retry, one trust store), one connection a question.

use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, LOCATION};
use hyper::{Method, Request};

use super::connection::Connection;
use super::endpoint::Endpoint;
use super::error::LoadError;
use super::exchange::chain;

/// Bytes of an answer that are read: a `/metrics` page of a large deployment has a few.
const MAX_ANSWER: usize = 64 << 20;

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The `content-type` header.
    pub content_type: Option<String>,
    /// The `location` header: where a redirect leads. None is followed.
    pub location: Option<String>,
    /// The body.
    pub body: Bytes,
    /// Whether the server closed the connection right after it; looked for only where it is asked.
    pub closed: bool,
}

impl Endpoint {
    /// Asks for `path` below the base URL.
    ///
    /// # Errors
    /// When nothing answers within `limit`, or what answers breaks off.
    pub async fn get(&self, path: &str, limit: Duration) -> Result<Answer, LoadError> {
        self.ask(Method::GET, path, Bytes::new(), limit, Duration::ZERO).await
    }

    /// Sends a JSON body to `path`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post(&self, path: &str, body: Bytes, limit: Duration) -> Result<Answer, LoadError> {
        self.ask(Method::POST, path, body, limit, Duration::ZERO).await
    }

    /// The same, then looks after a good answer for so long whether the server closes the connection.
    pub(super) async fn post_and_linger(
        &self,
        path: &str,
        body: Bytes,
        limit: Duration,
        linger: Duration,
    ) -> Result<Answer, LoadError> {
        self.ask(Method::POST, path, body, limit, linger).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
        linger: Duration,
    ) -> Result<Answer, LoadError> {
        tokio::time::timeout(limit + linger, self.ask_without_limit(method, path, body, linger))
            .await
            .map_err(|_| LoadError::Silent { url: self.whole(path), after: limit })?
    }

    async fn ask_without_limit(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        linger: Duration,
    ) -> Result<Answer, LoadError> {
        let broken = |error: &hyper::Error| LoadError::Broken { url: self.whole(path), reason: chain(error) };
        let addresses = self.addresses().await?;
        let mut connection = Connection::open(self, &addresses, Instant::now())
            .await
            .map_err(|error| LoadError::NotThere { url: self.url().to_owned(), reason: error.to_string() })?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.target(path);
        *request.headers_mut() = self.headers.clone();
        // Polled once: hyper takes a request only on a connection that was.
        connection.is_open().await;
        let mut sending = pin!(connection.sender.send_request(request));
        let response = poll_fn(|cx| connection.poll_driving(cx, |cx| sending.as_mut().poll(cx)))
            .await
            .map_err(|error| broken(&error))?;
        let status = response.status().as_u16();
        let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (content_type, location) = (header(CONTENT_TYPE), header(LOCATION));
        let mut incoming = pin!(response.into_body());
        let mut gathered = Vec::new();
        while let Some(frame) = poll_fn(|cx| connection.poll_driving(cx, |cx| incoming.as_mut().poll_frame(cx))).await {
            let frame = frame.map_err(|error| broken(&error))?;
            let Some(bytes) = frame.data_ref() else { continue };
            if gathered.len() + bytes.len() > MAX_ANSWER {
                let reason = format!("the answer is longer than {MAX_ANSWER} bytes");
                return Err(LoadError::Broken { url: self.whole(path), reason });
            }
            gathered.extend_from_slice(bytes);
        }
        // A refusal says nothing of how a good answer ends.
        let watched = !linger.is_zero() && (200..300).contains(&status);
        let closed = watched && tokio::time::timeout(linger, connection.closed()).await.is_ok();
        Ok(Answer { status, content_type, location, body: Bytes::from(gathered), closed })
    }
}
