//! Disks that fail and steps that panic.

use std::fs;

use super::super::*;
use super::stage::{FullFrom, Stage};
use super::world::Fault;

#[test]
fn a_step_that_panics_is_a_failed_step_and_a_bug_and_the_run_goes_on() {
    let stage = Stage::new(&["agg", "disagg"], &[1, 2]);
    stage.world.fault("agg/default/load/c1", [Fault::Panic]);
    let report = stage.go();
    assert_eq!(report.exit_code(), ExitCode::BUG);
    assert_eq!(Stage::word(&report, "agg/default/load/c1"), "failed");
    assert_eq!(Stage::word(&report, "agg/default/load/c2"), "succeeded");
    assert_eq!(Stage::word(&report, "disagg/default/load/c2"), "succeeded");
    assert_eq!(stage.world.alive().len(), 0);
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
}

#[test]
fn a_journal_that_cannot_be_written_stops_new_steps_and_teardown_goes_on() {
    let whole = {
        let stage = Stage::new(&["agg", "disagg"], &[1, 2]);
        stage.die(None).1
    };
    let mut saved = 0;
    // The session must be able to begin: with its first line it would not.
    for lines in 1..whole {
        let stage = Stage::new(&["agg", "disagg"], &[1, 2]);
        let report = stage.session_with(ExecuteOptions::default(), |file| Box::new(FullFrom { file, lines })).unwrap();
        assert_eq!(report.exit_code(), ExitCode::STORAGE, "after {lines}");
        assert_eq!(stage.world.alive(), Vec::<String>::new(), "after {lines}");
        assert_eq!(report.obligations, [], "after {lines}");
        assert!(!report.unrecorded.is_empty(), "after {lines}");
        let measured = stage.points().iter().filter(|point| stage.world.count(point.address.as_str()) > 0).count();
        assert!(measured < 4 || lines > whole / 2, "after {lines} nothing new should have started");
        // The disk has room again: nothing that was measured and stored is measured again.
        let report = stage.go();
        assert_eq!(report.exit_code(), ExitCode::DONE, "after {lines}: {:?}", report.causes);
        assert_eq!((stage.world.alive().len(), report.obligations.len()), (0, 0), "after {lines}");
        for point in stage.points() {
            assert_eq!(stage.world.count(point.address.as_str()), 1, "after {lines}: {}", point.address);
        }
        saved += measured;
    }
    assert!(saved > 0);
}

#[test]
fn a_session_that_cannot_write_its_first_line_starts_nothing() {
    let stage = Stage::new(&["agg"], &[1]);
    let error =
        stage.session_with(ExecuteOptions::default(), |file| Box::new(FullFrom { file, lines: 0 })).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::STORAGE);
    assert_eq!(stage.world.deeds(), Vec::<String>::new());
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
}

#[test]
fn results_that_cannot_be_stored_stop_the_run_and_teardown_goes_on() {
    let stage = Stage::new(&["agg", "disagg"], &[1, 2]);
    drop(stage.take().unwrap());
    // A file where the point's folder should be: what a read-only or full disk does, and works for root as well.
    let in_the_way = stage.dir.join("agg/c2");
    fs::create_dir_all(stage.dir.join("agg")).unwrap();
    fs::write(&in_the_way, "in the way").unwrap();
    let report = stage.go();
    assert_eq!(report.exit_code(), ExitCode::STORAGE);
    assert_eq!(Stage::word(&report, "agg/default/load/c1"), "succeeded");
    assert_eq!((stage.world.count("disagg/deploy"), stage.world.alive().len()), (0, 0));
    fs::remove_file(in_the_way).unwrap();
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
    assert_eq!(stage.world.count("agg/default/load/c1"), 1);
}

#[test]
fn a_step_that_reports_a_full_disk_stops_the_run() {
    let stage = Stage::new(&["agg", "disagg"], &[1]);
    stage.world.fault("agg/default/load/c1", [Fault::Fail(FailureKind::Storage)]);
    let report = stage.go();
    assert_eq!(report.exit_code(), ExitCode::STORAGE);
    assert_eq!((stage.world.count("disagg/deploy"), stage.world.alive().len()), (0, 0));
}

#[test]
fn a_kind_that_nobody_knows_is_refused_before_anything_starts() {
    let mut stage = Stage::new(&["agg"], &[1]);
    stage.frozen.steps[3].kind = "teleport".to_owned();
    let run = stage.take().unwrap();
    let world = stage.world.clone();
    let actions = move |kind: &str| (kind != "teleport").then(|| world.action(kind)).flatten();
    let session = run.execute(None, &actions, ExecuteOptions::default());
    let error = super::stage::runtime().block_on(session).unwrap_err();
    assert!(matches!(&error, RunError::UnknownKind { kind, .. } if kind == "teleport"), "{error}");
    assert_eq!(stage.world.deeds(), Vec::<String>::new());
}
