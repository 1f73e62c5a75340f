//! Kinds of workloads through the whole program, on the embedded engine.

use serde_json::Value;

use super::world::{SMALL, World};

fn talking() -> String {
    SMALL.replace("osl = 4\n", "osl = 4\nconversations = { turns = 3, delay = \"20ms\" }\n")
}

fn json(world: &World, file: &str) -> Value {
    serde_json::from_str(&world.read(file)).unwrap()
}

#[test]
fn conversations_are_measured_turn_by_turn_and_told_of_in_the_summary() {
    let world = World::new(&talking());
    world.ends(0, &["apply", "plan.toml"]);
    let point = json(&world, "results/small/latest/agg/c2/results.json");
    let counts = &point["point"]["conversations"];
    assert_eq!((&counts["begun"], &counts["whole"], &counts["broken"]), (&2.into(), &2.into(), &0.into()), "{point}");
    let text = world.read("results/small/latest/agg/c2/requests.jsonl");
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let turns: Vec<_> = records.iter().filter_map(|record| record["turn"]["turn"].as_u64()).collect();
    assert_eq!((turns.len(), turns.iter().sum::<u64>()), (6, 2 * (1 + 2 + 3)));
    // 20 words of its own, and for each turn before it 20 more and an answer of 4.
    for record in records.iter().filter(|record| record["turn"].is_object()) {
        assert_eq!(record["isl"], 20 + 24 * (record["turn"]["turn"].as_u64().unwrap() - 1));
        assert_eq!(record["isl"], record["isl_asked"]);
    }
    let summary = world.summary();
    assert!(summary.contains("concurrency counts conversations"), "{summary}");
    assert!(summary.contains("conversations of 3 turns, 20ms apart"), "{summary}");
}

#[test]
fn an_edit_of_conversations_would_cost_the_points() {
    let world = World::new(&talking());
    world.ends(0, &["apply", "plan.toml"]);
    world.edit("delay = \"20ms\"", "delay = \"30ms\"");
    let refused = world.ends(9, &["apply", "plan.toml", "--resume"]);
    assert!(refused.stderr.contains("content"), "{}", refused.stderr);
}

#[test]
fn a_plan_with_conversations_that_was_killed_goes_on() {
    let world = World::new(&talking().replace("requests = 6", "requests = 60"));
    let mut running = world.start(&["apply", "plan.toml"]);
    running.says("agg/default/load/c1");
    running.kill();
    world.ends(0, &["apply", "plan.toml", "--resume"]);
    for level in ["c1", "c2"] {
        let point = json(&world, &format!("results/small/latest/agg/{level}/results.json"));
        assert_eq!(point["point"]["conversations"]["whole"], 20, "{point}");
    }
}
