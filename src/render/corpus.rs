//! The corpus of manifests, read here as kubectl reads it. What kubectl makes of each stands in
//! `tests/fixtures/yaml/kubectl.json`; a test on a cluster compares that with kubectl itself.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::fixtures::{deployment, plan};
use super::{Inputs, render};
use crate::base::SourceMap;

/// What kubectl takes and we refuse: the last because our parser wants a space there, the others because a part of what
/// somebody wrote would vanish in silence.
const STRICTER: [&str; 6] =
    ["documents-ended", "json-twice", "keys-twice", "keys-twice-by-type", "keys-twice-flow", "tabs-behind-colons"];

/// Equal, with numbers compared as numbers.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| same(value, other)))
        }
        (one, other) => one == other,
    }
}

#[test]
fn manifests_mean_what_they_mean_to_kubectl_and_what_it_refuses_is_refused() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/yaml");
    let recorded = std::fs::read_to_string(dir.join("kubectl.json")).unwrap();
    let recorded: BTreeMap<String, Value> = serde_json::from_str(&recorded).unwrap();
    let mut wrong = Vec::new();
    for (name, theirs) in &recorded {
        let ours = render(
            &plan(&dir),
            &deployment(json!({"manifests": [format!("{name}.yaml")]})),
            &Inputs::beside(&dir),
            None,
        );
        let stricter = STRICTER.contains(&name.as_str());
        let told = match (&ours, theirs.get("objects")) {
            (Ok(ours), Some(theirs)) if !stricter => {
                let ours = Value::Array(ours.objects.clone());
                (!same(&ours, theirs)).then(|| format!("ours {ours}\n  kubectl's {theirs}"))
            }
            (Ok(ours), _) => Some(format!("taken, and must be refused: {:?}", ours.objects)),
            (Err(problems), Some(_)) if !stricter => Some(problems.render(&SourceMap::default(), false)),
            (Err(_), _) => None,
        };
        wrong.extend(told.map(|told| format!("{name}: {told}")));
    }
    assert!(recorded.len() > 60, "{}", recorded.len());
    assert_eq!(wrong, Vec::<String>::new(), "{}", wrong.join("\n"));
}

#[test]
fn every_manifest_of_the_corpus_is_recorded() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/yaml");
    let recorded = std::fs::read_to_string(dir.join("kubectl.json")).unwrap();
    let recorded: BTreeMap<String, Value> = serde_json::from_str(&recorded).unwrap();
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = files.filter_map(|file| Some(file.strip_suffix(".yaml")?.to_owned())).collect();
    files.sort();
    assert_eq!(files, recorded.into_keys().collect::<Vec<_>>());
}
