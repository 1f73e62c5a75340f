//! The life of a deployment in a cluster: which file does what of [`Target`].

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::super::contract::{
    Again, BoxFuture, Deployed, Endpoint, Ledger, Left, Live, Ready, Target, TargetError, Unheld, Way,
};
use super::super::http_probe::HTTP_PROBER;
use super::client::{self, Cluster, Whereabouts};
use super::handle::{Handle, State};
use super::hold::{self, HeldHandle};
use super::kind::{self, Kubernetes};
use super::{again, apply, collect, discover, end, incarnation, load, preflight, wait};
use crate::plan::{Deployment, Plan, TargetKind};
use crate::render::{GraphVersion, in_version, write_yaml};

/// Does it; an error names the context and the namespace, whoever found it.
async fn placed<T>(
    at: Result<Whereabouts, TargetError>,
    work: impl Future<Output = Result<T, TargetError>>,
) -> Result<T, TargetError> {
    match (work.await, at) {
        (Err(error), Ok(at)) => Err(named(&at, error).await),
        (done, _) => done,
    }
}

async fn named(at: &Whereabouts, error: TargetError) -> TargetError {
    match client::place(at).await {
        Ok(place) => place.named_in(error),
        // Then the error says already that there is no such cluster.
        Err(_) => error,
    }
}

impl Target for Kubernetes {
    fn written(&self, plan: &Plan, deployment: &Deployment, version: GraphVersion) -> (&'static str, String) {
        match kind::objects(plan, deployment) {
            Ok(rendered) => {
                let objects: Vec<_> = rendered.objects.into_iter().map(|object| in_version(object, version)).collect();
                ("yaml", write_yaml(&objects))
            }
            // Measured where it runs: there is nothing to write but what it is.
            Err(_) => ("json", format!("{:#}\n", self.fingerprint(plan, deployment))),
        }
    }

    fn place<'a>(&'a self, live: Live<'a>) -> BoxFuture<'a, Option<String>> {
        Box::pin(async move {
            let place = client::place(&kind::whereabouts(live.deployment).ok()?).await.ok()?;
            Some(place.to_string())
        })
    }

    fn discover<'a>(&'a self, live: Live<'a>) -> BoxFuture<'a, Result<Value, TargetError>> {
        Box::pin(async move {
            let cluster = Cluster::connect(&kind::whereabouts(live.deployment)?).await?;
            let found = discover::discover(&cluster).await?;
            Ok(serde_json::to_value(found).expect("facts are plain data"))
        })
    }

    fn preflight<'a>(&'a self, live: Live<'a>) -> BoxFuture<'a, Result<Vec<String>, TargetError>> {
        Box::pin(preflight::preflight(live))
    }

    fn again<'a>(
        &'a self,
        live: Live<'a>,
        deployed: Option<&'a Deployed>,
        handle: &'a Value,
    ) -> BoxFuture<'a, Result<Again, TargetError>> {
        Box::pin(placed(kind::whereabouts(live.deployment), again::again(live, deployed, handle)))
    }

    fn deploy<'a>(&'a self, live: Live<'a>, ledger: &'a dyn Ledger) -> BoxFuture<'a, Result<Deployed, TargetError>> {
        Box::pin(placed(kind::whereabouts(live.deployment), apply::deploy(live, ledger)))
    }

    fn wait<'a>(
        &'a self,
        live: Live<'a>,
        deployed: &'a Deployed,
        ledger: &'a dyn Ledger,
    ) -> BoxFuture<'a, Result<Ready, TargetError>> {
        Box::pin(placed(kind::whereabouts(live.deployment), wait::wait(HTTP_PROBER, live, deployed, ledger)))
    }

    fn reach<'a>(
        &'a self,
        live: Live<'a>,
        deployed: &'a Deployed,
        ready: &'a Ready,
        ledger: &'a dyn Ledger,
    ) -> BoxFuture<'a, Result<Way, TargetError>> {
        Box::pin(placed(kind::whereabouts(live.deployment), load::reach(live, deployed, ready, ledger)))
    }

    fn incarnation<'a>(&'a self, live: Live<'a>, deployed: &'a Deployed) -> BoxFuture<'a, Result<Value, TargetError>> {
        match hold::lost(live.run) {
            // Others may be measuring on the same GPUs by now.
            Some(why) => Box::pin(async move { Err(TargetError::new(why)) }),
            None => Box::pin(placed(kind::whereabouts(live.deployment), wait::incarnation_now(deployed))),
        }
    }

    fn difference(&self, before: &Value, now: &Value) -> Vec<String> {
        incarnation::difference(before, now)
    }

    fn begun(&self, handle: &Value) -> Option<Deployed> {
        let handle = Handle::read(handle).ok().filter(|handle| handle.role.is_none())?;
        let state = serde_json::to_value(State::of_handle(handle)).ok()?;
        let endpoint = Endpoint {
            url: String::new(),
            headers_env: BTreeMap::new(),
            api_key_env: None,
            ca_file: None,
            model: String::new(),
            metrics_urls: Vec::new(),
        };
        Some(Deployed { endpoint, state })
    }

    fn collect<'a>(
        &'a self,
        live: Live<'a>,
        deployed: &'a Deployed,
        into: &'a Path,
    ) -> BoxFuture<'a, Result<Vec<String>, TargetError>> {
        Box::pin(placed(kind::whereabouts(live.deployment), collect::collect(HTTP_PROBER, deployed, into)))
    }

    fn hold<'a>(&'a self, live: Live<'a>, ledger: &'a dyn Ledger) -> BoxFuture<'a, Result<(), Unheld>> {
        Box::pin(async move {
            let at = kind::whereabouts(live.deployment)?;
            match hold::begin(live, ledger).await {
                Err(Unheld::Failed(error)) => Err(Unheld::Failed(named(&at, error).await)),
                Err(Unheld::Taken(error)) => Err(Unheld::Taken(named(&at, error).await)),
                Ok(()) => Ok(()),
            }
        })
    }

    fn is_hold(&self, handle: &Value) -> bool {
        HeldHandle::read(handle).is_some()
    }

    fn release<'a>(&'a self, run: &'a str, left: Left) -> BoxFuture<'a, Result<Vec<String>, TargetError>> {
        Box::pin(hold::finish(run, left))
    }

    fn end<'a>(&'a self, handle: &'a Value, cancel: &'a CancellationToken) -> BoxFuture<'a, Result<(), TargetError>> {
        match HeldHandle::read(handle) {
            Some(held) => Box::pin(async move { hold::finish_handle(&held).await }),
            None => Box::pin(end::end(handle, cancel)),
        }
    }
}
