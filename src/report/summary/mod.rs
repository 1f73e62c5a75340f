//! SUMMARY.txt: the run on a page of text. What can be claimed first, then the numbers, then what went wrong.

mod best;
mod definitions;
mod engines;
mod header;
mod levels;
mod more;
mod page;
mod search;
mod server;
mod trouble;
mod verdict;
mod windows;

pub use page::{SUMMARY_FILE, summary_text, write_summary};
