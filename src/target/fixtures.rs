//! What tests of targets stand on: places of a deployment's values, and a ledger in memory.

use std::sync::Mutex;

use serde_json::{Map, Value};

use super::contract::{BoxFuture, Ledger, TargetError};
use crate::base::Span;
use crate::plan::Deployment;

pub(super) use crate::render::fixtures::{deployment, plan};

/// A deployment with the places of some values: the first time that a text stands in `source`.
pub(super) fn with_places(mut deployment: Deployment, source: &str, places: &[(&str, &str)]) -> Deployment {
    for (key, text) in places {
        let start = source.find(text).unwrap_or_else(|| panic!("{text} stands in the source"));
        let span = Span { source: crate::base::SourceId(0), range: start..start + text.len() };
        deployment.values.spans.insert((*key).to_owned(), span);
    }
    deployment
}

/// Obligations in memory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) open: Mutex<Map<String, Value>>,
    pub(super) said: Mutex<Vec<String>>,
    /// So many obligations can be written down, and no more.
    pub(super) room: Option<usize>,
}

impl Ledger for Memory {
    fn open<'a>(&'a self, what: String, handle: Value) -> BoxFuture<'a, Result<String, TargetError>> {
        let mut open = self.open.lock().unwrap();
        if self.room == Some(open.len()) {
            return Box::pin(async { Err(TargetError::new("the journal cannot be written")) });
        }
        let id = open.len().to_string();
        open.insert(id.clone(), serde_json::json!({"what": what, "handle": handle}));
        Box::pin(async { Ok(id) })
    }

    fn close<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), TargetError>> {
        self.open.lock().unwrap().remove(id);
        Box::pin(async { Ok(()) })
    }

    fn doing(&self, what: &str) {
        self.said.lock().unwrap().push(what.to_owned());
    }
}

impl Memory {
    /// The handles of what is open.
    pub(super) fn handles(&self) -> Vec<Value> {
        self.open.lock().unwrap().values().map(|entry| entry["handle"].clone()).collect()
    }
}
