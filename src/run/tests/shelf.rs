//! Runs in a results folder: listed, pruned, checked, carried away and taken in.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::*;
use super::stage::{Death, Stage, choose};
use super::world::Fault;
use crate::base::Timestamp;

const NOW: Timestamp = Timestamp(1_795_558_203_250_000_000);

fn results(stage: &Stage) -> PathBuf {
    stage.dir.parent().unwrap().parent().unwrap().to_owned()
}

/// A finished run, and a second one made by copying it under another id.
fn copy_run(stage: &Stage, id: &str) -> PathBuf {
    let to = stage.dir.with_file_name(id);
    copy(&stage.dir, &to);
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &to) } else { fs::copy(&path, &to).map(|_| ()).unwrap() }
    }
}

#[test]
fn a_list_tells_how_every_run_stands() {
    let stage = Stage::new(&["agg"], &[1, 2]);
    stage.world.fault("agg/default/load/c2", [Fault::Fail(FailureKind::Lasting)]);
    stage.go();
    point_to(&stage.dir).unwrap();
    let one = &list_runs(&results(&stage)).unwrap()[0];
    assert_eq!((one.status.clone(), one.plan.as_str(), one.sessions), (RunStatus::Finished(3), "test", 1));
    assert_eq!(one.steps.get("failed"), Some(&1));
    let run = stage.take().unwrap();
    assert_eq!(show_run(&stage.dir).status, RunStatus::Running);
    drop(run);
    fs::write(stage.layout().journal(), "not a journal\nat all\n").unwrap();
    assert!(matches!(show_run(&stage.dir).status, RunStatus::Damaged(_)));
}

#[test]
fn a_run_that_died_or_keeps_something_is_unfinished() {
    let stage = Stage::new(&["agg"], &[1]);
    assert!(stage.die(Some(Death::After(12))).0.is_none());
    assert_eq!(show_run(&stage.dir).status, RunStatus::Unfinished);
    stage.go();
    assert_eq!(show_run(&stage.dir).status, RunStatus::Finished(0));
    let choice = Choice { keep: true, ..super::stage::rerun(&["agg/default/load/c1"]) };
    stage.session(choose(choice)).unwrap();
    let kept = show_run(&stage.dir);
    assert_eq!((kept.status, kept.obligations.len()), (RunStatus::Unfinished, 1));
}

#[test]
fn a_run_is_found_by_folder_latest_and_part_of_its_id() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.go();
    let results = results(&stage);
    for text in ["latest", "20261124", "0001", "20261124-221003-0001", stage.dir.to_str().unwrap()] {
        assert_eq!(find_run(&results, Some("test"), text).unwrap(), stage.dir, "{text}");
    }
    assert!(find_run(&results, Some("other"), "latest").is_err());
    assert!(find_run(&results, None, "2025").is_err());
}

#[test]
fn pruning_spares_runs_that_are_held_or_left_something_running() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.go();
    let twin = copy_run(&stage, "20261124-221003-0002");
    let kept = copy_run(&stage, "20261124-221003-0003");
    point_to(&stage.dir).unwrap();
    let choice = Choice { keep: true, ..super::stage::rerun(&["agg/default/load/c1"]) };
    stage.session(choose(choice)).unwrap();
    let all = PruneRule { keep_newest: Some(0), older_than: None };
    let held = Run::open(&twin, std::sync::Arc::clone(&stage.clock)).unwrap();
    let gone = |pruned: &[Pruned]| -> Vec<PathBuf> {
        pruned.iter().filter(|run| run.stays.is_none()).map(|run| run.dir.clone()).collect()
    };
    let told = prune_runs(&results(&stage), all, NOW, false).unwrap();
    assert_eq!(gone(&told), std::slice::from_ref(&kept));
    assert!(kept.exists(), "it was only told");
    assert_eq!(gone(&prune_runs(&results(&stage), all, NOW, true).unwrap()), std::slice::from_ref(&kept));
    assert!(!kept.exists() && twin.exists() && stage.dir.exists());
    drop(held);
    assert_eq!(gone(&prune_runs(&results(&stage), all, NOW, true).unwrap()), [twin]);
    let old = PruneRule { keep_newest: None, older_than: Some(Duration::from_secs(3600)) };
    assert_eq!(prune_runs(&results(&stage), old, NOW, true).unwrap(), []);
    let later = Timestamp(NOW.0 + 7_200_000_000_000);
    assert!(prune_runs(&results(&stage), old, later, true).unwrap()[0].stays.is_some());
}

#[test]
fn latest_is_mended_when_its_run_is_pruned() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.go();
    let twin = copy_run(&stage, "20261124-221003-0000");
    point_to(&twin).unwrap();
    prune_runs(&results(&stage), PruneRule { keep_newest: Some(1), older_than: None }, NOW, true).unwrap();
    assert!(!twin.exists());
    let latest = stage.dir.with_file_name("latest");
    assert_eq!(fs::canonicalize(latest).unwrap(), fs::canonicalize(&stage.dir).unwrap());
}

#[test]
fn a_run_in_order_has_no_findings_and_each_fault_is_one() {
    let stage = Stage::new(&["agg"], &[1, 2]);
    stage.go();
    assert_eq!(fsck(&stage.dir, false, NOW).unwrap(), []);
    fs::write(stage.dir.join("agg/c1/results.json"), "edited").unwrap();
    fs::rename(
        stage.dir.join("agg/c2"),
        stage.layout().attempts(&super::world::address("agg/default/load/c2")).join("1"),
    )
    .unwrap();
    let journal = fs::read(stage.layout().journal()).unwrap();
    fs::write(stage.layout().journal(), [journal.as_slice(), b"{\"v\":1,\"se"].concat()).unwrap();
    let findings = fsck(&stage.dir, true, NOW).unwrap();
    let told: Vec<_> = findings.iter().map(|finding| finding.mended).collect();
    assert_eq!(told, [true, false, true], "{findings:#?}");
    assert!(findings[1].what.contains("agg/c1/results.json"));
    assert!(stage.published("agg/c2").is_some());
    assert_eq!(fs::read(stage.layout().journal()).unwrap(), journal);
    stage.go();
    assert_eq!(fsck(&stage.dir, false, NOW).unwrap(), []);
    assert_eq!(stage.world.count("agg/default/load/c2"), 1);
}

#[test]
fn a_journal_beyond_saving_is_a_finding_that_says_what_is_left() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.go();
    let mut journal = fs::read(stage.layout().journal()).unwrap();
    journal[400] ^= 1;
    fs::write(stage.layout().journal(), journal).unwrap();
    let findings = fsck(&stage.dir, true, NOW).unwrap();
    assert!(!findings[0].mended && findings[0].help.contains("cleanup"), "{findings:?}");
    assert!(matches!(stage.take(), Err(RunError::Damaged { .. })));
}

#[test]
fn an_unfinished_run_goes_on_on_another_machine() {
    let stage = Stage::new(&["agg"], &[1, 2]);
    stage.world.fault("agg/default/load/c2", [Fault::Fail(FailureKind::Lasting)]);
    stage.go();
    let archive = results(&stage).join("run.tar.gz");
    export_run(&stage.dir, &archive, NOW).unwrap();
    let there = tempfile::tempdir().unwrap();
    let dir = import_run(&archive, there.path(), NOW).unwrap();
    assert_eq!(dir, there.path().join("test/20261124-221003-0001"));
    assert!(!dir.join(".run/lock.json").exists());
    let run = Run::open(&dir, std::sync::Arc::clone(&stage.clock)).unwrap();
    let world = stage.world.clone();
    let actions = move |kind: &str| world.action(kind);
    let report = super::stage::runtime().block_on(run.execute(None, &actions, ExecuteOptions::default())).unwrap();
    assert_eq!(report.exit_code(), ExitCode::DONE);
    assert_eq!(stage.world.count("agg/default/load/c1"), 1);
    assert!(matches!(import_run(&archive, there.path(), NOW), Err(RunError::Exists { .. })));
}

#[test]
fn an_archive_that_was_cut_anywhere_is_refused_and_leaves_nothing() {
    let stage = Stage::new(&["agg"], &[1]);
    stage.go();
    let archive = results(&stage).join("run.tar.gz");
    export_run(&stage.dir, &archive, NOW).unwrap();
    let bytes = fs::read(&archive).unwrap();
    for part in 0..20 {
        let there = tempfile::tempdir().unwrap();
        fs::write(&archive, &bytes[..bytes.len() * part / 20]).unwrap();
        let error = import_run(&archive, there.path(), NOW).unwrap_err();
        assert!(matches!(error, RunError::Archive { .. }), "{part}: {error}");
        assert_eq!(crate::base::list_dir(there.path()).unwrap(), Vec::<String>::new(), "{part}");
    }
}

fn archive_of(entries: &[(&str, tar::EntryType)], to: &Path) {
    let file = flate2::write::GzEncoder::new(fs::File::create(to).unwrap(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(file);
    for (name, kind) in entries {
        let mut header = tar::Header::new_gnu();
        // Written by hand: the library refuses to write such names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(0);
        header.set_mode(0o644);
        if *kind == tar::EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        tar.append(&header, std::io::empty()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
}

#[test]
fn an_archive_that_reaches_outside_of_its_run_is_refused() {
    use tar::EntryType::{Directory, Regular, Symlink};
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("evil.tar.gz");
    let results = dir.path().join("results");
    for entries in [
        &[("run", Directory), ("run/../../evil", Regular)][..],
        &[("/tmp/evil", Regular)],
        &[("run", Directory), ("other/evil", Regular)],
        &[("run", Directory), ("run/link", Symlink)],
        &[("run/export-complete", Regular), ("run/late", Regular)],
        &[],
    ] {
        archive_of(entries, &archive);
        let error = import_run(&archive, &results, NOW).unwrap_err();
        assert!(matches!(error, RunError::Archive { .. }), "{entries:?}: {error}");
        assert!(!dir.path().join("evil").exists() && !results.join("evil").exists());
    }
}
