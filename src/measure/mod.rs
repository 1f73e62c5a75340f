//! From a request's time stamps to numbers: the record, the metric table, statistics, validity, comparison.
//!
//! Pure and synchronous. Whatever is printed anywhere was computed here, by one formula under one name.

mod chunk_file;
mod chunks;
mod compare;
mod content;
mod conversation;
mod limited;
mod metric;
mod objective;
mod paired;
mod pareto;
mod point;
mod pooled;
mod precision;
mod rate;
mod record;
mod same_work;
#[cfg(test)]
pub(crate) mod sample;
mod series;
mod server;
mod spill;
mod stats;
mod steady;
mod summary;
mod trend;
mod truncation;
mod validity;
mod window;

pub use chunk_file::ChunkFileWriter;
pub use chunks::{ChunkLog, Chunks, TextChunk};
pub use compare::{Claims, CompareRules, Comparison, NoClaim, SMALLEST_CLAIM, Verdict, compare};
pub use content::{
    Content, ContentLengths, Conversations, Dataset, DatasetRequest, Message, MixPart, PrefixScope, SharedPrefix,
    Source, TRACE_BLOCK, TraceRequest, USER, words_of,
};
pub use conversation::ConversationCounts;
pub use limited::GENERATOR_LIMITED;
pub use metric::{Better, Formula, METRICS, Metric, metric};
pub(crate) use objective::request_bounds;
pub use objective::{BestLevel, Bound, Goodput, Judgement, best_level, goodput, judge_bound};
pub use paired::{Paired, holm, paired};
pub use pareto::frontier;
pub use point::{Counts, FailureCount, GeneratorHealth, Level, LevelKind, PointData, PointMeta};
pub use precision::{BATCHES, KnownStatistic, Precision, PrecisionRule, batch_means, batch_percentile};
pub use rate::Rate;
pub use record::{FailureClass, Outcome, RequestRecord, TokenSource, Turn};
pub use same_work::different_work;
pub(crate) use same_work::mix;
pub use series::{Facts, Series, series_between, series_within};
pub use server::{
    Gpu, SERVER_SERIES, SeriesKind, ServerScrape, ServerSeries, ServerValue, ServerView, engines_of, server_rounds,
    server_series, server_view,
};
pub use spill::{RawResponse, SpillReader, SpillWriter};
pub use stats::{Distribution, PERCENTILES, STATISTICS, percentile, smallest_sample};
pub use steady::{COV_LIMIT, DRIFT_LIMIT, SteadyCheck, SteadyState, SteadyWindow, TREND_ALPHA};
pub use summary::{Asked, CounterCheck, PointSummary};
pub use validity::{Breach, NOT_SUSTAINED, RESTARTED, TRANSPORT, ValidityRules, excuse, judge};
