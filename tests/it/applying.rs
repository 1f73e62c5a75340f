//! `apply`, again and again: edits of the plan between runs, choices of steps, what is refused and what is kept.

use std::fs;

use super::world::{PLAN, SMALL, World, files};
use insta::assert_snapshot;
use serde_json::Value;

fn points(world: &World) -> usize {
    world.ends(0, &["report", "--json"]).json()["points"].as_array().unwrap().len()
}

#[test]
fn the_outcome_is_told_in_json_and_every_event_in_a_file() {
    let world = World::new(SMALL);
    let json = world.ends(0, &["apply", PLAN, "--json", "--events", "events.jsonl"]).json();
    assert_eq!(json["code"], 0);
    assert!(json["steps"].as_array().unwrap().iter().all(|step| step["state"] == "succeeded"));
    let events = world.read("events.jsonl");
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"hello"), Some(&"run.finished")), "{kinds:?}");
    let ran = world.ends(11, &["apply", PLAN, "--events", "no/such/folder/events.jsonl"]);
    assert!(ran.stderr.contains("no/such/folder/events.jsonl"), "{}", ran.stderr);
    assert_eq!(fs::read_dir(world.path("results/small")).unwrap().count(), 2, "a run was made all the same");
}

#[test]
fn events_on_stdout_are_all_that_is_there() {
    let world = World::new(SMALL);
    let out = world.ends(0, &["apply", PLAN, "--events", "-"]).stdout;
    assert!(out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{out}");
    let out = world.ends(0, &["apply", PLAN, "--events", "-", "--json"]).stdout;
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 2 && lines.last().unwrap()["code"] == 0, "the outcome is the last line: {out}");
}

#[test]
fn what_was_set_at_the_start_is_set_again_by_a_resume() {
    let world = World::new(SMALL);
    world.ends(5, &["apply", PLAN, "--set", "workload.requests=8", "--until", "agg/default/load/c1"]);
    let ran = world.ends(0, &["apply", PLAN, "--resume"]);
    assert!(ran.stderr.contains("as this run was started: --set workload.requests=8"), "{}", ran.stderr);
    assert!(world.summary().contains("c2     8    0"), "{}", world.summary());
    let ran = world.ends(9, &["apply", PLAN, "--resume", "--set", "workload.requests=9"]);
    assert!(ran.stderr.contains("requests"), "{}", ran.stderr);
}

#[test]
fn an_unfinished_run_must_be_chosen_about() {
    let world = World::new(SMALL);
    world.ends(5, &["apply", PLAN, "--until", "agg/default/load/c1"]);
    let kept = files(&world.path("results/small/latest").canonicalize().unwrap());
    let ran = world.ends(9, &["apply", PLAN]);
    world.filters().bind(|| assert_snapshot!(ran.essence()));
    assert_eq!(files(&world.path("results/small/latest").canonicalize().unwrap()), kept);
    world.ends(0, &["apply", PLAN, "--resume"]);
    assert_eq!(points(&world), 2);
}

#[test]
fn every_point_says_where_it_was_measured_and_what_was_found_there() {
    let world = World::new(SMALL);
    world.ends(0, &["apply", PLAN]);
    let file: Value = serde_json::from_str(&world.read("results/small/latest/agg/c1/results.json")).unwrap();
    let meta = &file["point"]["meta"];
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(meta["series"]["generator"], host.trim());
    assert_eq!(meta["facts"]["models"], "tiny");
    assert!(world.summary().contains(&format!("load from {}", host.trim())), "{}", world.summary());
}

#[test]
fn a_resume_without_a_run_starts_one_and_a_second_does_nothing() {
    let world = World::new(SMALL);
    world.ends(0, &["apply", PLAN, "--resume"]);
    let ran = world.ends(0, &["apply", PLAN, "--resume"]);
    assert!(!ran.stderr.contains("start    "), "{}", ran.stderr);
    assert_eq!(world.ends(0, &["runs", "list", "--json"]).json().as_array().unwrap().len(), 1);
}

#[test]
fn more_levels_are_accepted_and_only_they_are_measured() {
    let world = World::new(SMALL);
    world.ends(0, &["apply", PLAN]);
    let measured = files(&world.path("results/small/latest/agg/c1"));
    world.edit("[1, 2]", "[1, 2, 3]");
    let ran = world.ends(0, &["apply", PLAN, "--resume"]);
    assert!(ran.stderr.contains("start    agg/default/load/c3"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("start    agg/default/load/c1"), "{}", ran.stderr);
    assert_eq!(files(&world.path("results/small/latest/agg/c1")), measured);
    assert_eq!(points(&world), 3);
}

#[test]
fn an_edit_that_costs_a_point_is_refused_and_each_way_out_works() {
    let world = World::new(SMALL);
    world.ends(0, &["apply", PLAN]);
    let measured = world.read("results/small/latest/agg/c1/requests.jsonl");
    world.edit("isl = 20", "isl = 30");
    let ran = world.ends(9, &["apply", PLAN, "--resume"]);
    world.filters().bind(|| assert_snapshot!(ran.essence()));
    assert_eq!(world.read("results/small/latest/agg/c1/requests.jsonl"), measured);

    let ran = world.ends(0, &["apply", PLAN, "--resume", "--frozen"]);
    assert!(!ran.stderr.contains("start    agg"), "{}", ran.stderr);
    assert_eq!(world.read("results/small/latest/agg/c1/requests.jsonl"), measured);

    world.ends(0, &["apply", PLAN, "--resume", "--accept-changes"]);
    assert!(world.summary().contains("ISL 30"), "{}", world.summary());
    assert_ne!(world.read("results/small/latest/agg/c1/requests.jsonl"), measured);
    let superseded = files(&world.path("results/small/latest/.run/superseded"));
    assert!(superseded.values().any(|bytes| bytes == measured.as_bytes()), "the old point is lost");

    world.ends(0, &["apply", PLAN, "--new"]);
    assert_eq!(world.ends(0, &["runs", "list", "--json"]).json().as_array().unwrap().len(), 2);
    for wrong in [&["--frozen"][..], &["--accept-changes"], &["--resume", "--new"], &["--resume", "--frozen", "--new"]]
    {
        world.ends(2, &[&["apply", PLAN][..], wrong].concat());
    }
}

#[test]
fn chosen_steps_alone_are_done_and_a_good_point_is_measured_again_on_demand() {
    let world = World::new(SMALL);
    let ran = world.ends(5, &["apply", PLAN, "--only", "agg/default/load/c2"]);
    assert!(!ran.stderr.contains("start    agg/default/load/c1"), "{}", ran.stderr);
    assert!(world.path("results/small/latest/agg/c2").is_dir());
    world.ends(0, &["apply", PLAN, "--resume"]);
    let (one, two) = ("results/small/latest/agg/c1/requests.jsonl", "results/small/latest/agg/c2/requests.jsonl");
    let before = (world.read(one), world.read(two));
    world.ends(0, &["apply", PLAN, "--resume", "--rerun", "*/default/load/c2"]);
    assert_eq!(world.read(one), before.0);
    assert_ne!(world.read(two), before.1);
    let ran = world.ends(2, &["apply", PLAN, "--resume", "--only", "agg/default/load/c3"]);
    assert!(ran.stderr.contains("did you mean"), "{}", ran.stderr);
}

#[test]
fn a_deployment_that_was_kept_is_ended_by_cleanup() {
    let world = World::new(SMALL);
    let ran = world.ends(5, &["apply", PLAN, "--until", "agg/wait", "--keep"]);
    assert!(ran.stderr.contains("dynbench cleanup --run"), "{}", ran.stderr);
    let left = world.ends(0, &["cleanup", "--dry-run"]).stdout;
    assert!(left.contains("would end"), "{left}");
    let ended = world.ends(0, &["cleanup"]).stdout;
    assert!(ended.contains("ended"), "{ended}");
    assert!(world.ends(0, &["cleanup"]).stderr.contains("nothing was left behind"));
    world.ends(0, &["apply", PLAN, "--resume"]);
    assert_eq!(points(&world), 2);
}

#[test]
fn an_objective_that_no_level_keeps_has_its_own_code() {
    let world = World::new(&format!("{SMALL}\n[objectives]\ntime-to-first-token.p50 = 1\n"));
    let ran = world.ends(4, &["apply", PLAN]);
    assert!(ran.stderr.contains("exit code 4: no level of agg (default) keeps all objectives"), "{}", ran.stderr);
    let kept = World::new(&format!("{SMALL}\n[objectives]\ntime-to-first-token.p50 = 10000\n"));
    kept.ends(0, &["apply", PLAN]);
}

#[test]
fn a_folder_of_the_users_own_is_never_wiped() {
    let world = World::new(SMALL);
    fs::create_dir(world.path("mine")).unwrap();
    world.write("mine/thesis.tex", "all of it");
    let ran = world.ends(2, &["apply", PLAN, "--output-dir", "mine"]);
    assert!(ran.stderr.contains("not empty"), "{}", ran.stderr);
    assert_eq!(files(&world.path("mine")).len(), 1);

    world.ends(0, &["apply", PLAN, "--output-dir", "out/run"]);
    world.write("out/run/notes.txt", "of mine");
    let kept = files(&world.path("out/run"));
    for again in [&[][..], &["--new"]] {
        let ran = world.run(&[&["apply", PLAN, "--output-dir", "out/run"][..], again].concat());
        assert!(ran.code == 9 || ran.code == 2, "{}: {}", ran.code, ran.stderr);
        assert_eq!(files(&world.path("out/run")), kept);
    }
    let ran = world.ends(9, &["apply", PLAN, "--output-dir", "out/run"]);
    assert!(ran.stderr.contains("the run in out/run is there already"), "{}", ran.stderr);
    world.write("other.toml", SMALL.replace("name = \"small\"", "name = \"other\""));
    let ran = world.ends(2, &["apply", "other.toml", "--output-dir", "out/run", "--resume"]);
    assert!(ran.stderr.contains("out/run holds a run of the plan small"), "{}", ran.stderr);
    let journal = world.read("out/run/.run/journal.jsonl");
    world.write("out/run/.run/journal.jsonl", journal.replacen('{', "[", 1));
    let ran = world.run(&["apply", PLAN, "--output-dir", "out/run", "--resume"]);
    assert!(ran.code != 0 && ran.stderr.contains("journal.jsonl"), "{}: {}", ran.code, ran.stderr);
    assert!(!ran.stderr.contains("holds a run of the plan"), "{}", ran.stderr);
    world.write("out/run/.run/journal.jsonl", journal);
    world.edit("[1, 2]", "[1, 2, 4]");
    world.ends(0, &["apply", PLAN, "--output-dir", "out/run", "--resume"]);
    assert!(world.path("out/run/agg/c4").is_dir());
    assert_eq!(world.read("out/run/notes.txt"), "of mine");
}

#[test]
fn a_run_has_one_owner_at_a_time() {
    let world = World::new(&SMALL.replace("itl-ms = 1 }", "itl-ms = 1 }\nfaults = [{ kind = 'never-ready' }]"));
    let args = ["apply", PLAN];
    let mut first = world.start(&args);
    first.says("start    agg/wait");
    let ran = world.ends(8, &["apply", PLAN, "--resume"]);
    assert!(ran.stderr.contains("is in use by") && ran.stderr.contains("help: "), "{}", ran.stderr);
    world.ends(8, &["runs", "fsck"]);
    world.ends(8, &["cleanup"]);
    let ran = world.ends(8, &["apply", PLAN]);
    assert!(ran.stderr.contains("is in use by"), "{}", ran.stderr);
    // Killed without a word: what it started is found and ended.
    drop(first);
    world.ends(0, &["cleanup"]);
    assert_eq!(world.ends(0, &["cleanup", "--dry-run"]).stdout, "");
    world.ends(0, &["runs", "fsck"]);
}

#[test]
fn results_that_cannot_be_written_are_one_clear_error() {
    let world = World::new(SMALL);
    world.write("results", "a file where the folder should be");
    let ran = world.ends(11, &["apply", PLAN]);
    world.filters().bind(|| assert_snapshot!("results-is-a-file", ran.essence()));
    let ran = world.ends(11, &["apply", PLAN, "--output-dir", "/proc/dynbench"]);
    world.filters().bind(|| assert_snapshot!("results-below-proc", ran.essence()));
}

/// In a mount namespace of its own, so that nothing can stay mounted: a run on a disk of `$1`, then one with room.
const ON_A_SMALL_DISK: &str = r#"
mount -t tmpfs -o size=$1 tmpfs disk || exit 99
"$2" apply plan.toml --output-dir disk/run > first.txt 2>&1
echo "first $?"
mount -o remount,size=16m disk
"$2" cleanup --run disk/run > cleanup.txt 2>&1
"$2" apply plan.toml --output-dir disk/run --resume > second.txt 2>&1
echo "second $?"
"$2" runs fsck disk/run > fsck.txt 2>&1
echo "fsck $?"
"#;

#[test]
#[expect(clippy::print_stderr, reason = "what was not tested must be seen")]
fn a_full_disk_is_one_clear_error_and_with_room_again_the_run_goes_on() {
    let mut failed = 0;
    // Full while the run is made, at the journal, in a level, at the summary, and never.
    for size in ["16k", "72k", "96k", "128k", "176k", "224k", "2m"] {
        let world = World::new(SMALL);
        fs::create_dir(world.path("disk")).unwrap();
        let args = ["--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh", size];
        let Some(out) = world.other("unshare", &[&args[..], &[env!("CARGO_BIN_EXE_dynbench")]].concat()) else {
            eprintln!("not tested: this system lets nobody mount a small disk");
            return;
        };
        let said = ["first.txt", "cleanup.txt", "second.txt"].map(|file| world.read(file)).join("\n");
        assert!(
            !said.contains("panicked") && out.contains("second 0") && out.contains("fsck 0"),
            "{size}: {out}{said}"
        );
        if out.contains("first 11") {
            failed += 1;
            assert!(said.contains("No space left on device"), "{size}: {said}");
        } else {
            assert!(out.contains("first 0"), "{size}: {out}{said}");
        }
    }
    assert!(failed >= 4, "the disks were not small enough: {failed}");
}

#[test]
fn an_event_file_on_a_full_disk_costs_no_result() {
    let world = World::new(SMALL);
    let ran = world.ends(0, &["apply", PLAN, "--events", "/dev/full"]);
    assert!(ran.stderr.contains("cannot write /dev/full"), "{}", ran.stderr);
    assert_eq!(points(&world), 2);
}
