//! What the plan's policy and the user's choice do to the course of a run.

use std::time::Duration;

use super::super::*;
use super::stage::{Stage, choose, only, rerun};
use super::world::{Fault, address};
use crate::plan::{IncarnationPolicy, OnFailure, Teardown};

fn word(report: &RunReport, step: &str) -> String {
    Stage::word(report, step)
}

fn reason(report: &RunReport, step: &str) -> String {
    report.steps.iter().find(|state| state.address.as_str() == step).unwrap().reason.clone().unwrap_or_default()
}

#[test]
fn steps_that_do_not_disturb_run_together_and_measurements_run_alone() {
    let stage = Stage::new(&["a", "b", "c"], &[1]);
    stage.go();
    assert!(stage.world.most_together() >= 3, "{}", stage.world.most_together());
    assert_eq!(stage.world.disturbed(), Vec::<String>::new());
}

#[test]
fn a_failed_deployment_skips_what_needs_it_by_name_and_the_others_go_on() {
    let stage = Stage::new(&["agg", "disagg"], &[1, 2]);
    stage.world.fault("agg/wait", [Fault::Fail(FailureKind::Lasting)]);
    let report = stage.go();
    assert_eq!(report.exit_code(), ExitCode::FAILED);
    assert_eq!(word(&report, "agg/default/load/c2"), "skipped");
    assert_eq!(reason(&report, "agg/default/load/c2"), "needs agg/wait, which failed");
    assert_eq!(word(&report, "disagg/default/load/c2"), "succeeded");
    assert_eq!((word(&report, "agg/collect"), word(&report, "agg/teardown")), ("succeeded".into(), "succeeded".into()));
    assert_eq!(word(&report, "summarize"), "succeeded");
    assert_eq!(report.obligations, []);
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
    assert_eq!(stage.world.count("disagg/default/load/c2"), 1);
    assert_eq!(stage.world.count("disagg/deploy"), 1);
}

#[test]
fn a_passing_fault_is_tried_again_so_often_and_no_more() {
    let stage = Stage::new(&["agg"], &[1, 2]);
    stage.world.fault("agg/deploy", [Fault::Fail(FailureKind::Passing)]);
    stage.world.fault("agg/default/load/c2", [Fault::Fail(FailureKind::Passing), Fault::Fail(FailureKind::Passing)]);
    let report = stage.go();
    assert_eq!(word(&report, "agg/deploy"), "succeeded");
    assert_eq!(word(&report, "agg/default/load/c2"), "failed");
    assert_eq!(stage.state().step(&address("agg/deploy")).attempts, 2);
    assert_eq!(stage.state().step(&address("agg/default/load/c2")).attempts, 2);
}

#[test]
fn a_point_that_the_moment_made_invalid_is_measured_again_at_once_and_on_resume() {
    let stage = Stage::new(&["agg"], &[1]);
    let invalid = || Fault::Invalid { momentary: true };
    stage.world.fault("agg/default/load/c1", [invalid(), invalid(), invalid()]);
    let report = stage.go();
    assert_eq!((word(&report, "agg/default/load/c1"), report.exit_code()), ("invalid".into(), ExitCode::FAILED));
    assert_eq!(stage.world.count("agg/default/load/c1"), 2);
    let report = stage.go();
    assert_eq!((word(&report, "agg/default/load/c1"), report.exit_code()), ("succeeded".into(), ExitCode::DONE));
    assert_eq!(stage.published("agg/c1").unwrap(), "all of agg/default/load/c1, attempt 4");
}

#[test]
fn a_point_that_is_invalid_by_configuration_stays_until_it_is_asked_for() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.world.fault("agg/default/load/c1", [Fault::Invalid { momentary: false }]);
    assert_eq!(stage.go().exit_code(), ExitCode::FAILED);
    let report = stage.go();
    assert_eq!((word(&report, "agg/default/load/c1"), report.exit_code()), ("invalid".into(), ExitCode::FAILED));
    assert_eq!(stage.world.count("agg/deploy"), 1);
    let report = stage.session(choose(rerun(&["agg/default/load/c1"]))).unwrap();
    assert_eq!((word(&report, "agg/default/load/c1"), report.exit_code()), ("succeeded".into(), ExitCode::DONE));
}

#[test]
fn after_two_bad_points_in_a_row_the_higher_levels_of_that_sweep_are_skipped() {
    let stage = Stage::new(&["agg", "disagg"], &[1, 2, 4, 8]);
    stage.world.fault("agg/default/load/c1", [Fault::Fail(FailureKind::Lasting)]);
    stage.world.fault("agg/default/load/c2", [Fault::Invalid { momentary: false }]);
    let report = stage.go();
    assert_eq!(word(&report, "agg/default/load/c4"), "skipped");
    assert_eq!(word(&report, "agg/default/load/c8"), "skipped");
    assert!(reason(&report, "agg/default/load/c8").contains("2 points in a row"));
    assert_eq!(word(&report, "disagg/default/load/c8"), "succeeded");
}

#[test]
fn levels_above_points_that_stay_invalid_start_nothing_on_resume() {
    let stage = Stage::new(&["agg"], &[1, 2, 4]);
    stage.world.fault("agg/default/load/c1", [Fault::Invalid { momentary: false }]);
    stage.world.fault("agg/default/load/c2", [Fault::Invalid { momentary: false }]);
    assert_eq!(word(&stage.go(), "agg/default/load/c4"), "skipped");
    let report = stage.go();
    assert_eq!((stage.world.count("agg/deploy"), report.exit_code()), (1, ExitCode::FAILED));
    let report = stage.session(choose(only(&["agg/default/load/c4"]))).unwrap();
    assert_eq!(word(&report, "agg/default/load/c4"), "succeeded");
}

#[test]
fn one_bad_point_skips_nothing() {
    let stage = Stage::new(&["agg"], &[1, 2, 4]);
    for step in ["agg/default/load/c1", "agg/default/load/c4"] {
        stage.world.fault(step, [Fault::Fail(FailureKind::Lasting)]);
    }
    let report = stage.go();
    assert_eq!(report.counts().get("failed"), Some(&2));
    assert_eq!(report.counts().get("skipped"), None);
}

#[test]
fn on_failure_stop_starts_nothing_new_but_cleans_up_and_sums_up() {
    let mut stage = Stage::new(&["agg", "disagg"], &[1, 2]);
    stage.frozen.plan.policy.on_failure = OnFailure::Stop;
    stage.world.fault("agg/default/load/c1", [Fault::Fail(FailureKind::Lasting)]);
    let report = stage.go();
    assert_eq!(word(&report, "agg/default/load/c2"), "skipped");
    assert!(reason(&report, "disagg/deploy").contains("agg/default/load/c1"));
    assert_eq!((stage.world.count("agg/teardown"), stage.world.count("summarize")), (1, 1));
    assert_eq!(stage.world.count("disagg/teardown"), 0);
    assert_eq!(report.obligations, []);
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
}

#[test]
fn a_failed_preflight_ends_the_run_before_anything_is_started() {
    let stage = Stage::new(&["agg", "disagg"], &[1]);
    stage.world.fault("disagg/preflight", [Fault::Fail(FailureKind::Preflight)]);
    let report = stage.go();
    assert_eq!(report.exit_code(), ExitCode::PREFLIGHT);
    for step in ["agg/deploy", "agg/collect", "agg/teardown", "summarize"] {
        assert_eq!(stage.world.count(step), 0, "{step}");
    }
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
}

#[test]
fn teardown_on_success_leaves_what_failed_for_inspection_and_is_no_leak() {
    let mut stage = Stage::new(&["agg", "disagg"], &[1]);
    stage.frozen.plan.policy.teardown = Teardown::OnSuccess;
    stage.world.fault("agg/default/load/c1", [Fault::Fail(FailureKind::Lasting)]);
    let report = stage.go();
    assert_eq!(report.exit_code(), ExitCode::FAILED);
    assert_eq!(stage.world.alive(), ["agg/deploy#1"]);
    assert_eq!(report.obligations.len(), 1);
    let report = stage.go();
    assert_eq!((report.exit_code(), stage.world.alive().len()), (ExitCode::DONE, 0));
}

#[test]
fn teardown_never_leaves_everything_and_is_no_leak() {
    let mut stage = Stage::new(&["agg"], &[1]);
    stage.frozen.plan.policy.teardown = Teardown::Never;
    let report = stage.go();
    assert_eq!((report.exit_code(), report.obligations.len()), (ExitCode::DONE, 1));
    assert_eq!(stage.go().obligations.len(), 1);
    assert_eq!(stage.world.count("agg/deploy"), 1);
}

#[test]
fn a_teardown_that_fails_is_a_leak_with_its_own_exit_code_and_due_on_resume() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.world.fault("agg/teardown", [Fault::Fail(FailureKind::Leak)]);
    let report = stage.go();
    assert_eq!((report.exit_code(), report.obligations.len()), (ExitCode::LEAKED, 1));
    assert_eq!(word(&report, "agg/default/load/c1"), "succeeded");
    let report = stage.go();
    assert_eq!((report.exit_code(), stage.world.alive().len()), (ExitCode::DONE, 0));
    assert_eq!(stage.world.count("agg/deploy"), 1, "ending it started nothing");
}

#[test]
fn a_teardown_that_hangs_is_given_up_after_its_deadline() {
    let stage = Stage::new(&["agg", "disagg"], &[1]);
    stage.world.fault("agg/teardown", [Fault::Deaf]);
    let report = stage.go();
    assert_eq!(report.exit_code(), ExitCode::LEAKED);
    assert!(reason(&report, "agg/teardown").contains("5m00s"), "{}", reason(&report, "agg/teardown"));
    assert_eq!(word(&report, "disagg/default/load/c1"), "succeeded");
}

#[test]
fn after_max_duration_nothing_new_is_measured_and_resume_does_the_rest() {
    let mut stage = Stage::new(&["agg", "disagg"], &[1, 2]);
    stage.frozen.plan.policy.max_duration = Some(Duration::from_secs(90 * 60));
    for step in ["agg/default/load/c1", "agg/default/load/c2"] {
        stage.world.fault(step, [Fault::Slow(Duration::from_secs(3600))]);
    }
    let report = stage.go();
    assert_eq!(word(&report, "agg/default/load/c2"), "succeeded", "what runs is not cut");
    assert_eq!(word(&report, "disagg/default/load/c1"), "skipped");
    assert_eq!((word(&report, "summarize"), report.exit_code()), ("succeeded".into(), ExitCode::OUTSTANDING));
    assert_eq!((stage.world.alive().len(), stage.world.count("disagg/deploy")), (0, 0));
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
}

#[test]
fn until_and_keep_stop_after_that_step_and_leave_it_running() {
    let stage = Stage::new(&["agg", "disagg"], &[1]);
    let choice = Choice { until: Some(address("agg/wait")), keep: true, ..Choice::default() };
    let report = stage.session(choose(choice)).unwrap();
    assert_eq!(report.exit_code(), ExitCode::OUTSTANDING);
    assert_eq!(stage.world.alive(), ["agg/deploy#1"]);
    assert_eq!((report.obligations.len(), stage.world.count("agg/default/load/c1")), (1, 0));
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
    assert_eq!(stage.world.alive().len(), 0);
}

#[test]
fn until_without_keep_ends_what_it_started() {
    let stage = Stage::new(&["agg", "disagg"], &[1]);
    let choice = Choice { until: Some(address("agg/default/load/c1")), ..Choice::default() };
    let report = stage.session(choose(choice)).unwrap();
    assert_eq!((report.exit_code(), stage.world.alive().len()), (ExitCode::OUTSTANDING, 0));
    assert_eq!((stage.world.count("agg/default/load/c1"), stage.world.count("disagg/deploy")), (1, 0));
    assert_eq!(stage.world.count("summarize"), 0);
}

#[test]
fn only_runs_what_was_chosen_with_all_it_needs_and_the_summary_follows() {
    let stage = Stage::new(&["agg", "disagg"], &[1, 2]);
    let report = stage.session(choose(only(&["disagg/default/load/c2"]))).unwrap();
    assert_eq!(report.exit_code(), ExitCode::OUTSTANDING);
    let loads: Vec<_> = stage.world.deeds().into_iter().filter(|deed| deed.contains("/load/")).collect();
    assert_eq!(loads, ["disagg/default/load/c2"]);
    assert_eq!((stage.world.count("disagg/teardown"), stage.world.count("agg/deploy")), (1, 0));
    assert_eq!(stage.world.count("summarize"), 1);
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
    assert_eq!((stage.world.count("disagg/default/load/c2"), stage.world.count("summarize")), (1, 2));
}

#[test]
fn only_a_step_that_starts_something_still_ends_it() {
    let stage = Stage::new(&["agg"], &[1]);
    let report = stage.session(choose(only(&["agg/deploy"]))).unwrap();
    assert_eq!((stage.world.count("agg/deploy"), stage.world.count("agg/teardown")), (1, 1));
    assert_eq!(report.obligations, []);
}

#[test]
fn an_address_that_is_no_step_is_refused() {
    let stage = Stage::new(&["agg"], &[1]);
    let error = stage.session(choose(only(&["agg/default/load/c3"]))).unwrap_err();
    assert!(matches!(error, RunError::UnknownStep { .. }), "{error}");
}

#[test]
fn a_rerun_point_supersedes_the_good_one_and_touches_no_other() {
    let stage = Stage::new(&["agg", "disagg"], &[1, 2]);
    stage.go();
    let report = stage.session(choose(rerun(&["agg/default/load/c2"]))).unwrap();
    assert_eq!(report.exit_code(), ExitCode::DONE);
    assert_eq!(stage.published("agg/c2").unwrap(), "all of agg/default/load/c2, attempt 2");
    assert!(faults(&stage.layout().superseded(&address("agg/default/load/c2"), 1)).is_empty());
    assert_eq!((stage.world.count("agg/default/load/c1"), stage.world.count("disagg/deploy")), (1, 1));
    assert_eq!((stage.world.count("agg/default/warm-up"), stage.world.count("summarize")), (2, 2));
}

#[test]
fn a_good_point_that_was_to_be_measured_again_but_is_not_keeps_its_result() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.go();
    stage.world.fault("agg/deploy", [Fault::Fail(FailureKind::Lasting)]);
    let report = stage.session(choose(rerun(&["agg/default/load/c1"]))).unwrap();
    assert_eq!(word(&report, "agg/default/load/c1"), "skipped");
    assert!(stage.published("agg/c1").is_some());
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
    assert_eq!(stage.world.count("agg/default/load/c1"), 1);
}

#[test]
fn a_summary_that_was_cut_off_after_a_rerun_is_made_on_the_next_resume() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.go();
    stage.world.fault("summarize", [Fault::Fail(FailureKind::Lasting)]);
    stage.session(choose(rerun(&["agg/default/load/c1"]))).unwrap();
    assert_eq!(stage.world.count("summarize"), 1);
    stage.go();
    assert_eq!((stage.world.count("summarize"), stage.world.count("agg/default/load/c1")), (2, 2));
}

#[test]
fn a_missing_picture_is_drawn_again_and_nothing_else_happens() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.go();
    std::fs::remove_file(stage.layout().plots().join("pareto.svg")).unwrap();
    let before = stage.world.deeds().len();
    stage.go();
    assert_eq!(stage.world.deeds()[before..], ["plot/pareto"]);
}

#[test]
fn same_per_sweep_measures_earlier_points_again_on_a_new_incarnation() {
    let mut stage = Stage::new(&["agg"], &[1, 2, 4]);
    stage.frozen.plan.policy.incarnation = IncarnationPolicy::SamePerSweep;
    stage.world.fault("agg/default/load/c4", [Fault::Fail(FailureKind::Lasting)]);
    stage.go();
    let report = stage.go();
    assert_eq!(report.exit_code(), ExitCode::DONE);
    for (step, times) in [("c1", 2), ("c2", 2), ("c4", 1)] {
        assert_eq!(stage.world.count(&format!("agg/default/load/{step}")), times, "{step}");
    }
    let state = stage.state();
    let of = |step: &str| state.step(&address(&format!("agg/default/load/{step}"))).incarnation.clone();
    assert!(of("c1").is_some() && of("c1") == of("c2") && of("c2") == of("c4"));
}

#[test]
fn a_new_incarnation_in_the_middle_of_a_sweep_starts_it_again_but_not_for_ever() {
    let mut stage = Stage::new(&["agg"], &[1, 2, 4]);
    stage.frozen.plan.policy.incarnation = IncarnationPolicy::SamePerSweep;
    stage.world.fault("agg/default/load/c2", [Fault::Replaced, Fault::Replaced, Fault::Replaced]);
    stage.go();
    assert_eq!(stage.world.count("agg/default/load/c1"), 2);
    assert_eq!(stage.world.count("agg/default/warm-up"), 2, "it warms up the new incarnation");
}

#[test]
fn with_the_default_policy_points_of_two_incarnations_stand_together_with_a_note() {
    let stage = Stage::new(&["agg"], &[1, 2]);
    stage.world.fault("agg/default/load/c2", [Fault::Fail(FailureKind::Lasting)]);
    stage.go();
    stage.go();
    assert_eq!(stage.world.count("agg/default/load/c1"), 1);
    let lines = read_journal(&stage.layout().journal()).unwrap().lines;
    let noted = |line: &Line| matches!(&line.event, Event::Note { text, .. } if text.contains("another incarnation"));
    assert!(lines.iter().any(noted));
}
