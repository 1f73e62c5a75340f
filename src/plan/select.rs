//! Choosing steps by pattern, for `--only`, `--rerun` and `--until`.
//!
//! Within a segment `*` stands for any characters, `**` as a segment for any number of segments. A pattern chooses
//! every step whose address it matches, and all below: `agg` chooses the whole deployment, `agg/*/load` all its points.

use super::steps::Address;
use crate::base::nearest;

/// A pattern that matches nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no step matches `{pattern}`")]
pub struct NoMatch {
    /// The pattern.
    pub pattern: String,
    /// The address, or beginning of one, that was perhaps meant.
    pub nearest: Option<String>,
}

/// The addresses that a pattern chooses, in their order.
///
/// # Errors
/// When there is none.
pub fn select<'a>(pattern: &str, addresses: impl IntoIterator<Item = &'a Address>) -> Result<Vec<Address>, NoMatch> {
    let addresses: Vec<&Address> = addresses.into_iter().collect();
    let found: Vec<Address> =
        addresses.iter().filter(|address| matches(pattern, address)).map(|address| (*address).clone()).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    // Beginnings count too: whoever types `ag` means the deployment, not one of its steps.
    let beginnings = addresses.iter().flat_map(|address| {
        let text = address.as_str();
        text.match_indices('/').map(|(at, _)| &text[..at]).chain([text])
    });
    let near = if pattern.len() > 200 { None } else { nearest(pattern, beginnings).map(str::to_owned) };
    Err(NoMatch { pattern: pattern.to_owned(), nearest: near })
}

/// Whether a pattern chooses an address: it matches the address or a beginning of it that ends at a slash.
pub fn matches(pattern: &str, address: &Address) -> bool {
    let pattern: Vec<&str> = pattern.trim_matches('/').split('/').collect();
    let segments: Vec<&str> = address.as_str().split('/').collect();
    // reached[n]: the pattern so far can have consumed n segments. Linear in both, whatever the stars.
    let mut reached = vec![false; segments.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; segments.len() + 1];
        for at in (0..=segments.len()).filter(|at| reached[*at]) {
            if part == "**" {
                next[at..].fill(true);
            } else if segments.get(at).is_some_and(|segment| segment_matches(part, segment)) {
                next[at + 1] = true;
            }
        }
        reached = next;
    }
    reached.contains(&true)
}

/// `*` stands for any characters; everything else for itself.
fn segment_matches(pattern: &str, segment: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else { return pattern == segment };
    let Some(mut segment) = segment.strip_prefix(before) else { return false };
    let pieces: Vec<&str> = rest.split('*').collect();
    let (last, inner) = pieces.split_last().expect("a split has at least one piece");
    for piece in inner {
        match segment.find(piece) {
            Some(at) => segment = &segment[at + piece.len()..],
            None => return false,
        }
    }
    segment.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(pattern: &str) -> Vec<String> {
        let addresses: Vec<_> = [
            "agg/render",
            "agg/deploy",
            "agg/deploy/r2",
            "agg/default/load/c1",
            "agg/default/load/c64",
            "agg/default/load/c64/r2",
            "agg-tp2/default/load/c64",
            "summarize",
            "plot/pareto",
        ]
        .map(|text| Address(text.to_owned()))
        .into();
        match select(pattern, &addresses) {
            Ok(found) => found.into_iter().map(|address| address.0).collect(),
            Err(error) => vec![format!("{error}; {:?}", error.nearest)],
        }
    }

    #[test]
    fn a_beginning_chooses_all_below() {
        assert_eq!(chosen("agg").len(), 6);
        assert_eq!(chosen("agg/deploy"), ["agg/deploy", "agg/deploy/r2"]);
        assert_eq!(chosen("plot/"), ["plot/pareto"]);
    }

    #[test]
    fn stars_stay_within_their_segment_and_double_stars_do_not() {
        assert_eq!(chosen("*/default/load/c64/r2"), ["agg/default/load/c64/r2"]);
        assert_eq!(chosen("agg*/*/load/c6*").len(), 3);
        assert_eq!(chosen("**/c64").len(), 3);
        assert_eq!(chosen("**/r2"), ["agg/deploy/r2", "agg/default/load/c64/r2"]);
        assert_eq!(chosen("*").len(), 9);
        assert_eq!(chosen("a*g*2/**"), ["agg-tp2/default/load/c64"]);
    }

    #[test]
    fn nothing_chosen_names_the_nearest() {
        assert_eq!(chosen("agg/deplyo"), ["no step matches `agg/deplyo`; Some(\"agg/deploy\")"]);
        assert_eq!(chosen("something-else"), ["no step matches `something-else`; None"]);
        assert_eq!(chosen(""), ["no step matches ``; None"]);
    }
}
