//! Where the engines of the deployments differ in their arguments: a difference of results may come from there.

use std::collections::BTreeMap;

use crate::report::RunResults;
use crate::report::text::wrapped;

/// The section; empty when nothing is known, or nothing differs.
pub(super) fn section(results: &RunResults) -> String {
    let all = results.info.deployments.iter();
    let found = differing(all.map(|deployment| (deployment.name.as_str(), &deployment.engine_arguments[..])));
    if found.values().all(Vec::is_empty) {
        return String::new();
    }
    let mut out = "ENGINE ARGUMENTS THAT DIFFER\n".to_owned();
    for (name, arguments) in found {
        let list = if arguments.is_empty() { "nothing that not all have".to_owned() } else { arguments.join(", ") };
        out.push_str(&wrapped(&format!("  {name}: "), &list));
    }
    out
}

/// What each of several lists has that not all of them have. Empty lists (unknown arguments) are no reason to differ.
fn differing<'a>(all: impl Iterator<Item = (&'a str, &'a [String])>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let known: Vec<_> = all.filter(|(_, arguments)| !arguments.is_empty()).collect();
    let in_all = |argument: &String| known.iter().all(|(_, arguments)| arguments.contains(argument));
    let own =
        |arguments: &'a [String]| arguments.iter().filter(|argument| !in_all(argument)).map(String::as_str).collect();
    known.iter().map(|(name, arguments)| (*name, own(arguments))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_not_all_have_differs() {
        let lists = [vec!["--a 1".to_owned(), "--b".to_owned()], vec!["--a 1".to_owned()], Vec::new()];
        let found = differing([("x", &lists[0][..]), ("y", &lists[1][..]), ("z", &lists[2][..])].into_iter());
        assert_eq!(found, BTreeMap::from([("x", vec!["--b"]), ("y", vec![])]));
    }
}
