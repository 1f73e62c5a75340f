//! What tests of targets stand on: a plan of one deployment, and a ledger in memory.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::contract::{BoxFuture, Ledger, TargetError};
use crate::base::{Name, Span};
use crate::plan::{
    Comparison, Deployment, Exports, Hooks, IncarnationPolicy, Model, OnFailure, Plan, PlotChoice, Policy,
    TargetChoice, Teardown, Validity, Values,
};

/// A deployment of `kind` with these keys.
pub(super) fn deployment(kind: &str, keys: Value) -> Deployment {
    let Value::Object(json) = keys else { panic!("keys are an object") };
    Deployment {
        name: Name::new("one").unwrap(),
        target: TargetChoice { kind: kind.to_owned(), values: Values::default() },
        values: Values { json, ..Values::default() },
        gpus: None,
        served_name: None,
        tokenizer: None,
        span: None,
    }
}

/// The same, with the places of some values: the first time that a text stands in `source`.
pub(super) fn with_places(mut deployment: Deployment, source: &str, places: &[(&str, &str)]) -> Deployment {
    for (key, text) in places {
        let start = source.find(text).unwrap_or_else(|| panic!("{text} stands in the source"));
        let span = Span { source: crate::base::SourceId(0), range: start..start + text.len() };
        deployment.values.spans.insert((*key).to_owned(), span);
    }
    deployment
}

/// A plan around it.
pub(super) fn plan(dir: &Path, deployment: &Deployment) -> Plan {
    let minute = Duration::from_secs(60);
    Plan {
        name: Name::new("p").unwrap(),
        description: None,
        dir: dir.to_owned(),
        model: Model { id: "tiny-llama".to_owned(), tokenizer: None, span: None },
        workloads: IndexMap::new(),
        deployments: IndexMap::from([(deployment.name.clone(), deployment.clone())]),
        plots: PlotChoice::default(),
        objectives: Vec::new(),
        validity: Validity {
            isl_tolerance: 0.02,
            osl_tolerance: 0.02,
            max_error_share: 0.01,
            counters: true,
            send_lag_ms: 1.0,
        },
        policy: Policy {
            teardown: Teardown::Always,
            on_failure: OnFailure::Continue,
            retries: 0,
            stop_after: 2,
            incarnation: IncarnationPolicy::Warn,
            ready_deadline: minute,
            teardown_deadline: minute,
            max_duration: None,
        },
        hooks: Hooks::default(),
        exports: Exports { raw: true, genai_perf: true },
        compare: Comparison { primary: "ttft".to_owned(), baseline: None, margin: 0.03 },
    }
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
