//! The wish to stop, which grows: end in order, end without cleaning up, end now.

use std::sync::Arc;

use tokio::sync::watch;

use super::outcome::ExitCode;

/// Who asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal is gone.
    Hangup,
}

impl StopSignal {
    /// The exit code that it gives.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Interrupt => ExitCode::INTERRUPTED,
            Self::Terminate | Self::Hangup => ExitCode::TERMINATED,
        }
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        }
    }
}

/// How much is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopLevel {
    /// Nothing.
    Run,
    /// Start nothing, end what is measured, collect, end deployments.
    Orderly,
    /// End everything without cleaning up; what is open is printed.
    Quick,
    /// Exit at once: not for the dispatcher, but for the caller.
    Now,
}

#[derive(Debug, Clone, Copy)]
struct Wish {
    level: StopLevel,
    first: Option<StopSignal>,
}

/// A handle on the wish to stop; clones share it.
#[derive(Debug, Clone)]
pub struct Stop {
    wish: Arc<watch::Sender<Wish>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { wish: Arc::new(watch::Sender::new(Wish { level: StopLevel::Run, first: None })) }
    }
}

impl Stop {
    /// Asks once more: one level up.
    pub fn raise(&self, signal: StopSignal) {
        self.wish.send_modify(|wish| {
            wish.first.get_or_insert(signal);
            wish.level = match wish.level {
                StopLevel::Run => StopLevel::Orderly,
                StopLevel::Orderly => StopLevel::Quick,
                StopLevel::Quick | StopLevel::Now => StopLevel::Now,
            };
        });
    }

    /// How much is to be stopped.
    pub fn level(&self) -> StopLevel {
        self.wish.borrow().level
    }

    /// Who asked first: it gives the exit code.
    pub fn signal(&self) -> Option<StopSignal> {
        self.wish.borrow().first
    }

    /// Returns when the wish is at least this strong.
    pub async fn reached(&self, level: StopLevel) {
        let mut seen = self.wish.subscribe();
        // This handle keeps the sender alive, so waiting cannot end without the wish.
        let _ = seen.wait_for(|wish| wish.level >= level).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_signal_raises_the_level_and_the_first_gives_the_code() {
        let stop = Stop::default();
        assert_eq!(stop.level(), StopLevel::Run);
        for (signal, level) in [
            (StopSignal::Terminate, StopLevel::Orderly),
            (StopSignal::Interrupt, StopLevel::Quick),
            (StopSignal::Interrupt, StopLevel::Now),
            (StopSignal::Interrupt, StopLevel::Now),
        ] {
            stop.raise(signal);
            assert_eq!(stop.level(), level);
        }
        stop.reached(StopLevel::Quick).await;
        assert_eq!(stop.signal().unwrap().exit_code(), ExitCode::TERMINATED);
    }
}
