//! The processes that this process started itself: only a parent learns how a child ended, and must reap it.

use std::collections::BTreeMap;
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Children by pid. A target stands in a static table, so what it started is kept here between two of its steps.
#[derive(Debug, Default)]
pub(super) struct Children {
    by_pid: Mutex<BTreeMap<u32, Child>>,
}

impl Children {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self { by_pid: Mutex::new(BTreeMap::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Child>> {
        // A panic elsewhere cannot have left a map of children half-changed.
        self.by_pid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes charge of one.
    pub(super) fn add(&self, child: Child) {
        self.lock().insert(child.id(), child);
    }

    /// How a child ended; `None` when it runs or is not ours.
    pub(super) fn status(&self, pid: u32) -> Option<ExitStatus> {
        // A child that cannot be waited for any more was reaped already, and its status is lost.
        self.lock().get_mut(&pid)?.try_wait().ok().flatten()
    }

    /// Reaps every child that has ended.
    pub(super) fn reap(&self) {
        for child in self.lock().values_mut() {
            // An error means that there is nothing to reap.
            let _ = child.try_wait();
        }
    }

    /// Forgets a child that is gone.
    pub(super) fn forget(&self, pid: u32) {
        self.lock().remove(&pid);
    }
}
