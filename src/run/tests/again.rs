//! What a resume makes of a deployment that outlived the runner: used again, or brought to life anew, and what points carry.

use super::super::*;
use super::stage::{Death, Stage, choose, rerun};
use super::world::address;
use crate::base::Digest;
use crate::plan::IncarnationPolicy;

/// A run that died when its first point was good and its second was under way.
fn died_in_the_second_point(policy: IncarnationPolicy) -> Stage {
    let of = |stage: &mut Stage| stage.frozen.plan.policy.incarnation = policy;
    let mut whole = Stage::new(&["agg"], &[1, 2]);
    of(&mut whole);
    whole.go();
    let lines = read_journal(&whole.layout().journal()).unwrap().lines;
    let begins = |line: &Line| matches!(&line.event, Event::StepStarted { address, .. } if address.as_str() == SECOND);
    let mut stage = Stage::new(&["agg"], &[1, 2]);
    of(&mut stage);
    stage.die(Some(Death::After(lines.iter().position(begins).unwrap())));
    assert_eq!((stage.world.count(FIRST), stage.world.count(SECOND)), (1, 0));
    assert_eq!(stage.world.started(), ["agg/deploy#1"]);
    stage
}

const FIRST: &str = "agg/default/load/c1";
const SECOND: &str = "agg/default/load/c2";

fn incarnation(stage: &Stage, point: &str) -> Option<Digest> {
    stage.state().step(&address(point)).incarnation.clone()
}

#[test]
fn a_deployment_that_lives_is_used_again_and_its_points_go_on_under_its_incarnation() {
    for policy in [IncarnationPolicy::Warn, IncarnationPolicy::SamePerSweep, IncarnationPolicy::Any] {
        let stage = died_in_the_second_point(policy);
        assert_eq!(stage.go().exit_code(), ExitCode::DONE);
        assert_eq!(stage.world.started(), ["agg/deploy#1"], "{policy:?}");
        assert_eq!((stage.world.count(FIRST), stage.world.count(SECOND)), (1, 1), "{policy:?}");
        assert!(incarnation(&stage, FIRST).is_some());
        assert_eq!(incarnation(&stage, FIRST), incarnation(&stage, SECOND), "{policy:?}");
        assert_eq!(stage.world.alive(), Vec::<String>::new(), "what was used again is torn down like any other");
    }
}

#[test]
fn a_deployment_that_vanished_is_brought_to_life_anew_and_later_points_carry_the_new_incarnation() {
    let stage = died_in_the_second_point(IncarnationPolicy::Warn);
    stage.world.vanish();
    let report = stage.go();
    assert_eq!((report.exit_code(), report.obligations.len()), (ExitCode::DONE, 0));
    assert_eq!(stage.world.started(), ["agg/deploy#1", "agg/deploy#2"]);
    assert_eq!(stage.world.count(FIRST), 1);
    assert_ne!(incarnation(&stage, FIRST), incarnation(&stage, SECOND));
}

#[test]
fn a_deployment_whose_pods_were_replaced_meanwhile_is_used_again_as_another_incarnation() {
    for (policy, times) in
        [(IncarnationPolicy::Warn, 1), (IncarnationPolicy::Any, 1), (IncarnationPolicy::SamePerSweep, 2)]
    {
        let stage = died_in_the_second_point(policy);
        stage.world.replace();
        assert_eq!(stage.go().exit_code(), ExitCode::DONE);
        assert_eq!(stage.world.started(), ["agg/deploy#1"], "{policy:?}");
        assert_eq!(stage.world.count(FIRST), times, "{policy:?}");
        let is_one = incarnation(&stage, FIRST) == incarnation(&stage, SECOND);
        assert_eq!(is_one, policy == IncarnationPolicy::SamePerSweep, "{policy:?}");
    }
}

#[test]
fn a_deployment_that_is_asked_for_by_name_is_brought_to_life_anew() {
    let stage = died_in_the_second_point(IncarnationPolicy::Warn);
    let report = stage.session(choose(rerun(&["agg/deploy"]))).unwrap();
    assert_eq!(report.exit_code(), ExitCode::DONE);
    assert_eq!(stage.world.started(), ["agg/deploy#1", "agg/deploy#2"]);
    assert_ne!(incarnation(&stage, FIRST), incarnation(&stage, SECOND));
}
