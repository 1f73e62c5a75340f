//! One file per kind of step, and the table of kinds in the order in which a run meets them.
//!
//! A further kind is one more file with its row and its action, and one line in [`STEPS`]: expansion, addresses, keys,
//! resume and the graph follow from the row.

mod collect;
mod deploy;
mod discover;
mod hooks;
mod load;
mod plot;
mod point;
mod preflight;
mod raw;
mod render;
mod results;
mod search;
mod sending;
mod summarize;
mod surroundings;
mod table;
mod teardown;
mod traffic;
mod wait;
mod warm_up;

pub use plot::{draw, plot_rows, plot_settings};
pub use results::{notes, run_info, with_plan};
pub use surroundings::{end_obligation, release};
pub use table::{STEP_ROWS, STEPS, Step, action};
