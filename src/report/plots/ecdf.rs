//! Which share of requests was at least as fast: the whole distribution where a percentile is only one place of it.
//!
//! Panels are levels, from the lowest to the highest at which all deployments have a valid point, so that what is
//! compared was measured under the same load. Each repeat has a line of its own: repeats are never merged.

use std::collections::BTreeSet;

use super::axis::{self, Axis};
use super::frame::{self, Entry, Page, Panel};
use super::input::{Missing, Omissions, PlotInput};
use super::scene::{At, Scene};
use super::style::{self, Look};
use crate::base::Name;
use crate::measure::{Formula, Level, Metric, PointSummary, RequestRecord, metric};

/// Most panels of a picture with one workload; with several each has only its highest level.
const MOST_LEVELS: usize = 4;
/// Most steps of a line: more than a panel has pixels would only make the file large.
const MOST_STEPS: usize = 400;

/// A point that is drawn: its deployment's place, and its sorted sample.
struct Curve {
    place: usize,
    sample: Vec<f64>,
}

/// Draws the distribution of a per-request metric.
///
/// # Errors
/// When there is no valid point, or none with records that have the metric.
pub(super) fn draw(input: &PlotInput<'_>, id: &str) -> Result<Scene, Missing> {
    let Some(row) = metric(id) else { return Err(Missing::Number { number: id.to_owned() }) };
    let Formula::PerRequest(formula) = row.formula else {
        return Err(Missing::Number { number: format!("a distribution of {}", row.title) });
    };

    let workloads = input.workloads();
    let most = if workloads.len() > 1 { 1 } else { MOST_LEVELS };
    let mut omissions = Omissions::default();
    let mut panels = Vec::new();
    let mut valid = false;
    for workload in &workloads {
        for level in spread(&common_levels(input, workload), most) {
            let mut curves = Vec::new();
            for point in valid_points(input, workload).filter(|point| point.meta.level == level) {
                valid = true;
                let Some(place) = input.place(&point.meta.deployment) else { continue };
                match (input.records)(&point.meta).map(|records| sample(&records, formula)) {
                    Some(sample) if !sample.is_empty() => curves.push(Curve { place, sample }),
                    Some(_) => omissions.add(who(point), level, None, format!("no {}", row.title)),
                    None => omissions.add(who(point), level, None, "no records kept".to_owned()),
                }
            }
            if !curves.is_empty() {
                let prefix = if workloads.len() > 1 { format!("{workload}, ") } else { String::new() };
                panels.push((format!("{prefix}{}", level.words()), curves));
            }
        }
    }
    if panels.is_empty() {
        return Err(if valid { Missing::Records } else { Missing::Points });
    }
    for point in input.points.iter().filter(|point| !point.is_valid() && input.place(&point.meta.deployment).is_some())
    {
        omissions.invalid(who(point), None, point);
    }

    let places: BTreeSet<usize> = panels.iter().flat_map(|(_, curves)| curves).map(|curve| curve.place).collect();
    let legend: Vec<_> = places
        .into_iter()
        .map(|place| Entry { look: Look::of(place), name: input.deployments[place].to_string(), with_line: true })
        .collect();
    let mut notes = vec![format!("{} = {}.", row.title, row.definition)];
    notes.push("Each line: share of successful requests with at most that value; one line for each repeat.".to_owned());
    let bounds = bounds(input, row);
    let words: Vec<_> = bounds
        .iter()
        .map(|(statistic, bound)| format!("{statistic} at most {} {}", axis::format_exact(*bound), row.unit))
        .collect();
    if !words.is_empty() {
        notes.push(format!("Dashed: objective {}.", words.join(", ")));
    }
    notes.extend(omissions.sentence().map(|left_out| format!("Left out: {left_out}.")));

    let of = if panels.len() == 1 { format!(" at {}", panels[0].0) } else { String::new() };
    let title = format!("Distribution of {}{of}", row.title.to_lowercase());
    let columns = match panels.len() {
        1..=2 => panels.len(),
        3..=4 => 2,
        _ => 3,
    };
    let body = panels.len().div_ceil(columns) as f64 * 325.0;
    let mut page = Page::new(input, &title, &legend, &notes, body.max(560.0));
    let cells = frame::grid(&page.body, panels.len(), columns, 30.0);
    for ((title, curves), cell) in panels.iter().zip(cells) {
        let values = || curves.iter().flat_map(|curve| curve.sample.iter().copied());
        let x_title = format!("{} ({})", row.title, row.unit);
        let x = if axis::wants_log(values()) {
            Axis::log(values(), format!("{x_title}, log scale"), 6)
        } else {
            Axis::around(values(), x_title, 6)
        };
        let shares = [0.0, 25.0, 50.0, 75.0, 90.0, 100.0].map(|share| (share / 100.0, format!("{share} %")));
        let y = Axis::fixed(0.0, 1.0, shares.to_vec(), "Share of requests".to_owned());
        let title = if panels.len() == 1 { String::new() } else { title.clone() };
        let panel = Panel::draw(&mut page.scene, &cell, &title, x, y);
        for (_, bound) in &bounds {
            panel.mark_x(&mut page.scene, *bound);
        }
        for curve in curves {
            let look = Look::of(curve.place);
            page.scene.dashed(&steps(&panel, &curve.sample), style::LINE, look.color, look.dash);
            for quarter in [0.25, 0.5, 0.75, 0.9] {
                let at = panel.at(crate::measure::percentile(&curve.sample, quarter), quarter);
                look.mark(&mut page.scene, at, style::MARKER * 0.8, style::Fill::Solid);
            }
        }
    }
    Ok(page.scene)
}

/// Bounds that have a place among percentiles: those on percentiles.
fn bounds<'a>(input: &'a PlotInput<'_>, row: &Metric) -> Vec<(&'a str, f64)> {
    let on_percentile = |statistic: &str| statistic.strip_prefix('p').is_some_and(|p| p.parse::<u8>().is_ok());
    let objectives = input.objectives.iter().filter(|one| metric(&one.metric).is_some_and(|of| of.id == row.id));
    objectives
        .filter(|one| on_percentile(&one.statistic) && one.bound.is_finite())
        .map(|one| (one.statistic.as_str(), one.bound))
        .collect()
}

fn who(point: &PointSummary) -> String {
    point.meta.deployment.to_string()
}

/// A workload's valid points, of deployments that the plan has.
fn valid_points<'a>(input: &'a PlotInput<'_>, workload: &Name) -> impl Iterator<Item = &'a PointSummary> {
    input.points.iter().filter(move |point| {
        point.is_valid() && point.meta.workload == *workload && input.place(&point.meta.deployment).is_some()
    })
}

/// Levels at which the most deployments have a valid point (all of them, unless one failed everywhere), ascending.
pub(super) fn common_levels(input: &PlotInput<'_>, workload: &Name) -> Vec<Level> {
    let levels: BTreeSet<Level> = valid_points(input, workload).map(|point| point.meta.level).collect();
    let deployments = |level: &Level| {
        let at_level = valid_points(input, workload).filter(|point| point.meta.level == *level);
        at_level.map(|point| &point.meta.deployment).collect::<BTreeSet<_>>().len()
    };
    let most = levels.iter().map(deployments).max().unwrap_or(0);
    levels.iter().filter(|level| deployments(level) == most).copied().collect()
}

/// At most `most` of them, evenly spread, the last one always among them.
fn spread(levels: &[Level], most: usize) -> Vec<Level> {
    let count = levels.len().min(most);
    let last = levels.len().saturating_sub(1);
    (0..count).map(|place| levels[if count == 1 { last } else { place * last / (count - 1) }]).collect()
}

fn sample(records: &[RequestRecord], formula: fn(&RequestRecord) -> Option<f64>) -> Vec<f64> {
    let of_ok = records.iter().filter(|record| record.is_ok()).filter_map(formula);
    let mut sample: Vec<f64> = of_ok.filter(|value| value.is_finite()).collect();
    sample.sort_by(f64::total_cmp);
    sample
}

/// The staircase of a sorted sample.
fn steps(panel: &Panel, sorted: &[f64]) -> Vec<At> {
    let n = sorted.len();
    let stride = n.div_ceil(MOST_STEPS).max(1);
    let mut ranks: Vec<usize> = (1..=n).step_by(stride).collect();
    if ranks.last() != Some(&n) {
        ranks.push(n);
    }
    let mut points = vec![panel.at(sorted[0], 0.0)];
    let mut share = 0.0;
    for rank in ranks {
        let value = sorted[rank - 1];
        points.push(panel.at(value, share));
        share = rank as f64 / n as f64;
        points.push(panel.at(value, share));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_spread_with_the_last_always_among_them() {
        let levels: Vec<_> = (0..8).map(|power| Level::Concurrency(1 << power)).collect();
        assert_eq!(spread(&levels, 4), [1, 4, 16, 128].map(Level::Concurrency));
        assert_eq!(spread(&levels, 1), [Level::Concurrency(128)]);
        assert_eq!(spread(&levels[..2], 4), [1, 2].map(Level::Concurrency));
        assert!(spread(&[], 4).is_empty());
    }
}
