//! From points to answers: the files of a run, SUMMARY.txt, exports that existing tools read, plots.
//!
//! Everything here is computed from a run folder alone, so that `dynbench report RUN` can do it again at any time. It
//! reads only what was published: never `.run/`.

mod caveats;
mod csv;
mod dataset;
mod error;
mod exports;
mod format;
mod imports;
mod info;
mod rows;
mod summary;

pub mod plots;
mod text;

pub use caveats::in_a_picture;
pub use dataset::{Point, RunResults, transports};
pub use error::ReportError;
pub use exports::{EXPORTS, Export, ExportInput, ExportSettings, Family, Needs, RawExchange, RawSource, write_exports};
pub use format::{
    FILE_VERSION, FileKind, VERSIONS, read_point, read_records, read_server_metrics, write_point, write_server_metrics,
};
pub use imports::{Foreign, IMPORTS, Import, Imported, is_foreign, read_foreign};
pub use info::{DeploymentInfo, RunInfo, SearchAnswer, StepNote, StepState, read_info, write_run_results};
pub use summary::{SUMMARY_FILE, summary_text, write_summary};
