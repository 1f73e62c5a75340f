//! What searches for the highest load found.

use crate::report::RunResults;
use crate::report::text::{Align, columns};

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
    rows.extend(searches.iter().map(|search| {
        let of = if several {
            format!("{} ({})", search.deployment, search.workload)
        } else {
            search.deployment.to_string()
        };
        vec![of, name(search.kept), name(search.missed), search.loads.to_string(), search.ended.clone()]
    }));
    let align = [Align::Left, Align::Left, Align::Left, Align::Right, Align::Left];
    format!("HIGHEST LOAD that keeps all objectives\n{}", columns(&rows, &align, 2, 2))
}
