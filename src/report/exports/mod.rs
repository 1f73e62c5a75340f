//! Files of a point that existing tools read. One file of code each, one line in [`EXPORTS`].

mod aiperf;
mod genai_perf_csv;
mod genai_perf_json;
mod inputs;
mod profile_export;
mod stream;
mod table;

pub use table::{EXPORTS, Export, ExportInput, ExportSettings, Family, Needs, RawExchange, RawSource, write_exports};
