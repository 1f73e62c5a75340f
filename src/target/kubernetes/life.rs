//! The life of a deployment in a cluster: which file does what of [`Target`].

use std::path::Path;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::super::contract::{BoxFuture, Deployed, Ledger, Live, Ready, Target, TargetError};
use super::client::Cluster;
use super::kind::{self, Kubernetes};
use super::{apply, discover, end};
use crate::plan::{Deployment, Plan, TargetKind};
use crate::render::write_yaml;

impl Target for Kubernetes {
    fn written(&self, plan: &Plan, deployment: &Deployment) -> (&'static str, String) {
        match kind::objects(plan, deployment) {
            Ok(rendered) => ("yaml", write_yaml(&rendered.objects)),
            // Measured where it runs: there is nothing to write but what it is.
            Err(_) => ("json", format!("{:#}\n", self.fingerprint(plan, deployment))),
        }
    }

    fn discover<'a>(&'a self, live: Live<'a>) -> BoxFuture<'a, Result<Value, TargetError>> {
        Box::pin(async move {
            let cluster = Cluster::connect(&kind::whereabouts(live.deployment)?).await?;
            let found = discover::discover(&cluster).await?;
            Ok(serde_json::to_value(found).expect("facts are plain data"))
        })
    }

    fn preflight<'a>(&'a self, _live: Live<'a>) -> BoxFuture<'a, Result<Vec<String>, TargetError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn deploy<'a>(&'a self, live: Live<'a>, ledger: &'a dyn Ledger) -> BoxFuture<'a, Result<Deployed, TargetError>> {
        Box::pin(apply::deploy(live, ledger))
    }

    fn wait<'a>(
        &'a self,
        _live: Live<'a>,
        _deployed: &'a Deployed,
        _ledger: &'a dyn Ledger,
    ) -> BoxFuture<'a, Result<Ready, TargetError>> {
        Box::pin(async { Err(TargetError::new("waiting comes next")) })
    }

    fn incarnation<'a>(
        &'a self,
        _live: Live<'a>,
        _deployed: &'a Deployed,
    ) -> BoxFuture<'a, Result<Value, TargetError>> {
        Box::pin(async { Err(TargetError::new("waiting comes next")) })
    }

    fn collect<'a>(
        &'a self,
        _live: Live<'a>,
        _deployed: &'a Deployed,
        _into: &'a Path,
    ) -> BoxFuture<'a, Result<Vec<String>, TargetError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn end<'a>(&'a self, handle: &'a Value, cancel: &'a CancellationToken) -> BoxFuture<'a, Result<(), TargetError>> {
        Box::pin(end::end(handle, cancel))
    }
}
