//! Manifests are read as kubectl reads them: what the suite compares its own reading with is what kubectl says today.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::room::Room;

/// The annotation in which kubectl keeps what it read.
const READ: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What kubectl makes of a file: its objects, or that it refuses it.
fn read(room: &Room, file: &Path) -> Value {
    let file = file.to_string_lossy();
    let said = room.try_kubectl(&["apply", "--dry-run=client", "--validate=false", "-o", "json", "-f", &*file]);
    let Some(said) = said else { return json!("refused") };
    let answer: Value = serde_json::from_str(&said).unwrap();
    let items = match answer["kind"].as_str() {
        Some("List") => answer["items"].as_array().cloned().unwrap_or_default(),
        _ => vec![answer],
    };
    let written = |object: Value| {
        let text = object["metadata"]["annotations"][READ].as_str().unwrap_or("null").to_owned();
        let mut object: Value = serde_json::from_str(&text).unwrap();
        // What kubectl adds to what it read.
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("annotations");
        metadata.remove("namespace");
        object
    };
    json!({"objects": items.into_iter().map(written).collect::<Vec<_>>()})
}

#[test]
#[ignore = "needs a cluster"]
fn the_recorded_reading_of_the_corpus_is_that_of_kubectl() {
    let room = Room::new("rules-manifests");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/yaml");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            found.insert(path.file_stem().unwrap().to_string_lossy().into_owned(), read(&room, &path));
        }
    }
    let recorded = dir.join("kubectl.json");
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        let lines: Vec<_> = found.iter().map(|(name, value)| format!("{}: {value}", json!(name))).collect();
        std::fs::write(&recorded, format!("{{\n{}\n}}\n", lines.join(",\n"))).unwrap();
    }
    let recorded: BTreeMap<String, Value> = serde_json::from_str(&std::fs::read_to_string(recorded).unwrap()).unwrap();
    for (name, found) in found {
        assert_eq!(recorded.get(&name), Some(&found), "{name}");
    }
}
