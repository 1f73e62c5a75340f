//! AIPerf 0.13's three files (schema 1.4): statistics as JSON and CSV, and every request as a line. Keys, units and
//! order are AIPerf's, values are by our definitions; what cannot be told is left out, as AIPerf does.

mod blocks;
mod csv;
mod json;
mod lines;

pub(super) use csv::write as write_csv;
pub(super) use json::write as write_json;
pub(super) use lines::write as write_lines;
