//! Edits of the plan between two sessions.

use super::super::*;
use super::stage::{Stage, choose, rerun};
use super::world::{Fault, address, edit, frozen};
use crate::plan::Teardown;

const POINT: &str = "agg/default/load/c2";

fn with(edits: Edits) -> ExecuteOptions {
    choose(Choice { edits, ..Choice::default() })
}

#[test]
fn further_levels_and_deployments_are_accepted_even_for_a_finished_run() {
    let mut stage = Stage::new(&["agg"], &[1, 2]);
    stage.go();
    stage.frozen = frozen(&["agg", "disagg"], &[1, 2, 4], 1);
    let report = stage.go();
    assert_eq!(report.exit_code(), ExitCode::DONE, "{:?}", report.causes);
    for (step, times) in [("agg/default/load/c1", 1), ("agg/default/load/c4", 1), ("disagg/default/load/c4", 1)] {
        assert_eq!(stage.world.count(step), times, "{step}");
    }
    let lines = read_journal(&stage.layout().journal()).unwrap().lines;
    let mut amended = Vec::new();
    for line in &lines {
        if let Event::PlanAmended { generation, added, removed, changed, .. } = &line.event {
            amended.push((*generation, added.len(), removed.len(), changed.len()));
        }
    }
    assert_eq!(amended, [(2, 12, 0, 0)]);
    assert!(stage.layout().frozen(2).join("plan.json").is_file());
    assert_eq!(stage.state().generation(), 2);
}

#[test]
fn an_edit_that_invalidates_a_measured_point_is_refused_with_the_field_and_changes_nothing() {
    let mut stage = Stage::new(&["agg"], &[1, 2]);
    stage.go();
    let before = std::fs::read(stage.layout().journal()).unwrap();
    edit(&mut stage.frozen, POINT, 2);
    let error = stage.session(ExecuteOptions::default()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::REFUSED);
    let RunError::Refused { refusals } = &error else { panic!("{error}") };
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].address, address(POINT));
    assert_eq!(refusals[0].diffs[0].to_string(), "version: 1 -> 2");
    for way_out in ["--frozen", "--accept-changes", "--new"] {
        assert!(error.help().unwrap().contains(way_out));
    }
    assert_eq!(std::fs::read(stage.layout().journal()).unwrap(), before);
    assert_eq!(stage.world.count(POINT), 1);
}

#[test]
fn accepted_changes_measure_these_points_again_and_keep_the_others() {
    let mut stage = Stage::new(&["agg"], &[1, 2]);
    stage.go();
    edit(&mut stage.frozen, POINT, 2);
    let report = stage.session(with(Edits::Accept)).unwrap();
    assert_eq!(report.exit_code(), ExitCode::DONE);
    assert_eq!((stage.world.count(POINT), stage.world.count("agg/default/load/c1")), (2, 1));
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
    assert_eq!(stage.world.count(POINT), 2);
}

#[test]
fn changes_that_were_accepted_once_are_not_refused_when_the_measurement_did_not_come_about() {
    let mut stage = Stage::new(&["agg"], &[1, 2]);
    stage.go();
    edit(&mut stage.frozen, POINT, 2);
    stage.world.fault("agg/deploy", [Fault::Fail(FailureKind::Lasting)]);
    assert_eq!(stage.session(with(Edits::Accept)).unwrap().exit_code(), ExitCode::FAILED);
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
    assert_eq!(stage.world.count(POINT), 2);
}

#[test]
fn a_frozen_session_ignores_every_edit() {
    let mut stage = Stage::new(&["agg"], &[1, 2]);
    stage.world.fault("agg/default/load/c1", [Fault::Fail(FailureKind::Lasting)]);
    stage.go();
    edit(&mut stage.frozen, POINT, 2);
    let report = stage.session(with(Edits::Ignore)).unwrap();
    assert_eq!(report.exit_code(), ExitCode::DONE);
    assert_eq!((stage.world.count(POINT), stage.state().generation()), (1, 1));
}

#[test]
fn the_typo_that_made_a_point_fail_is_fixed_and_the_run_goes_on() {
    let mut stage = Stage::new(&["agg"], &[1, 2]);
    stage.world.fault(POINT, [Fault::Fail(FailureKind::Lasting)]);
    stage.go();
    edit(&mut stage.frozen, POINT, 2);
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
    assert_eq!(stage.world.count("agg/default/load/c1"), 1);
}

#[test]
fn a_point_that_was_invalid_by_configuration_is_measured_under_its_new_configuration() {
    let mut stage = Stage::new(&["agg"], &[1, 2]);
    stage.world.fault(POINT, [Fault::Invalid { momentary: false }]);
    stage.go();
    edit(&mut stage.frozen, POINT, 2);
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
    assert_eq!(stage.world.count(POINT), 2);
}

#[test]
fn a_deployment_that_is_no_longer_in_the_plan_is_still_ended() {
    let mut stage = Stage::new(&["agg", "disagg"], &[1]);
    stage.frozen.plan.policy.teardown = Teardown::Never;
    stage.go();
    assert_eq!(stage.world.alive().len(), 2);
    stage.frozen = frozen(&["disagg"], &[1], 1);
    let report = stage.go();
    assert_eq!((report.exit_code(), stage.world.alive().len()), (ExitCode::DONE, 0));
    assert!(stage.published("agg/c1").is_some(), "its results stay");
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
}

#[test]
fn an_edited_render_runs_again_and_is_refused_only_for_what_was_measured() {
    let mut stage = Stage::new(&["agg"], &[1, 2]);
    stage.world.fault("agg/deploy", [Fault::Fail(FailureKind::Lasting)]);
    stage.go();
    for step in ["agg/render", "agg/default/load/c1", "agg/default/load/c2"] {
        edit(&mut stage.frozen, step, 2);
    }
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
    assert_eq!((stage.world.count("agg/render"), stage.world.count("agg/discover")), (2, 1));
}

#[test]
fn a_preview_says_what_a_session_would_do_and_why_without_doing_it() {
    let mut stage = Stage::new(&["agg"], &[1, 2]);
    let outlook = |stage: &Stage, run: bool, step: &str| {
        let dir = run.then_some(stage.dir.as_path());
        let all = preview(dir, Some(&stage.frozen), &Choice::default()).unwrap();
        all.into_iter().find(|outlook| outlook.address.as_str() == step).map(|o| (o.decision, o.why)).unwrap()
    };
    assert_eq!(outlook(&stage, false, POINT), ("run", "has not run yet".to_owned()));
    assert_eq!(outlook(&stage, false, "agg/deploy"), ("run", "agg/wait needs it".to_owned()));
    assert!(!stage.dir.exists());
    stage.world.fault(POINT, [Fault::Fail(FailureKind::Lasting)]);
    stage.go();
    let before = std::fs::read(stage.layout().journal()).unwrap();
    assert_eq!(outlook(&stage, true, POINT), ("run", "failed".to_owned()));
    assert_eq!(outlook(&stage, true, "agg/default/load/c1"), ("keep", "done".to_owned()));
    assert_eq!(outlook(&stage, true, "summarize"), ("run", "agg/teardown runs".to_owned()));
    assert_eq!(std::fs::read(stage.layout().journal()).unwrap(), before);
    edit(&mut stage.frozen, "agg/default/load/c1", 2);
    let refused = preview(Some(&stage.dir), Some(&stage.frozen), &Choice::default()).unwrap_err();
    assert_eq!(refused.exit_code(), ExitCode::REFUSED);
    let step = stage.frozen.steps.iter().find(|step| step.address.as_str() == "agg/default/load/c1").unwrap();
    let diffs = explain_step(&stage.dir, step).unwrap().unwrap();
    assert_eq!(diffs.iter().map(ToString::to_string).collect::<Vec<_>>(), ["version: 1 -> 2"]);
}

#[test]
fn repeats_are_published_inside_of_the_first_and_survive_its_rerun() {
    let stage = Stage::of(frozen(&["agg"], &[1, 2], 2));
    stage.world.fault(POINT, [Fault::Fail(FailureKind::Lasting)]);
    stage.go();
    assert!(stage.published("agg/c2").is_none());
    assert_eq!(stage.published("agg/c2/r2").unwrap(), "all of agg/default/load/c2/r2, attempt 1");
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
    assert!(stage.published("agg/c2").is_some() && stage.published("agg/c2/r2").is_some());
    stage.session(choose(rerun(&[POINT]))).unwrap();
    assert_eq!(stage.published("agg/c2").unwrap(), format!("all of {POINT}, attempt 3"));
    assert_eq!(stage.published("agg/c2/r2").unwrap(), "all of agg/default/load/c2/r2, attempt 1");
    assert_eq!(stage.world.count("agg/default/load/c2/r2"), 1);
}
