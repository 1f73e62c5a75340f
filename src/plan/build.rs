//! From checked JSON to the structs of the model, section by section. A section with problems comes out as `None`;
//! the problems themselves have been reported by then.

use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::content;
use super::model::{
    Comparison, Custom, Engine, Exports, Hook, Hooks, LoadSource, Model, Policy, Request, ServerMetrics, Validity,
    Values, Workload,
};
use super::shapes;
use crate::base::{Name, Problems, Span, parse_duration};

/// Reads typed values out of a checked table.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn text(self, key: &str) -> Option<String> {
        self.0.get(key)?.as_str().map(str::to_owned)
    }

    pub(super) fn texts(self, key: &str) -> Option<Vec<String>> {
        self.0.get(key)?.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
    }

    pub(super) fn number(self, key: &str) -> Option<f64> {
        self.0.get(key)?.as_f64()
    }

    pub(super) fn path(self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub(super) fn name(self, key: &str) -> Option<Name> {
        Name::new(self.0.get(key)?.as_str()?).ok()
    }

    pub(super) fn whole<T: TryFrom<u64>>(self, key: &str) -> Option<T> {
        T::try_from(self.0.get(key)?.as_u64()?).ok()
    }

    pub(super) fn flag(self, key: &str) -> Option<bool> {
        self.0.get(key)?.as_bool()
    }

    pub(super) fn duration(self, key: &str) -> Option<Duration> {
        parse_duration(self.0.get(key)?.as_str()?).ok()
    }

    /// One of the words of a `Choice`, as the enum that has the same words.
    pub(super) fn choice<T: DeserializeOwned>(self, key: &str) -> Option<T> {
        serde_json::from_value(self.0.get(key)?.clone()).ok()
    }

    pub(super) fn table(self, key: &str) -> Option<Fields<'a>> {
        self.0.get(key)?.as_object().map(Fields)
    }
}

pub(super) fn model(fields: Fields<'_>, span: Option<Span>) -> Option<Model> {
    Some(Model { id: fields.text("id")?, tokenizer: fields.path("tokenizer"), span })
}

pub(super) fn workload(name: Name, values: &Values, span: Option<Span>, problems: &mut Problems) -> Option<Workload> {
    let fields = Fields(&values.json);
    let content = content::build(values, problems)?;
    let (isl, isl_std, osl, osl_std) = match content.lengths() {
        Some(all) => (all.isl.round().max(1.0) as u32, all.isl_std, all.osl.round().max(1.0) as u32, all.osl_std),
        None => (fields.whole("isl")?, fields.number("isl-std")?, fields.whole("osl")?, fields.number("osl-std")?),
    };
    Some(Workload {
        name,
        isl,
        isl_std,
        osl,
        osl_std,
        content,
        concurrency: fields.0.get("concurrency").map_or(Some(Vec::new()), levels)?,
        shape: shapes::build(values, problems)?,
        requests: fields.whole("requests"),
        duration: fields.duration("duration")?,
        warm_up_requests: fields.whole("warm-up-requests")?,
        repeats: fields.whole("repeats")?,
        seed: fields.whole("seed")?,
        request: request(fields.table("request")?)?,
        span,
    })
}

/// A list of levels, or one level alone.
fn levels(value: &Value) -> Option<Vec<u32>> {
    let one = |value: &Value| u32::try_from(value.as_u64()?).ok();
    match value.as_array() {
        Some(items) => items.iter().map(one).collect(),
        None => Some(vec![one(value)?]),
    }
}

fn request(fields: Fields<'_>) -> Option<Request> {
    Some(Request {
        api: fields.choice("api")?,
        temperature: fields.number("temperature"),
        extra: fields.table("extra").map(|extra| extra.0.clone()).unwrap_or_default(),
        timeout: fields.duration("timeout")?,
        idle_timeout: fields.duration("idle-timeout")?,
    })
}

pub(super) fn custom_plot(fields: Fields<'_>) -> Option<Custom> {
    Some(Custom {
        x: fields.text("x")?,
        y: fields.text("y")?,
        statistic: fields.text("statistic")?,
        group: fields.text("group")?,
        scale: fields.text("scale")?,
        filter: fields.texts("filter")?,
        title: fields.text("title").unwrap_or_default(),
    })
}

pub(super) fn validity(fields: Fields<'_>) -> Option<Validity> {
    Some(Validity {
        isl_tolerance: fields.number("isl-tolerance")?,
        osl_tolerance: fields.number("osl-tolerance")?,
        max_error_share: fields.number("max-error-share")?,
        counters: fields.flag("counters")?,
        send_lag_ms: fields.number("send-lag-ms")?,
        require_steady: fields.flag("require-steady")?,
    })
}

pub(super) fn server_metrics(fields: Fields<'_>) -> ServerMetrics {
    ServerMetrics { interval: fields.duration("interval") }
}

pub(super) fn policy(fields: Fields<'_>) -> Option<Policy> {
    Some(Policy {
        teardown: fields.choice("teardown")?,
        on_failure: fields.choice("on-failure")?,
        retries: fields.whole("retries")?,
        stop_after: fields.whole("stop-after")?,
        incarnation: fields.choice("incarnation")?,
        ready_deadline: fields.duration("ready-deadline")?,
        teardown_deadline: fields.duration("teardown-deadline")?,
        reaper: fields.flag("reaper")?,
        expires_after: fields.duration("expires-after")?,
        max_duration: fields.duration("max-duration"),
    })
}

pub(super) fn load(fields: Fields<'_>) -> Option<LoadSource> {
    let resources = fields.table("resources")?;
    Some(LoadSource {
        from: fields.choice("from")?,
        image: fields.text("image"),
        carrier: fields.text("carrier"),
        binary: fields.path("binary"),
        workers: fields.whole("workers")?,
        cpu: resources.text("cpu")?,
        cpu_limit: resources.text("cpu-limit"),
        memory: resources.text("memory")?,
        node_selector: fields.table("node-selector").map(|labels| labels.0.clone()).unwrap_or_default(),
        tolerations: fields.0.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default(),
        affinity: fields.0.get("affinity").cloned(),
        priority_class: fields.text("priority-class"),
        hold: fields.duration("hold")?,
        service_account: fields.text("service-account"),
        image_pull_secrets: fields.texts("image-pull-secrets")?,
        labels: fields.table("labels").map(|labels| labels.0.clone()).unwrap_or_default(),
        annotations: fields.table("annotations").map(|annotations| annotations.0.clone()).unwrap_or_default(),
        env: fields
            .0
            .get("env")
            .map_or_else(|| Some(IndexMap::new()), |env| serde_json::from_value(env.clone()).ok())?,
    })
}

/// `values` is the whole plan's, so that each hook knows its place.
pub(super) fn hooks(fields: Fields<'_>, values: &Values) -> Hooks {
    let hook = |name: &str| {
        let fields = fields.table(name)?;
        let span = values.span(&format!("hooks.{name}")).cloned();
        Some(Hook { command: fields.texts("command")?, deadline: fields.duration("deadline")?, span })
    };
    Hooks {
        after_ready: hook("after-ready"),
        before_level: hook("before-level"),
        after_level: hook("after-level"),
        before_teardown: hook("before-teardown"),
    }
}

pub(super) fn engine(fields: Fields<'_>) -> Option<Engine> {
    let env = fields.0.get("env")?.as_object()?.iter();
    let env = env.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect::<Option<_>>()?;
    Some(Engine { args: fields.texts("args")?, env })
}

pub(super) fn exports(fields: Fields<'_>) -> Option<Exports> {
    Some(Exports { raw: fields.flag("raw")?, genai_perf: fields.flag("genai-perf")?, aiperf: fields.flag("aiperf")? })
}

pub(super) fn comparison(fields: Fields<'_>) -> Option<Comparison> {
    Some(Comparison {
        primary: fields.text("primary")?,
        baseline: fields.name("baseline"),
        margin: fields.number("margin")?,
    })
}

/// A section of a checked table.
pub(super) fn section<'a>(values: &'a Values, key: &str) -> Option<Fields<'a>> {
    Fields(&values.json).table(key)
}
