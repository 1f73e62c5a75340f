//! The server: a listener, its connections, the driver and the log of the truth, and how they end together.
//!
//! A runtime with one thread of its own is the cheapest home: the driver, the connections and their writes then never
//! change threads, and a second core stays free for whoever measures.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::config::{ConfigProblem, SimConfig};
use super::driver::Driver;
use super::metrics::Tally;
use super::routes::{Shared, answer};
use super::trace::{Stamped, Trace};
use super::truth::TruthWriter;
use crate::base::{FileError, SystemClock};

/// How long to wait before accepting again when the system has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a simulated server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Values that no server can be made of.
    #[error("the simulated server cannot be configured so: {}", listed(problems))]
    Config {
        /// All of them, never none.
        problems: Vec<ConfigProblem>,
    },
    /// The listener cannot be used.
    #[error("cannot listen")]
    Listen {
        /// What the system said.
        source: io::Error,
    },
    /// The timer cannot be used.
    #[error("cannot keep time")]
    Timer {
        /// What the system said.
        source: io::Error,
    },
    /// The log of the truth cannot be written.
    #[error("cannot keep the log of the truth")]
    Truth {
        /// Where and why.
        source: FileError,
    },
    /// A fault of the configuration said so.
    #[error("ended itself, as the fault `exit-after` says")]
    Exit,
}

fn listed(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Serves until `shutdown` is cancelled. Requests under way are then cut, and the log of the truth is complete when this
/// returns.
///
/// # Errors
/// When it cannot start, keep time or keep the log; or when a fault ends it.
pub async fn serve(
    config: SimConfig,
    listener: TcpListener,
    truth: Option<PathBuf>,
    shutdown: CancellationToken,
) -> Result<(), SimError> {
    let problems = config.problems();
    if !problems.is_empty() {
        return Err(SimError::Config { problems });
    }
    let listen = |source| SimError::Listen { source };
    listener.set_nonblocking(true).map_err(listen)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(listen)?;
    let clock = SystemClock::default();
    let log = truth.as_deref().map(TruthWriter::open).transpose().map_err(|source| SimError::Truth { source })?;
    let (sink, writer) = log.unzip();
    let (handle, driver) = Driver::new(config.clone(), clock).map_err(|source| SimError::Timer { source })?;
    let exit = CancellationToken::new();
    let shared = Arc::new(Shared {
        config,
        clock,
        driver: handle,
        tally: Arc::new(Tally::default()),
        truth: sink,
        requests: AtomicU64::new(0),
        exit: exit.clone(),
    });

    let mut connections = JoinSet::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());
    let ended = loop {
        tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            () = exit.cancelled() => break Err(SimError::Exit),
            Some(joined) = tasks.join_next() => break ended_well(joined).map_err(|source| SimError::Timer { source }),
            Some(joined) = connections.join_next() => ended_well(joined),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&shared)));
                }
                // The other side gave up between its SYN and now, or descriptors are short: both pass.
                Err(_passing) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    };
    connections.shutdown().await;
    tasks.shutdown().await;
    // Its sink is the last: the log ends when it goes.
    drop(shared);
    if let Some(writer) = writer {
        let written = ended_well(tokio::task::spawn_blocking(|| writer.finish()).await);
        written.map_err(|source| SimError::Truth { source })?;
    }
    ended
}

/// What a task returned; its panic goes on here.
fn ended_well<T>(joined: Result<T, JoinError>) -> T {
    match joined {
        Ok(returned) => returned,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Without it a token may wait for the answer to the one before; a socket that refuses it is gone already.
    drop(stream.set_nodelay(true));
    let trace = Arc::new(Trace::new(shared.truth.clone(), shared.clock));
    let service = {
        let trace = Arc::clone(&trace);
        service_fn(move |request| answer(Arc::clone(&shared), Arc::clone(&trace), request))
    };
    let io = Stamped::new(TokioIo::new(stream), trace);
    // How a connection ends is the client's affair; what became of its request stands in the log of the truth.
    drop(http1::Builder::new().serve_connection(io, service).await);
}

#[cfg(test)]
mod tests;
