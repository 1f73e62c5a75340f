//! What pictures are made of, and what stands in the way of one.

use crate::base::Name;
use crate::measure::{Bound, Formula, Level, LevelKind, PointMeta, PointSummary, RequestRecord, ServerScrape, metric};

/// Gets the records of a point; `None` when they are not kept.
pub type Records<'a> = dyn Fn(&PointMeta) -> Option<Vec<RequestRecord>> + 'a;

/// Gets what the server said of itself during a point; `None` when it was not read.
pub type ServerMetrics<'a> = dyn Fn(&PointMeta) -> Option<Vec<ServerScrape>> + 'a;

/// All that pictures are drawn from.
#[derive(Clone, Copy)]
pub struct PlotInput<'a> {
    /// The plan's name.
    pub plan: &'a str,
    /// The run's id.
    pub run: &'a str,
    /// The model's id.
    pub model: &'a str,
    /// How requests reached the servers, such as `direct`.
    pub transport: &'a str,
    /// What must be known of the deployments, in a few words; empty: nothing.
    pub caveats: &'a str,
    /// Whether any number comes from the embedded engine: then every title says SIMULATED. A point that says so of
    /// itself has the same effect.
    pub simulated: bool,
    /// Deployments in the plan's order, which gives each its colour in all pictures. Points of others are not drawn.
    pub deployments: &'a [Name],
    /// Every point measured, workloads in the plan's order. Points that are not valid are marked or left out.
    pub points: &'a [PointSummary],
    /// The records behind them.
    pub records: &'a Records<'a>,
    /// What the servers said of themselves meanwhile.
    pub server: &'a ServerMetrics<'a>,
    /// Bounds that are drawn where their metric is.
    pub objectives: &'a [Bound],
}

/// Why a picture cannot be drawn from these data.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Missing {
    /// No such row in the table.
    #[error("there is no plot `{id}`")]
    Plot {
        /// The id asked for.
        id: String,
    },
    /// Nothing at all was measured, or nothing passes the filter.
    #[error("there is no valid point to draw")]
    Points,
    /// No point has that number.
    #[error("no valid point has {number}")]
    Number {
        /// Metric and statistic.
        number: String,
    },
    /// No server told anything of itself.
    #[error("no server told its own view while a level ran (no /metrics, or `server-metrics.interval = 0`)")]
    ServerMetrics,
    /// All samples are too small for that percentile.
    #[error("{percentile} needs {needed} requests at a level, the most there were is {largest}")]
    Sample {
        /// The percentile, `p99`.
        percentile: String,
        /// The smallest sample from which it is shown.
        needed: u64,
        /// The largest sample there was.
        largest: u64,
    },
    /// The number of GPUs is not known of all deployments: it is never taken for 1.
    #[error("the number of GPUs is not known of {deployments}")]
    Gpus {
        /// Which, separated by commas.
        deployments: String,
    },
    /// No record was kept of any valid point.
    #[error("no records of requests were kept")]
    Records,
}

impl PlotInput<'_> {
    /// Whether titles say SIMULATED.
    pub(super) fn is_simulated(&self) -> bool {
        self.simulated || self.points.iter().any(|point| point.meta.simulated)
    }

    /// What the levels of the points are; `None`: some are one thing, some another.
    pub(super) fn level_kind(&self) -> Option<LevelKind> {
        let mut kinds = self.points.iter().map(|point| point.meta.level.kind());
        let first = kinds.next().unwrap_or(LevelKind::Concurrency);
        kinds.all(|kind| kind == first).then_some(first)
    }

    /// Workloads by first appearance.
    pub(super) fn workloads(&self) -> Vec<&Name> {
        let mut names: Vec<&Name> = Vec::new();
        for point in self.points {
            if !names.contains(&&point.meta.workload) {
                names.push(&point.meta.workload);
            }
        }
        names
    }

    /// A deployment's place, which gives its look; `None` for one that is not of the plan.
    pub(super) fn place(&self, deployment: &Name) -> Option<usize> {
        self.deployments.iter().position(|known| known == deployment)
    }

    /// `ISL 200 ± 10, OSL 200` for a workload, and what its levels count if not requests.
    pub(super) fn traffic(&self, workload: &Name) -> String {
        let Some(point) = self.points.iter().find(|point| point.meta.workload == *workload) else {
            return String::new();
        };
        let length = |name: &str, mean: f64, std: f64| {
            let spread = if std > 0.0 { format!(" ± {}", super::axis::format_exact(std)) } else { String::new() };
            format!("{name} {}{spread}", super::axis::format_exact(mean))
        };
        let meta = &point.meta;
        let counted = if point.conversations.is_some() { "; levels count conversations" } else { "" };
        let (isl, osl) = (length("ISL", meta.isl, meta.isl_std), length("OSL", meta.osl, meta.osl_std));
        format!("{isl}, {osl}{counted}")
    }

    /// Deployments with points whose number of GPUs is not known.
    ///
    /// # Errors
    /// When there is one.
    pub(super) fn require_gpus(&self) -> Result<(), Missing> {
        let unknown = |name: &&Name| {
            let mut points = self.points.iter().filter(|point| point.meta.deployment == **name);
            points.any(|point| !point.meta.gpus.is_some_and(|gpus| gpus > 0.0))
        };
        let unknown: Vec<_> = self.deployments.iter().filter(unknown).map(Name::as_str).collect();
        if unknown.is_empty() { Ok(()) } else { Err(Missing::Gpus { deployments: unknown.join(", ") }) }
    }

    /// Bounds on that number.
    pub(super) fn bounds(&self, quantity: &Quantity) -> impl Iterator<Item = &Bound> {
        self.objectives.iter().filter(|objective| {
            metric(&objective.metric).is_some_and(|row| row.id == quantity.metric)
                && (quantity.is_of_point() || objective.statistic == quantity.statistic)
                && objective.bound.is_finite()
        })
    }
}

/// What stands on an axis: a statistic of a metric, a number of a hook, or the concurrency.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quantity {
    /// Id of a metric, `hook.NAME`, or `concurrency`.
    pub(super) metric: String,
    /// Of metrics with one value per request.
    pub(super) statistic: String,
}

impl Quantity {
    pub(super) fn new(id: &str, statistic: &str) -> Self {
        let id = metric(id).map_or(id, |row| row.id);
        Self { metric: id.to_owned(), statistic: statistic.to_owned() }
    }

    pub(super) fn concurrency() -> Self {
        Self::new("concurrency", "mean")
    }

    pub(super) fn is_concurrency(&self) -> bool {
        self.metric == "concurrency"
    }

    /// Whether it has but one value at a point, so that its statistic is of no matter.
    fn is_of_point(&self) -> bool {
        metric(&self.metric).is_none_or(|row| matches!(row.formula, Formula::PerPoint(_)))
    }

    /// Title and unit for the axis of a picture in which levels of this kind stand; `None`: of both kinds.
    pub(super) fn axis_title_for(&self, kind: Option<LevelKind>) -> String {
        match (self.is_concurrency(), kind) {
            (true, Some(LevelKind::Rate)) => "Request rate (arrivals per second)".to_owned(),
            (true, None) => "Level (requests under way, or arrivals per second)".to_owned(),
            (true, Some(LevelKind::Concurrency)) | (false, _) => self.axis_title(),
        }
    }

    /// `Median inter-token latency`.
    pub(super) fn title(&self) -> String {
        if self.is_concurrency() {
            return "Concurrency".to_owned();
        }
        let Some(row) = metric(&self.metric) else {
            return self.metric.strip_prefix("hook.").unwrap_or(&self.metric).to_owned();
        };
        if self.is_of_point() {
            return row.title.to_owned();
        }
        let name = lower_first(row.title);
        match self.statistic.as_str() {
            "mean" => format!("Mean {name}"),
            "p50" => format!("Median {name}"),
            "std" => format!("Standard deviation of {name}"),
            "min" => format!("Smallest {name}"),
            "max" => format!("Largest {name}"),
            other => format!("{other} {name}"),
        }
    }

    /// Its unit; empty for concurrency and numbers of hooks.
    pub(super) fn unit(&self) -> &'static str {
        metric(&self.metric).map_or("", |row| row.unit)
    }

    /// Title and unit, for an axis.
    pub(super) fn axis_title(&self) -> String {
        if self.is_concurrency() {
            return "Concurrency (requests under way)".to_owned();
        }
        match self.unit() {
            "" => self.title(),
            unit => format!("{} ({unit})", self.title()),
        }
    }

    /// Its definition as one sentence, if it has one.
    pub(super) fn definition(&self) -> Option<String> {
        let row = metric(&self.metric)?;
        let of = match (self.is_of_point(), self.statistic.as_str()) {
            (true, _) => String::new(),
            (false, "mean") => "; mean over requests".to_owned(),
            (false, "p50") => "; median over requests".to_owned(),
            (false, other) => format!("; {other} over requests"),
        };
        Some(format!("{} = {}{of}.", row.title, row.definition))
    }

    /// The number at a point, if it is one.
    pub(super) fn of(&self, point: &PointSummary) -> Option<f64> {
        point.number(&self.metric, &self.statistic).filter(|number| number.is_finite())
    }

    /// Why a valid point does not have the number.
    pub(super) fn why_not(&self, point: &PointSummary) -> Missing {
        let sample = point.distributions.get(&self.metric).map(|distribution| distribution.n);
        let needed = self.statistic.strip_prefix('p').and_then(|p| p.parse().ok()).map(crate::measure::smallest_sample);
        match (sample, needed) {
            (Some(largest), Some(needed)) if largest < needed => {
                Missing::Sample { percentile: self.statistic.clone(), needed, largest }
            }
            (Some(_) | None, Some(_) | None) => Missing::Number { number: self.title() },
        }
    }
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// The points that are not drawn in a picture, or not as valid ones, told in as few words as are clear.
#[derive(Debug, Default)]
pub(super) struct Omissions {
    list: Vec<(String, String, Vec<String>)>,
}

impl Omissions {
    /// Adds a point of a deployment with the reason.
    pub(super) fn add(&mut self, who: String, level: Level, repeat: Option<u32>, reason: String) {
        let level = repeat.map_or_else(|| level.to_string(), |repeat| format!("{level} r{repeat}"));
        match self.list.iter_mut().find(|(other, why, _)| *other == who && *why == reason) {
            Some((_, _, levels)) => levels.push(level),
            None => self.list.push((who, reason, vec![level])),
        }
    }

    /// Adds a point that is not valid.
    pub(super) fn invalid(&mut self, who: String, repeat: Option<u32>, point: &PointSummary) {
        let reason = point.invalid.first().map_or("not valid", |breach| breach.reason.as_str());
        self.add(who, point.meta.level, repeat, reason.to_owned());
    }

    /// `agg c64 (errors 12 %); disagg c1, c2 (p99 needs 368 requests)`, or nothing.
    pub(super) fn sentence(&self) -> Option<String> {
        let parts: Vec<_> =
            self.list.iter().map(|(who, reason, levels)| format!("{who} {} ({reason})", levels.join(", "))).collect();
        if parts.is_empty() { None } else { Some(parts.join("; ")) }
    }
}
