//! What tests stand on: a plan, and a deployment with any keys.

use std::path::Path;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;

use crate::base::Name;
use crate::plan::{
    Comparison, Deployment, Exports, Hooks, IncarnationPolicy, Model, OnFailure, Plan, PlotChoice, Policy,
    TargetChoice, Teardown, Validity, Values,
};

/// A deployment with these keys.
pub(crate) fn deployment(keys: Value) -> Deployment {
    let Value::Object(json) = keys else { panic!("keys are an object") };
    let values = Values { json, ..Values::default() };
    Deployment {
        name: Name::new("agg").unwrap(),
        target: TargetChoice { kind: "kubernetes".to_owned(), values: Values::default() },
        values,
        gpus: None,
        served_name: None,
        tokenizer: None,
        span: None,
    }
}

/// A plan without workloads.
pub(crate) fn plan(dir: &Path) -> Plan {
    let minute = Duration::from_secs(60);
    Plan {
        name: Name::new("p").unwrap(),
        description: None,
        dir: dir.to_owned(),
        model: Model { id: "Qwen/Qwen3-0.6B".to_owned(), tokenizer: None, span: None },
        engine: crate::plan::Engine::default(),
        workloads: IndexMap::new(),
        deployments: IndexMap::new(),
        plots: PlotChoice::default(),
        objectives: Vec::new(),
        validity: Validity {
            isl_tolerance: 0.02,
            osl_tolerance: 0.02,
            max_error_share: 0.01,
            counters: true,
            send_lag_ms: 1.0,
            require_steady: false,
        },
        policy: Policy {
            teardown: Teardown::Always,
            on_failure: OnFailure::Continue,
            retries: 0,
            stop_after: 2,
            incarnation: IncarnationPolicy::Warn,
            ready_deadline: minute,
            teardown_deadline: minute,
            reaper: false,
            expires_after: Duration::from_secs(3600),
            max_duration: None,
        },
        hooks: Hooks::default(),
        exports: Exports { raw: true, genai_perf: true, aiperf: true },
        load: crate::plan::LoadSource::default(),
        server_metrics: crate::plan::ServerMetrics::default(),
        tokenizers: std::collections::BTreeMap::new(),
        compare: Comparison { primary: "ttft".to_owned(), baseline: None, margin: 0.03 },
    }
}
