//! A picture that a plan describes: any metric against any other.

use super::input::{Missing, PlotInput, Quantity};
use super::scene::Scene;
use super::series::Group;
use super::xy::{self, Form, Layout, Spec};

/// Which axes are logarithmic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// None: both from zero.
    Linear,
    /// x.
    LogX,
    /// y.
    LogY,
    /// Both.
    Log,
}

impl Scale {
    /// From its name in a plan: `linear`, `log-x`, `log-y`, `log`.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [("linear", Self::Linear), ("log-x", Self::LogX), ("log-y", Self::LogY), ("log", Self::Log)];
        all.into_iter().find(|(known, _)| *known == name).map(|(_, scale)| scale)
    }
}

impl Group {
    /// From its name in a plan: `deployment`, `workload`.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [("deployment", Self::Deployment), ("workload", Self::Workload)];
        all.into_iter().find(|(known, _)| *known == name).map(|(_, group)| group)
    }
}

/// `[plots.NAME]` of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomPlot {
    /// Its name: the stem of its files, hyphens as underscores.
    pub id: String,
    /// On the horizontal axis: id of a metric, `hook.NAME`, or `concurrency`.
    pub x: String,
    /// On the vertical axis.
    pub y: String,
    /// Statistic of both, where they have one value per request: `mean`, `p50`, ...
    pub statistic: String,
    /// What makes a line.
    pub group: Group,
    /// Which axes are logarithmic.
    pub scale: Scale,
    /// Only these deployments or workloads; empty: all.
    pub filter: Vec<String>,
    /// Title; empty: made from the metrics.
    pub title: String,
}

/// Draws it.
///
/// # Errors
/// When no valid point has both numbers, or the number of GPUs that one of them needs is not known.
pub(super) fn draw(input: &PlotInput<'_>, plot: &CustomPlot) -> Result<Scene, Missing> {
    let (x, y) = (Quantity::new(&plot.x, &plot.statistic), Quantity::new(&plot.y, &plot.statistic));
    if [&x, &y].iter().any(|quantity| quantity.metric == "output-throughput-per-gpu") {
        input.require_gpus()?;
    }
    let layout = match plot.scale {
        Scale::Linear => (Layout::Linear, Layout::Linear),
        Scale::LogX => (Layout::Log, Layout::Linear),
        Scale::LogY => (Layout::Linear, Layout::Log),
        Scale::Log => (Layout::Log, Layout::Log),
    };
    let title = if plot.title.is_empty() {
        let against = x.title();
        let mut letters = against.chars();
        let lower: String = letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect();
        format!("{} vs {lower}", y.title())
    } else {
        plot.title.clone()
    };
    let spec = Spec { title, x, y, layout, form: Form::Lines, group: plot.group, filter: &plot.filter };
    xy::draw(input, &spec)
}
