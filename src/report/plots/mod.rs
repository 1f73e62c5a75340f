//! Pictures: the guide's five plots, percentiles, frontiers, distributions and time lines, as PNG and SVG.
//!
//! ```text
//! PlotInput --series--> numbers --xy, ecdf, timeline--> Scene --paint--> PNG, SVG
//! ```
//!
//! Promises: a point that is not valid is never part of a line, and whatever is left out is told under the picture with
//! the reason; a percentile of too small a sample is not drawn; simulated numbers say so in the title; tokens per
//! second and GPU are never drawn with a guessed number of GPUs; the same input gives the same bytes; no font or other
//! file of the system is needed. What a metric means is printed under it, from [`crate::measure::METRICS`].
//!
//! Which pictures are wanted, and whether one that cannot be drawn is an error, is the caller's to say.

mod axis;
mod custom;
mod draw;
mod ecdf;
mod font;
mod frame;
mod input;
mod labels;
mod paint;
mod scene;
mod series;
mod server_timeline;
mod style;
mod table;
mod timeline;
mod xy;

#[cfg(test)]
mod tests;

pub use custom::{CustomPlot, Scale};
pub use draw::{Drawn, Picture, Rendered, draw, draw_all, render};
pub use input::{Missing, PlotInput, Records, ServerMetrics};
pub use series::Group;
pub use table::{PLOTS, PlotRow};
