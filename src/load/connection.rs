//! One HTTP/1.1 connection that is driven by whoever waits on it.
//!
//! hyper's connection future and the request's futures are polled in one task: a chunk goes from the socket to its
//! reader without a second task being woken, and hyper reads on only after the chunk was taken, so the stamp of the
//! last read is the stamp of the read that delivered the chunk. Nothing is ever retried here.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::endpoint::Endpoint;
use super::stamped::{Stamped, Stamps};

/// Longest time to open a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    driver: Pin<Box<http1::Connection<TokioIo<Transport>, Full<Bytes>>>>,
    pub(super) stamps: Arc<Stamps>,
    ended: bool,
    /// Nanoseconds that opening it took.
    pub(super) connect: u64,
    /// A response has been read from it.
    pub(super) served: bool,
}

impl Connection {
    /// Opens a connection to the first address that takes one.
    pub(super) async fn open(endpoint: &Endpoint, addresses: &[SocketAddr], origin: Instant) -> io::Result<Self> {
        let begun = Instant::now();
        // On the heap: a TLS handshake is large, and whoever may open a connection would carry room for it all the time.
        let opening = Box::pin(Self::open_without_limit(endpoint, addresses, origin));
        let mut connection = tokio::time::timeout(CONNECT_TIMEOUT, opening)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection within 10 s"))??;
        connection.connect = super::stamped::nanos_since(begun);
        Ok(connection)
    }

    async fn open_without_limit(endpoint: &Endpoint, addresses: &[SocketAddr], origin: Instant) -> io::Result<Self> {
        let tcp = TcpStream::connect(addresses).await?;
        tcp.set_nodelay(true)?;
        let stamps = Arc::new(Stamps::new(origin));
        let stamped = Stamped::new(tcp, Arc::clone(&stamps));
        let transport = match &endpoint.tls {
            None => Transport::Plain(stamped),
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                Transport::Tls(Box::new(connector.connect(name.clone(), stamped).await?))
            }
        };
        let (sender, driver) = http1::handshake(TokioIo::new(transport)).await.map_err(io::Error::other)?;
        Ok(Self { sender, driver: Box::pin(driver), stamps, ended: false, connect: 0, served: false })
    }

    /// Polls the connection, and then `what` waits for it: there is nothing for it before.
    pub(super) fn poll_driving<T>(
        &mut self,
        cx: &mut Context<'_>,
        what: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // A connection's error reaches whoever waits for the response through hyper's channels.
        self.ended = self.ended || self.driver.as_mut().poll(cx).is_ready();
        what(cx)
    }

    /// Whether the next request may be sent on it: looks whether the server has closed it meanwhile.
    pub(super) async fn is_open(&mut self) -> bool {
        poll_fn(|cx| {
            self.ended = self.ended || self.driver.as_mut().poll(cx).is_ready();
            Poll::Ready(())
        })
        .await;
        !self.ended && !self.sender.is_closed()
    }

    /// Waits until the server closes it.
    pub(super) async fn closed(&mut self) {
        poll_fn(|cx| {
            self.ended = self.ended || self.driver.as_mut().poll(cx).is_ready();
            if self.ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Plain or encrypted bytes.
enum Transport {
    Plain(Stamped),
    Tls(Box<TlsStream<Stamped>>),
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
