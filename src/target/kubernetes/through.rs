//! A prober that asks through a forwarded port and speaks of the Service: a local port that will be gone in a moment
//! tells a person nothing.

use std::sync::Mutex;

use super::super::contract::{BoxFuture, Endpoint};
use super::super::probe::{Listing, ProbeFault, Prober, Workers};
use super::forward::Forward;
use crate::base::{Clock, SystemClock};
use crate::plan::Api;

/// The prober.
pub(super) struct Through<'a> {
    inner: &'a dyn Prober,
    forward: Forward,
    clock: SystemClock,
    /// Since when no model has been listed by a server that answers.
    unlisted: Mutex<Option<std::time::Duration>>,
}

impl std::fmt::Debug for Through<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Through").field("inner", &self.inner).field("to", &self.forward.url()).finish_non_exhaustive()
    }
}

impl<'a> Through<'a> {
    pub(super) fn new(inner: &'a dyn Prober, forward: Forward) -> Self {
        Self { inner, forward, clock: SystemClock::default(), unlisted: Mutex::new(None) }
    }

    /// How long a server has answered without listing any model.
    pub(super) fn unlisted_for(&self) -> Option<std::time::Duration> {
        let since = *self.unlisted.lock().ok()?;
        Some(self.clock.elapsed().saturating_sub(since?))
    }

    fn here(&self, endpoint: &Endpoint) -> Endpoint {
        Endpoint { url: self.forward.url(), ..endpoint.clone() }
    }

    fn told(&self, endpoint: &Endpoint, mut fault: ProbeFault) -> ProbeFault {
        if let (ProbeFault::Unreachable { cause, .. }, Some(why)) = (&mut fault, self.forward.last_cut()) {
            *cause = why;
        }
        fault.rename(&self.forward.url(), &endpoint.url)
    }

    fn note(&self, unlisted: bool) {
        if let Ok(mut since) = self.unlisted.lock() {
            *since = unlisted.then(|| since.unwrap_or_else(|| self.clock.elapsed()));
        }
    }
}

impl Prober for Through<'_> {
    fn models<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<Listing, ProbeFault>> {
        Box::pin(async move {
            let listed = self.inner.models(&self.here(endpoint)).await;
            self.note(match &listed {
                Ok(listing) => listing.ids.is_empty(),
                Err(fault) => matches!(fault, ProbeFault::NoModel { .. } | ProbeFault::EmptyNotFound { .. }),
            });
            listed.map_err(|fault| self.told(endpoint, fault))
        })
    }

    fn canary<'a>(&'a self, endpoint: &'a Endpoint, api: Api) -> BoxFuture<'a, Result<u64, ProbeFault>> {
        Box::pin(async move {
            let answered = self.inner.canary(&self.here(endpoint), api).await;
            answered.map_err(|fault| self.told(endpoint, fault))
        })
    }

    fn workers<'a>(&'a self, endpoint: &'a Endpoint, api: Api) -> BoxFuture<'a, Result<Option<Workers>, ProbeFault>> {
        Box::pin(async move {
            let answered = self.inner.workers(&self.here(endpoint), api).await;
            answered.map_err(|fault| self.told(endpoint, fault))
        })
    }

    fn metrics<'a>(&'a self, endpoint: &'a Endpoint, base: &'a str) -> BoxFuture<'a, Result<String, ProbeFault>> {
        Box::pin(async move {
            let base = base.replace(&endpoint.url, &self.forward.url());
            let answered = self.inner.metrics(&self.here(endpoint), &base).await;
            answered.map_err(|fault| self.told(endpoint, fault))
        })
    }
}
