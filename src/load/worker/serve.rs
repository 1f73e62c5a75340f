//! The worker: this program beside the server under test, taking orders over HTTP.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/clock` | the worker's clock, nanoseconds since the epoch |
//! | `PUT /v1/files/<sha256>` | keeps a file that orders name by its digest |
//! | `POST /v1/orders/<id>` | takes an [`Order`]: 201; known already: 200; another one runs: 409 |
//! | `GET /v1/results/<id>/<file>` | bytes of a result, all or a `Range` |
//! | `DELETE /v1/results/<id>` | acknowledges a result, or ends an order: it is forgotten |
//!
//! It listens where the pod's owner can reach it and nobody else: on loopback, which a forwarded port leads to.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_RANGE, RANGE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::error::LoadError;
use super::order::{Done, Order};
use super::perform::{Place, perform};
use super::shelf::{Begun, OrderState, PROTOCOL, Part, Patience, Refusal, Shelf, Status};
use crate::base::{Clock, Digest, FileError, SystemClock, create_dir, digest_file, remove_dir};

/// Name of the file that holds what came of an order.
pub(super) const DONE: &str = "done.json";
/// Name of the file of raw responses.
pub(super) const SPILL: &str = "spill";

/// Largest body: a tokenizer has up to a few dozen megabytes.
const MOST_BYTES: usize = 256 << 20;
/// Bytes of one answer: a larger file is fetched in several.
const MOST_ANSWERED: u64 = 8 << 20;
/// How often a worker looks whether its life is over.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait before accepting again when the system has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a worker is to be.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// A folder of its own for results.
    pub dir: PathBuf,
    /// How long it holds a result that nobody asks for.
    pub hold: Duration,
    /// How long it stays without a result and without a question.
    pub idle: Duration,
}

/// Why a worker could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The listener cannot be used.
    #[error("cannot listen")]
    Listen(#[source] io::Error),
    /// Its folder, or its own executable, cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its own executable is not known.
    #[error("cannot find its own executable")]
    Executable(#[source] io::Error),
}

struct Shared {
    dir: PathBuf,
    binary: Digest,
    clock: SystemClock,
    shelf: Mutex<Shelf>,
    begun: mpsc::UnboundedSender<(String, Order, Begun)>,
}

impl Shared {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes orders until `shutdown` is cancelled or nobody has come for long enough. Says why it ended.
///
/// # Errors
/// When it cannot start.
pub async fn serve_worker(
    options: WorkerOptions,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<&'static str, WorkerError> {
    listener.set_nonblocking(true).map_err(WorkerError::Listen)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(WorkerError::Listen)?;
    create_dir(&options.dir.join("files"))?;
    let binary = own_digest()?;
    let clock = SystemClock::default();
    let patience = Patience { hold: options.hold, idle: options.idle };
    let (begun, mut begins) = mpsc::unbounded_channel();
    let shelf = Mutex::new(Shelf::new(&options.dir, patience, clock.now()));
    let shared = Arc::new(Shared { dir: options.dir, binary, clock, shelf, begun });
    let mut connections = JoinSet::new();
    let mut orders = JoinSet::new();
    let mut looks = tokio::time::interval(LOOK);
    let why = loop {
        tokio::select! {
            () = shutdown.cancelled() => break "it was told to end",
            _ = looks.tick() => if shared.shelf().is_over(clock.now()) {
                break "nobody has asked for anything for long enough";
            },
            Some((id, order, begun)) = begins.recv() => {
                orders.spawn(work(Arc::clone(&shared), id, order, begun));
            }
            Some(joined) = orders.join_next(), if !orders.is_empty() => if let Err(error) = joined {
                std::panic::resume_unwind(error.into_panic());
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move {
                        let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                        // How a connection ends is the client's affair: it asks again.
                        drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                    });
                }
                // The other side gave up, or descriptors are short: both pass.
                Err(_passing) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    };
    shared.shelf().cancel_all();
    // Their servers are told that nobody reads on.
    while orders.join_next().await.is_some() {}
    Ok(why)
}

/// The digest of this program; read once, since it cannot change.
fn own_digest() -> Result<Digest, WorkerError> {
    static OWN: OnceLock<Digest> = OnceLock::new();
    if let Some(digest) = OWN.get() {
        return Ok(digest.clone());
    }
    let executable = std::env::current_exe().map_err(WorkerError::Executable)?;
    let (digest, _) = digest_file(&executable)?;
    Ok(OWN.get_or_init(|| digest).clone())
}

/// Does an order and puts its result on the shelf.
async fn work(shared: Arc<Shared>, id: String, mut order: Order, begun: Begun) {
    let state = match result(&shared, &mut order, &begun).await {
        Ok(parts) => OrderState::Done(parts),
        Err(error) => OrderState::Failed(error.fault()),
    };
    shared.shelf().ended(&id, state);
}

async fn result(shared: &Shared, order: &mut Order, begun: &Begun) -> Result<Vec<Part>, LoadError> {
    if let Some(file) = order.work.files() {
        file.path = shared.dir.join("files").join(file.digest.as_str());
    }
    remove_dir(&begun.dir).map_err(LoadError::Storage)?;
    create_dir(&begun.dir).map_err(LoadError::Storage)?;
    let spill = begun.dir.join(SPILL);
    let place = Place {
        cancel: begun.cancel.clone(),
        live: Arc::clone(&begun.live),
        spill: Some(spill.clone()),
        scratch: Some(begun.dir.clone()),
    };
    let done = perform(&order.endpoint, &order.work, &place).await?;
    let path = begun.dir.join(DONE);
    let written = tokio::task::spawn_blocking(move || {
        write(&path, &done)?;
        let mut parts = vec![part(&path, DONE)?];
        if spill.exists() {
            parts.push(part(&spill, SPILL)?);
        }
        Ok(parts)
    });
    written.await.map_err(|_| LoadError::Panicked)?.map_err(LoadError::Storage)
}

fn write(path: &Path, done: &Done) -> Result<(), FileError> {
    let failed = |error: io::Error| FileError::new("write", path, error);
    let mut writer = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?);
    serde_json::to_writer(&mut writer, done).map_err(|error| failed(error.into()))?;
    writer.flush().map_err(failed)
}

fn part(path: &Path, name: &str) -> Result<Part, FileError> {
    let (sha256, bytes) = digest_file(path)?;
    Ok(Part { name: name.to_owned(), bytes, sha256 })
}

type Answer = Response<Full<Bytes>>;

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => plain(StatusCode::OK, bytes),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    shared.shelf().asked(shared.clock.now());
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let method = request.method().clone();
    Ok(match (&method, &parts[..]) {
        (&Method::GET, ["v1", "status"]) => json(&Status {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            binary: shared.binary.clone(),
            orders: shared.shelf().statuses(),
        }),
        (&Method::GET, ["v1", "clock"]) => json(&shared.clock.now()),
        (&Method::PUT, ["v1", "files", digest]) => keep(&shared, digest, request).await,
        (&Method::POST, ["v1", "orders", id]) if is_plain(id) => take(&shared, id, request).await,
        (&Method::GET, ["v1", "results", id, file]) => {
            let found = shared.shelf().file(id, file);
            let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok()).map(str::to_owned);
            match found {
                Some(path) => bytes_of(path, range).await,
                None => plain(StatusCode::NOT_FOUND, "there is no such result"),
            }
        }
        (&Method::DELETE, ["v1", "results", id]) => found(shared.shelf().discard(id)),
        _ => plain(StatusCode::NOT_FOUND, "this is a load worker of dynbench; it has no such path"),
    })
}

fn found(found: bool) -> Answer {
    if found { plain(StatusCode::NO_CONTENT, "") } else { plain(StatusCode::NOT_FOUND, "there is no such order") }
}

/// Whether a name can be that of a folder, and of nothing above it.
fn is_plain(name: &str) -> bool {
    !name.starts_with('.')
        && (1..=200).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Answer> {
    let gathered = Limited::new(request.into_body(), MOST_BYTES).collect().await;
    gathered.map(http_body_util::Collected::to_bytes).map_err(|error| plain(StatusCode::BAD_REQUEST, error.to_string()))
}

async fn keep(shared: &Shared, digest: &str, request: Request<Incoming>) -> Answer {
    let bytes = match body(request).await {
        Ok(bytes) => bytes,
        Err(answer) => return answer,
    };
    if Digest::of(&bytes).as_str() != digest {
        return plain(StatusCode::BAD_REQUEST, "the bytes have another digest than the name says");
    }
    match crate::base::write_atomic(&shared.dir.join("files").join(digest), &bytes) {
        Ok(()) => plain(StatusCode::CREATED, ""),
        Err(error) => plain(StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
    }
}

async fn take(shared: &Shared, id: &str, request: Request<Incoming>) -> Answer {
    let bytes = match body(request).await {
        Ok(bytes) => bytes,
        Err(answer) => return answer,
    };
    let mut order: Order = match serde_json::from_slice(&bytes) {
        Ok(order) => order,
        Err(error) => return plain(StatusCode::BAD_REQUEST, format!("this is no order: {error}")),
    };
    if let Some(file) = order.work.files()
        && !shared.dir.join("files").join(file.digest.as_str()).is_file()
    {
        return plain(StatusCode::FAILED_DEPENDENCY, file.digest.to_string());
    }
    let begun = shared.shelf().begin(id, &order);
    match begun {
        Ok(Some(begun)) => {
            // The receiver lives as long as the server that answers here.
            drop(shared.begun.send((id.to_owned(), order, begun)));
            plain(StatusCode::CREATED, "")
        }
        Ok(None) => plain(StatusCode::OK, ""),
        Err(Refusal::Busy(other)) => plain(StatusCode::CONFLICT, format!("the order {other} is being done")),
        Err(Refusal::Other) => plain(StatusCode::CONFLICT, "this id was used for another order"),
    }
}

/// A file, or the part of it that was asked for; never more than [`MOST_ANSWERED`].
async fn bytes_of(path: PathBuf, range: Option<String>) -> Answer {
    let read = tokio::task::spawn_blocking(move || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let (from, to) = range.as_deref().and_then(|range| span(range, length)).unwrap_or((0, length));
        let to = to.min(from + MOST_ANSWERED);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(to - from).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>((bytes, from, length))
    });
    match read.await {
        Ok(Ok((bytes, from, length))) => {
            let told = format!("bytes {from}-{}/{length}", (from + bytes.len() as u64).saturating_sub(1));
            let mut answer = plain(StatusCode::PARTIAL_CONTENT, bytes);
            if let Ok(told) = told.parse() {
                answer.headers_mut().insert(CONTENT_RANGE, told);
            }
            answer
        }
        Ok(Err(error)) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "reading the file panicked"),
    }
}

/// `bytes=FROM-TO` or `bytes=FROM-` within a file, as the first byte and the one after the last.
fn span(range: &str, length: u64) -> Option<(u64, u64)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let from: u64 = from.parse().ok()?;
    let to = if to.is_empty() { length } else { to.parse::<u64>().ok()?.saturating_add(1) };
    Some((from.min(length), to.clamp(from.min(length), length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_stays_within_its_file() {
        assert_eq!(span("bytes=2-4", 10), Some((2, 5)));
        assert_eq!(span("bytes=2-", 10), Some((2, 10)));
        assert_eq!(span("bytes=20-30", 10), Some((10, 10)));
        assert_eq!(span("bytes=5-2", 10), Some((5, 5)));
        assert_eq!(span("lines=1-2", 10), None);
    }

    #[test]
    fn an_id_is_the_name_of_one_folder() {
        assert!(is_plain("agg.default.load.c64.a1"));
        for bad in ["", "..", ".x", "a/b", "a b", "a\\b"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
