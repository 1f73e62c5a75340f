//! Made-up measurements that look like real ones: deployments that queue, batch and saturate each in their own way.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::PlotInput;
use crate::base::{Name, Timestamp};
use crate::measure::{
    Bound, Breach, Chunks, Facts, FailureClass, GeneratorHealth, Level, Outcome, PointData, PointMeta, PointSummary,
    RequestRecord, Series, ServerScrape, ServerValue, TokenSource,
};

/// Everything that an input borrows.
pub(super) struct World {
    pub(super) simulated: bool,
    pub(super) deployments: Vec<Name>,
    pub(super) points: Vec<PointSummary>,
    pub(super) objectives: Vec<Bound>,
    pub(super) keep_records: bool,
    /// Times are multiplied by this at the highest levels: huge ranges.
    pub(super) blow_up: f64,
    cache: RefCell<BTreeMap<String, Vec<RequestRecord>>>,
}

/// What to make up.
pub(super) struct Shape<'a> {
    pub(super) deployments: &'a [&'a str],
    pub(super) workloads: &'a [(&'a str, f64, f64)],
    pub(super) levels: &'a [u32],
    pub(super) repeats: u32,
    pub(super) simulated: bool,
}

pub(super) const GUIDE: Shape<'static> = Shape {
    deployments: &["agg", "disagg", "vanilla"],
    workloads: &[("default", 200.0, 200.0)],
    levels: &[1, 2, 4, 8, 16, 32, 64, 128],
    repeats: 1,
    simulated: false,
};

impl World {
    pub(super) fn of(shape: &Shape<'_>) -> Self {
        let mut world = Self {
            simulated: shape.simulated,
            deployments: shape.deployments.iter().map(|name| Name::new(name).unwrap()).collect(),
            points: Vec::new(),
            objectives: Vec::new(),
            keep_records: true,
            blow_up: 1.0,
            cache: RefCell::default(),
        };
        for repeat in 1..=shape.repeats {
            for (place, deployment) in world.deployments.clone().into_iter().enumerate() {
                for (workload, isl, osl) in shape.workloads {
                    for level in shape.levels {
                        let meta = PointMeta {
                            deployment: deployment.clone(),
                            workload: Name::new(workload).unwrap(),
                            level: Level::Concurrency(*level),
                            repeat,
                            attempt: 1,
                            run: "20261124-221003".to_owned(),
                            origin: Timestamp(0),
                            model: "Qwen/Qwen3-0.6B".to_owned(),
                            url: "http://127.0.0.1:8000".to_owned(),
                            api: "chat".to_owned(),
                            simulated: shape.simulated,
                            transport: "direct".to_owned(),
                            gpus: Some([1.0, 2.0, 1.0][place % 3]),
                            isl: *isl,
                            isl_std: isl / 20.0,
                            osl: *osl,
                            osl_std: 0.0,
                            content: None,
                            alike: false,
                            template_overhead: None,
                            isl_method: "calibrated".to_owned(),
                            measured_by: None,
                            seed: 1,
                            incarnation: "one".to_owned(),
                            series: Series::default(),
                            facts: Facts::new(),
                        };
                        world.add(meta);
                    }
                }
            }
        }
        world
    }

    fn add(&mut self, meta: PointMeta) {
        let records = self.records(&meta);
        let health = GeneratorHealth::default();
        let data = PointData {
            meta,
            records,
            health,
            extra: BTreeMap::from([("power".to_owned(), 300.0)]),
            objectives: vec![Bound {
                metric: "time-to-first-token".to_owned(),
                statistic: "p99".to_owned(),
                bound: 1000.0,
            }],
        };
        self.points.push(PointSummary::of(&data));
    }

    /// Numbers again from the records, after `blow_up` was changed.
    pub(super) fn again(&mut self) {
        self.cache.borrow_mut().clear();
        for point in std::mem::take(&mut self.points) {
            self.add(point.meta);
        }
    }

    /// Marks points as not valid.
    pub(super) fn break_points(&mut self, which: impl Fn(&PointMeta) -> bool, reason: &str) {
        for point in self.points.iter_mut().filter(|point| which(&point.meta)) {
            point.invalid.push(Breach { rule: "errors".to_owned(), reason: reason.to_owned(), momentary: false });
        }
    }

    pub(super) fn objective(&mut self, metric: &str, statistic: &str, bound: f64) {
        self.objectives.push(Bound { metric: metric.to_owned(), statistic: statistic.to_owned(), bound });
    }

    pub(super) fn with_input<T>(&self, use_it: impl FnOnce(&PlotInput<'_>) -> T) -> T {
        let records = |meta: &PointMeta| self.keep_records.then(|| self.records(meta));
        let server = |meta: &PointMeta| self.keep_records.then(|| self.scrapes(meta));
        use_it(&PlotInput {
            plan: "agg-vs-disagg-vs-vanilla",
            run: "20261124-221003",
            model: "Qwen/Qwen3-0.6B",
            transport: "direct",
            caveats: "disagg: disaggregated not proven",
            simulated: self.simulated,
            deployments: &self.deployments,
            points: &self.points,
            records: &records,
            server: &server,
            objectives: &self.objectives,
        })
    }

    /// A server that runs at most 48 requests at a time and queues the others; the second deployment has two parts.
    fn scrapes(&self, meta: &PointMeta) -> Vec<ServerScrape> {
        let place = self.deployments.iter().position(|name| *name == meta.deployment).unwrap();
        let end = self.records(meta).iter().map(|record| record.end).max().unwrap() as f64 / 1e9;
        let parts: &[Option<&str>] = if place == 1 { &[Some("prefill"), Some("decode")] } else { &[None] };
        let users = meta.level.value();
        let value = |series: &str, value: f64, role: Option<&str>| ServerValue {
            series: series.to_owned(),
            value,
            role: role.map(str::to_owned),
            gpu: None,
        };
        let at = |round: u64| {
            let wave = (round as f64 * 0.7 + place as f64).sin();
            let of_part = |role: &Option<&str>| {
                let share = if *role == Some("prefill") { 0.2 } else { 1.0 };
                let running = (share * users * (0.9 + 0.1 * wave)).min(48.0);
                [
                    value("requests-waiting", (share * users - running).max(0.0).floor(), *role),
                    value("requests-running", running.floor(), *role),
                    value("kv-usage", (running / 60.0).min(1.0), *role),
                ]
            };
            let values = parts.iter().flat_map(of_part).collect();
            ServerScrape { t_s: end * round as f64 / 40.0, round, url: meta.url.clone(), values }
        };
        (0..40).map(at).collect()
    }

    fn records(&self, meta: &PointMeta) -> Vec<RequestRecord> {
        let key = format!("{}/{}/{}/{}", meta.deployment, meta.workload, meta.level, meta.repeat);
        self.cache.borrow_mut().entry(key).or_insert_with(|| self.make(meta)).clone()
    }

    /// A closed loop against a server whose prefill queues and whose decode step grows with its batch.
    fn make(&self, meta: &PointMeta) -> Vec<RequestRecord> {
        let place = self.deployments.iter().position(|name| *name == meta.deployment).unwrap();
        let users = meta.level.value();
        let seed = place as u64 * 1_000_003
            + meta.level.value() as u64 * 101
            + u64::from(meta.repeat) * 7
            + meta.workload.as_str().len() as u64;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let day = 1.0 + 0.06 * (random.random::<f64>() - 0.5);
        let extra = 1.0 + 0.12 * (place / 3) as f64;
        let (ttft_base, ttft_user, itl_base, itl_user, wild) =
            [(24.0, 2.1, 6.8, 0.075, 0.5), (41.0, 1.15, 7.4, 0.026, 0.15), (31.0, 3.6, 7.1, 0.115, 0.7)][place % 3];
        let load = if users > 50.0 { self.blow_up } else { 1.0 };
        let wanted = (10.0 * users).max(400.0) as u64;
        let mut free: Vec<u64> = vec![0; users as usize];
        let mut records = Vec::new();
        for index in 0..wanted {
            let slot = (0..free.len()).min_by_key(|slot| free[*slot]).unwrap();
            let sent = free[slot];
            let wave =
                if sent == 0 { 2.2 * random.random::<f64>() } else { random.random::<f64>() * random.random::<f64>() };
            let ttft = day * extra * load * (ttft_base + ttft_user * users * (0.35 + 1.3 * wave)) * meta.isl / 200.0;
            let jitter = 1.0 + wild * 0.25 * random.random::<f64>().powi(3);
            let itl =
                day * extra * load * (itl_base + itl_user * users * (0.8 + 0.4 * random.random::<f64>())) * jitter;
            let tokens = meta.osl as u32;
            let first = sent + (ttft * 1e6) as u64;
            let last = first + (itl * f64::from(tokens - 1) * 1e6) as u64;
            free[slot] = last + 40_000;
            let failed = place == 0 && users >= 128.0 && index % 97 == 5;
            let outcome = if failed {
                Outcome::Failed { class: FailureClass::Cut, detail: "the stream ended early".to_owned() }
            } else {
                Outcome::Ok
            };
            records.push(RequestRecord {
                id: format!("r{index}"),
                index,
                slot: slot as u32,
                turn: None,
                scheduled: sent,
                due: None,
                sent,
                connect: None,
                headers: Some(first),
                first_byte: Some(first),
                first_text: Some(first),
                second_text: Some(first + (itl * 1e6) as u64),
                first_output: Some(first),
                last_text: Some(last),
                end: last,
                chunks: Chunks::default(),
                reads: tokens,
                events: tokens,
                bytes: 0,
                isl_asked: meta.isl as u32,
                osl_asked: tokens,
                isl: Some(meta.isl as u32),
                prompt_tokens: Some(meta.isl as u32 + 8),
                cached_tokens: None,
                output_tokens: Some(tokens),
                reasoning_tokens: None,
                token_source: TokenSource::Usage,
                finish_reason: Some("length".to_owned()),
                status: Some(200),
                outcome,
            });
        }
        records
    }
}
