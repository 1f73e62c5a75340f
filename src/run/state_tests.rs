//! Tests of the state machine.

use serde_json::json;

use super::*;

fn step() -> Address {
    Address("agg/deploy".to_owned())
}

fn created() -> Event {
    let plan = Name::new("p").unwrap();
    let (run, tool, nonce) = ("r".to_owned(), "t".to_owned(), "n".to_owned());
    Event::RunCreated { run, plan, tool, nonce, steps: Digest::of(b"") }
}

fn session(number: u32) -> Event {
    let (tool, host, command) = ("t".to_owned(), "h".to_owned(), Vec::new());
    Event::SessionStarted { number, tool, pid: 1, host, command }
}

fn started(attempt: u32) -> Event {
    Event::StepStarted { address: step(), attempt, key: Digest::of(b"k"), inputs: None, incarnation: None }
}

fn succeeded(attempt: u32) -> Event {
    let outcome = StepOutcome::ok(json!(attempt));
    Event::StepSucceeded { address: step(), attempt, outcome, manifest: None, place: None, adopted: false }
}

fn interrupted(attempt: u32) -> Event {
    Event::StepInterrupted { address: step(), attempt, reason: "r".to_owned() }
}

fn opened(id: &str) -> Event {
    let (id, target, what) = (id.to_owned(), "t".to_owned(), "w".to_owned());
    let obligation = Obligation { id, address: step(), target, what, handle: json!(null) };
    Event::ObligationOpened { obligation, life: None }
}

fn closed(id: &str) -> Event {
    Event::ObligationClosed { id: id.to_owned() }
}

fn ended() -> Event {
    Event::SessionEnded { code: 0, outstanding: 0 }
}

fn skipped() -> Event {
    Event::StepSkipped { address: step(), because: "b".to_owned() }
}

fn voided() -> Event {
    Event::StepVoided { address: step(), reason: "r".to_owned() }
}

fn amended(generation: u32) -> Event {
    Event::PlanAmended { generation, steps: Digest::of(b""), added: vec![], removed: vec![], changed: vec![] }
}

fn after(events: &[Event]) -> RunState {
    let mut state = RunState::default();
    events.iter().for_each(|event| state.apply(event, "t").unwrap());
    state
}

#[test]
fn what_cannot_happen_is_refused_and_changes_nothing() {
    let begun = [created(), session(1)];
    let with = |events: &[Event]| [&begun[..], events].concat();
    for (story, before, event) in [
        ("before the creation", vec![], session(1)),
        ("created twice", vec![created()], created()),
        ("outside of a session", vec![created()], started(1)),
        ("after a session", with(&[ended()]), started(1)),
        ("a session left out", with(&[]), session(3)),
        ("an attempt left out", with(&[]), started(2)),
        ("two attempts at once", with(&[started(1)]), started(2)),
        ("an end without a start", with(&[]), succeeded(1)),
        ("the end of another attempt", with(&[started(1)]), succeeded(2)),
        ("two ends", with(&[started(1), succeeded(1)]), interrupted(1)),
        ("a running step skipped", with(&[started(1)]), skipped()),
        ("nothing voided", with(&[started(1), interrupted(1)]), voided()),
        ("an obligation opened twice", with(&[opened("a"), closed("a")]), opened("a")),
        ("an obligation closed twice", with(&[opened("a"), closed("a")]), closed("a")),
        ("a generation left out", with(&[]), amended(3)),
    ] {
        let mut state = after(&before);
        let untouched = state.clone();
        assert!(state.apply(&event, "t").is_err(), "{story}");
        let same_steps = state.steps.iter().all(|(address, record)| untouched.step(address) == record);
        assert!(same_steps && state.open == untouched.open && state.sessions == untouched.sessions, "{story}");
    }
}

#[test]
fn the_newest_output_outlives_a_later_attempt_without_one() {
    let state =
        after(&[created(), session(1), started(1), succeeded(1), session(2), started(2), interrupted(2), skipped()]);
    let record = state.step(&step());
    assert_eq!((record.output.clone(), record.attempts, record.phase.word()), (Some(json!(1)), 2, "skipped"));
}
