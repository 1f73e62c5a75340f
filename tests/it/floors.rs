//! Imports go downward only: each folder of src/ may import those listed above it in `src/lib.rs`, and only those
//! that the design allows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// What each floor may import of ours. `steps`, `app` and `cli` stand on everything above them in the list.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("measure", &["base"]),
    ("plan", &["base", "measure"]),
    ("render", &["base", "plan"]),
    ("load", &["base", "measure"]),
    ("sim", &["base"]),
    ("target", &["base", "plan", "render", "load", "sim"]),
    ("run", &["base", "plan"]),
    ("report", &["base", "measure"]),
    ("steps", &["base", "measure", "plan", "render", "load", "sim", "target", "run", "report"]),
    ("app", &["base", "measure", "plan", "render", "load", "sim", "target", "run", "report", "steps"]),
    ("cli", &["app", "base"]),
];

/// Crates that pure floors must not name.
const IMPURE: &[&str] = &["tokio", "kube", "reqwest", "hyper", "clap", "plotters"];
const PURE_FLOORS: &[&str] = &["base", "measure", "plan"];

/// Every path that starts with a crate or with `crate::`, also within macros' token streams.
#[derive(Default)]
struct Paths {
    ours: BTreeSet<String>,
    crates: BTreeSet<String>,
}

impl Paths {
    fn add(&mut self, segments: &[String]) {
        match segments {
            [first, second, ..] if first == "crate" => {
                self.ours.insert(second.clone());
            }
            [first, ..] => {
                self.crates.insert(first.clone());
            }
            [] => {}
        }
    }

    fn tree(&mut self, before: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(before, &path.tree);
                before.pop();
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(before, item)),
            syn::UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.add(before);
                before.pop();
            }
            syn::UseTree::Rename(rename) => {
                before.push(rename.ident.to_string());
                self.add(before);
                before.pop();
            }
            syn::UseTree::Glob(_) => self.add(before),
        }
    }

    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                proc_macro2::TokenTree::Group(group) => self.tokens(group.stream()),
                proc_macro2::TokenTree::Ident(ident) => {
                    let text = |offset: usize| tokens.get(at + offset).map(ToString::to_string).unwrap_or_default();
                    if text(1) == ":" && text(2) == ":" {
                        self.add(&[ident.to_string(), text(3)]);
                    }
                }
                proc_macro2::TokenTree::Punct(_) | proc_macro2::TokenTree::Literal(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.add(&segments);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.tokens(mac.tokens.clone());
        syn::visit::visit_macro(self, mac);
    }
}

fn paths_of(text: &str) -> Paths {
    let mut paths = Paths::default();
    paths.visit_file(&syn::parse_file(text).expect("the compiler accepted it"));
    paths
}

fn rust_files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Sentences about every import that goes the wrong way.
fn wrong_ways(floor: &str, paths: &Paths) -> Vec<String> {
    let rules: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let allowed = rules.get(floor).unwrap_or_else(|| panic!("src/{floor} is not on the list of floors"));
    let mut wrong: Vec<_> = paths
        .ours
        .iter()
        .filter(|other| rules.contains_key(other.as_str()) && *other != floor && !allowed.contains(&other.as_str()))
        .map(|other| format!("{floor} imports {other}"))
        .collect();
    if PURE_FLOORS.contains(&floor) {
        wrong.extend(
            paths
                .crates
                .iter()
                .filter(|name| IMPURE.contains(&name.as_str()))
                .map(|name| format!("{floor} names {name}")),
        );
    }
    wrong
}

#[test]
fn imports_go_downward_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > MAY_IMPORT.len(), "found only {} files", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&src).unwrap();
        let Some(floor) = inside.parent().and_then(|parent| parent.components().next()) else { continue };
        let paths = paths_of(&fs::read_to_string(&file).unwrap());
        let floor = floor.as_os_str().to_string_lossy();
        wrong.extend(wrong_ways(&floor, &paths).into_iter().map(|what| format!("{}: {what}", inside.display())));
    }
    assert!(wrong.is_empty(), "imports that go the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn the_list_of_floors_is_the_order_of_lib_rs() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let order: Vec<_> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let listed: Vec<_> = MAY_IMPORT.iter().map(|(floor, _)| *floor).collect();
    assert_eq!(order, listed);
    for (place, (floor, imports)) in MAY_IMPORT.iter().enumerate() {
        for import in *imports {
            assert!(floor == &"cli" || listed[..place].contains(import), "{floor} may not stand on {import}");
        }
    }
}

#[test]
fn an_import_the_wrong_way_is_seen_in_every_form() {
    for text in [
        "use crate::cli::Thing;",
        "use crate::{base::Name, cli};",
        "use crate::cli::*;",
        "fn f() { crate::cli::go(); }",
        "fn f() { println!(\"{}\", crate::cli::NAME); }",
    ] {
        assert_eq!(wrong_ways("measure", &paths_of(text)), ["measure imports cli"], "{text}");
    }
    assert_eq!(wrong_ways("plan", &paths_of("fn f() { tokio::spawn(async {}); }")), ["plan names tokio"]);
    assert!(wrong_ways("plan", &paths_of("use crate::base::Name; use serde::Serialize;")).is_empty());
}
