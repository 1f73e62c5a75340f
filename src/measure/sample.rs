//! Points made by arithmetic, for the tests of this floor and of the report.

use std::collections::BTreeMap;

use super::{
    Bound, Chunks, Facts, FailureClass, GeneratorHealth, Level, Outcome, PointData, PointMeta, PointSummary,
    RequestRecord, Series, TokenSource,
};
use crate::base::{Name, Timestamp};

/// The shape of a made-up point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Deployment.
    pub(crate) deployment: &'static str,
    /// Closed-loop level.
    pub(crate) users: u32,
    /// Block.
    pub(crate) repeat: u32,
    /// Requests.
    pub(crate) requests: u64,
    /// TTFT of the middle request, ms; the others lie within 10 % of it.
    pub(crate) ttft: f64,
    /// Gap between tokens, ms.
    pub(crate) itl: f64,
    /// Output tokens.
    pub(crate) osl: u32,
    /// GPUs, 0 when unknown.
    pub(crate) gpus: u32,
    /// Every so many requests one times out; 0: none.
    pub(crate) fail_every: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            deployment: "agg",
            users: 4,
            repeat: 1,
            requests: 400,
            ttft: 100.0,
            itl: 10.0,
            osl: 20,
            gpus: 1,
            fail_every: 0,
        }
    }
}

/// The records of a closed loop in which every user sends its next request as soon as the last one ended.
pub(crate) fn point(shape: Shape) -> PointData {
    let mut free = vec![0_u64; shape.users as usize];
    let records = (0..shape.requests).map(|index| record(shape, index, &mut free)).collect();
    PointData {
        meta: PointMeta {
            deployment: name(shape.deployment),
            workload: name("default"),
            level: Level::Concurrency(shape.users),
            repeat: shape.repeat,
            attempt: 1,
            run: "20261124-221003".to_owned(),
            origin: Timestamp(1_795_558_203_000_000_000),
            model: "Qwen/Qwen3-0.6B".to_owned(),
            url: "http://127.0.0.1:8000".to_owned(),
            api: "chat".to_owned(),
            simulated: false,
            transport: "direct".to_owned(),
            gpus: Some(f64::from(shape.gpus)).filter(|gpus| *gpus > 0.0),
            isl: 200.0,
            isl_std: 10.0,
            osl: f64::from(shape.osl),
            osl_std: 0.0,
            content: None,
            alike: false,
            template_overhead: Some(9.0),
            isl_method: "calibrated".to_owned(),
            measured_by: None,
            seed: 42,
            incarnation: format!("{}-{}", shape.deployment, shape.repeat),
            series: Series::default(),
            facts: Facts::new(),
        },
        records,
        health: GeneratorHealth {
            send_lag_p99_ms: 0.12,
            send_lag_max_ms: 0.4,
            loop_lag_mean_ms: 0.1,
            loop_lag_p99_ms: 0.2,
            cpu_seconds: 1.5,
            cpu_share: 0.08,
            cpu_wait_share: 0.01,
            threads: 1,
            events_per_s: 300.0,
            ceiling_events_per_s: Some(600_000.0),
            events_per_read: 1.02,
            workers: 1,
            clock_uncertainty_ms: 0.0,
        },
        extra: BTreeMap::new(),
        objectives: vec![Bound {
            metric: "time-to-first-token".to_owned(),
            statistic: "p99".to_owned(),
            bound: 1000.0,
        }],
    }
}

fn record(shape: Shape, index: u64, free: &mut [u64]) -> RequestRecord {
    let slot = (index % u64::from(shape.users)) as usize;
    let sent = free[slot];
    let at = |ms: f64| sent + (ms * 1e6) as u64;
    // 17 and 21 have no common factor: 21 different values, spread evenly.
    let ttft = shape.ttft * (0.9 + 0.01 * (index * 17 % 21) as f64);
    let chunks: Vec<_> = (0..shape.osl).map(|token| at(ttft + shape.itl * f64::from(token)) - sent).collect();
    let last = sent + chunks[chunks.len() - 1];
    free[slot] = last;
    let failed = shape.fail_every > 0 && index % shape.fail_every == shape.fail_every - 1;
    let seen = |time: u64| Some(time).filter(|_| !failed);
    RequestRecord {
        id: format!("{}-{index}", shape.deployment),
        index,
        slot: slot as u32,
        turn: None,
        scheduled: sent,
        due: None,
        sent,
        connect: None,
        headers: seen(sent + 1_000_000),
        first_byte: seen(sent + 1_100_000),
        first_text: seen(sent + chunks[0]),
        second_text: chunks.get(1).and_then(|second| seen(sent + second)),
        first_output: seen(sent + chunks[0]),
        last_text: seen(last),
        end: last,
        chunks: if failed { Chunks::default() } else { Chunks::with_tokens(chunks.into_iter().map(|at| (at, 1))) },
        reads: shape.osl,
        events: shape.osl + 2,
        bytes: 200 * u64::from(shape.osl),
        isl_asked: 195 + (index % 11) as u32,
        osl_asked: shape.osl,
        isl: Some(195 + (index % 11) as u32).filter(|_| !failed),
        prompt_tokens: Some(204 + (index % 11) as u32).filter(|_| !failed),
        cached_tokens: Some(0).filter(|_| !failed),
        output_tokens: Some(shape.osl).filter(|_| !failed),
        reasoning_tokens: None,
        token_source: if failed { TokenSource::None } else { TokenSource::Usage },
        finish_reason: Some("length".to_owned()).filter(|_| !failed),
        status: Some(200),
        outcome: if failed {
            Outcome::Failed { class: FailureClass::Timeout, detail: "no end after 600 s".to_owned() }
        } else {
            Outcome::Ok
        },
    }
}

/// The same in numbers.
pub(crate) fn summary(shape: Shape) -> PointSummary {
    PointSummary::of(&point(shape))
}

/// A name that a test knows to be one.
pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("tests use valid names")
}
