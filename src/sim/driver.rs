//! The one task that owns the engine and lets it run in real time.
//!
//! It sleeps until the engine's next event or the next command. Deadlines are absolute: a step begins when the one before
//! it ended on the engine's clock, not when this task woke up, so that lateness never adds up. All tokens of a step go out
//! with one wake-up. Dropping a [`TokenStream`] before its end gives the request up.

use std::collections::HashMap;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::config::SimConfig;
use super::engine::{Emission, Engine, Refused, WorkerView};
use super::sequence::{Job, RequestId};
use super::time::TimeScale;
use super::timer::Timer;
use crate::base::{Clock, SystemClock};

/// Wake-ups nearer to each other than this are joined. Only fixed times come so close: thousands of streams, each on its own.
const COALESCE: Duration = Duration::from_micros(100);

/// A token as the response sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    /// When it was due, since the server's start.
    pub(super) due: Duration,
    pub(super) cached_tokens: u32,
    pub(super) last: bool,
}

#[derive(Debug)]
enum Command {
    Submit {
        arrival: Duration,
        id: RequestId,
        job: Job,
        tokens: mpsc::UnboundedSender<Token>,
        answer: oneshot::Sender<Result<(), Refused>>,
    },
    Cancel(RequestId),
    Look(oneshot::Sender<Vec<WorkerView>>),
}

/// The driver has ended, and the server is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine has stopped")]
pub(super) struct Stopped;

/// The way to the driver. Its channel has no bound of its own: a connection has at most one request, and a request at
/// most two commands, under way.
#[derive(Debug, Clone)]
pub(super) struct DriverHandle {
    commands: mpsc::UnboundedSender<Command>,
}

impl DriverHandle {
    /// Brings a request to the engine.
    pub(super) async fn submit(
        &self,
        arrival: Duration,
        id: RequestId,
        job: Job,
    ) -> Result<Result<TokenStream, Refused>, Stopped> {
        // Bounded by the request's own output: no token comes twice.
        let (sender, tokens) = mpsc::unbounded_channel();
        let (answer, answered) = oneshot::channel();
        // Made first: if this future is dropped while it waits, the stream's drop takes the request back.
        let stream = TokenStream { id, tokens, commands: self.commands.clone(), open: true };
        let command = Command::Submit { arrival, id, job, tokens: sender, answer };
        self.commands.send(command).map_err(|_| Stopped)?;
        Ok(answered.await.map_err(|_| Stopped)?.map(|()| stream))
    }

    /// What every worker is at.
    pub(super) async fn look(&self) -> Result<Vec<WorkerView>, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Look(answer)).map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }
}

/// The tokens of one request, as they come.
#[derive(Debug)]
pub(super) struct TokenStream {
    id: RequestId,
    tokens: mpsc::UnboundedReceiver<Token>,
    commands: mpsc::UnboundedSender<Command>,
    open: bool,
}

impl TokenStream {
    /// The next token; `None` if the driver ended before the request did.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Token>> {
        let polled = self.tokens.poll_recv(cx);
        if let Poll::Ready(Some(Token { last: true, .. }) | None) = polled {
            self.open = false;
        }
        polled
    }
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        if self.open {
            // A driver that has ended holds nothing that could be freed.
            let _ = self.commands.send(Command::Cancel(self.id));
        }
    }
}

/// Owner of the engine.
#[derive(Debug)]
pub(super) struct Driver {
    engine: Engine,
    scale: TimeScale,
    clock: SystemClock,
    timer: Timer,
    commands: mpsc::UnboundedReceiver<Command>,
    streams: HashMap<RequestId, mpsc::UnboundedSender<Token>>,
    emissions: Vec<Emission>,
}

impl Driver {
    pub(super) fn new(config: SimConfig, clock: SystemClock) -> io::Result<(DriverHandle, Self)> {
        let (sender, commands) = mpsc::unbounded_channel();
        let driver = Self {
            scale: TimeScale(config.time_scale),
            engine: Engine::new(config),
            clock,
            timer: Timer::new()?,
            commands,
            streams: HashMap::new(),
            emissions: Vec::new(),
        };
        Ok((DriverHandle { commands: sender }, driver))
    }

    /// Runs until every handle is gone.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let mut woken = Duration::ZERO;
        loop {
            let next = self.engine.next_event();
            let due = next.map(|next| self.scale.real(next).max(woken + COALESCE));
            let wait = due.map(|due| due.saturating_sub(self.clock.elapsed()));
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return Ok(()),
                },
                slept = self.timer.sleep(wait.unwrap_or_default()), if wait.is_some() => slept?,
            }
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command);
            }
            let now = self.clock.elapsed();
            // Rounding between the two clocks must not leave an event that was just slept for a nanosecond ahead.
            let reached = next.filter(|_| due.is_some_and(|due| due <= now)).unwrap_or_default();
            self.engine.advance(self.scale.simulated(now).max(reached), &mut self.emissions);
            if !self.emissions.is_empty() {
                woken = now;
                self.hand_out();
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Submit { arrival, id, job, tokens, answer } => {
                let taken = self.engine.submit(self.scale.simulated(arrival), id, job);
                if taken.is_ok() {
                    self.streams.insert(id, tokens);
                }
                // Nobody listens any more if the client is gone; its `Cancel` follows.
                let _ = answer.send(taken);
            }
            Command::Cancel(id) => {
                self.engine.cancel(id);
                self.streams.remove(&id);
            }
            // Nobody listens any more: then nobody wanted to know.
            Command::Look(answer) => {
                let _ = answer.send(self.engine.workers());
            }
        }
    }

    fn hand_out(&mut self) {
        for Emission { id, at, cached_tokens, last } in self.emissions.drain(..) {
            let due = self.scale.real(at);
            if let Some(stream) = self.streams.get(&id) {
                // A receiver that is gone has sent `Cancel`, which is on its way here.
                let _ = stream.send(Token { due, cached_tokens, last });
            }
            if last {
                self.streams.remove(&id);
            }
        }
    }
}
