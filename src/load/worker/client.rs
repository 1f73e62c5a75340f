//! A worker as its client sees it: every question is asked again until it is answered, or the worker is known to be gone.
//!
//! The way to a worker leads through an API server, which may be restarted in the middle of a level. That disturbs
//! nothing: the worker goes on, and the client asks until [`PATIENCE`] has passed without an answer.

use std::fs::File;
use std::future::Future;
use std::io::{BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::super::error::LoadError;
use super::super::level::LiveProgress;
use super::line::{Line, Question, Reply};
use super::offset::{ClockOffset, Exchange};
use super::order::{Done, Order, TokenizerFile};
use super::serve::DONE;
use super::shelf::{OrderState, OrderStatus, PROTOCOL, Part, Status};
use crate::base::{Clock, FileError, SystemClock, Timestamp, digest_file, read_limited};

/// How long a worker may be out of reach before it is given up; it goes on meanwhile, and holds its result.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two tries: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often a running order is looked at: soon at first, for short ones, then at this pace.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LOOK: Duration = Duration::from_millis(250);
/// Bytes fetched at a time.
const CHUNK: u64 = 4 << 20;
/// Questions for the time.
const EXCHANGES: usize = 15;
/// Largest tokenizer that is handed over.
const MOST_FILE: u64 = 256 << 20;

/// What `check` returns.
pub type Alive<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// Knows by other means than asking it whether a worker still lives.
pub trait Lifeline: Send + Sync {
    /// Why it is gone for good; `Ok` when it lives, or nobody can say.
    fn check(&self) -> Alive<'_>;
}

/// A worker.
pub struct Worker {
    /// What messages call it: its pod.
    pub name: String,
    /// The machine that it runs on, where that is known.
    pub host: Option<String>,
    line: Mutex<Line>,
    lifeline: Option<Arc<dyn Lifeline>>,
    patience: Duration,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Worker {
    /// The worker at a URL such as `http://127.0.0.1:4711`. Nothing is asked yet.
    pub fn new(name: &str, url: &str, lifeline: Option<Arc<dyn Lifeline>>) -> Self {
        Self { name: name.to_owned(), host: None, line: Mutex::new(Line::new(url)), lifeline, patience: PATIENCE }
    }

    /// The same, known to run there.
    pub fn on(self, host: Option<String>) -> Self {
        Self { host, ..self }
    }

    /// The same with another limit for how long it may be out of reach.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// What it is and has.
    ///
    /// # Errors
    /// When it cannot be asked, or is of another protocol.
    pub async fn status(&self) -> Result<Status, LoadError> {
        let status: Status = self.read(self.ask(&Question::get("/v1/status"), None).await?)?;
        if status.protocol != PROTOCOL {
            let worker = self.name.clone();
            return Err(LoadError::Protocol { worker, found: status.protocol, wanted: PROTOCOL });
        }
        Ok(status)
    }

    /// How far its clock is from ours.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(super) async fn clock(&self) -> Result<ClockOffset, LoadError> {
        let clock = SystemClock::default();
        let mut exchanges = Vec::with_capacity(EXCHANGES);
        for _ in 0..EXCHANGES {
            let sent = clock.now();
            let reply = self.ask(&Question::get("/v1/clock"), None).await?;
            let received = clock.now();
            exchanges.push(Exchange { sent, told: self.read::<Timestamp>(reply)?, received });
        }
        ClockOffset::of(&exchanges).ok_or_else(|| self.strange("its clock is out of all bounds"))
    }

    /// Gives it an order, and the file that the order names if it does not have it.
    ///
    /// # Errors
    /// When it cannot be asked or does not take it.
    pub(super) async fn begin(&self, id: &str, order: &Order, file: Option<&TokenizerFile>) -> Result<(), LoadError> {
        let body = serde_json::to_vec(order).expect("an order has text keys only");
        let mut question = Question::new(Method::POST, format!("/v1/orders/{id}"));
        question.body = Bytes::from(body);
        let mut reply = self.ask(&question, None).await?;
        if let (424, Some(file)) = (reply.status, file) {
            let mut put = Question::new(Method::PUT, format!("/v1/files/{}", file.digest));
            put.body = Bytes::from(read_limited(&file.path, MOST_FILE)?);
            put.limit = Duration::from_secs(300);
            self.good(self.ask(&put, None).await?)?;
            reply = self.ask(&question, None).await?;
        }
        self.good(reply).map(drop)
    }

    /// How an order stands; `None` when it is not known there.
    pub(super) async fn look(&self, id: &str, live: &LiveProgress) -> Result<Option<OrderStatus>, LoadError> {
        let status: Status = self.read(self.ask(&Question::get("/v1/status"), Some(live)).await?)?;
        Ok(status.orders.get(id).cloned())
    }

    /// Waits for the end of an order; `seen` is told how far it is.
    ///
    /// # Errors
    /// When it failed there, the worker cannot be asked or forgot it; [`LoadError::Cancelled`].
    pub(super) async fn wait(
        &self,
        id: &str,
        live: &LiveProgress,
        cancel: &CancellationToken,
        seen: impl Fn(&OrderStatus),
    ) -> Result<Vec<Part>, LoadError> {
        let mut pause = FIRST_LOOK;
        loop {
            let status = tokio::select! {
                () = cancel.cancelled() => return Err(LoadError::Cancelled),
                status = self.look(id, live) => status?,
            };
            let Some(status) = status else {
                let reason = "it was started anew and knows nothing of the order".to_owned();
                return Err(LoadError::WorkerGone { worker: self.name.clone(), reason });
            };
            seen(&status);
            match status.state {
                OrderState::Running => {}
                OrderState::Done(parts) => return Ok(parts),
                OrderState::Failed(fault) => return Err(LoadError::Elsewhere(fault)),
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(LoadError::Cancelled),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LOOK);
        }
    }

    /// Fetches one file of a result, in parts that are asked for again when they break, and checks its digest.
    ///
    /// # Errors
    /// When the worker cannot be asked, the file cannot be written, or its bytes are not those that the worker told.
    pub(super) async fn fetch(&self, id: &str, part: &Part, to: &Path) -> Result<(), LoadError> {
        let failed = |error| LoadError::Storage(FileError::new("write", to, error));
        let mut file = File::create(to).map_err(failed)?;
        let mut at = 0;
        while at < part.bytes {
            let mut question = Question::get(&format!("/v1/results/{id}/{}", part.name));
            question.range = Some((at, (at + CHUNK).min(part.bytes)));
            question.limit = Duration::from_secs(60);
            let reply = self.good(self.ask(&question, None).await?)?;
            if reply.body.is_empty() {
                return Err(self.strange("it sent nothing of a file that has more"));
            }
            file.seek(SeekFrom::Start(at)).map_err(failed)?;
            file.write_all(&reply.body).map_err(failed)?;
            at += reply.body.len() as u64;
        }
        file.sync_all().map_err(failed)?;
        drop(file);
        let (digest, _) = digest_file(to).map_err(LoadError::Storage)?;
        if digest != part.sha256 {
            return Err(self.strange(&format!("{} does not have the digest that it told", part.name)));
        }
        Ok(())
    }

    /// Fetches what came of an order.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub(super) async fn done(&self, id: &str, parts: &[Part], scratch: &Path) -> Result<Done, LoadError> {
        let part = parts.iter().find(|part| part.name == DONE);
        let part = part.ok_or_else(|| self.strange("its result has no result in it"))?;
        let path = scratch.join(format!("{id}.{DONE}"));
        self.fetch(id, part, &path).await?;
        let read = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || {
                let failed = |error| LoadError::Storage(FileError::new("read", &path, error));
                let file = File::open(&path).map_err(failed)?;
                serde_json::from_reader(BufReader::with_capacity(1 << 20, file)).map_err(|error| failed(error.into()))
            })
        };
        let done = read.await.map_err(|_| LoadError::Panicked)?;
        // It has been read: what stays of it would only be litter.
        drop(std::fs::remove_file(&path));
        done
    }

    /// The result is safe here, or the order is not wanted any more: it is ended and forgotten there.
    ///
    /// # Errors
    /// When the worker cannot be asked.
    pub(super) async fn discard(&self, id: &str) -> Result<(), LoadError> {
        self.ask(&Question::new(Method::DELETE, format!("/v1/results/{id}")), None).await.map(drop)
    }

    /// Asks until it is answered. `live` is told for how long it was not.
    async fn ask(&self, question: &Question, live: Option<&LiveProgress>) -> Result<Reply, LoadError> {
        let mut line = self.line.lock().await;
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let reason = match line.ask(question).await {
                Ok(reply) => {
                    if let Some(live) = live {
                        live.away_s.store(0, Ordering::Relaxed);
                    }
                    return Ok(reply);
                }
                Err(reason) => reason,
            };
            if let Some(lifeline) = &self.lifeline
                && let Err(why) = lifeline.check().await
            {
                return Err(LoadError::WorkerGone { worker: self.name.clone(), reason: why });
            }
            let away = began.elapsed();
            if away >= self.patience {
                let reason = format!("{reason} (tried for {} s)", away.as_secs());
                return Err(LoadError::Worker { worker: self.name.clone(), reason });
            }
            if let Some(live) = live {
                live.away_s.store(away.as_secs().max(1), Ordering::Relaxed);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn good(&self, reply: Reply) -> Result<Reply, LoadError> {
        if reply.is_good() { Ok(reply) } else { Err(self.strange(&format!("{}: {}", reply.status, reply.text()))) }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, reply: Reply) -> Result<T, LoadError> {
        let reply = self.good(reply)?;
        serde_json::from_slice(&reply.body).map_err(|error| self.strange(&error.to_string()))
    }

    fn strange(&self, reason: &str) -> LoadError {
        LoadError::Worker { worker: self.name.clone(), reason: reason.to_owned() }
    }
}
