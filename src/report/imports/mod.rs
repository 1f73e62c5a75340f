//! Results that other tools wrote, as points beside our own. One file of code each, one line in [`IMPORTS`].
//!
//! Where a tool kept its requests they become our records, and every number is computed anew by our definitions. Where it
//! kept statistics only, these are taken over under our names, and the point says so ([`Imported::tool`]).

mod aiperf;
mod blocks;
mod folder;
mod genai_perf;
mod table;
mod vllm_bench;

pub use folder::{Foreign, is_foreign, read_foreign};
pub use table::{IMPORTS, Import, Imported};
