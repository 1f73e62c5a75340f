//! `load`: one point. Incarnation, counters and hooks around a closed loop; its files are published if all went well.

use std::collections::VecDeque;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::hooks::{self, Moment};
use super::point::{self, Circumstances, Observed};
use super::search;
use super::sending::{self, Sending};
use super::surroundings::{Surroundings, folder};
use super::traffic;
use crate::base::{format_duration, format_quantity};
use crate::load::{Carried, Done, LevelOrder, LevelSpec, LiveProgress, MeasuredLevel, Pacing, Place, Tuning, Work};
use crate::measure::{Breach, RESTARTED};
use crate::plan::{LoadOutcome, NeedMode, NeedRule, Reach, Scope, StepClass, StepRow};
use crate::run::{
    BoxFuture, FailureKind, Invalid, OBJECTIVES, Progress, StepAction, StepContext, StepFailure, StepOutcome,
};
use crate::target::{Deployed, Ready};

pub(super) const ROW: StepRow = StepRow {
    kind: "load",
    about: "measures one level",
    class: StepClass::Measurement,
    scope: Scope::Point,
    version: 1,
    needs: &[
        NeedRule { kind: "warm-up", reach: Reach::Own, mode: NeedMode::Succeeded },
        NeedRule { kind: "load", reach: Reach::Previous, mode: NeedMode::Ended },
    ],
    overlaps: false,
};

/// How often a running level is looked at.
const LOOK: Duration = Duration::from_millis(250);

pub(super) struct Load;

impl StepAction for Load {
    fn run<'a>(&'a self, cx: &'a StepContext) -> BoxFuture<'a, Result<StepOutcome, StepFailure>> {
        Box::pin(async move {
            let here = Surroundings::of(cx);
            let spill = Spill::for_attempt(cx)?;
            let measured = measure(&here, spill.path()).await;
            drop(spill);
            measured
        })
    }
}

/// Where raw responses wait for the end of the level; removed with the value.
struct Spill {
    path: Option<PathBuf>,
}

impl Spill {
    fn for_attempt(cx: &StepContext) -> Result<Self, StepFailure> {
        let exports = &cx.shared.plan.exports;
        let dir = sending::scratch(cx);
        // Points are measured one at a time: whatever lies there was left by a process that was killed.
        crate::base::remove_dir(&dir).map_err(|error| StepFailure::from_error(FailureKind::Storage, &error))?;
        folder(&dir)?;
        let wanted = exports.raw || exports.genai_perf;
        Ok(Self { path: wanted.then(|| dir.join(format!("{}.{}", cx.spec.address.file_stem(), cx.attempt))) })
    }

    fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // It holds nothing that is not in the exports; one that cannot be removed is only litter.
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn measure(here: &Surroundings<'_>, spill: Option<&Path>) -> Result<StepOutcome, StepFailure> {
    let cx = here.cx;
    let workload = here.workload();
    let Some(level) = cx.spec.level else {
        return Err(StepFailure::new(FailureKind::Lasting, "this step has no level"));
    };
    let deployed: Deployed = here.output("deploy").await?;
    let ready: Ready = here.output("wait").await?;
    let tuning: Tuning = here.output("warm-up").await?;
    still_the_same(here, &deployed, &ready).await?;
    let sending = Sending::open(here).await?;
    hooks::run(cx, Moment::BeforeLevel, &ready.endpoint, None).await?;

    let ruler = tuning.ruler(traffic::tokenizer(cx, here.deployment)?);
    let (isl_method, overhead) = (ruler.method(), ruler.overhead());
    let model = &sending.way.endpoint.model;
    let prompts = traffic::prompts(cx, here.deployment, workload, &tuning, ruler, model, &level.to_string());
    let spec = traffic::spec_of(workload, level);
    let series = cx.shared.plan.server_metrics.interval;
    let order = LevelOrder { spec: spec.clone(), prompts, keep_raw: spill.is_some(), before: None, series };

    let place = Place { spill: spill.map(Path::to_owned), ..sending::place(cx) };
    let sent = sending.carry_out(here, "level", Work::Level(order), &place);
    let Carried { done, receipt } = watched(cx, "measuring", &spec, &place.live, sent).await?;
    let Done::Measured(measured) = done else { return Err(sending::unexpected()) };
    let checks = sending.counter_checks(here, &measured, &receipt).await?;
    let MeasuredLevel { run, scrapes, silent, .. } = *measured;
    for url in silent {
        cx.note(format!("{url}/metrics tells nothing of the server's own view")).await?;
    }
    let mut breaches = Vec::new();
    breaches.extend(run.failed.as_ref().map(|why| Breach {
        rule: "failed".to_owned(),
        reason: why.clone(),
        momentary: true,
    }));
    breaches.extend(sending.cut());
    breaches.extend(changed(here, &deployed, &ready).await);

    let way = &sending.way;
    let circumstances = Circumstances {
        here,
        workload,
        ready: &ready,
        isl_method,
        overhead,
        level,
        transport: way.transport,
        // The end of a tunnel is a port of this machine's own, which says nothing to anybody.
        url: if way.passage.is_some() { &ready.endpoint.url } else { &way.endpoint.url },
        generator: way.generator.hosts(),
    };
    let summary = point::finish(&circumstances, run, Observed { checks, breaches, scrapes }, spill).await?;
    sending.acknowledge(cx, &receipt).await?;
    let objectives = search::outcome(&summary, &point::bounds(&cx.shared.plan));
    // A search asks whether a load is too much: that it is, is a good answer, however the server says it.
    let answered = workload.shape.search.is_some() && objectives == LoadOutcome::Missed;
    let invalid =
        summary.invalid.iter().filter(|breach| !answered || !search::is_too_much(&breach.rule)).map(|breach| Invalid {
            rule: breach.rule.clone(),
            reason: breach.reason.clone(),
            momentary: breach.momentary,
        });
    let short = |metric: &str, statistic: &str| summary.number(metric, statistic);
    Ok(StepOutcome {
        output: json!({
            "ok": summary.counts.ok,
            "failed": summary.counts.failed,
            "ttft-mean-ms": short("time-to-first-token", "mean"),
            "itl-mean-ms": short("inter-token-latency", "mean"),
            "tok-s": short("output-throughput", "value"),
            "incarnation": summary.meta.incarnation,
            OBJECTIVES: objectives,
        }),
        invalid: invalid.collect(),
    })
}

/// Refuses to measure a deployment that is not the one that became ready.
async fn still_the_same(here: &Surroundings<'_>, deployed: &Deployed, ready: &Ready) -> Result<(), StepFailure> {
    let now = here.target.incarnation(here.live(), deployed).await.map_err(|error| here.failure(error))?;
    if now == ready.incarnation {
        return Ok(());
    }
    let mut lines = here.target.difference(&ready.incarnation, &now);
    if lines.is_empty() {
        lines = vec![format!("ready: {}", ready.incarnation), format!("now: {now}")];
    }
    let message = here.placed(format!("{} is not what became ready any more", here.deployment.name)).await;
    Err(StepFailure::new(FailureKind::Lasting, message)
        .details(lines)
        .help("`dynbench apply --resume` brings it to life again and measures what is left"))
}

/// Why the point must not be used, if the deployment did not live through it.
async fn changed(here: &Surroundings<'_>, deployed: &Deployed, ready: &Ready) -> Option<Breach> {
    let reason = match here.target.incarnation(here.live(), deployed).await {
        Ok(now) if now == ready.incarnation => return None,
        Ok(now) => {
            let lines = here.target.difference(&ready.incarnation, &now);
            let what = if lines.is_empty() { String::new() } else { format!(": {}", lines.join("; ")) };
            format!("the deployment was restarted, replaced or ended during the point{what}")
        }
        Err(error) => format!("the deployment did not live through the point: {error}"),
    };
    Some(Breach { rule: RESTARTED.to_owned(), reason, momentary: true })
}

/// Runs the generator and says how far it is.
pub(super) async fn watched<T>(
    cx: &StepContext,
    doing: &str,
    spec: &LevelSpec,
    live: &LiveProgress,
    running: impl Future<Output = T>,
) -> T {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut pace = Pace::default();
    let mut running = std::pin::pin!(running);
    loop {
        tokio::select! {
            ended = &mut running => return ended,
            _ = looks.tick() => cx.progress(pace.look(doing, spec, live, cx.shared.clock.elapsed())),
        }
    }
}

/// How fast a level goes, from looks at it.
#[derive(Debug, Default)]
struct Pace {
    /// The newest looks: when, and tokens by then.
    looks: VecDeque<(Duration, u64)>,
    /// When the first measured request had ended.
    began: Option<Duration>,
}

/// Looks over which the current rate is taken: three seconds.
const WINDOW: usize = 12;

impl Pace {
    fn look(&mut self, doing: &str, spec: &LevelSpec, live: &LiveProgress, now: Duration) -> Progress {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let away = read(&live.away_s);
        if away > 0 {
            let figures = format!("its worker is out of reach for {away} s and goes on by itself");
            return Progress { doing: doing.to_owned(), done: read(&live.done), total: spec.requests, figures };
        }
        let (done, tokens, count) = (read(&live.done), read(&live.tokens), read(&live.ttft_count));
        self.looks.push_back((now, tokens));
        if self.looks.len() > WINDOW {
            self.looks.pop_front();
        }
        if done == 0 {
            let filled = read(&live.filled);
            let figures = match spec.pacing {
                Pacing::Closed => format!("{filled} of {} users have their first answer", spec.concurrency),
                Pacing::Open { .. } => format!("{filled} answers that are not recorded"),
            };
            let doing = format!("{doing}: filling");
            return Progress { doing, done, total: spec.requests, figures };
        }
        let began = *self.began.get_or_insert(now);
        let (since, then) = self.looks.front().copied().unwrap_or_default();
        let rate = (tokens - then) as f64 / now.saturating_sub(since).as_secs_f64().max(1e-3);
        let ttft = read(&live.ttft_sum_us) as f64 / 1000.0 / count.max(1) as f64;
        let failed = read(&live.failed);
        let failures = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        // A level ends by count or by time, whichever comes first.
        let elapsed = now.saturating_sub(began);
        let by_count = elapsed.mul_f64(spec.requests.saturating_sub(done) as f64 / done as f64);
        let by_time = spec.duration.saturating_sub(elapsed);
        let by_least = elapsed.mul_f64(spec.least.saturating_sub(done) as f64 / done as f64);
        let left = by_count.min(by_time.max(by_least));
        let figures = format!(
            "{} tok/s, TTFT {} ms{failures}, {} left",
            format_quantity(rate),
            format_quantity(ttft),
            format_duration(left)
        );
        Progress { doing: doing.to_owned(), done, total: spec.requests, figures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_the_smaller_of_requests_and_time() {
        let spec = LevelSpec::new(4, 100, Duration::from_secs(10));
        let live = LiveProgress::default();
        let mut pace = Pace::default();
        let filling = pace.look("measuring", &spec, &live, Duration::ZERO);
        assert_eq!(filling.figures, "0 of 4 users have their first answer");
        live.done.store(1, Ordering::Relaxed);
        pace.look("measuring", &spec, &live, Duration::from_secs(1));
        live.done.store(50, Ordering::Relaxed);
        let half = pace.look("measuring", &spec, &live, Duration::from_secs(3));
        assert!(half.figures.ends_with("2.0s left"), "{}", half.figures);
        live.done.store(51, Ordering::Relaxed);
        let late = pace.look("measuring", &spec, &live, Duration::from_secs(10));
        assert!(late.figures.ends_with("1.0s left"), "{}", late.figures);
    }
}
