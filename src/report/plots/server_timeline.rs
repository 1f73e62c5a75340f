//! One level as the server saw it: its queue, its batch and its KV cache over time, beside the requests that were under way.
//!
//! A row for each deployment: at the left requests, at the right the share of the KV cache. A queue that grows beside a full
//! batch or a full cache is the server's limit; requests under way that neither waits nor runs are between us and it.

use super::axis::Axis;
use super::ecdf::common_levels;
use super::font;
use super::frame::{self, Entry, Page, Panel};
use super::input::{Missing, PlotInput};
use super::scene::{Area, At, Scene};
use super::style::{self, Fill, Look};
use crate::base::Name;
use crate::measure::{Level, RequestRecord, ServerScrape, engines_of, server_rounds};

/// Places at which requests under way are counted: more than a panel has pixels would only make the file large.
const LOOKS: usize = 240;
/// Markers of a line, by which it is known without its colour.
const MARKS: usize = 6;
/// Fewer looks of the server are no time line.
const FEWEST_ROUNDS: u64 = 2;

/// A line of the left panels.
struct Line {
    name: String,
    look: Look,
    points: Vec<(f64, f64)>,
}

struct Row<'a> {
    name: &'a Name,
    requests: Vec<Line>,
    kv: Vec<Line>,
}

/// Lines that every row has, in the order of the legend; those of parts follow.
const FIXED: [&str; 3] = ["under way (ours)", "waiting", "running"];

/// Draws the highest level at which the deployments can be compared, of the first workload that has one.
///
/// # Errors
/// When there is no valid point, or none whose server was read.
pub(super) fn draw(input: &PlotInput<'_>) -> Result<Scene, Missing> {
    let workloads = input.workloads();
    let chosen = workloads.iter().find_map(|workload| Some((*workload, *common_levels(input, workload).last()?)));
    let Some((workload, level)) = chosen else { return Err(Missing::Points) };
    let mut names: Vec<String> = FIXED.map(str::to_owned).to_vec();
    let rows: Vec<Row<'_>> =
        input.deployments.iter().filter_map(|name| row(input, workload, level, name, &mut names)).collect();
    if rows.is_empty() {
        return Err(Missing::ServerMetrics);
    }

    let of = if workloads.len() > 1 { format!(", workload {workload}") } else { String::new() };
    let title = format!("The server's own view at {}{of}", level.words());
    let used = |name: &String| rows.iter().any(|row| row.requests.iter().chain(&row.kv).any(|line| line.name == *name));
    let legend: Vec<Entry> = names
        .iter()
        .enumerate()
        .filter(|(_, name)| used(name))
        .map(|(place, name)| Entry { look: Look::of(place), name: name.clone(), with_line: true })
        .collect();
    let body = (rows.len() as f64 * 165.0).max(640.0);
    let mut page = Page::new(input, &title, &legend, &notes(input, &rows), body);

    let of_all = |lines: &mut dyn Iterator<Item = &Line>, of: fn(&(f64, f64)) -> f64| {
        lines.flat_map(|line| line.points.iter().map(of)).fold(0.0, f64::max)
    };
    let last = of_all(&mut rows.iter().flat_map(|row| row.requests.iter().chain(&row.kv)), |(time, _)| *time);
    let most = of_all(&mut rows.iter().flat_map(|row| &row.requests), |(_, value)| *value);
    let below = style::AXIS_TITLE * 1.45;
    let body = Area { bottom: page.body.bottom - below, ..page.body };
    let cells = frame::grid(&body, rows.len() * 2, 2, 16.0);
    for (place, row) in rows.iter().enumerate() {
        let bottom = place + 1 == rows.len();
        for (column, (lines, what)) in
            [(&row.requests, ": requests"), (&row.kv, ": KV cache in use (%)")].into_iter().enumerate()
        {
            let cell = cells[place * 2 + column];
            let about = (cell.height() / 70.0) as usize;
            let x_title = if bottom { "Seconds since the first request was sent" } else { "" };
            let x = Axis::linear([last], x_title.to_owned(), 5);
            let y = Axis::linear([if column == 0 { most } else { 100.0 }], String::new(), about);
            let room = Panel::title_room(&cell, &y) - font::width(what, style::PANEL_TITLE, true);
            let title = font::fit(row.name.as_str(), style::PANEL_TITLE, true, room) + what;
            let cell = Area { bottom: cell.bottom + if bottom { below } else { 0.0 }, ..cell };
            let panel = Panel::draw(&mut page.scene, &cell, &title, x, y);
            for line in lines {
                let points: Vec<At> = line.points.iter().map(|(time, value)| panel.at(*time, *value)).collect();
                page.scene.dashed(&points, style::LINE * 0.8, line.look.color, line.look.dash);
                let stride = points.len().div_ceil(MARKS).max(1);
                for at in points.iter().skip(stride / 2).step_by(stride) {
                    line.look.mark(&mut page.scene, *at, style::MARKER * 0.8, Fill::Solid);
                }
            }
        }
    }
    Ok(page.scene)
}

/// The lines of one deployment; `None` when its server was not read.
fn row<'a>(
    input: &PlotInput<'a>,
    workload: &Name,
    level: Level,
    name: &'a Name,
    names: &mut Vec<String>,
) -> Option<Row<'a>> {
    let point = input.points.iter().find(|point| {
        let meta = &point.meta;
        point.is_valid() && meta.deployment == *name && meta.workload == *workload && meta.level == level
    })?;
    let records = (input.records)(&point.meta).filter(|records| !records.is_empty())?;
    let start = records.iter().map(|record| record.sent).min()?;
    let end = records.iter().map(|record| record.end).max()?;
    let scrapes = (input.server)(&point.meta)?;
    let (start_s, end_s) = (start as f64 / 1e9, end as f64 / 1e9);
    let within: Vec<ServerScrape> = scrapes
        .into_iter()
        .filter(|scrape| (start_s..=end_s).contains(&scrape.t_s))
        .map(|scrape| ServerScrape { t_s: scrape.t_s - start_s, ..scrape })
        .collect();
    let found = server_rounds(&within);
    let views: Vec<_> = found.iter().map(|(view, _)| view.clone()).collect();
    let mut lines_of = |series: &str, what: &str, factor: f64| -> Vec<Line> {
        let engines = engines_of(&views, series);
        let own = found
            .iter()
            .filter(|(view, _)| view.series == series && engines.contains(&view.role) && view.rounds >= FEWEST_ROUNDS);
        own.map(|(view, points)| {
            let words = match (&view.role, engines.len()) {
                (Some(role), 2..) => format!("{what}, {role}"),
                (Some(_) | None, _) => what.to_owned(),
            };
            let place = names.iter().position(|known| *known == words).unwrap_or_else(|| {
                names.push(words.clone());
                names.len() - 1
            });
            let points = points.iter().map(|(time, value)| (*time, factor * value)).collect();
            Line { name: words, look: Look::of(place), points }
        })
        .collect()
    };
    let waiting = lines_of("requests-waiting", FIXED[1], 1.0);
    let running = lines_of("requests-running", FIXED[2], 1.0);
    let kv = lines_of("kv-usage", "KV cache", 100.0);
    if waiting.is_empty() && running.is_empty() && kv.is_empty() {
        return None;
    }
    let ours = Line { name: FIXED[0].to_owned(), look: Look::of(0), points: under_way(&records, start, end) };
    let requests = [ours].into_iter().chain(waiting).chain(running).collect();
    Some(Row { name, requests, kv })
}

/// Requests under way at [`LOOKS`] moments: seconds since `start`, and how many.
fn under_way(records: &[RequestRecord], start: u64, end: u64) -> Vec<(f64, f64)> {
    let sorted = |of: fn(&RequestRecord) -> u64| {
        let mut moments: Vec<u64> = records.iter().map(of).collect();
        moments.sort_unstable();
        moments
    };
    let (sent, ended) = (sorted(|record| record.sent), sorted(|record| record.end));
    let until = |moments: &[u64], at: u64| moments.partition_point(|moment| *moment <= at);
    (0..=LOOKS)
        .map(|look| {
            let at = start + (u128::from(end - start) * look as u128 / LOOKS as u128) as u64;
            ((at - start) as f64 / 1e9, until(&sent, at) as f64 - until(&ended, at) as f64)
        })
        .collect()
}

fn notes(input: &PlotInput<'_>, rows: &[Row<'_>]) -> Vec<String> {
    let mut notes = vec![
        "The highest level with valid points of the most deployments. Under way: requests sent and not yet ended, as we saw \
         them. Waiting, running, KV cache: as the server's /metrics told them, added up (KV: averaged) over the workers of a \
         part; a frontend's numbers only where no worker tells its own."
            .to_owned(),
    ];
    let absent: Vec<_> =
        input.deployments.iter().filter(|name| !rows.iter().any(|row| row.name == *name)).map(Name::as_str).collect();
    if !absent.is_empty() {
        notes.push(format!("Left out: {} (no valid point, or its /metrics was not read).", absent.join(", ")));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::sample::{Shape, point};

    #[test]
    fn requests_under_way_are_counted_from_sending_to_end() {
        let records = point(Shape { users: 4, requests: 40, ..Shape::default() }).records;
        let end = records.iter().map(|record| record.end).max().unwrap();
        let line = under_way(&records, 0, end);
        assert_eq!(line.len(), LOOKS + 1);
        assert!(line[..LOOKS / 2].iter().all(|(_, count)| *count == 4.0), "{line:?}");
        assert_eq!(line[LOOKS], (end as f64 / 1e9, 0.0));
    }
}
