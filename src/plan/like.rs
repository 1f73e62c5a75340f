//! `like = "other"`: a deployment inherits all keys of another one, its own replace them.
//!
//! Tables within are merged key by key, except `target`, which is one decision and is replaced whole. Lists are
//! replaced. Chains are followed. Circles and missing names are reported and the chain is cut there, so that the rest of
//! a plan's problems is found in the same run.

use std::collections::BTreeSet;

use super::document::{Entry, Table, Tree};
use super::fit::near;
use crate::base::{Diagnostic, Problems, Span};

/// The key itself, which is gone afterwards.
pub(super) const LIKE: &str = "like";

/// Replaces every deployment by what it inherits and says itself.
pub(super) fn inherit(deployments: &mut Table, problems: &mut Problems) {
    let likes: Vec<Option<(String, Span)>> = deployments.values().map(like_of).collect();
    let names: Vec<String> = deployments.keys().cloned().collect();
    let place_of = |name: &str| names.iter().position(|other| other == name);

    let mut done = BTreeSet::new();
    let mut broken = BTreeSet::new();
    for start in 0..names.len() {
        // The way from this deployment to the one that inherits nothing or is complete already.
        let mut chain = vec![start];
        let mut at = start;
        while !done.contains(&at)
            && let Some((target, span)) = &likes[at]
        {
            let Some(next) = place_of(target) else {
                let others = names.iter().map(String::as_str).filter(|name| *name != names[at]);
                problems.push(
                    Diagnostic::error(format!("`{}` is to be like `{target}`, which is no deployment", names[at]))
                        .at(span.clone())
                        .suggest(near(target, others)),
                );
                broken.insert(at);
                break;
            };
            if let Some(first) = chain.iter().position(|seen| *seen == next) {
                let circle: Vec<_> = chain[first..].iter().chain([&next]).map(|index| names[*index].as_str()).collect();
                problems.push(
                    Diagnostic::error(format!("deployments are like each other in a circle: {}", circle.join(" -> ")))
                        .at(span.clone())
                        .help("one of them must stand on its own: remove its `like`"),
                );
                broken.extend(&chain);
                break;
            }
            chain.push(next);
            at = next;
        }
        if chain.iter().any(|at| broken.contains(at)) {
            broken.extend(&chain);
        }
        for pair in chain.windows(2).rev() {
            if done.insert(pair[0]) {
                merge_into(deployments, pair[0], pair[1]);
            }
        }
        done.extend(chain);
    }
    for (at, entry) in deployments.values_mut().enumerate() {
        if likes[at].is_some()
            && let Tree::Table(table) = &mut entry.node.tree
        {
            // What a broken chain would have brought is not known: the check of shapes must not call it missing.
            match table.get_mut(LIKE).filter(|_| broken.contains(&at)) {
                Some(like) => like.node.tree = Tree::Unreadable,
                None => {
                    table.shift_remove(LIKE);
                }
            }
        }
    }
}

/// The name that a deployment is to be like. A `like` that is no text is left for the check of shapes.
fn like_of(deployment: &Entry) -> Option<(String, Span)> {
    let Tree::Table(table) = &deployment.node.tree else { return None };
    let entry = table.get(LIKE)?;
    let Tree::Text(name) = &entry.node.tree else { return None };
    Some((name.clone(), entry.node.span.clone()))
}

fn merge_into(deployments: &mut Table, own: usize, base: usize) {
    let base = deployments[base].node.tree.clone();
    let own = &mut deployments[own].node.tree;
    if let (Tree::Table(base), Tree::Table(mine)) = (base, &mut *own) {
        *own = Tree::Table(merged(base, std::mem::take(mine), true));
    }
}

fn merged(mut base: Table, own: Table, outermost: bool) -> Table {
    for (key, entry) in own {
        let whole = outermost && key == "target";
        let entry = match (base.get_mut(&key), entry) {
            (Some(Entry { node: below, .. }), Entry { key: place, mut node })
                if !whole && matches!((&below.tree, &node.tree), (Tree::Table(_), Tree::Table(_))) =>
            {
                if let (Tree::Table(below), Tree::Table(mine)) = (&mut below.tree, &mut node.tree) {
                    node.tree = Tree::Table(merged(std::mem::take(below), std::mem::take(mine), false));
                }
                Entry { key: place, node }
            }
            (_, entry) => entry,
        };
        base.insert(key, entry);
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SourceId;
    use crate::plan::document::parse;

    fn inherited(text: &str) -> (serde_json::Value, Vec<String>) {
        let mut problems = Problems::default();
        let mut table = parse(text, SourceId(0), &mut problems).root;
        inherit(&mut table, &mut problems);
        let messages = problems.sorted().into_iter().map(|problem| problem.message.clone()).collect();
        (Tree::Table(table).to_json(), messages)
    }

    #[test]
    fn own_keys_replace_inherited_ones_key_by_key() {
        let (json, problems) = inherited(
            "[c]\nlike = 'b'\nvars.x = 9\n\
             [a]\ngpus = 1\nlist = [1]\nvars = { x = 1, y = 2 }\ntarget = { kind = 'k', n = 1 }\n\
             [b]\nlike = 'a'\nlist = [2]\nvars.z = 3\ntarget = { kind = 'j' }\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            json["c"],
            serde_json::json!({
                "gpus": 1, "list": [2], "vars": { "x": 9, "y": 2, "z": 3 }, "target": { "kind": "j" }
            })
        );
    }

    #[test]
    fn circles_and_missing_names_are_reported_once() {
        let (_, problems) = inherited("[a]\nlike = 'b'\n[b]\nlike = 'c'\n[c]\nlike = 'b'\n[d]\nlike = 'd'\n");
        assert_eq!(
            problems,
            [
                "deployments are like each other in a circle: b -> c -> b",
                "deployments are like each other in a circle: d -> d"
            ]
        );
        assert_eq!(inherited("[agg]\n[b]\nlike = 'aggg'\n").1, ["`b` is to be like `aggg`, which is no deployment"]);
    }
}
