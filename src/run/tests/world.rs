//! A fake world: deployments that live on when the runner dies, and step actions that keep a
//! log of their deeds and do wrong when told to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::super::*;
use crate::base::{Name, digest_json};
use crate::plan::*;

/// What this world's servers bear within the objectives.
pub(in crate::run) const MOST_USERS: f64 = 6.0;

pub(in crate::run) fn address(text: &str) -> Address {
    Address(text.to_owned())
}

pub(in crate::run) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The steps of a plan with these deployments and levels, shaped as the real table shapes them.
pub(in crate::run) fn steps(deployments: &[&str], levels: &[u32], blocks: u32) -> Vec<StepSpec> {
    let mut list: Vec<StepSpec> = Vec::new();
    let all: Vec<Address> = deployments.iter().map(|deployment| address(&format!("{deployment}/preflight"))).collect();
    for kind in ["discover", "render", "preflight"] {
        for deployment in deployments {
            let at = |kind: &str| (address(&format!("{deployment}/{kind}")), NeedMode::Succeeded);
            let (class, needs) = match kind {
                "discover" => (StepClass::Effect, vec![]),
                "render" => (StepClass::Pure, vec![at("discover")]),
                _ => (StepClass::Effect, vec![at("render")]),
            };
            let mut step = step(&format!("{deployment}/{kind}"), kind, class, needs);
            step.deployment = Some(name(deployment));
            step.overlaps = true;
            list.push(step);
        }
    }
    for block in 1..=blocks {
        let suffix = if block > 1 { format!("/r{block}") } else { String::new() };
        for deployment in deployments {
            let at = |kind: &str| address(&format!("{deployment}/{kind}{suffix}"));
            let last = |list: &[StepSpec], kind: &str| {
                list.iter().rfind(|step| step.kind == kind).map(|step| (step.address.clone(), NeedMode::Ended))
            };
            let before = list.len();
            let mut needs: Vec<_> = all.iter().map(|need| (need.clone(), NeedMode::Succeeded)).collect();
            needs.extend(last(&list, "teardown"));
            list.push(step(at("deploy").as_str(), "deploy", StepClass::Effect, needs));
            list.push(step(at("wait").as_str(), "wait", StepClass::Effect, vec![(at("deploy"), NeedMode::Succeeded)]));
            let warm_up = at("default/warm-up");
            let mut needs = vec![(at("wait"), NeedMode::Succeeded)];
            needs.extend(last(&list, "load"));
            list.push(step(warm_up.as_str(), "warm-up", StepClass::Measurement, needs));
            let mut loads = Vec::new();
            for level in levels {
                let load = at(&format!("default/load/c{level}"));
                let mut needs = vec![(warm_up.clone(), NeedMode::Succeeded)];
                needs.extend(last(&list, "load"));
                let mut point = step(load.as_str(), "load", StepClass::Measurement, needs);
                point.level = Some(crate::plan::Level::Concurrency(*level));
                list.push(point);
                loads.push((load, NeedMode::Ended));
            }
            list.push(step(at("collect").as_str(), "collect", StepClass::Effect, loads));
            let needs = vec![(at("collect"), NeedMode::Ended)];
            list.push(step(at("teardown").as_str(), "teardown", StepClass::Obligation, needs));
            for step in &mut list[before..] {
                step.deployment = Some(name(deployment));
                step.workload = step.address.as_str().contains("/default/").then(|| name("default"));
                step.block = block;
            }
        }
    }
    let teardowns = list.iter().filter(|step| step.kind == "teardown");
    let teardowns: Vec<_> = teardowns.map(|step| (step.address.clone(), NeedMode::Ended)).collect();
    list.push(step("summarize", "summarize", StepClass::Pure, teardowns));
    let mut plot = step("plot/pareto", "plot", StepClass::Pure, vec![(address("summarize"), NeedMode::Succeeded)]);
    plot.plot = Some("pareto".to_owned());
    plot.overlaps = true;
    list.push(plot);
    list
}

fn step(text: &str, kind: &str, class: StepClass, needs: Vec<(Address, NeedMode)>) -> StepSpec {
    let fingerprint = json!({"address": text, "version": 1});
    StepSpec {
        address: address(text),
        kind: kind.to_owned(),
        class,
        needs: needs.into_iter().map(|(address, mode)| Need { address, mode }).collect(),
        overlaps: false,
        key: digest_json(&fingerprint),
        fingerprint,
        summary: format!("does {kind}"),
        estimate: None,
        deployment: None,
        workload: None,
        block: 1,
        level: None,
        plot: None,
        span: None,
    }
}

/// Gives a step another meaning.
pub(in crate::run) fn edit(frozen: &mut Frozen, text: &str, version: u32) {
    let step = frozen.steps.iter_mut().find(|step| step.address.as_str() == text).unwrap();
    step.fingerprint["version"] = json!(version);
    step.key = digest_json(&step.fingerprint);
}

pub(in crate::run) fn frozen(deployments: &[&str], levels: &[u32], blocks: u32) -> Frozen {
    let plan = Plan {
        name: name("test"),
        description: None,
        dir: PathBuf::from("."),
        model: Model { id: "m".to_owned(), tokenizer: None, span: None },
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
            retries: 1,
            stop_after: 2,
            incarnation: IncarnationPolicy::Warn,
            ready_deadline: Duration::from_secs(600),
            teardown_deadline: Duration::from_secs(300),
            reaper: false,
            expires_after: Duration::from_secs(3600),
            max_duration: None,
        },
        hooks: Hooks::default(),
        engine: crate::plan::Engine::default(),
        exports: Exports { raw: true, genai_perf: true, aiperf: true },
        load: crate::plan::LoadSource::default(),
        server_metrics: crate::plan::ServerMetrics::default(),
        tokenizers: std::collections::BTreeMap::new(),
        compare: Comparison { primary: "ttft".to_owned(), baseline: None, margin: 0.05 },
    };
    let sources = vec![SourceFile { name: "plan.toml".to_owned(), bytes: b"schema = 1\n".to_vec() }];
    Frozen { plan, steps: steps(deployments, levels, blocks), sources }
}

/// What an attempt at a step does instead of what it should.
#[derive(Debug, Clone)]
pub(in crate::run) enum Fault {
    Fail(FailureKind),
    Invalid {
        momentary: bool,
    },
    Panic,
    /// Never ends, and does not hear that it should.
    Deaf,
    /// Takes so long, unless it is told to end.
    Slow(Duration),
    /// Another process answers from now on.
    Replaced,
}

#[derive(Default)]
struct Inside {
    alive: BTreeSet<String>,
    started: Vec<String>,
    deeds: Vec<String>,
    running: Vec<(String, bool)>,
    most_together: usize,
    disturbed: Vec<String>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    replacements: u32,
}

/// What is outside of the runner. Clones are the same world.
#[derive(Clone, Default)]
pub(in crate::run) struct World {
    inside: Arc<Mutex<Inside>>,
}

impl World {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The next attempts at a step go wrong like this.
    pub(in crate::run) fn fault(&self, step: &str, faults: impl IntoIterator<Item = Fault>) {
        self.inside().faults.entry(step.to_owned()).or_default().extend(faults);
    }

    pub(in crate::run) fn alive(&self) -> Vec<String> {
        self.inside().alive.iter().cloned().collect()
    }

    /// Everything that was ever brought to life.
    pub(in crate::run) fn started(&self) -> Vec<String> {
        self.inside().started.clone()
    }

    /// All that lives is gone, and nobody was told.
    pub(in crate::run) fn vanish(&self) {
        self.inside().alive.clear();
    }

    /// Others answer from now on where something lives.
    pub(in crate::run) fn replace(&self) {
        self.inside().replacements += 1;
    }

    pub(in crate::run) fn deeds(&self) -> Vec<String> {
        self.inside().deeds.clone()
    }

    /// How often a step did what it is for.
    pub(in crate::run) fn count(&self, step: &str) -> usize {
        self.inside().deeds.iter().filter(|deed| *deed == step).count()
    }

    pub(in crate::run) fn most_together(&self) -> usize {
        self.inside().most_together
    }

    pub(in crate::run) fn disturbed(&self) -> Vec<String> {
        self.inside().disturbed.clone()
    }

    fn did(&self, what: &str) {
        self.inside().deeds.push(what.to_owned());
    }

    pub(in crate::run) fn action(&self, _kind: &str) -> Option<Arc<dyn StepAction>> {
        Some(Arc::new(Fake { world: self.clone() }))
    }
}

struct Fake {
    world: World,
}

/// Marks a step as running, whatever its end.
struct Running<'a>(&'a World, String);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.inside().running.retain(|(step, _)| *step != self.1);
    }
}

impl StepAction for Fake {
    fn run<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<StepOutcome, StepFailure>> {
        Box::pin(async move {
            let me = cx.spec.address.to_string();
            let _running = self.enter(&me, cx.spec.overlaps);
            tokio::task::yield_now().await;
            let fault = self.world.inside().faults.get_mut(&me).and_then(VecDeque::pop_front);
            let mut invalid = Vec::new();
            match fault {
                None => {}
                Some(Fault::Fail(class)) => return Err(StepFailure::new(class, format!("{me} was told to fail"))),
                Some(Fault::Panic) => panic!("{me} was told to panic"),
                Some(Fault::Deaf) => {
                    cx.progress(Progress { doing: "nothing".to_owned(), ..Progress::default() });
                    std::future::pending().await
                }
                Some(Fault::Slow(time)) => tokio::select! {
                    () = slowly(cx, time) => {}
                    () = cx.cancel.cancelled() => return Err(StepFailure::new(FailureKind::Interrupted, "cancelled")),
                },
                Some(Fault::Invalid { momentary }) => {
                    let reason = format!("{me} was told to be invalid");
                    invalid.push(Invalid { rule: "told".to_owned(), reason, momentary });
                }
                Some(Fault::Replaced) => {
                    self.world.replace();
                    cx.record_incarnation(self.incarnation(cx).await).await?;
                }
            }
            let output = self.act(cx, &me).await?;
            self.world.did(&me);
            Ok(StepOutcome { output, invalid })
        })
    }
}

async fn slowly(cx: &StepContext, time: Duration) {
    for tenth in 0..10 {
        cx.progress(Progress { doing: "taking its time".to_owned(), done: tenth, total: 10, ..Progress::default() });
        tokio::time::sleep(time / 10).await;
    }
}

impl Fake {
    fn enter(&self, me: &str, overlaps: bool) -> Running<'_> {
        let mut inside = self.world.inside();
        inside.running.push((me.to_owned(), overlaps));
        let together = inside.running.len();
        inside.most_together = inside.most_together.max(together);
        if together > 1 && inside.running.iter().any(|(_, overlaps)| !overlaps) {
            let names: Vec<_> = inside.running.iter().map(|(step, _)| step.clone()).collect();
            inside.disturbed.push(names.join(" beside "));
        }
        drop(inside);
        Running(&self.world, me.to_owned())
    }

    async fn mine(&self, cx: &StepContext) -> Vec<Obligation> {
        let life = life(cx);
        cx.obligations().await.into_iter().filter(|open| open.handle["life"] == json!(life)).collect()
    }

    async fn incarnation(&self, cx: &StepContext) -> Value {
        let ids: Vec<_> = self.mine(cx).await.into_iter().map(|open| open.id).collect();
        json!({"ids": ids, "replacements": self.world.inside().replacements})
    }

    async fn act(&self, cx: &StepContext, me: &str) -> Result<Value, StepFailure> {
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).map_err(|error| StepFailure::from_error(FailureKind::Storage, &error))
        };
        match cx.spec.kind.as_str() {
            "discover" | "preflight" | "warm-up" => Ok(json!({"did": me})),
            "render" => {
                write(&cx.attempt_dir.join("objects.json"), "{}")?;
                Ok(json!({"objects": 1}))
            }
            "deploy" => {
                let recorded = cx.output_of(&cx.spec.address).await;
                for open in self.mine(cx).await {
                    // What is recorded and lives is used again, as real targets do.
                    let known = recorded.as_ref().filter(|recorded| recorded["id"] == json!(open.id) && !cx.asked);
                    if let Some(known) = known.filter(|_| self.world.inside().alive.contains(&open.id)) {
                        return Ok(known.clone());
                    }
                    self.world.inside().alive.remove(&open.id);
                    cx.close_obligation(&open.id).await?;
                }
                let id = format!("{me}#{}", cx.attempt);
                cx.open_obligation(Obligation {
                    id: id.clone(),
                    address: cx.spec.address.clone(),
                    target: "fake".to_owned(),
                    what: format!("process {id}"),
                    handle: json!({"life": life(cx)}),
                })
                .await?;
                self.world.inside().alive.insert(id.clone());
                self.world.inside().started.push(id.clone());
                Ok(json!({"id": id}))
            }
            "wait" => {
                cx.record_incarnation(self.incarnation(cx).await).await?;
                Ok(json!({"ready": true}))
            }
            "load" => {
                let results = cx.attempt_dir.join("results.json");
                write(&results, "half of ")?;
                cx.progress(Progress { doing: "measuring".to_owned(), ..Progress::default() });
                cx.note("half way").await?;
                let alive = self.mine(cx).await.iter().any(|open| self.world.inside().alive.contains(&open.id));
                if !alive {
                    return Err(StepFailure::new(FailureKind::Lasting, "nobody answers"));
                }
                write(&results, &format!("all of {me}, attempt {}", cx.attempt))?;
                write(&cx.attempt_dir.join("raw/records.jsonl"), "{}\n{}\n")?;
                let users = cx.spec.level.map_or(0.0, |level| level.value());
                let objectives = if users <= MOST_USERS { LoadOutcome::Kept } else { LoadOutcome::Missed };
                Ok(json!({"requests": 400, OBJECTIVES: objectives}))
            }
            "collect" => {
                write(&cx.attempt_dir.join("server.log"), "log")?;
                Ok(json!(null))
            }
            "teardown" => {
                for open in self.mine(cx).await {
                    self.world.inside().alive.remove(&open.id);
                    cx.close_obligation(&open.id).await?;
                }
                Ok(json!(null))
            }
            "summarize" => {
                let mut text = String::new();
                for state in cx.states().await.iter().filter(|state| state.address.as_str().contains("/load/")) {
                    text.push_str(&format!(
                        "{} {}\n",
                        state.address,
                        if state.output.is_some() { "good" } else { "-" }
                    ));
                }
                write(&cx.run_dir().join("SUMMARY.txt"), &text)?;
                Ok(json!({FILES: ["SUMMARY.txt"]}))
            }
            "plot" => {
                write(&cx.run_dir().join("plots/pareto.svg"), "<svg/>")?;
                Ok(json!({FILES: ["plots/pareto.svg"]}))
            }
            other => panic!("no such kind in this world: {other}"),
        }
    }
}

fn life(cx: &StepContext) -> String {
    let deployment = cx.spec.deployment.as_ref().map(Name::to_string).unwrap_or_default();
    format!("{deployment}/{}", cx.spec.block)
}
