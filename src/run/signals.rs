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

    /// A handler stays for the life of its process, so it must not be the life of all the other tests.
    #[test]
    fn a_signal_raises_the_level_instead_of_ending_the_process() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "run::signals::tests::in_a_process_of_its_own", "--ignored", "--test-threads=1"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }

    #[tokio::test]
    #[ignore = "run by the test above"]
    async fn in_a_process_of_its_own() {
        use rustix::process::{Signal, getpid, kill_process};
        let stop = Stop::default();
        let listener = listen(stop.clone()).unwrap();
        for (signal, level) in
            [(Signal::HUP, StopLevel::Orderly), (Signal::TERM, StopLevel::Quick), (Signal::INT, StopLevel::Now)]
        {
            kill_process(getpid(), signal).unwrap();
            stop.reached(level).await;
        }
        assert_eq!(stop.signal(), Some(StopSignal::Hangup));
        drop(listener);
    }
}
