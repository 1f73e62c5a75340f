//! What a run was started from, kept in its folder: `.run/frozen/<generation>/`.
//!
//! `plan.json` (resolved), `steps.json` (the list of steps), `sources/` (the plan and whatever else was read, as it
//! was). An accepted edit of the plan makes a new generation; a generation counts from the moment the journal names it.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::RunError;
use super::layout::RunLayout;
use crate::base::{
    Digest, create_dir, digest_json, list_dir, read_limited, read_text, remove_dir, sync_tree, write_atomic,
};
use crate::plan::{Plan, StepSpec};

/// A text that a run is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name under `sources/`: relative, without `..`.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A plan and all that follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Frozen {
    /// The checked plan.
    pub plan: Plan,
    /// Its steps, in the order of the run.
    pub steps: Vec<StepSpec>,
    /// The texts it was made from: `plan.toml` as given, templates, manifests.
    pub sources: Vec<SourceFile>,
}

/// Digest of a list of steps, for the journal.
pub(super) fn digest_of(steps: &[StepSpec]) -> Digest {
    digest_json(&serde_json::to_value(steps).expect("steps hold nothing that JSON cannot say"))
}

/// Writes a generation; it is on the disk when this returns. One that no journal line names is written over.
pub(super) fn freeze(layout: &RunLayout, generation: u32, frozen: &Frozen) -> Result<(), RunError> {
    let folder = layout.frozen(generation);
    remove_dir(&folder)?;
    create_dir(&folder)?;
    write_json(&folder.join("plan.json"), &frozen.plan)?;
    write_json(&folder.join("steps.json"), &frozen.steps)?;
    for source in &frozen.sources {
        let relative = Path::new(&source.name);
        // A manifest from elsewhere (`../shared/x.yaml`) is kept under its own path below `sources/`.
        let inside: std::path::PathBuf =
            relative.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
        let path = folder.join("sources").join(inside);
        create_dir(path.parent().expect("a path below a folder has a parent"))?;
        write_atomic(&path, &source.bytes)?;
    }
    sync_tree(&folder)?;
    for fingerprint in &frozen.steps {
        keep_fingerprint(layout, fingerprint)?;
    }
    Ok(())
}

/// Longest text that is carried on: far beyond any plan or manifest.
const LONGEST_SOURCE: u64 = 1 << 30;

/// The texts of a generation, as they were written.
pub(super) fn sources(layout: &RunLayout, generation: u32) -> Result<Vec<SourceFile>, RunError> {
    let root = layout.frozen(generation).join("sources");
    let (mut found, mut open) = (Vec::new(), vec![String::new()]);
    while let Some(folder) = open.pop() {
        for entry in list_dir(&root.join(&folder))? {
            let name = if folder.is_empty() { entry } else { format!("{folder}/{entry}") };
            let path = root.join(&name);
            if path.is_dir() {
                open.push(name);
            } else {
                found.push(SourceFile { bytes: read_limited(&path, LONGEST_SOURCE)?, name });
            }
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn keep_fingerprint(layout: &RunLayout, step: &StepSpec) -> Result<(), RunError> {
    let path = layout.fingerprint(&step.key);
    if !path.exists() {
        create_dir(path.parent().expect("a path below a folder has a parent"))?;
        write_json(&path, &step.fingerprint)?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let mut text = serde_json::to_vec_pretty(value).expect("what is frozen holds nothing that JSON cannot say");
    text.push(b'\n');
    Ok(write_atomic(path, &text)?)
}

/// Reads a generation's plan and steps.
pub(super) fn thaw(layout: &RunLayout, generation: u32) -> Result<(Plan, Vec<StepSpec>), RunError> {
    let folder = layout.frozen(generation);
    Ok((read_json(&folder.join("plan.json"))?, read_json(&folder.join("steps.json"))?))
}

/// The fingerprint behind a key, if it was kept.
pub(super) fn fingerprint(layout: &RunLayout, key: &Digest) -> Option<serde_json::Value> {
    read_json(&layout.fingerprint(key)).ok()
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, RunError> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|source| RunError::Decode { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::super::tests::world;
    use super::*;

    #[test]
    fn what_was_frozen_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let layout = RunLayout::new(dir.path());
        let mut frozen = world::frozen(&["agg"], &[1, 2], 1);
        frozen.sources.push(SourceFile { name: "../up/../deep/x.yaml".to_owned(), bytes: b"x: 1".to_vec() });
        freeze(&layout, 1, &frozen).unwrap();
        freeze(&layout, 1, &frozen).unwrap();
        assert_eq!(thaw(&layout, 1).unwrap(), (frozen.plan.clone(), frozen.steps.clone()));
        assert_eq!(read_text(&layout.frozen(1).join("sources/up/deep/x.yaml")).unwrap(), "x: 1");
        let step = &frozen.steps[0];
        assert_eq!(fingerprint(&layout, &step.key).as_ref(), Some(&step.fingerprint));
    }
}
