//! A search takes the same way and ends the same, wherever its runner dies.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use serde_json::json;

use super::super::*;
use super::stage::{Death, Stage};
use super::world::{self, address, name};
use crate::plan::{Level, Outcomes, Plan, Workload};

/// The loads that a search up to 64 tries where six users are the most: doubling, then halving.
const WAY: [u32; 6] = [1, 2, 4, 8, 6, 7];

fn workload() -> Workload {
    serde_json::from_value(json!({
        "name": "default", "isl": 10, "isl_std": 0.0, "osl": 10, "osl_std": 0.0, "concurrency": [],
        "shape": {"search": {"over": "concurrency", "from": 1.0, "to": 64.0, "resolution": 0.05, "max_points": 16}},
        "requests": null, "duration": {"secs": 180, "nanos": 0}, "warm_up_requests": 0, "repeats": 1, "seed": 0,
        "request": {
            "api": "chat", "temperature": null, "extra": {},
            "timeout": {"secs": 600, "nanos": 0}, "idle_timeout": {"secs": 60, "nanos": 0},
        },
        "span": null,
    }))
    .unwrap()
}

fn expand(plan: &Plan, outcomes: &Outcomes) -> Vec<crate::plan::StepSpec> {
    let search = plan.workloads["default"].shape.search.as_ref().unwrap();
    let key = |level| (name("agg"), name("default"), 1, level);
    let walk = search.walk(|level| outcomes.get(&key(level)).copied());
    let users: Vec<u32> = walk.path.iter().map(|level| level.value() as u32).collect();
    world::steps(&["agg"], &users, 1)
}

fn stage() -> Stage {
    let mut frozen = world::frozen(&["agg"], &[1], 1);
    frozen.plan.workloads.insert(name("default"), workload());
    let mut stage = Stage::of(frozen);
    stage.expand = Some(Arc::new(expand));
    stage
}

fn point(users: u32) -> String {
    format!("agg/default/load/c{users}")
}

fn assert_ended_well(stage: &Stage, report: &RunReport, story: &str) {
    assert_eq!(report.causes, [], "{story}");
    assert_eq!(stage.world.alive(), Vec::<String>::new(), "{story}");
    assert_eq!(stage.world.disturbed(), Vec::<String>::new(), "{story}");
    for users in WAY {
        assert_eq!(stage.world.count(&point(users)), 1, "{story}: c{users}");
        assert!(stage.published(&format!("agg/c{users}")).is_some(), "{story}: c{users}");
    }
    let measured: BTreeSet<_> = stage.world.deeds().into_iter().filter(|deed| deed.contains("/load/")).collect();
    assert_eq!(measured, WAY.map(point).into(), "{story}");
    assert_eq!(stage.world.deeds().last().map(String::as_str), Some("plot/pareto"), "{story}");
    // The frozen list of the last generation is the whole way, and the texts of the plan are still beside it.
    let (_, steps) = frozen_of(&stage.dir).unwrap();
    let levels: Vec<_> = steps.iter().filter_map(|step| step.level).collect();
    assert_eq!(levels, WAY.map(Level::Concurrency), "{story}");
    let sources = stage.layout().frozen(stage.state().generation()).join("sources/plan.toml");
    assert_eq!(fs::read_to_string(sources).unwrap(), "schema = 1\n", "{story}");
}

#[test]
fn each_next_load_is_in_the_frozen_plan_and_the_journal_before_it_starts() {
    let stage = stage();
    assert_ended_well(&stage, &stage.go(), "without a death");
    let journal = read_journal(&stage.layout().journal()).unwrap();
    let mut known = BTreeSet::from([address(&point(1))]);
    for line in &journal.lines {
        match &line.event {
            Event::PlanAmended { added, .. } => known.extend(added.iter().cloned()),
            Event::StepStarted { address, .. } if address.as_str().contains("/load/") => {
                assert!(known.contains(address), "{address} started before it was in the plan");
            }
            _ => {}
        }
    }
    let before = stage.world.deeds();
    stage.go();
    assert_eq!(stage.world.deeds(), before, "a finished search did something");
}

#[test]
fn a_search_that_dies_around_any_line_of_its_journal_ends_as_if_it_had_not() {
    let whole = stage();
    let (report, lines) = whole.die(None);
    assert_ended_well(&whole, &report.unwrap(), "without a death");
    assert!(lines > 40, "only {lines} lines");
    for at in 1..=lines {
        for death in [Death::Before(at), Death::Amid(at), Death::After(at)] {
            let story = format!("{death:?}");
            let stage = stage();
            assert!(stage.die(Some(death)).0.is_none(), "{story}: it did not die");
            assert_ended_well(&stage, &stage.go(), &story);
        }
    }
}

#[test]
fn a_resume_of_the_frozen_plan_goes_on_with_the_search() {
    for at in [20, 25, 30, 35, 40] {
        let stage = stage();
        stage.die(Some(Death::After(at)));
        let choice = Choice { edits: Edits::Ignore, ..Choice::default() };
        let report = stage.session(ExecuteOptions { choice, ..ExecuteOptions::default() }).unwrap();
        assert_ended_well(&stage, &report, &format!("after line {at}"));
    }
}
