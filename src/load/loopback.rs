//! A server that streams events as fast as they are taken, for measuring the generator itself.
//!
//! Nothing is decided and nothing is formatted while it streams: every answer is the same bytes, each event a write of its
//! own, as a server's tokens come.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Events with text in each answer.
pub(super) const EVENTS: u32 = 200;

/// Runs on a thread of its own; ends when dropped.
pub(super) struct Loopback {
    pub(super) address: SocketAddr,
    stop: Option<DropGuard>,
    thread: Option<JoinHandle<()>>,
}

impl Loopback {
    /// Listens on a free port of the loopback device.
    pub(super) fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("loopback".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = accept(listener) => {}
                }
            });
        })?;
        Ok(Self { address, stop: Some(stop.drop_guard()), thread: Some(thread) })
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it has ended it too, which is all that is wanted here.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: std::net::TcpListener) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(async move {
            // A client that goes away is the end of its connection.
            let _ = serve(stream).await;
        });
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (head, event, end) = answer();
    let mut request = Vec::new();
    loop {
        if !read_request(&mut stream, &mut request).await? {
            return Ok(());
        }
        stream.write_all(head).await?;
        for _ in 0..EVENTS {
            stream.write_all(&event).await?;
            // One event of each connection after the other: a reader is to find few in one read, as it does in a level.
            tokio::task::yield_now().await;
        }
        stream.write_all(&end).await?;
    }
}

/// Reads one request and leaves what follows it; `false` at the end of the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        if let Some(head) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let whole = head + 4 + length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if buffer.len() >= whole {
                buffer.drain(..whole);
                return Ok(true);
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(false);
        }
    }
}

/// Head, one event with text, and the end of an answer, in HTTP chunks.
fn answer() -> (&'static [u8], Vec<u8>, Vec<u8>) {
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let frame = |choices: &str, more: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-loopback\",\"object\":\"chat.completion.chunk\",\"created\":0,\"model\":\"loopback\",\
             \"choices\":[{choices}]{more}}}\n\n"
        )
    };
    let event = frame("{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}", "");
    let usage = format!(",\"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":{EVENTS}}}");
    let end = frame("{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}", "") + &frame("", &usage);
    let end = chunk(&(end + "data: [DONE]\n\n")) + "0\r\n\r\n";
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    (head, chunk(&event).into_bytes(), end.into_bytes())
}
