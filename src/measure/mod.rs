//! From a request's time stamps to numbers: the record, the metric table, statistics, validity, comparison.
//!
//! Pure and synchronous. Whatever is printed anywhere was computed here, by one formula under one name.

mod metric;
mod point;
mod record;
mod spill;
mod stats;
mod summary;
mod validity;

pub use metric::{Better, Formula, METRICS, Metric, metric};
pub use point::{Counts, FailureCount, GeneratorHealth, Level, PointData, PointMeta};
pub use record::{FailureClass, Outcome, RequestRecord, TokenSource};
pub use spill::{RawResponse, SpillReader, SpillWriter};
pub use stats::{Distribution, PERCENTILES, percentile, smallest_sample};
pub use summary::PointSummary;
pub use validity::Breach;
