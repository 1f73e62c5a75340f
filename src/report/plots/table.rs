//! The table of built-in plots. A further one is a row here.

use super::input::{Missing, PlotInput};
use super::scene::Scene;
use super::xy::{self, Form, against_concurrency};
use super::{ecdf, server_timeline, timeline};

/// One row.
pub struct PlotRow {
    /// Id in plans; the stem of its files has underscores for hyphens.
    pub id: &'static str,
    /// One sentence: what it shows.
    pub about: &'static str,
    /// Whether it needs the number of GPUs of every deployment.
    pub needs_gpus: bool,
    /// Whether there is nothing to draw without objectives.
    pub needs_objectives: bool,
    pub(super) draw: fn(&PlotInput<'_>) -> Result<Scene, Missing>,
}

/// All built-in plots; those of the guide come first.
pub const PLOTS: &[PlotRow] = &[
    PlotRow {
        id: "p50-inter-token-latency-vs-concurrency",
        about: "Median time between tokens at each level, a line for each deployment.",
        needs_gpus: false,
        needs_objectives: false,
        draw: |input| against_concurrency(input, "inter-token-latency", "p50"),
    },
    PlotRow {
        id: "avg-inter-token-latency-vs-concurrency",
        about: "Mean time between tokens at each level, a line for each deployment.",
        needs_gpus: false,
        needs_objectives: false,
        draw: |input| against_concurrency(input, "inter-token-latency", "mean"),
    },
    PlotRow {
        id: "request-throughput-vs-concurrency",
        about: "Requests finished per second at each level, a line for each deployment.",
        needs_gpus: false,
        needs_objectives: false,
        draw: |input| against_concurrency(input, "request-throughput", "mean"),
    },
    PlotRow {
        id: "avg-time-to-first-token-vs-concurrency",
        about: "Mean time to the first token at each level, a line for each deployment.",
        needs_gpus: false,
        needs_objectives: false,
        draw: |input| against_concurrency(input, "time-to-first-token", "mean"),
    },
    PlotRow {
        id: "efficiency-tok-s-gpu-vs-user",
        about: "Tokens per second and GPU against tokens per second and user, a dot for each level.",
        needs_gpus: true,
        needs_objectives: false,
        draw: |input| xy::efficiency(input, "Efficiency: tokens per second, per GPU vs per user", Form::Dots),
    },
    PlotRow {
        id: "p99-time-to-first-token-vs-concurrency",
        about: "The slowest hundredth's time to the first token at each level, a line for each deployment.",
        needs_gpus: false,
        needs_objectives: false,
        draw: |input| against_concurrency(input, "time-to-first-token", "p99"),
    },
    PlotRow {
        id: "p99-inter-token-latency-vs-concurrency",
        about: "The slowest hundredth's time between tokens at each level, a line for each deployment.",
        needs_gpus: false,
        needs_objectives: false,
        draw: |input| against_concurrency(input, "inter-token-latency", "p99"),
    },
    PlotRow {
        id: "output-throughput-vs-concurrency",
        about: "Tokens generated per second at each level, a line for each deployment.",
        needs_gpus: false,
        needs_objectives: false,
        draw: |input| against_concurrency(input, "output-throughput", "mean"),
    },
    PlotRow {
        id: "goodput-share-vs-concurrency",
        about: "Share of the requests that keep every objective at each level, a line for each deployment.",
        needs_gpus: false,
        needs_objectives: true,
        draw: |input| against_concurrency(input, "goodput-share", "mean"),
    },
    PlotRow {
        id: "pareto",
        about: "The axes of efficiency-tok-s-gpu-vs-user with levels joined and the frontier of all deployments drawn.",
        needs_gpus: true,
        needs_objectives: false,
        draw: |input| xy::efficiency(input, "Pareto frontier: tokens per second, per GPU vs per user", Form::Frontier),
    },
    PlotRow {
        id: "ecdf-time-to-first-token",
        about: "The whole distribution of the time to the first token, deployments overlaid, a panel for each level.",
        needs_gpus: false,
        needs_objectives: false,
        draw: |input| ecdf::draw(input, "time-to-first-token"),
    },
    PlotRow {
        id: "ecdf-inter-token-latency",
        about: "The whole distribution of the time between tokens, deployments overlaid, a panel for each level.",
        needs_gpus: false,
        needs_objectives: false,
        draw: |input| ecdf::draw(input, "inter-token-latency"),
    },
    PlotRow {
        id: "timeline",
        about: "Every request of the highest common level over time: whether the level was steady.",
        needs_gpus: false,
        needs_objectives: false,
        draw: timeline::draw,
    },
    PlotRow {
        id: "server-timeline",
        about: "Queue, batch and KV cache of the servers at the highest common level over time, beside the requests under way.",
        needs_gpus: false,
        needs_objectives: false,
        draw: server_timeline::draw,
    },
];
