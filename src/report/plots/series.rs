//! From points to series: which numbers belong to one line, what of them is valid, and how far repeats spread.
//!
//! A point that is not valid is never part of a line, and a line has a gap where one is missing: it would otherwise
//! claim what was not measured. Every omission is told under the picture.

use std::collections::BTreeMap;

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::input::{Missing, Omissions, PlotInput, Quantity};
use crate::base::Name;
use crate::measure::{Level, PointSummary};

/// What makes a line; the other of the two makes a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// A line for each deployment, a panel for each workload.
    Deployment,
    /// A line for each workload, a panel for each deployment.
    Workload,
}

/// What is gathered.
pub(super) struct Wanted<'a> {
    pub(super) x: &'a Quantity,
    pub(super) y: &'a Quantity,
    /// Whether only positive values have a place on the axis.
    pub(super) positive: (bool, bool),
    pub(super) group: Group,
    /// Only these deployments or workloads; empty: all.
    pub(super) filter: &'a [String],
}

/// A mean over repeats, and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) mean: f64,
    /// From and to; `None` with a single repeat.
    pub(super) spread: Option<(f64, f64)>,
}

/// One level of a series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mark {
    pub(super) level: Level,
    pub(super) x: Estimate,
    pub(super) y: Estimate,
    /// Each repeat, when there are several.
    pub(super) repeats: Vec<(f64, f64)>,
    /// Whether nothing is missing between this and the mark before it.
    pub(super) joined: bool,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// Its place among all lines, which gives its look.
    pub(super) place: usize,
    pub(super) name: String,
    /// By level.
    pub(super) marks: Vec<Mark>,
    /// Where points stand that are not valid.
    pub(super) invalid: Vec<(f64, f64)>,
}

/// The lines of one panel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PanelData {
    /// Empty when there is only one.
    pub(super) title: String,
    pub(super) series: Vec<Series>,
}

/// All panels of a picture and what is left out.
pub(super) struct Gathered {
    pub(super) panels: Vec<PanelData>,
    pub(super) omissions: Omissions,
    /// Largest number of valid repeats of a level.
    pub(super) repeats: usize,
}

/// Gathers the numbers of a picture.
///
/// # Errors
/// When nothing remains.
pub(super) fn gather(input: &PlotInput<'_>, wanted: &Wanted<'_>) -> Result<Gathered, Missing> {
    let workloads = input.workloads();
    let deployments: Vec<&Name> = input.deployments.iter().collect();
    let (rows, lines) = match wanted.group {
        Group::Deployment => (chosen(&workloads, wanted.filter), chosen(&deployments, wanted.filter)),
        Group::Workload => (chosen(&deployments, wanted.filter), chosen(&workloads, wanted.filter)),
    };
    let mut gathering = Gathering { wanted, omissions: Omissions::default(), repeats: 0, missing: None };
    let mut panels = Vec::new();
    for (_, row) in &rows {
        let mut series = Vec::new();
        for (place, line) in &lines {
            let (deployment, workload) = match wanted.group {
                Group::Deployment => (*line, *row),
                Group::Workload => (*row, *line),
            };
            let points: Vec<_> = input
                .points
                .iter()
                .filter(|point| point.meta.deployment == *deployment && point.meta.workload == *workload)
                .collect();
            let who = if workloads.len() > 1 { format!("{deployment}/{workload}") } else { deployment.to_string() };
            let found = gathering.series(*place, line.to_string(), &who, &points);
            if !found.marks.is_empty() || !found.invalid.is_empty() {
                series.push(found);
            }
        }
        if series.iter().any(|series| !series.marks.is_empty()) {
            panels.push(PanelData { title: row.to_string(), series });
        }
    }
    if panels.is_empty() {
        return Err(gathering.missing.unwrap_or(Missing::Points));
    }
    for panel in &mut panels {
        panel.title = match (wanted.group, rows.len()) {
            (_, 1) => String::new(),
            (Group::Workload, _) => std::mem::take(&mut panel.title),
            (Group::Deployment, _) => {
                let traffic =
                    workloads.iter().find(|name| name.as_str() == panel.title).map(|name| input.traffic(name));
                format!("{}: {}", panel.title, traffic.unwrap_or_default())
            }
        };
    }
    Ok(Gathered { panels, omissions: gathering.omissions, repeats: gathering.repeats })
}

/// Those that the filter lets through, each with its place among all. A filter that names none of them is about the
/// other kind of name.
fn chosen<'a>(names: &[&'a Name], filter: &[String]) -> Vec<(usize, &'a Name)> {
    let named = |name: &Name| filter.iter().any(|wanted| wanted == name.as_str());
    let any = names.iter().any(|name| named(name));
    names.iter().copied().enumerate().filter(|(_, name)| !any || named(name)).collect()
}

struct Gathering<'a> {
    wanted: &'a Wanted<'a>,
    omissions: Omissions,
    repeats: usize,
    missing: Option<Missing>,
}

impl Gathering<'_> {
    fn series(&mut self, place: usize, name: String, who: &str, points: &[&PointSummary]) -> Series {
        let mut levels: BTreeMap<Level, Vec<&PointSummary>> = BTreeMap::new();
        for point in points {
            levels.entry(point.meta.level).or_default().push(point);
        }
        let mut series = Series { place, name, marks: Vec::new(), invalid: Vec::new() };
        let mut gap = true;
        for (level, mut points) in levels {
            points.sort_by_key(|point| point.meta.repeat);
            let several = points.len() > 1;
            let mut repeats = Vec::new();
            for point in points {
                let repeat = several.then_some(point.meta.repeat);
                match (point.is_valid(), self.numbers(point)) {
                    (true, Ok(numbers)) => repeats.push(numbers),
                    (true, Err(why)) => {
                        self.omissions.add(who.to_owned(), level, repeat, short(&why));
                        self.remember(why);
                    }
                    (false, numbers) => {
                        self.omissions.invalid(who.to_owned(), repeat, point);
                        series.invalid.extend(numbers.ok());
                    }
                }
            }
            if repeats.is_empty() {
                gap = true;
                continue;
            }
            self.repeats = self.repeats.max(repeats.len());
            series.marks.push(Mark {
                level,
                x: estimate(repeats.iter().map(|(x, _)| *x).collect()),
                y: estimate(repeats.iter().map(|(_, y)| *y).collect()),
                repeats: if repeats.len() > 1 { repeats } else { Vec::new() },
                joined: !gap,
            });
            gap = false;
        }
        series
    }

    fn numbers(&self, point: &PointSummary) -> Result<(f64, f64), Missing> {
        let number = |quantity: &Quantity, positive: bool| match quantity.of(point) {
            Some(number) if positive && number <= 0.0 => {
                Err(Missing::Number { number: format!("{} above zero, for the log scale", quantity.title()) })
            }
            Some(number) => Ok(number),
            None => Err(quantity.why_not(point)),
        };
        Ok((number(self.wanted.x, self.wanted.positive.0)?, number(self.wanted.y, self.wanted.positive.1)?))
    }

    /// Keeps the reason that tells most, should nothing remain to be drawn.
    fn remember(&mut self, why: Missing) {
        let better = match (&self.missing, &why) {
            (None, _) => true,
            (Some(Missing::Sample { largest: before, .. }), Missing::Sample { largest, .. }) => largest > before,
            (Some(_), _) => false,
        };
        if better {
            self.missing = Some(why);
        }
    }
}

/// The reason in the few words that fit under a picture.
fn short(why: &Missing) -> String {
    match why {
        Missing::Sample { percentile, needed, .. } => format!("{percentile} needs {needed} requests"),
        Missing::Number { number } => format!("no {number}"),
        Missing::Plot { .. } | Missing::Points | Missing::Gpus { .. } | Missing::Records | Missing::ServerMetrics => {
            why.to_string()
        }
    }
}

/// Mean and spread: lowest to highest of two, from three on the 95 % t interval of the mean.
fn estimate(repeats: Vec<f64>) -> Estimate {
    let n = repeats.len() as f64;
    // Divided first, so that a sum of huge numbers stays finite.
    let mean = repeats.iter().map(|value| value / n).sum::<f64>();
    let spread = match repeats.len() {
        0 | 1 => None,
        2 => Some((repeats[0].min(repeats[1]), repeats[0].max(repeats[1]))),
        _ => {
            let variance = repeats.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
            let half = t_quantile(n - 1.0) * (variance / n).sqrt();
            Some((mean - half, mean + half)).filter(|(low, high)| low.is_finite() && high.is_finite())
        }
    };
    Estimate { mean, spread }
}

/// The 97.5 % quantile of Student's t.
fn t_quantile(freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).expect("there are at least two degrees of freedom").inverse_cdf(0.975)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_range_of_two_and_the_t_interval_of_three() {
        assert_eq!(estimate(vec![4.0]), Estimate { mean: 4.0, spread: None });
        assert_eq!(estimate(vec![6.0, 4.0]), Estimate { mean: 5.0, spread: Some((4.0, 6.0)) });
        // t(2, 0.975) = 4.30265; s = 1; half = 4.30265 / sqrt 3 = 2.48414
        let (low, high) = estimate(vec![9.0, 10.0, 11.0]).spread.unwrap();
        assert!((low - 7.51586).abs() < 1e-4 && (high - 12.48414).abs() < 1e-4, "{low} {high}");
    }
}
