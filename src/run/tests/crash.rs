//! The runner dies at every instant that leaves a trace, and the end is always the same.

use std::fs;
use std::path::Path;

use super::super::*;
use super::stage::{Death, Stage};
use super::world::address;

const DEPLOYMENTS: &[&str] = &["agg", "disagg"];
const LEVELS: &[u32] = &[1, 2, 4];

/// What must be true of a run that has come to its end, however it came there.
fn assert_ended_well(stage: &Stage, report: &RunReport, story: &str) {
    assert_eq!(report.causes, [], "{story}");
    assert_eq!(report.obligations, [], "{story}");
    assert_eq!(stage.world.alive(), Vec::<String>::new(), "{story}");
    assert_eq!(stage.world.disturbed(), Vec::<String>::new(), "{story}");
    let state = stage.state();
    for point in stage.points() {
        let record = state.step(&point.address);
        let Phase::Succeeded(success) = &record.phase else { panic!("{story}: {} {:?}", point.address, record.phase) };
        let place = success.place.as_ref().unwrap().display().to_string();
        let text = stage.published(&place).unwrap_or_else(|| panic!("{story}: {} is not published", point.address));
        assert_eq!(text, format!("all of {}, attempt {}", point.address, record.attempts), "{story}");
    }
    let summary = fs::read_to_string(stage.layout().summary()).unwrap();
    assert_eq!(summary.matches("good").count(), stage.points().len(), "{story}: {summary}");
    assert!(stage.layout().plots().join("pareto.svg").exists(), "{story}");
}

fn assert_each_point_was_measured_once(stage: &Stage, story: &str) {
    for point in stage.points() {
        assert_eq!(stage.world.count(point.address.as_str()), 1, "{story}: {}", point.address);
    }
}

fn assert_nothing_is_left_to_do(stage: &Stage, story: &str) {
    let before = stage.world.deeds();
    let report = stage.go();
    assert_ended_well(stage, &report, story);
    assert_eq!(stage.world.deeds(), before, "{story}: a finished run did something");
}

fn lines_of_a_whole_run() -> usize {
    let stage = Stage::new(DEPLOYMENTS, LEVELS);
    let (report, lines) = stage.die(None);
    assert_ended_well(&stage, &report.unwrap(), "without a death");
    assert_each_point_was_measured_once(&stage, "without a death");
    assert_nothing_is_left_to_do(&stage, "without a death");
    lines
}

#[test]
fn a_run_that_dies_around_any_line_of_its_journal_ends_as_if_it_had_not() {
    let lines = lines_of_a_whole_run();
    assert!(lines > 60, "only {lines} lines");
    for at in 1..=lines {
        for death in [Death::Before(at), Death::Amid(at), Death::After(at)] {
            let story = format!("{death:?}");
            let stage = Stage::new(DEPLOYMENTS, LEVELS);
            let (report, _) = stage.die(Some(death));
            assert!(report.is_none(), "{story}: it did not die");
            let report = stage.go();
            assert_ended_well(&stage, &report, &story);
            assert_each_point_was_measured_once(&stage, &story);
            if at % 8 == 0 {
                assert_nothing_is_left_to_do(&stage, &story);
            }
        }
    }
}

#[test]
fn a_run_whose_resumes_die_too_ends_as_if_they_had_not() {
    let lines = lines_of_a_whole_run();
    for first in (1..=lines).step_by(9) {
        for second in (1..=lines).step_by(7) {
            let story = format!("{first}, then {second}");
            let stage = Stage::new(DEPLOYMENTS, LEVELS);
            stage.die(Some(Death::Before(first)));
            stage.die(Some(Death::Amid(second)));
            stage.die(Some(Death::After(second / 2 + 1)));
            let report = stage.go();
            assert_ended_well(&stage, &report, &story);
            assert_each_point_was_measured_once(&stage, &story);
        }
    }
}

#[test]
fn a_journal_that_lost_its_end_after_the_fact_costs_only_what_it_does_not_know() {
    let whole = Stage::new(DEPLOYMENTS, LEVELS);
    whole.go();
    let journal = fs::read(whole.layout().journal()).unwrap();
    let ends: Vec<usize> =
        journal.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    for cut in ends.iter().flat_map(|end| [*end, *end + 20]).filter(|cut| *cut < journal.len()) {
        let story = format!("cut at {cut}");
        let stage = Stage::new(DEPLOYMENTS, LEVELS);
        copy(&whole.dir, &stage.dir);
        fs::write(stage.layout().journal(), &journal[..cut]).unwrap();
        let known = stage.state();
        let report = stage.go();
        assert_ended_well(&stage, &report, &story);
        for point in stage.points() {
            let was_known = known.step(&point.address).attempts > 0;
            let measured = stage.world.count(point.address.as_str());
            assert_eq!(measured, usize::from(!was_known), "{story}: {}", point.address);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &to) } else { fs::copy(&path, &to).map(|_| ()).unwrap() }
    }
}

/// The number of the line that says that a point succeeded, in a whole run.
fn line_of_success(point: &str) -> usize {
    let stage = Stage::new(DEPLOYMENTS, LEVELS);
    stage.go();
    let lines = read_journal(&stage.layout().journal()).unwrap().lines;
    let found = lines
        .iter()
        .position(|line| matches!(&line.event, Event::StepSucceeded { address, .. } if address.as_str() == point));
    // The first line is written before the session.
    found.unwrap()
}

const POINT: &str = "agg/default/load/c2";

/// A run that died when everything about the point was done but its last line.
fn died_before_the_last_line() -> Stage {
    let stage = Stage::new(DEPLOYMENTS, LEVELS);
    stage.die(Some(Death::Before(line_of_success(POINT))));
    assert!(stage.published("agg/c2").is_some());
    assert_eq!(stage.state().step(&address(POINT)).phase, Phase::Started);
    stage
}

#[test]
fn a_death_between_the_stages_of_publishing_costs_no_measurement() {
    for stage_of_death in ["published", "whole", "part with manifest"] {
        let stage = died_before_the_last_line();
        let (layout, published) = (stage.layout(), stage.dir.join("agg/c2"));
        match stage_of_death {
            "published" => {}
            "whole" => fs::rename(published, layout.root().join(".run/attempts/agg.default.load.c2/1")).unwrap(),
            _ => fs::rename(published, layout.root().join(".run/attempts/agg.default.load.c2/1.part")).unwrap(),
        }
        let report = stage.go();
        assert_ended_well(&stage, &report, stage_of_death);
        assert_each_point_was_measured_once(&stage, stage_of_death);
        let lines = read_journal(&stage.layout().journal()).unwrap().lines;
        let adopted = lines.iter().filter(|line| matches!(line.event, Event::StepSucceeded { adopted: true, .. }));
        assert_eq!(adopted.count(), 1, "{stage_of_death}");
    }
}

#[test]
fn an_attempt_whose_files_are_not_whole_is_measured_again() {
    for damage in ["no manifest", "file cut", "file gone"] {
        let stage = died_before_the_last_line();
        let published = stage.dir.join("agg/c2");
        match damage {
            "no manifest" => fs::remove_file(published.join("manifest.json")).unwrap(),
            "file cut" => fs::write(published.join("results.json"), "half of ").unwrap(),
            _ => fs::remove_file(published.join("raw/records.jsonl")).unwrap(),
        }
        let report = stage.go();
        assert_ended_well(&stage, &report, damage);
        assert_eq!(stage.world.count(POINT), 2, "{damage}");
        assert_eq!(stage.published("agg/c2").unwrap(), format!("all of {POINT}, attempt 2"), "{damage}");
    }
}

#[test]
fn a_published_result_that_is_damaged_later_is_measured_again() {
    let stage = Stage::new(DEPLOYMENTS, LEVELS);
    stage.go();
    fs::write(stage.dir.join("agg/c2/results.json"), "somebody edited this").unwrap();
    let report = stage.go();
    assert_ended_well(&stage, &report, "damaged");
    assert_eq!(stage.world.count(POINT), 2);
    assert_eq!(stage.world.count("agg/default/load/c1"), 1);
    assert_eq!(stage.world.count("disagg/deploy"), 1, "the other deployment was not touched");
}

#[test]
fn a_torn_line_is_noted_and_kept() {
    let stage = Stage::new(DEPLOYMENTS, LEVELS);
    stage.die(Some(Death::Amid(9)));
    stage.go();
    let lines = read_journal(&stage.layout().journal()).unwrap().lines;
    assert!(lines.iter().any(|line| matches!(&line.event, Event::Note { text, .. } if text.contains("torn"))));
    assert!(stage.layout().inner().join("journal.torn-1").exists());
}

#[test]
fn two_processes_never_have_one_run() {
    let stage = Stage::new(&["agg"], &[1]);
    let run = stage.take().unwrap();
    let error = stage.take().unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::LOCKED);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(run);
    assert_eq!(stage.go().exit_code(), ExitCode::DONE);
}
