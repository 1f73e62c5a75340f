//! Pictures of one number against another: lines against concurrency, dots and frontiers of two metrics.

use super::axis::{self, Axis};
use super::frame::{self, Entry, Page, Panel};
use super::input::{Missing, PlotInput, Quantity};
use super::labels::{self, End, Obstacles};
use super::scene::{At, Scene};
use super::series::{Gathered, Group, Mark, PanelData, Series, Wanted, gather};
use super::style::{self, Fill, Look};
use crate::measure::Bound;
use crate::measure::{Better, LevelKind, metric};

/// Names at the ends of lines may take this much from the panel's width; longer ones stand in a legend above it.
const MOST_ROOM_FOR_ENDS: f64 = 380.0;

/// How an axis is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// From zero.
    Linear,
    /// Equal ratios are equal steps; concurrency gets a tick at each level.
    Log,
    /// From zero, unless that would hide the small values.
    Auto,
}

/// How the points of a series are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Joined in the order of levels.
    Lines,
    /// Each for itself.
    Dots,
    /// Joined, and those that no other point beats on both axes joined across all series.
    Frontier,
}

/// What is drawn.
pub(super) struct Spec<'a> {
    pub(super) title: String,
    pub(super) x: Quantity,
    pub(super) y: Quantity,
    pub(super) layout: (Layout, Layout),
    pub(super) form: Form,
    pub(super) group: Group,
    pub(super) filter: &'a [String],
}

/// A metric against concurrency, a line for each deployment.
pub(super) fn against_concurrency(input: &PlotInput<'_>, metric: &str, statistic: &str) -> Result<Scene, Missing> {
    let y = Quantity::new(metric, statistic);
    let spec = Spec {
        title: match input.level_kind() {
            Some(LevelKind::Concurrency) => format!("{} vs concurrency", y.title()),
            Some(LevelKind::Rate) => format!("{} vs request rate", y.title()),
            None => format!("{} vs load", y.title()),
        },
        x: Quantity::concurrency(),
        y,
        layout: (Layout::Log, Layout::Auto),
        form: Form::Lines,
        group: Group::Deployment,
        filter: &[],
    };
    draw(input, &spec)
}

/// Tokens per second and GPU against tokens per second and user, a dot for each level.
pub(super) fn efficiency(input: &PlotInput<'_>, title: &str, form: Form) -> Result<Scene, Missing> {
    input.require_gpus()?;
    let spec = Spec {
        title: title.to_owned(),
        x: Quantity::new("output-throughput-per-user", "mean"),
        y: Quantity::new("output-throughput-per-gpu", "mean"),
        layout: (Layout::Linear, Layout::Linear),
        form,
        group: Group::Deployment,
        filter: &[],
    };
    draw(input, &spec)
}

/// Draws it.
///
/// # Errors
/// When no valid point has both numbers.
pub(super) fn draw(input: &PlotInput<'_>, spec: &Spec<'_>) -> Result<Scene, Missing> {
    let wanted = Wanted {
        x: &spec.x,
        y: &spec.y,
        positive: (spec.layout.0 == Layout::Log, spec.layout.1 == Layout::Log),
        group: spec.group,
        filter: spec.filter,
    };
    let gathered = gather(input, &wanted)?;
    let single = gathered.panels.len() == 1;
    let names = || gathered.panels.iter().flat_map(|panel| &panel.series).map(|series| series.name.as_str());
    let room_for_ends = labels::room_for_ends(names());
    let named_at_ends =
        single && spec.x.is_concurrency() && spec.form == Form::Lines && room_for_ends < MOST_ROOM_FOR_ENDS;
    let legend = if named_at_ends { Vec::new() } else { legend(&gathered.panels, spec.form != Form::Dots) };

    let rows = gathered.panels.len().div_ceil(columns(gathered.panels.len()));
    let body = if single { 560.0 } else { rows as f64 * 350.0 };
    let notes = notes(input, spec, &gathered);
    let mut page = Page::new(input, &spec.title, &legend, &notes, body);

    let cells = frame::grid(&page.body, gathered.panels.len(), columns(gathered.panels.len()), 34.0);
    for (data, mut cell) in gathered.panels.iter().zip(cells) {
        if named_at_ends {
            cell.right -= room_for_ends;
        }
        let (x, y) = axes(input, spec, data, if single { 8 } else { 5 });
        let panel = Panel::draw(&mut page.scene, &cell, &data.title, x, y);
        fill(&mut page.scene, &panel, input, spec, data, named_at_ends);
    }
    Ok(page.scene)
}

fn columns(panels: usize) -> usize {
    match panels {
        0..=2 => panels.max(1),
        3..=4 => 2,
        _ => 3,
    }
}

fn legend(panels: &[PanelData], with_line: bool) -> Vec<Entry> {
    let mut series: Vec<&Series> = panels.iter().flat_map(|panel| &panel.series).collect();
    series.sort_by_key(|series| series.place);
    series.dedup_by_key(|series| series.place);
    series.into_iter().map(|one| Entry { look: Look::of(one.place), name: one.name.clone(), with_line }).collect()
}

fn notes(input: &PlotInput<'_>, spec: &Spec<'_>, gathered: &Gathered) -> Vec<String> {
    let mut notes: Vec<String> = [&spec.x, &spec.y].into_iter().filter_map(Quantity::definition).collect();
    let mut how = Vec::new();
    if !spec.x.is_concurrency() {
        how.push(match input.level_kind() {
            Some(LevelKind::Concurrency) => "Numbers at the points, where there is room: concurrency.",
            Some(LevelKind::Rate) => "Numbers at the points, where there is room: requests per second.",
            None => "Numbers at the points, where there is room: the level.",
        });
    }
    if spec.form == Form::Frontier {
        how.push("Broad grey line: the frontier, points that no other point beats on both axes.");
    }
    match gathered.repeats {
        0 | 1 => {}
        2 => how.push("Points are means of repeats (faint dots), bars reach from the lower to the higher one."),
        _ => how
            .push("Points are means of repeats (faint dots), bars are 95 % t intervals (of two repeats: their range)."),
    }
    if !how.is_empty() {
        notes.push(how.join(" "));
    }
    let hidden: Vec<_> = [&spec.x, &spec.y]
        .into_iter()
        .flat_map(|quantity| input.bounds(quantity).map(move |bound| (quantity, bound)))
        .filter(|(quantity, bound)| !bound_is_near(gathered, quantity == &&spec.x, bound.bound))
        .map(|(quantity, bound)| format!("Beyond the axis: objective of {}.", bound_words(quantity, bound)))
        .collect();
    notes.extend(hidden);
    if let Some(left_out) = gathered.omissions.sentence() {
        let hollow = gathered.panels.iter().flat_map(|panel| &panel.series).any(|series| !series.invalid.is_empty());
        let words = if hollow { "Not valid (hollow) or left out" } else { "Left out" };
        notes.push(format!("{words}: {left_out}."));
    }
    notes
}

/// Whether an axis is stretched so far that it shows a bound: up to twice the largest value.
fn bound_is_near(gathered: &Gathered, on_x: bool, bound: f64) -> bool {
    let largest = gathered
        .panels
        .iter()
        .flat_map(|panel| &panel.series)
        .flat_map(|series| &series.marks)
        .map(|mark| if on_x { mark.x.mean } else { mark.y.mean })
        .fold(0.0, f64::max);
    (0.0..=largest * 2.0).contains(&bound)
}

fn bound_words(quantity: &Quantity, objective: &Bound) -> String {
    let row = metric(&quantity.metric);
    let sign = match row.map(|row| row.better) {
        Some(Better::Higher) => "at least",
        Some(Better::Lower | Better::Neutral) | None => "at most",
    };
    let unit = row.map_or("", |row| row.unit);
    format!("{sign} {} {unit}", axis::format_exact(objective.bound))
}

fn axes(input: &PlotInput<'_>, spec: &Spec<'_>, data: &PanelData, about: usize) -> (Axis, Axis) {
    let marks = || data.series.iter().flat_map(|series| &series.marks);
    let values = |on_x: bool| {
        let mut values: Vec<f64> = Vec::new();
        for mark in marks() {
            let estimate = if on_x { mark.x } else { mark.y };
            values.push(estimate.mean);
            values.extend(mark.repeats.iter().map(|(x, y)| if on_x { *x } else { *y }));
            // An interval may reach below zero, where no latency and no rate can be.
            values.extend(
                estimate.spread.map(|(low, high)| [low.max(0.0).min(estimate.mean), high]).into_iter().flatten(),
            );
        }
        values
    };
    let axis = |on_x: bool| {
        let (quantity, layout) = if on_x { (&spec.x, spec.layout.0) } else { (&spec.y, spec.layout.1) };
        let mut values = values(on_x);
        let means: Vec<f64> = marks().map(|mark| if on_x { mark.x.mean } else { mark.y.mean }).collect();
        let is_latency = metric(&quantity.metric).is_some_and(|row| row.better == Better::Lower && row.unit == "ms");
        let log = match layout {
            Layout::Linear => false,
            Layout::Log => true,
            Layout::Auto => is_latency && axis::wants_log(means.iter().copied()),
        };
        let largest = means.iter().copied().fold(0.0, f64::max);
        values.extend(
            input.bounds(quantity).map(|bound| bound.bound).filter(|bound| (0.0..=largest * 2.0).contains(bound)),
        );
        if log && quantity.is_concurrency() {
            // Levels that are not valid have their tick too: what is missing is seen to be missing.
            values.extend(data.series.iter().flat_map(|series| &series.invalid).map(|(x, _)| *x));
            Axis::levels(values, quantity.axis_title_for(input.level_kind()))
        } else if log {
            let brief = format!("{}, log scale", quantity.unit());
            Axis::log(values, format!("{}, log scale", quantity.axis_title_for(input.level_kind())), about)
                .or_brief(&brief)
        } else {
            let about = if on_x { about + 2 } else { about };
            Axis::linear(values, quantity.axis_title_for(input.level_kind()), about).or_brief(quantity.unit())
        }
    };
    (axis(true), axis(false))
}

fn fill(
    scene: &mut Scene,
    panel: &Panel,
    input: &PlotInput<'_>,
    spec: &Spec<'_>,
    data: &PanelData,
    named_at_ends: bool,
) {
    let place = |mark: &Mark| panel.at(mark.x.mean, mark.y.mean);
    let mut obstacles = Obstacles::new(panel.area);
    if spec.form == Form::Frontier {
        let marks: Vec<(f64, f64)> =
            data.series.iter().flat_map(|series| &series.marks).map(|mark| (mark.x.mean, mark.y.mean)).collect();
        let band = frontier(marks).into_iter().map(|(x, y)| panel.at(x, y)).collect();
        scene.line(band, if panel.area.width() > 900.0 { 22.0 } else { 13.0 }, style::FRONTIER);
    }
    for objective in input.bounds(&spec.y) {
        let words = format!("objective: {}", bound_words(&spec.y, objective));
        panel.bound_y(scene, objective.bound, &words).into_iter().for_each(|bounds| obstacles.words(bounds));
    }
    for objective in input.bounds(&spec.x) {
        let words = format!("objective: {}", bound_words(&spec.x, objective));
        panel.bound_x(scene, objective.bound, &words).into_iter().for_each(|bounds| obstacles.words(bounds));
    }
    for series in &data.series {
        let look = Look::of(series.place);
        for run in runs(&series.marks) {
            let points: Vec<At> = run.iter().map(place).collect();
            match spec.form {
                Form::Lines => scene.dashed(&points, style::LINE, look.color, look.dash),
                Form::Frontier => scene.dashed(&points, style::LINE * 0.6, look.color, look.dash),
                Form::Dots => continue,
            }
            obstacles.line(&points);
        }
        for mark in &series.marks {
            bars(scene, panel, mark, look).iter().for_each(|bar| obstacles.line(bar));
            for (x, y) in mark.repeats.iter().filter(|(x, y)| panel.reaches(*x, *y)) {
                look.mark(scene, panel.at(*x, *y), style::MARKER * 0.6, Fill::Faint);
                obstacles.line(&[panel.at(*x, *y), panel.at(*x, *y)]);
            }
        }
    }
    for series in &data.series {
        let look = Look::of(series.place);
        for (x, y) in series.invalid.iter().filter(|(x, y)| panel.reaches(*x, *y)) {
            look.mark(scene, panel.at(*x, *y), style::MARKER, Fill::Hollow);
            obstacles.marker(panel.at(*x, *y));
        }
        for mark in &series.marks {
            look.mark(scene, place(mark), style::MARKER, Fill::Solid);
            obstacles.marker(place(mark));
        }
    }
    if !spec.x.is_concurrency() {
        for mark in data.series.iter().flat_map(|series| &series.marks) {
            obstacles.label(scene, place(mark), &axis::format_exact(mark.level.value()));
        }
    }
    if named_at_ends {
        let end = |series: &Series| {
            let at = place(series.marks.last()?);
            Some(End { at, look: Look::of(series.place), name: series.name.clone() })
        };
        labels::at_ends(scene, panel, data.series.iter().filter_map(end).collect());
    }
}

/// Pieces of a line without a gap.
fn runs(marks: &[Mark]) -> impl Iterator<Item = &[Mark]> {
    marks.chunk_by(|_, next| next.joined)
}

/// Draws how far repeats spread, and tells where.
fn bars(scene: &mut Scene, panel: &Panel, mark: &Mark, look: Look) -> Vec<[At; 2]> {
    const CAP: f64 = 7.0;
    let inside = |axis: &Axis, value: f64| axis.share(value).clamp(0.0, 1.0);
    let area = panel.area;
    let (x, y) = panel.at(mark.x.mean, mark.y.mean);
    let mut bars = Vec::new();
    if let Some((low, high)) = mark.y.spread {
        let [low, high] = [low, high].map(|end| (x, area.bottom - area.height() * inside(&panel.y, end)));
        bars.push([low, high]);
    }
    if let Some((low, high)) = mark.x.spread.filter(|(low, high)| low < high) {
        let [low, high] = [low, high].map(|end| (area.left + area.width() * inside(&panel.x, end), y));
        bars.push([low, high]);
    }
    for [from, to] in &bars {
        scene.line(vec![*from, *to], 2.0, look.color);
        let (across, down) = if (from.0 - to.0).abs() < 1e-9 { (CAP, 0.0) } else { (0.0, CAP) };
        for (x, y) in [from, to] {
            scene.line(vec![(x - across, y - down), (x + across, y + down)], 2.0, look.color);
        }
    }
    bars
}

/// Those of the points that no other one beats on both axes, by falling x; more is better on both.
fn frontier(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
    let mut best = f64::NEG_INFINITY;
    points.retain(|(_, y)| {
        let beats = *y > best;
        best = best.max(*y);
        beats
    });
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frontier_is_what_no_point_beats_on_both_axes() {
        let points = vec![(10.0, 1.0), (9.0, 5.0), (8.0, 4.0), (5.0, 9.0), (5.0, 8.0), (1.0, 9.0)];
        assert_eq!(frontier(points), [(10.0, 1.0), (9.0, 5.0), (5.0, 9.0)]);
    }
}
