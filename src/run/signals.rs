//! SIGINT, SIGTERM and SIGHUP turned into a [`Stop`].

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::stop::{Stop, StopSignal};

/// Listens as long as it lives.
#[derive(Debug)]
pub struct SignalListener {
    task: JoinHandle<()>,
}

impl Drop for SignalListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// From now on every signal raises `stop` by one level instead of ending the process.
///
/// # Errors
/// When the system refuses the handlers.
pub fn listen(stop: Stop) -> io::Result<SignalListener> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let task = tokio::spawn(async move {
        loop {
            let (received, which) = tokio::select! {
                received = interrupt.recv() => (received, StopSignal::Interrupt),
                received = terminate.recv() => (received, StopSignal::Terminate),
                received = hangup.recv() => (received, StopSignal::Hangup),
            };
            if received.is_none() {
                return;
            }
            stop.raise(which);
        }
    });
    Ok(SignalListener { task })
}

#[cfg(test)]
mod tests {
    use super::super::stop::StopLevel;
    use super::*;

    #[tokio::test]
    async fn a_hangup_raises_the_level_instead_of_ending_the_process() {
        let stop = Stop::default();
        let listener = listen(stop.clone()).unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
        stop.reached(StopLevel::Orderly).await;
        assert_eq!(stop.signal(), Some(StopSignal::Hangup));
        drop(listener);
    }
}
