//! `--set KEY=VALUE`: one value of the plan, written on the command line.
//!
//! KEY is a dotted path into the document, VALUE is TOML, or plain text when it is no TOML. The value replaces what
//! stands at the path, before `like` and the matrix are looked at. Its place is the command line's own text, so every
//! later complaint points there.

use std::path::Path;

use super::document::{Entry, Node, Table, Tree, parse_key, parse_value};
use super::fit::near;
use crate::base::{Diagnostic, Problems, SourceMap, Span};

/// Tables whose members must exist before a `--set` may change them: a mistyped name would add a deployment.
const FIXED_MEMBERS: &[(&str, &str)] = &[("deployments", "deployment"), ("workloads", "workload")];

/// Applies all of them in order.
pub(super) fn apply(root: &mut Table, sets: &[String], sources: &mut SourceMap, problems: &mut Problems) {
    for text in sets {
        let source = sources.add(Path::new("--set"), text.clone());
        let whole = Span { source, range: 0..text.len() };
        let Some((key, value)) = text.split_once('=') else {
            problems.push(
                Diagnostic::error("`--set` needs KEY=VALUE")
                    .at(whole)
                    .help("for example --set workload.concurrency=[1,2,4]"),
            );
            continue;
        };
        let Some(segments) = parse_key(key.trim_end(), source) else {
            problems.push(
                Diagnostic::error("this is no path into a plan")
                    .at(Span { source, range: 0..key.len() })
                    .help("write keys with dots between them, such as deployments.agg.gpus"),
            );
            continue;
        };
        let offset = key.len() + 1;
        let node = parse_value(value, offset, source, problems).unwrap_or_else(|| Node {
            tree: Tree::Text(value.to_owned()),
            span: Span { source, range: offset..text.len() },
        });
        if let Err(problem) = insert(root, &segments, node) {
            problems.push(problem);
        }
    }
}

fn insert(root: &mut Table, segments: &[(String, Span)], node: Node) -> Result<(), Diagnostic> {
    if let [(table, _), (member, place), ..] = segments
        && let Some((_, what)) = FIXED_MEMBERS.iter().find(|(name, _)| name == table)
    {
        let known: Vec<_> = match root.get(table).map(|entry| &entry.node.tree) {
            Some(Tree::Table(members)) => members.keys().map(String::as_str).collect(),
            Some(_) | None => Vec::new(),
        };
        if !known.contains(&member.as_str()) {
            let problem = Diagnostic::error(format!("the plan has no {what} `{member}`")).at(place.clone());
            return Err(match near(member, known.iter().copied()) {
                Some(name) => problem.suggest(Some(name)),
                None if known.is_empty() => problem.help(format!("add it to the plan: --set changes a {what}")),
                None => problem.help(format!("it has {}", known.join(", "))),
            });
        }
    }
    let (last, above) = segments.split_last().expect("a TOML key has at least one segment");
    let mut table = root;
    for (at, (segment, place)) in above.iter().enumerate() {
        let entry = table.entry(segment.clone()).or_insert_with(|| Entry {
            key: place.clone(),
            node: Node { tree: Tree::Table(Table::new()), span: place.clone() },
        });
        // A number after the name of a list chooses one of its items.
        if let Tree::List(items) = &mut entry.node.tree {
            return insert_into_list(items, &segments[at + 1..], node);
        }
        // What is no table is replaced by one; that its key cannot hold a table is for the check of shapes to say.
        if !matches!(entry.node.tree, Tree::Table(_)) {
            entry.key = place.clone();
            entry.node = Node { tree: Tree::Table(Table::new()), span: place.clone() };
        }
        let Tree::Table(next) = &mut entry.node.tree else { unreachable!("made a table just above") };
        table = next;
    }
    let (name, place) = last;
    table.insert(name.clone(), Entry { key: place.clone(), node });
    Ok(())
}

fn insert_into_list(items: &mut [Node], segments: &[(String, Span)], node: Node) -> Result<(), Diagnostic> {
    let (index, place) = &segments[0];
    let count = items.len();
    let Some(item) = index.parse::<usize>().ok().and_then(|index| items.get_mut(index)) else {
        return Err(Diagnostic::error(format!("a list of {count} has no item `{index}`"))
            .at(place.clone())
            .help("items are counted from 0"));
    };
    match (&mut item.tree, &segments[1..]) {
        (_, []) => {
            *item = node;
            Ok(())
        }
        (Tree::Table(table), rest) => insert(table, rest, node),
        (Tree::List(inner), rest) => insert_into_list(inner, rest, node),
        (other, _) => {
            Err(Diagnostic::error(format!("item {index} is {}: nothing stands below it", other.kind()))
                .at(place.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SourceId;
    use crate::plan::document::parse;

    fn set(plan: &str, sets: &[&str]) -> (serde_json::Value, String) {
        let (mut problems, mut sources) = (Problems::default(), SourceMap::default());
        sources.add(Path::new("plan.toml"), plan.to_owned());
        let mut root = parse(plan, SourceId(0), &mut problems).root;
        let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
        apply(&mut root, &sets, &mut sources, &mut problems);
        (Tree::Table(root).to_json(), problems.render(&sources, false))
    }

    #[test]
    fn values_are_toml_or_else_text() {
        let (json, problems) = set("a = 1", &["a=[1, 2]", "b.c=http://x:1/y", "b.d=true", "e=", "f='x y'"]);
        assert_eq!(problems, "");
        assert_eq!(json, serde_json::json!({"a": [1, 2], "b": {"c": "http://x:1/y", "d": true}, "e": "", "f": "x y"}));
    }

    #[test]
    fn items_of_lists_are_chosen_by_number() {
        let (json, problems) = set("a = [1, { b = 2 }]", &["a.1.b=3", "a.0=7"]);
        assert_eq!(problems, "");
        assert_eq!(json, serde_json::json!({"a": [7, {"b": 3}]}));
        assert!(set("a = [1]", &["a.5=3"]).1.contains("a list of 1 has no item `5`"));
        assert!(set("a = [1]", &["a.0.b=3"]).1.contains("nothing stands below it"));
    }

    #[test]
    fn a_mistyped_deployment_is_not_added() {
        insta::assert_snapshot!(set("[deployments.agg]\n", &["deployments.ag.gpus=2"]).1, @r"
        error: the plan has no deployment `ag`
         --> --set:1:13
          |
        1 | deployments.ag.gpus=2
          |             ^^
          |
          = help: did you mean `agg`?
        ");
    }

    #[test]
    fn what_is_no_assignment_is_refused() {
        assert!(set("", &["a"]).1.contains("needs KEY=VALUE"));
        assert!(set("", &["a..b=1"]).1.contains("this is no path into a plan"));
        assert!(set("", &["=1"]).1.contains("this is no path into a plan"));
    }
}
