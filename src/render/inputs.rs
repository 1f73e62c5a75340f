//! Where the texts of templates and manifests come from: beside the plan, compiled in, or frozen into a run.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::builtin;
use crate::base;

/// Folder of the compiled-in templates in names of inputs; no file beside a plan is called so.
pub(super) const BUILT_IN: &str = "<built in>";
/// Longer texts are no templates.
const LONGEST: u64 = 4 << 20;

/// A source of texts that remembers which ones were read, so that a run can freeze exactly those.
#[derive(Debug, Clone)]
pub struct Inputs {
    dir: PathBuf,
    frozen: Option<BTreeMap<String, String>>,
    read: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Inputs {
    /// Files beside a plan, and what is compiled in.
    pub fn beside(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), frozen: None, read: Arc::default() }
    }

    /// Only what was frozen: a newer binary's own templates are no edit of the plan.
    pub fn frozen(texts: BTreeMap<String, String>) -> Self {
        Self { dir: PathBuf::new(), frozen: Some(texts), read: Arc::default() }
    }

    /// Reads a text; what is wrong is a sentence.
    pub(super) fn text(&self, name: &str) -> Result<String, String> {
        let text = match &self.frozen {
            Some(frozen) => {
                frozen.get(name).cloned().ok_or_else(|| format!("`{name}` was not frozen into this run"))?
            }
            None => self.fresh(name)?,
        };
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), text.clone());
        Ok(text)
    }

    fn fresh(&self, name: &str) -> Result<String, String> {
        if let Some(file) = name.strip_prefix(BUILT_IN) {
            let file = file.trim_start_matches('/');
            return builtin::file(file).map(str::to_owned).ok_or_else(|| format!("no template `{file}` is built in"));
        }
        let path = self.dir.join(name);
        let bytes = base::read_limited(&path, LONGEST).map_err(|error| format!("{error}: {}", error.source))?;
        String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", path.display()))
    }

    /// All texts read so far, by name.
    pub fn texts(&self) -> BTreeMap<String, String> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The name of what `parent` calls `name`: relative to its own folder.
pub(super) fn join<'s>(name: &'s str, parent: &'s str) -> Cow<'s, str> {
    let mut path = PathBuf::new();
    for component in Path::new(parent).parent().unwrap_or(Path::new("")).join(name).components() {
        match component {
            // Climbing past the start stays a climb: the plan's folder is not the root of the world.
            Component::ParentDir if path.file_name().is_some() => {
                path.pop();
            }
            Component::CurDir => {}
            Component::ParentDir | Component::Normal(_) | Component::RootDir | Component::Prefix(_) => {
                path.push(component);
            }
        }
    }
    Cow::Owned(path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_are_relative_to_the_including_file() {
        for (name, parent, joined) in [
            ("b.j2", "own/a.yaml", "own/b.j2"),
            ("./parts/../b.j2", "own/a.yaml", "own/b.j2"),
            ("../b.j2", "own/a.yaml", "b.j2"),
            ("../../b.j2", "own/a.yaml", "../b.j2"),
            ("/abs/b.j2", "own/a.yaml", "/abs/b.j2"),
            ("dynamo.j2", "<built in>/x.yaml.j2", "<built in>/dynamo.j2"),
        ] {
            assert_eq!(join(name, parent), joined, "{name} in {parent}");
        }
    }
}
