//! Ctrl-C once, twice, and steps that do not listen.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::*;
use super::stage::Stage;
use super::world::{Fault, address};

/// Options whose stop handle is raised so often when a step says that it is under way.
fn stop_at(step: &'static str, signals: &'static [StopSignal]) -> ExecuteOptions {
    let stop = Stop::default();
    let handle = stop.clone();
    let sink = move |event: &RunEvent| {
        let is_it = matches!(&event.body, EventBody::StepProgress { address, .. } if address.as_str() == step);
        if is_it && handle.level() == StopLevel::Run {
            signals.iter().for_each(|signal| handle.raise(*signal));
        }
    };
    ExecuteOptions { stop, sinks: vec![Arc::new(sink)], ..ExecuteOptions::default() }
}

const POINT: &str = "agg/default/load/c2";

#[test]
fn the_first_ctrl_c_ends_the_measurement_collects_tears_down_and_resume_does_the_rest() {
    let stage = Stage::new(&["agg", "disagg"], &[1, 2]);
    stage.world.fault(POINT, [Fault::Slow(Duration::from_secs(3600))]);
    let report = stage.session(stop_at(POINT, &[StopSignal::Interrupt])).unwrap();
    assert_eq!(report.exit_code(), ExitCode::INTERRUPTED);
    assert_eq!(Stage::word(&report, POINT), "interrupted");
    assert_eq!((stage.world.count("agg/collect"), stage.world.count("agg/teardown")), (1, 1));
    assert_eq!((stage.world.count("disagg/deploy"), stage.world.count("summarize")), (0, 0));
    assert_eq!((stage.world.alive().len(), report.obligations.len()), (0, 0));
    assert!(stage.published("agg/c2").is_none());
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
    assert_eq!(stage.world.count("agg/default/load/c1"), 1);
}

#[test]
fn sigterm_is_like_the_first_ctrl_c_with_its_own_code() {
    let stage = Stage::new(&["agg"], &[1, 2]);
    stage.world.fault(POINT, [Fault::Slow(Duration::from_secs(3600))]);
    let report = stage.session(stop_at(POINT, &[StopSignal::Terminate])).unwrap();
    assert_eq!((report.exit_code(), stage.world.alive().len()), (ExitCode::TERMINATED, 0));
}

#[test]
fn the_second_ctrl_c_skips_teardown_and_says_what_is_open() {
    let stage = Stage::new(&["agg"], &[1, 2]);
    stage.world.fault(POINT, [Fault::Deaf]);
    let report = stage.session(stop_at(POINT, &[StopSignal::Interrupt, StopSignal::Interrupt])).unwrap();
    assert_eq!(report.exit_code(), ExitCode::INTERRUPTED);
    assert_eq!(stage.world.count("agg/teardown"), 0);
    assert_eq!(report.obligations[0].id, "agg/deploy#1");
    assert!(report.causes.iter().any(|cause| cause.code == ExitCode::LEAKED));
    assert!(matches!(stage.state().step(&address(POINT)).phase, Phase::Interrupted(_)));
    assert!(stage.state().sessions().last().unwrap().ended.is_some());
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
    assert_eq!(stage.world.alive().len(), 0);
}

#[test]
fn the_second_ctrl_c_cuts_a_teardown_that_hangs() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.world.fault("agg/teardown", [Fault::Deaf]);
    let report = stage.session(stop_at("agg/teardown", &[StopSignal::Interrupt, StopSignal::Interrupt])).unwrap();
    assert_eq!((report.exit_code(), report.obligations.len()), (ExitCode::INTERRUPTED, 1));
}

#[test]
fn the_first_ctrl_c_does_not_touch_a_teardown_that_is_under_way() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.world.fault("agg/teardown", [Fault::Slow(Duration::from_secs(60))]);
    let report = stage.session(stop_at("agg/teardown", &[StopSignal::Interrupt])).unwrap();
    assert_eq!(Stage::word(&report, "agg/teardown"), "succeeded");
    assert_eq!(stage.world.alive().len(), 0);
}

#[test]
fn a_measurement_that_does_not_listen_is_given_up_and_the_rest_is_cleaned_up() {
    let stage = Stage::new(&["agg"], &[1, 2]);
    stage.world.fault(POINT, [Fault::Deaf]);
    let report = stage.session(stop_at(POINT, &[StopSignal::Interrupt])).unwrap();
    assert_eq!(Stage::word(&report, POINT), "interrupted");
    assert_eq!((stage.world.alive().len(), stage.world.count("agg/teardown")), (0, 1));
}

#[test]
fn a_step_that_waits_for_its_next_try_hears_ctrl_c() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.world.fault("agg/wait", [Fault::Fail(FailureKind::Passing)]);
    let stop = Stop::default();
    let handle = stop.clone();
    let sink = move |event: &RunEvent| {
        if matches!(event.body, EventBody::StepFailed { again: true, .. }) {
            handle.raise(StopSignal::Interrupt);
        }
    };
    let options = ExecuteOptions { stop, sinks: vec![Arc::new(sink)], ..ExecuteOptions::default() };
    let report = stage.session(options).unwrap();
    assert_eq!((stage.world.count("agg/wait"), stage.world.alive().len()), (0, 0));
    assert_eq!(report.exit_code(), ExitCode::INTERRUPTED);
}

#[test]
fn the_stream_begins_with_hello_and_ends_with_the_causes() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.world.fault("agg/default/load/c1", [Fault::Fail(FailureKind::Lasting)]);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&lines);
    let sink = move |event: &RunEvent| into.lock().unwrap().push((event.seq, event.to_json()));
    let judge: Judge = Box::new(|_| vec![Cause::new(ExitCode::OBJECTIVE, "too slow")]);
    let options = ExecuteOptions { sinks: vec![Arc::new(sink)], judge: Some(judge), ..ExecuteOptions::default() };
    let report = stage.session(options).unwrap();
    assert_eq!(report.exit_code(), ExitCode::FAILED);
    let lines = lines.lock().unwrap();
    let parsed: Vec<serde_json::Value> = lines.iter().map(|(_, line)| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((parsed[0]["type"].as_str(), parsed[0]["schema"].as_str()), (Some("hello"), Some(EVENTS_SCHEMA)));
    assert_eq!(parsed[1]["type"], "run.plan");
    let last = parsed.last().unwrap();
    assert_eq!((last["type"].as_str(), last["code"].as_u64()), (Some("run.finished"), Some(3)));
    let codes: Vec<_> =
        last["causes"].as_array().unwrap().iter().map(|cause| cause["code"].as_u64().unwrap()).collect();
    assert!(codes.contains(&3) && codes.contains(&4), "{codes:?}");
    assert!(lines.iter().zip(1..).all(|((seq, _), expected)| *seq == expected));
    let logged = std::fs::read_to_string(stage.layout().events()).unwrap();
    assert_eq!(logged.lines().last(), lines.last().map(|(_, line)| line.as_str()));
}

#[test]
fn progress_is_told_while_a_step_runs_and_not_faster_than_five_times_a_second() {
    let told_in = |time: Duration| {
        let stage = Stage::new(&["agg"], &[1]);
        stage.world.fault("agg/wait", [Fault::Slow(time)]);
        let told = Arc::new(Mutex::new(0));
        let into = Arc::clone(&told);
        let sink = move |event: &RunEvent| *into.lock().unwrap() += usize::from(event.body.is_lossy());
        stage.session(ExecuteOptions { sinks: vec![Arc::new(sink)], ..ExecuteOptions::default() }).unwrap();
        *told.lock().unwrap()
    };
    assert!(told_in(Duration::from_secs(100)) >= 10, "every tenth of it");
    assert!(told_in(Duration::from_secs(1)) <= 7, "ten in a second are too many");
}

#[test]
fn a_wish_to_stop_from_before_the_start_starts_nothing() {
    let stage = Stage::new(&["agg"], &[1]);
    let stop = Stop::default();
    stop.raise(StopSignal::Interrupt);
    let report = stage.session(ExecuteOptions { stop, ..ExecuteOptions::default() }).unwrap();
    assert_eq!((report.exit_code(), stage.world.deeds()), (ExitCode::INTERRUPTED, Vec::new()));
}
