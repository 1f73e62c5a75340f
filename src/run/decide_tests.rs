//! Every combination of facts, against rules stated apart from the code.

use super::*;

const ROLES: [Role; 7] =
    [Role::Input, Role::Prepare, Role::Supply, Role::Point, Role::FollowUp, Role::Obligation, Role::Conclude];
const RECORDED: [Recorded; 8] = [
    Recorded::Never,
    Recorded::Whole,
    Recorded::Interrupted,
    Recorded::Failed,
    Recorded::Skipped,
    Recorded::Valid,
    Recorded::InvalidByMoment,
    Recorded::InvalidByConfiguration,
];
const KEYS: [KeyMatch; 3] = [KeyMatch::Equal, KeyMatch::Accepted, KeyMatch::Edited];
const SELECTIONS: [Selection; 4] = [Selection::Everything, Selection::Named, Selection::Others, Selection::Beyond];
const EDITS: [Edits; 3] = [Edits::Careful, Edits::Ignore, Edits::Accept];
const ENDINGS: [Ending; 3] = [Ending::Due, Ending::Never, Ending::Keep];

fn every(mut check: impl FnMut(Facts, Decision)) {
    let mut count = 0_u32;
    for (role, recorded) in ROLES.iter().flat_map(|role| RECORDED.map(|recorded| (*role, recorded))) {
        for (key, selection) in KEYS.iter().flat_map(|key| SELECTIONS.map(|selection| (*key, selection))) {
            for (edits, ending) in EDITS.iter().flat_map(|edits| ENDINGS.map(|ending| (*edits, ending))) {
                for bits in 0..64 {
                    let bit = |at: u32| bits >> at & 1 == 1;
                    let facts = Facts {
                        role,
                        recorded,
                        key,
                        files: bit(0),
                        selection,
                        rerun: bit(1),
                        edits,
                        demanded: bit(2),
                        inputs: bit(3),
                        owed: bit(4),
                        ending,
                        held: bit(5),
                    };
                    check(facts, decide(&facts));
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, 7 * 8 * 3 * 4 * 3 * 3 * 64);
}

fn runs(decision: Decision) -> bool {
    matches!(decision, Decision::Run(_))
}

#[test]
fn a_good_point_is_measured_again_only_when_somebody_said_so_or_its_files_are_gone() {
    every(|facts, decision| {
        if facts.role == Role::Point && facts.recorded == Recorded::Valid && runs(decision) {
            let said = facts.rerun
                || facts.key == KeyMatch::Accepted
                || facts.key == KeyMatch::Edited && facts.edits == Edits::Accept;
            assert!(said || !facts.files, "{facts:?}");
        }
    });
}

#[test]
fn a_refusal_is_always_about_a_good_point_and_an_edit_that_nobody_accepted() {
    every(|facts, decision| {
        let expected = facts.role == Role::Point
            && matches!(facts.recorded, Recorded::Valid | Recorded::Whole)
            && facts.key == KeyMatch::Edited
            && facts.edits == Edits::Careful
            && !facts.rerun;
        assert_eq!(decision == Decision::Refuse, expected, "{facts:?}");
    });
}

#[test]
fn a_point_without_a_good_result_is_due_whatever_else_is_true() {
    every(|facts, decision| {
        let without = matches!(
            facts.recorded,
            Recorded::Never | Recorded::Interrupted | Recorded::Failed | Recorded::Skipped | Recorded::InvalidByMoment
        );
        if facts.role == Role::Point && without {
            let chosen = matches!(facts.selection, Selection::Everything | Selection::Named) || facts.rerun;
            let held = facts.held && facts.selection == Selection::Everything && !facts.rerun;
            match decision {
                Decision::Run(_) => assert!(chosen && !held, "{facts:?}"),
                Decision::NotNeeded(WhyNot::Held) => assert!(held, "{facts:?}"),
                Decision::NotChosen => assert!(!chosen, "{facts:?}"),
                Decision::Keep | Decision::Adopt | Decision::Refuse | Decision::NotNeeded(_) => panic!("{facts:?}"),
            }
        }
    });
}

#[test]
fn only_a_whole_point_with_an_equal_key_and_whole_files_is_adopted() {
    every(|facts, decision| {
        let equal = facts.key == KeyMatch::Equal || facts.key == KeyMatch::Edited && facts.edits == Edits::Ignore;
        let expected =
            facts.role == Role::Point && facts.recorded == Recorded::Whole && equal && facts.files && !facts.rerun;
        assert_eq!(decision == Decision::Adopt, expected, "{facts:?}");
    });
}

#[test]
fn what_points_need_runs_for_their_sake_alone() {
    every(|facts, decision| {
        if facts.role == Role::Supply {
            let asked = facts.rerun || facts.selection == Selection::Named;
            assert_eq!(runs(decision), facts.demanded || asked, "{facts:?}");
        }
    });
}

#[test]
fn an_open_obligation_is_met_unless_somebody_wants_it_kept() {
    every(|facts, decision| {
        if facts.role == Role::Obligation && facts.owed && facts.ending == Ending::Due {
            assert!(runs(decision), "{facts:?}");
        }
        if facts.role == Role::Obligation && facts.ending == Ending::Keep {
            assert_eq!(decision, Decision::NotNeeded(WhyNot::Kept), "{facts:?}");
        }
    });
}

#[test]
fn what_is_demanded_is_kept_adopted_or_run_if_it_can_have_a_result() {
    every(|facts, decision| {
        if facts.demanded && matches!(facts.role, Role::Input | Role::Prepare | Role::Supply) {
            assert!(runs(decision) || decision == Decision::Keep, "{facts:?}");
        }
    });
}

#[test]
fn a_pure_result_is_kept_only_when_nothing_about_it_changed() {
    every(|facts, decision| {
        if matches!(facts.role, Role::Prepare | Role::Conclude) && decision == Decision::Keep {
            assert!(facts.recorded == Recorded::Valid && facts.files && !facts.inputs && !facts.rerun, "{facts:?}");
            assert!(facts.key == KeyMatch::Equal || facts.edits == Edits::Ignore && facts.key == KeyMatch::Edited);
        }
    });
}

#[test]
fn a_finished_run_has_nothing_to_do() {
    every(|facts, decision| {
        let calm = facts.recorded == Recorded::Valid
            && facts.key == KeyMatch::Equal
            && facts.files
            && facts.selection == Selection::Everything
            && !(facts.rerun || facts.demanded || facts.inputs || facts.owed);
        if calm {
            assert!(!runs(decision), "{facts:?}");
        }
    });
}

#[test]
fn a_point_that_is_invalid_by_configuration_stays_until_its_configuration_changes() {
    every(|facts, decision| {
        if facts.role == Role::Point && facts.recorded == Recorded::InvalidByConfiguration && facts.files {
            let changed =
                facts.key == KeyMatch::Accepted || facts.key == KeyMatch::Edited && facts.edits != Edits::Ignore;
            assert_eq!(decision == Decision::Keep, !changed && !facts.rerun, "{facts:?}");
        }
    });
}
