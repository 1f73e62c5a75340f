//! One level from its first request to its last: whether what a number averages over was steady.
//!
//! A row for each deployment, time to first token at the left and inter-token latency at the right, each request a
//! dot where it was sent. Rows share their axes. Drifts, admission waves, stalls and a cold start are seen here and
//! nowhere else.

use super::axis::{self, Axis};
use super::ecdf::common_levels;
use super::font;
use super::frame::{self, Page, Panel};
use super::input::{Missing, PlotInput};
use super::scene::{Area, At, Scene};
use super::style::{self, Look};
use crate::base::Name;
use crate::measure::{Formula, Level, Metric, RequestRecord, metric};

/// Most dots of a panel: more cover each other and make the file large.
const MOST_DOTS: usize = 600;
/// Pieces of time whose medians are joined.
const BINS: usize = 40;
/// The columns.
const COLUMNS: [&str; 2] = ["time-to-first-token", "inter-token-latency"];

struct Row<'a> {
    place: usize,
    name: &'a Name,
    records: Vec<RequestRecord>,
}

/// Draws the highest level at which the deployments can be compared, of the first workload that has one.
///
/// # Errors
/// When there is no valid point, or no records of one.
pub(super) fn draw(input: &PlotInput<'_>) -> Result<Scene, Missing> {
    let workloads = input.workloads();
    let chosen = workloads.iter().find_map(|workload| Some((*workload, *common_levels(input, workload).last()?)));
    let Some((workload, level)) = chosen else { return Err(Missing::Points) };
    let rows = rows(input, workload, level);
    if rows.is_empty() {
        return Err(Missing::Records);
    }

    let of = if workloads.len() > 1 { format!(", workload {workload}") } else { String::new() };
    let title = format!("Requests over time at {}{of}", level.words());
    let body = (rows.len() as f64 * 165.0).max(640.0);
    let mut page = Page::new(input, &title, &[], &notes(input, &rows), body);

    // All rows of a column have the same axes, so that they can be compared at a glance.
    let metrics: Vec<&Metric> = COLUMNS.iter().filter_map(|id| metric(id)).collect();
    let columns: Vec<Vec<Vec<(f64, f64)>>> =
        metrics.iter().map(|metric| rows.iter().map(|row| dots(&row.records, metric)).collect()).collect();
    let last = columns.iter().flatten().flatten().map(|(time, _)| *time).fold(0.0, f64::max);
    // The lowest row has the title of the axis below it, outside of the grid, so that all panels are equally high.
    let below = style::AXIS_TITLE * 1.45;
    let body = Area { bottom: page.body.bottom - below, ..page.body };
    let cells = frame::grid(&body, rows.len() * metrics.len(), metrics.len(), 16.0);
    for (at, (row, cell)) in rows.iter().flat_map(|row| [row; COLUMNS.len()]).zip(&cells).enumerate() {
        let (metric, dots) = (metrics[at % metrics.len()], &columns[at % metrics.len()]);
        let values = || dots.iter().flatten().map(|(_, value)| *value);
        let bottom = at / metrics.len() + 1 == rows.len();
        let x_title = if bottom { "Seconds since the first request was sent" } else { "" };
        let x = Axis::linear([last], x_title.to_owned(), 5);
        let about = (cell.height() / 70.0) as usize;
        let (y, scale) = if axis::wants_log(values()) {
            (Axis::log(values(), String::new(), about), ", log scale")
        } else {
            (Axis::linear(values(), String::new(), about), "")
        };
        let what = format!(": {} ({}{scale})", metric.title.to_lowercase(), metric.unit);
        let room = Panel::title_room(cell, &y);
        // A long name is cut; where even a few letters of it have no room, the metric goes by its abbreviation.
        let short = format!(": {} ({}{scale})", metric.short.to_uppercase(), metric.unit);
        let width = |words: &str| font::width(words, style::PANEL_TITLE, true);
        let what = if width(row.name.as_str()) + width(&what) > room { short } else { what };
        let title = font::fit(row.name.as_str(), style::PANEL_TITLE, true, room - width(&what)) + &what;
        let cell = Area { bottom: cell.bottom + if bottom { below } else { 0.0 }, ..*cell };
        let panel = Panel::draw(&mut page.scene, &cell, &title, x, y);
        fill(&mut page.scene, &panel, row, &dots[at / metrics.len()]);
    }
    Ok(page.scene)
}

fn rows<'a>(input: &'a PlotInput<'_>, workload: &Name, level: Level) -> Vec<Row<'a>> {
    let records = |name: &Name| {
        let point = input.points.iter().find(|point| {
            let meta = &point.meta;
            point.is_valid() && meta.deployment == *name && meta.workload == *workload && meta.level == level
        })?;
        (input.records)(&point.meta).filter(|records| !records.is_empty())
    };
    let row = |(place, name)| Some(Row { place, name, records: records(name)? });
    input.deployments.iter().enumerate().filter_map(row).collect()
}

fn notes(input: &PlotInput<'_>, rows: &[Row<'_>]) -> Vec<String> {
    let mut notes: Vec<String> = COLUMNS
        .iter()
        .filter_map(|id| metric(id))
        .map(|metric| format!("{} = {}.", metric.title, metric.definition))
        .collect();
    let most = rows.iter().map(|row| row.records.len()).max().unwrap_or(0);
    let mut how =
        "The highest level with valid points of the most deployments. Each dot: one request, at the time it was \
                   sent. Dark line: running median."
            .to_owned();
    if most > MOST_DOTS {
        how.push_str(&format!(" Dots are thinned out to at most {MOST_DOTS} a panel, evenly; the median counts all."));
    }
    if rows.iter().any(|row| row.records.iter().any(|record| !record.is_ok())) {
        how.push_str(" Strokes at the top: failed requests.");
    }
    notes.push(how);
    let absent: Vec<_> =
        input.deployments.iter().filter(|name| !rows.iter().any(|row| row.name == *name)).map(Name::as_str).collect();
    if !absent.is_empty() {
        notes.push(format!("Left out: {} (no valid point, or no records kept).", absent.join(", ")));
    }
    notes
}

/// Seconds since the first sending, and the metric, for each successful request.
fn dots(records: &[RequestRecord], metric: &Metric) -> Vec<(f64, f64)> {
    let Formula::PerRequest(formula) = metric.formula else { return Vec::new() };
    let start = start(records);
    let dot = |record: &RequestRecord| Some((seconds(start, record.sent), formula(record)?));
    records.iter().filter(|record| record.is_ok()).filter_map(dot).filter(|(_, value)| value.is_finite()).collect()
}

fn start(records: &[RequestRecord]) -> u64 {
    records.iter().map(|record| record.sent).min().unwrap_or(0)
}

fn seconds(start: u64, moment: u64) -> f64 {
    moment.saturating_sub(start) as f64 / 1e9
}

fn fill(scene: &mut Scene, panel: &Panel, row: &Row<'_>, dots: &[(f64, f64)]) {
    let look = Look::of(row.place);
    let stride = dots.len().div_ceil(MOST_DOTS).max(1);
    for (time, value) in dots.iter().step_by(stride) {
        scene.dot(panel.at(*time, *value), 3.5, look.color, 0.45);
    }
    scene.line(
        medians(dots).into_iter().map(|(time, value)| panel.at(time, value)).collect::<Vec<At>>(),
        3.0,
        style::INK,
    );
    let start = start(&row.records);
    for record in row.records.iter().filter(|record| !record.is_ok()) {
        let x = panel.area.left + panel.area.width() * panel.x.share(seconds(start, record.sent)).clamp(0.0, 1.0);
        scene.line(vec![(x, panel.area.top), (x, panel.area.top + 12.0)], 2.0, style::WARNING);
    }
}

/// The median of each of [`BINS`] equal pieces of time, in the middle of the piece; pieces without a request are
/// bridged.
fn medians(dots: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let last = dots.iter().map(|(time, _)| *time).fold(0.0, f64::max);
    let width = if last > 0.0 { last / BINS as f64 } else { 1.0 };
    let mut bins: Vec<Vec<f64>> = vec![Vec::new(); BINS];
    for (time, value) in dots {
        bins[((time / width) as usize).min(BINS - 1)].push(*value);
    }
    bins.into_iter()
        .enumerate()
        .filter(|(_, bin)| !bin.is_empty())
        .map(|(place, mut bin)| {
            bin.sort_by(f64::total_cmp);
            ((place as f64 + 0.5) * width, crate::measure::percentile(&bin, 0.5))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_medians_skip_empty_pieces_of_time() {
        let medians = medians(&[(0.0, 1.0), (0.1, 3.0), (40.0, 5.0)]);
        assert_eq!(medians, [(0.5, 2.0), (39.5, 5.0)]);
        assert!(super::medians(&[]).is_empty());
    }
}
