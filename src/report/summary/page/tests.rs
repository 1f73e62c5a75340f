//! Whole summaries, to be read as a user reads them.

use std::path::PathBuf;

use super::summary_text;
use crate::base::Name;
use crate::base::fact::METRICS_UNREAD;
use crate::measure::sample::{Shape, point, summary};
use crate::measure::{Bound, CounterCheck, Level, PointSummary, Rate, ValidityRules, judge};
use crate::report::dataset::tests::info;
use crate::report::text::WIDTH;
use crate::report::{Point, RunInfo, RunResults, SearchAnswer, StepNote, StepState};

const RULES: ValidityRules = ValidityRules {
    isl_tolerance: 0.02,
    osl_tolerance: 0.02,
    max_error_share: 0.01,
    counters: true,
    send_lag_ms: 1.0,
    require_steady: false,
};

const THREE: [&str; 3] = ["agg", "disagg", "vanilla"];

/// The plan's numbers of GPUs, as [`shape`] has them.
fn three() -> RunInfo {
    let mut info = info(&THREE);
    info.deployments[..2].iter_mut().for_each(|deployment| deployment.gpus = Some(2.0));
    info
}

fn run(info: RunInfo, points: impl IntoIterator<Item = PointSummary>) -> RunResults {
    let judged = points.into_iter().map(|mut summary| {
        summary.invalid = judge(&summary, &RULES);
        Point { dir: PathBuf::from("unused"), summary }
    });
    RunResults::new(info, judged.collect())
}

/// TTFT grows with the level; disaggregation has steadier ITL, vanilla is slower throughout.
fn shape(deployment: &'static str, users: u32) -> Shape {
    let load = f64::from(users);
    let (ttft, itl, gpus) = match deployment {
        "agg" => (30.0 + 4.0 * load, 5.0 + 0.30 * load, 2),
        "disagg" => (45.0 + 5.0 * load, 5.0 + 0.12 * load, 2),
        _ => (40.0 + 6.0 * load, 6.0 + 0.40 * load, 1),
    };
    Shape {
        deployment,
        users,
        ttft,
        itl,
        gpus,
        requests: (10 * u64::from(users)).max(400),
        osl: 50,
        ..Shape::default()
    }
}

fn sweep(levels: &[u32]) -> Vec<PointSummary> {
    let at = |deployment: &'static str| levels.iter().map(move |users| summary(shape(deployment, *users)));
    THREE.into_iter().flat_map(at).collect()
}

fn objectives() -> Vec<Bound> {
    [("time-to-first-token", "p99", 200.0), ("inter-token-latency", "mean", 10.0)]
        .map(|(metric, statistic, bound)| Bound { metric: metric.to_owned(), statistic: statistic.to_owned(), bound })
        .to_vec()
}

fn checked(results: &RunResults) -> String {
    let text = summary_text(results);
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH + 8, "{} characters: {line}", line.chars().count());
        assert_eq!(line.trim_end(), line);
    }
    assert_eq!(summary_text(results), text);
    text
}

#[test]
fn three_deployments() {
    let info = RunInfo { objectives: objectives(), ..three() };
    insta::assert_snapshot!(checked(&run(info, sweep(&[1, 4, 16, 64]))));
}

#[test]
fn simulated() {
    let mut info = three();
    info.deployments.iter_mut().for_each(|deployment| {
        deployment.time_scale = Some(0.1);
        deployment.target = "simulated".to_owned();
    });
    let points = sweep(&[1, 8]).into_iter().map(|mut point| {
        point.meta.simulated = true;
        point
    });
    insta::assert_snapshot!(checked(&run(info, points)));
}

#[test]
fn what_is_simulated_beside_real_servers_is_named() {
    let mut mixed = three();
    mixed.deployments[2].time_scale = Some(1.0);
    let text = checked(&run(mixed, sweep(&[1])));
    assert!(text.contains("SIMULATED: vanilla is served by the embedded engine"), "{text}");
}

#[test]
fn failures_and_invalid_points() {
    let mut info = RunInfo { objectives: objectives(), ..three() };
    info.deployments[1].gpus = None;
    let note =
        |address: &str, state, reason: &str| StepNote { address: address.to_owned(), state, reason: reason.to_owned() };
    info.notes = vec![
        note("vanilla/default/load/c64", StepState::Skipped, "two levels before it failed in a row"),
        note("vanilla/deploy", StepState::Failed, "`vllm serve` ended with status 1: CUDA out of memory"),
    ];
    let mut points: Vec<_> = [1, 4, 16]
        .into_iter()
        .flat_map(|users| {
            [
                summary(Shape { fail_every: if users == 16 { 20 } else { 0 }, ..shape("agg", users) }),
                summary(Shape { gpus: 0, requests: 100, ..shape("disagg", users) }),
            ]
        })
        .collect();
    points[0].meta.incarnation = "another".to_owned();
    points[3].health.send_lag_p99_ms = 4.2;
    points[3].health.cpu_share = 0.93;
    points[4].failures[0].example = "HTTP 200, then silence\nfor 600 s \u{1b}[2J".to_owned();
    points[5].asked.osl = Some(60.0);
    for point in points.iter_mut().filter(|point| point.meta.deployment.as_str() == "agg") {
        let sent = point.counts.sent + u64::from(point.meta.level.value() as u32);
        point.server_counters = vec![CounterCheck { what: "requests".to_owned(), server: sent, ours: sent, failed: 0 }];
        point.ended_by = Some("requests".to_owned());
    }
    points[4].ended_by = Some("the time limit of 180 s".to_owned());
    points[4].counts.cancelled = 3;
    insta::assert_snapshot!(checked(&run(info, points)));
}

#[test]
fn why_there_are_no_counters_is_told_where_it_is_known() {
    let of = |unread: Option<&str>| {
        let mut point = summary(shape("agg", 4));
        let unread = unread.map(|unread| (METRICS_UNREAD.to_owned(), unread.to_owned()));
        point.meta.facts.extend(unread);
        let text = summary_text(&run(info(&["agg"]), [point]));
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let told = of(Some("http://h:9/metrics cannot be read: it answered 200 with a web page"));
    let said = "no counters of the server to check against: http://h:9/metrics cannot be read: it answered 200";
    assert!(told.contains(said), "{told}");
    assert!(!of(None).contains("to check against:"));
}

/// A point of an open loop: every request waited 2 ms for its turn, every tenth for a connection.
fn at_rate(deployment: &'static str, per_second: u32, ttft: f64) -> PointSummary {
    let mut data = point(Shape { ttft, ..shape(deployment, per_second) });
    data.meta.level = Level::Rate(Rate::new(f64::from(per_second)).unwrap());
    data.objectives = objectives();
    for record in &mut data.records {
        (record.due, record.scheduled) = (Some(record.sent), record.sent);
        let moments =
            [&mut record.first_text, &mut record.second_text, &mut record.first_output, &mut record.last_text];
        moments.into_iter().flatten().for_each(|moment| *moment += 2_000_000);
        record.sent += 2_000_000;
        record.end += 2_000_000;
        record.connect = (record.index % 10 == 0).then_some(400_000);
    }
    PointSummary::of(&data)
}

#[test]
fn an_open_loop_whose_highest_load_was_searched() {
    let mut info = RunInfo { objectives: objectives(), ..info(&["agg", "vanilla"]) };
    let answer = |deployment: &str, kept: Option<u32>, missed: Option<u32>, ended: &str| {
        let level = |rate: u32| Level::Rate(Rate::new(f64::from(rate)).unwrap());
        let (deployment, workload) = (Name::new(deployment).unwrap(), Name::new("default").unwrap());
        let (kept, missed, ended) = (kept.map(level), missed.map(level), ended.to_owned());
        SearchAnswer { deployment, workload, kept, missed, loads: 3, ended }
    };
    info.searches = vec![
        answer("agg", Some(8), Some(16), "found"),
        answer("vanilla", Some(8), None, "16 requests/s cannot be judged: p99 needs 368 requests, there are 180"),
    ];
    let points = [("agg", 4, 50.0), ("agg", 8, 120.0), ("agg", 16, 250.0), ("vanilla", 8, 90.0)];
    let mut points: Vec<_> = points.map(|(name, rate, ttft)| at_rate(name, rate, ttft)).into();
    let checks = [("requests", 410, 400), ("output tokens", 20_500, 20_000)];
    points[0].server_counters =
        checks.map(|(what, server, ours)| CounterCheck { what: what.to_owned(), server, ours, failed: 10 }).to_vec();
    insta::assert_snapshot!(checked(&run(info, points)));
}

#[test]
fn nothing_measured() {
    let mut info = info(&["agg", "disagg"]);
    info.notes = vec![StepNote {
        address: "agg/wait".to_owned(),
        state: StepState::Failed,
        reason: "nothing answers at http://127.0.0.1:8000 after 10m00s".to_owned(),
    }];
    insta::assert_snapshot!(checked(&run(info, [])));
}

#[test]
fn repeats_allow_claims() {
    let mut info = info(&["agg", "disagg", "agg-again"]);
    info.deployments[0].fingerprint = Some("one".to_owned());
    info.deployments[1].fingerprint = Some("two".to_owned());
    info.deployments[2].fingerprint = Some("one".to_owned());
    info.deployments.iter_mut().for_each(|deployment| deployment.gpus = Some(2.0));
    info.compare.primary = "output-throughput-steady".to_owned();
    // A drift that both share, and a little noise of each.
    let noise = [0.000, 0.004, -0.003, 0.002, -0.004];
    let points = (1..=5_u32).flat_map(|repeat| {
        [4, 16, 64].into_iter().flat_map(move |users| {
            let at = |deployment: &'static str, shift: usize| {
                let own = shape(if deployment == "agg-again" { "agg" } else { deployment }, users);
                let factor = (1.0 + 0.01 * f64::from(repeat)) * (1.0 + noise[(repeat as usize + shift) % 5]);
                summary(Shape { deployment, repeat, itl: own.itl * factor, ttft: own.ttft * factor, ..own })
            };
            [at("agg", 0), at("disagg", 1), at("agg-again", 3)]
        })
    });
    insta::assert_snapshot!(checked(&run(info, points)));
}

#[test]
fn an_invalid_repeat_is_not_in_the_means() {
    let mut points: Vec<_> = (1..=2).map(|repeat| summary(Shape { repeat, ..shape("agg", 4) })).collect();
    points[1].asked.osl = Some(500.0);
    let bad = Shape { repeat: 2, itl: 500.0, ..shape("agg", 4) };
    points[1].distributions = summary(bad).distributions;
    let text = checked(&run(info(&["agg"]), points));
    let line = text.lines().find(|line| line.trim_start().starts_with("c4")).unwrap();
    assert!(line.contains(" 1/2 ") && !line.contains("500"), "{text}");
    assert!(text.contains("  ! c4/r2 not valid (osl)"), "{text}");
}

#[test]
fn an_invalid_level_is_never_best() {
    let mut points: Vec<_> = [4, 16].into_iter().map(|users| summary(shape("agg", users))).collect();
    points[1].health.send_lag_p99_ms = 50.0;
    let text = checked(&run(info(&["agg"]), points));
    let best = text.split("no objective").nth(1).unwrap().lines().nth(1).unwrap();
    assert!(best.contains("c4 "), "{text}");
}
