//! A flag that is raised once, read for nothing, and wakes whoever waits for it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// See the module. Reading it takes no lock: it may be looked at for every token.
#[derive(Debug, Default)]
pub(super) struct Flag {
    raised: AtomicBool,
    notify: Notify,
}

impl Flag {
    pub(super) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    pub(super) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Wakes its poller when the flag is raised after it was first polled; look at the flag after that.
    pub(super) fn notified(&self) -> Notified<'_> {
        self.notify.notified()
    }

    /// Waits until it is raised.
    pub(super) async fn raised(&self) {
        let mut notified = std::pin::pin!(self.notified());
        notified.as_mut().enable();
        if !self.is_raised() {
            notified.await;
        }
    }
}
