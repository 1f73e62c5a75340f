//! What searches for the highest load found.

use crate::report::text::{Align, columns, wrapped};
use crate::report::{RunResults, SearchAnswer};

/// Longest reason that stands in the table.
const LONGEST_IN_TABLE: usize = 50;

pub(super) fn section(results: &RunResults) -> String {
    let searches = &results.info.searches;
    if searches.is_empty() {
        return String::new();
    }
    let several = results.info.workloads.len() > 1;
    let name = |level: Option<crate::measure::Level>| level.map_or_else(|| "-".to_owned(), |level| level.words());
    let mut rows = vec![
        ["", "highest that keeps them", "lowest that misses", "loads", "how it ended"].map(str::to_owned).to_vec(),
    ];
    let name_of = |search: &SearchAnswer| {
        if several { format!("{} ({})", search.deployment, search.workload) } else { search.deployment.to_string() }
    };
    rows.extend(searches.iter().map(|search| {
        let ended = if is_long(search) { "see below".to_owned() } else { search.ended.clone() };
        vec![name_of(search), name(search.kept), name(search.missed), search.loads.to_string(), ended]
    }));
    let below: String = searches
        .iter()
        .filter(|search| is_long(search))
        .map(|search| wrapped(&format!("  {}: ", name_of(search)), &search.ended))
        .collect();
    let align = [Align::Left, Align::Left, Align::Left, Align::Right, Align::Left];
    format!("HIGHEST LOAD that keeps all objectives\n{}", columns(&rows, &align, 2, 2)) + &below
}

/// Whether the reason for its end is a sentence of its own.
fn is_long(search: &SearchAnswer) -> bool {
    search.ended.chars().count() > LONGEST_IN_TABLE
}
