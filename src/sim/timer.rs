//! Waking up on time.
//!
//! The runtime's own timer counts whole milliseconds, which is a tenth of a usual inter-token latency. On Linux a timer
//! of the kernel is used instead; it wakes within some tens of microseconds and costs nothing while it waits.

#[cfg(target_os = "linux")]
pub(super) use kernel::Timer;
#[cfg(not(target_os = "linux"))]
pub(super) use runtime::Timer;

#[cfg(target_os = "linux")]
mod kernel {
    use std::io;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::net::unix::pipe::Receiver;

    /// A timer that one task waits for. The runtime knows no descriptors of timers, but those of pipes, which are used
    /// in the same way: readable when there is something to tell, then read to make them quiet again.
    #[derive(Debug)]
    pub(in crate::sim) struct Timer {
        fd: Receiver,
    }

    impl Timer {
        pub(in crate::sim) fn new() -> io::Result<Self> {
            let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            Ok(Self { fd: Receiver::from_owned_fd_unchecked(fd)? })
        }

        /// Waits for `span`. Dropped early, it leaves nothing behind: the next wait sets the timer anew.
        pub(in crate::sim) async fn sleep(&self, span: Duration) -> io::Result<()> {
            if span.is_zero() {
                return Ok(());
            }
            let value = Timespec::try_from(span).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            let never = Timespec { tv_sec: 0, tv_nsec: 0 };
            timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: never, it_value: value })?;
            let mut expirations = [0; 8];
            loop {
                self.fd.readable().await?;
                match self.fd.try_read(&mut expirations) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read.map(drop),
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod runtime {
    use std::io;
    use std::time::Duration;

    /// The runtime's timer: late by up to a millisecond, but never more and more so, as deadlines are absolute.
    #[derive(Debug)]
    pub(in crate::sim) struct Timer;

    impl Timer {
        pub(in crate::sim) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(in crate::sim) async fn sleep(&self, span: Duration) -> io::Result<()> {
            tokio::time::sleep(span).await;
            Ok(())
        }
    }
}
