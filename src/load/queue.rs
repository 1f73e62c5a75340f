//! Requests made ahead of their sending, in order, within bounded memory.
//!
//! A thread of its own makes them. It stays ahead by [`MAX_BYTES`] of bodies, and at least by one wave: a level whose bodies fit
//! is wholly made before its clock starts. Taking one is a lock held for a few instructions, once a request.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::request::Prepared;

/// Bodies that are held, and what is to follow them.
const MAX_BYTES: usize = 32 << 20;

#[derive(Default)]
struct State {
    ready: VecDeque<Prepared>,
    bytes: usize,
    /// Nothing more will be made.
    ended: bool,
    /// Nothing more is wanted.
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// The maker waits here for room.
    room: Condvar,
    /// Slots wait here for requests, and the level for the first wave.
    made: Notify,
    wave: usize,
}

impl Queue {
    /// A queue that holds at least `wave` requests.
    pub(super) fn new(wave: usize) -> Self {
        Self { wave, ..Self::default() }
    }

    /// Takes in requests as they are made, waiting for room; returns early once closed. To be run on a thread of its own.
    pub(super) fn make(self: &Arc<Self>, requests: impl Iterator<Item = Prepared>) {
        // Also when making panics: nobody may wait for ever.
        let _end = EndOnDrop(self);
        for prepared in requests {
            let mut state = self.state();
            while self.is_full(&state) && !state.closed {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed {
                return;
            }
            state.bytes += prepared.size();
            state.ready.push_back(prepared);
            drop(state);
            self.made.notify_one();
        }
    }

    /// Waits until a wave is ready, or all there will be.
    pub(super) async fn filled(&self) {
        loop {
            let made = self.made.notified();
            {
                let state = self.state();
                if state.ended || state.closed || self.is_full(&state) {
                    break;
                }
            }
            made.await;
        }
        // The permit may have been meant for a slot.
        self.made.notify_one();
    }

    /// The next request; `None` when there is no more.
    pub(super) async fn take(&self) -> Option<Prepared> {
        loop {
            let made = self.made.notified();
            {
                let mut state = self.state();
                if state.closed {
                    return None;
                }
                if let Some(prepared) = state.ready.pop_front() {
                    state.bytes -= prepared.size();
                    let more = !state.ready.is_empty();
                    drop(state);
                    self.room.notify_one();
                    if more {
                        self.made.notify_one();
                    }
                    return Some(prepared);
                }
                if state.ended {
                    return None;
                }
            }
            made.await;
        }
    }

    /// Whether nothing is left to be taken.
    pub(super) fn is_used_up(&self) -> bool {
        let state = self.state();
        state.closed || (state.ended && state.ready.is_empty())
    }

    /// Ends it: whoever waits gets nothing.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.room.notify_all();
        self.made.notify_waiters();
        self.made.notify_one();
    }

    fn is_full(&self, state: &State) -> bool {
        state.ready.len() >= self.wave && state.bytes >= MAX_BYTES
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct EndOnDrop<'a>(&'a Queue);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.made.notify_waiters();
        self.0.made.notify_one();
    }
}
