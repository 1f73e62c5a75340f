//! Files of the repository that are made from the tables: each is what the tables say, and every plan in it is good.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::world::World;
use insta::assert_snapshot;

const SCHEMA_FILE: &str = "schemas/plan.v1.json";
const SCHEMA_LINE: &str = "#:schema ../schemas/plan.v1.json";

#[test]
fn the_schema_in_the_repository_is_what_the_program_prints() {
    let printed = World::new("").ends(0, &["schema"]).stdout;
    let kept = fs::read_to_string(SCHEMA_FILE).unwrap_or_default();
    assert!(printed == kept, "{SCHEMA_FILE} is stale: cargo run -- schema > {SCHEMA_FILE}");
    let schema: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert!(!kept.contains("\"$ref\""), "editors complete inlined schemas only");
}

#[test]
fn every_plan_in_the_repository_is_good_and_names_its_schema() {
    let mut seen = 0;
    for entry in fs::read_dir("plans").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some(SCHEMA_LINE), "{}", path.display());
        let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(&path);
        let ran = World::new("").ends(0, &["check", "--json", &whole.display().to_string()]);
        assert_eq!(ran.json()[0]["problems"], serde_json::json!([]), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 3, "only {seen} plans");
}

#[test]
fn plans_that_init_writes_are_good() {
    let world = World::new("");
    for kind in ["simulated", "process", "endpoint", "kubernetes"] {
        let file = format!("{kind}.toml");
        world.ends(0, &["init", &file, "--target", kind]);
        let ran = world.ends(0, &["check", "--json", &file]);
        assert_eq!(ran.json()[0]["problems"], serde_json::json!([]), "{kind}");
    }
    let ran = world.ends(2, &["init", "simulated.toml"]);
    assert!(ran.stderr.contains("simulated.toml") && ran.stderr.contains("exists"), "{}", ran.stderr);
}

#[test]
fn every_template_shows_itself() {
    let world = World::new("");
    let list = world.ends(0, &["templates", "list"]).stdout;
    assert_snapshot!("templates", list);
    let names: Vec<_> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let files = fs::read_dir("templates").unwrap().filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".yaml.j2")
    });
    // Templates may share a text; they differ in their variables then, which stand above it as comments.
    let (mut heads, mut texts) = (String::new(), BTreeSet::new());
    for name in names {
        let shown = world.ends(0, &["templates", "show", name]).stdout;
        let (head, text) = shown.split_once("\n\n").unwrap();
        heads.push_str(&format!("{head}\n\n"));
        texts.insert(text.to_owned());
    }
    assert_snapshot!("templates-variables", heads);
    assert_eq!(texts.len(), files.count());
    let ran = world.ends(2, &["templates", "show", "dynamo-vllm-ag"]);
    assert!(ran.stderr.contains("did you mean `dynamo-vllm-agg`?"), "{}", ran.stderr);
}
