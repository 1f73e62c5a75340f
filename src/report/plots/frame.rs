//! What all pictures share: title, subtitle, legend, notes at the foot, and panels with axes between them.

use super::axis::Axis;
use super::font;
use super::input::PlotInput;
use super::scene::{Align, Area, At, Scene, Text};
use super::style::{self, Look};

/// Space between lines of text, in ems.
const LEADING: f64 = 1.38;
/// Most lines of notes at the foot; SUMMARY has the rest.
const MOST_NOTES: usize = 5;
/// Length of a legend's piece of line.
pub(super) const SAMPLE: f64 = 54.0;

/// One entry of a legend.
pub(super) struct Entry {
    pub(super) look: Look,
    pub(super) name: String,
    pub(super) with_line: bool,
}

/// A picture that has its head and foot; the body is still empty.
pub(super) struct Page {
    pub(super) scene: Scene,
    /// Where panels may stand.
    pub(super) body: Area,
}

impl Page {
    /// Writes head and foot. `body` is the least height of what is between them. `legend` may be empty.
    pub(super) fn new(input: &PlotInput<'_>, title: &str, legend: &[Entry], notes: &[String], body: f64) -> Self {
        let room = style::WIDTH - 2.0 * style::MARGIN;
        let mark = if input.is_simulated() { "SIMULATED" } else { "" };
        let spoken = if mark.is_empty() { title.to_owned() } else { format!("{mark}: {title}") };
        let mut scene = Scene::new(style::WIDTH, style::HEIGHT, spoken);

        let mut y = style::MARGIN + style::TITLE * 0.8;
        let mut x = style::MARGIN;
        if !mark.is_empty() {
            scene.text(Text::new((x, y), mark, style::TITLE).bold().color(style::WARNING));
            x += font::width(mark, style::TITLE, true) + 8.0;
        }
        let left = style::WIDTH - style::MARGIN - x;
        let size = (style::TITLE * left / font::width(title, style::TITLE, true).max(1.0)).clamp(26.0, style::TITLE);
        scene.text(Text::new((x, y), font::fit(title, size, true, left), size).bold());
        y += style::TITLE * 0.35;
        for line in font::wrap(&subtitle(input), style::SUBTITLE, room).into_iter().take(2) {
            y += style::SUBTITLE * LEADING;
            scene.text(Text::new((style::MARGIN, y), line, style::SUBTITLE).color(style::SOFT_INK));
        }
        y = write_legend(&mut scene, legend, y + 12.0);

        let mut lines: Vec<String> = notes.iter().flat_map(|note| font::wrap(note, style::FOOTER, room)).collect();
        if lines.len() > MOST_NOTES {
            lines.truncate(MOST_NOTES);
            let last = format!("{} … the rest stands in SUMMARY.txt", lines[MOST_NOTES - 1]);
            lines[MOST_NOTES - 1] = if font::width(&last, style::FOOTER, false) <= room {
                last
            } else {
                "… and more, which stands in SUMMARY.txt".to_owned()
            };
        }
        let foot = lines.len() as f64 * style::FOOTER * LEADING;
        let top = y + 26.0;
        scene.height = style::HEIGHT.max(top + body + 14.0 + foot + style::MARGIN).ceil();
        let bottom = scene.height - style::MARGIN + 10.0 - foot;
        for (place, line) in lines.into_iter().enumerate() {
            let y = bottom + (place as f64 + 0.85) * style::FOOTER * LEADING;
            scene.text(Text::new((style::MARGIN, y), line, style::FOOTER).color(style::SOFT_INK));
        }
        let body = Area { left: style::MARGIN, top, right: style::WIDTH - style::MARGIN, bottom: bottom - 14.0 };
        Self { scene, body }
    }
}

fn subtitle(input: &PlotInput<'_>) -> String {
    let workloads = input.workloads();
    let traffic = match workloads.as_slice() {
        [one] => input.traffic(one),
        several => format!("{} workloads", several.len()),
    };
    let parts = [
        // First: what does not fit is cut off at the end.
        input.caveats.to_owned(),
        input.plan.to_owned(),
        input.model.to_owned(),
        traffic,
        format!("run {}", input.run),
        if input.transport.is_empty() { String::new() } else { format!("transport: {}", input.transport) },
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ·  ")
}

/// Entries side by side, in as many rows as they need; the bottom of the last.
fn write_legend(scene: &mut Scene, entries: &[Entry], top: f64) -> f64 {
    const GAP: f64 = 44.0;
    let row = style::LEGEND * 1.6;
    let (mut x, mut y) = (style::MARGIN, top + row);
    for entry in entries {
        let sample = if entry.with_line { SAMPLE } else { 2.0 * style::MARKER };
        let width = sample + 12.0 + font::width(&entry.name, style::LEGEND, false);
        if x > style::MARGIN && x + width > style::WIDTH - style::MARGIN {
            (x, y) = (style::MARGIN, y + row);
        }
        entry.look.sample(scene, (x + sample / 2.0, y - style::LEGEND * 0.35), sample, entry.with_line);
        scene.text(Text::new((x + sample + 12.0, y), entry.name.clone(), style::LEGEND));
        x += width + GAP;
    }
    if entries.is_empty() { top } else { y + 6.0 }
}

/// `count` cells in rows of `columns`, with space for what is written around a panel.
pub(super) fn grid(body: &Area, count: usize, columns: usize, gap: f64) -> Vec<Area> {
    let columns = columns.clamp(1, count.max(1));
    let rows = count.div_ceil(columns).max(1);
    let width = (body.width() - gap * (columns - 1) as f64) / columns as f64;
    let height = (body.height() - gap * (rows - 1) as f64) / rows as f64;
    (0..count)
        .map(|place| {
            let left = body.left + (place % columns) as f64 * (width + gap);
            let top = body.top + (place / columns) as f64 * (height + gap);
            Area { left, top, right: left + width, bottom: top + height }
        })
        .collect()
}

/// Two axes and the area between them.
pub(super) struct Panel {
    /// Where data are drawn.
    pub(super) area: Area,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

impl Panel {
    /// How wide a title may be in a cell with that vertical axis.
    pub(super) fn title_room(cell: &Area, y: &Axis) -> f64 {
        cell.right - Self::left(cell, y)
    }

    /// Where data begin.
    fn left(cell: &Area, y: &Axis) -> f64 {
        let widest = y.ticks.iter().map(|(_, label)| font::width(label, style::TICK, false)).fold(0.0, f64::max);
        cell.left + Self::y_title(y) + widest + 14.0
    }

    fn y_title(y: &Axis) -> f64 {
        if y.title.is_empty() { 0.0 } else { style::AXIS_TITLE * 1.5 }
    }

    /// Draws title, grid, ticks and axis titles into a cell. An axis whose title is empty gets none.
    pub(super) fn draw(scene: &mut Scene, cell: &Area, title: &str, x: Axis, y: Axis) -> Self {
        let y_title = Self::y_title(&y);
        let x_title = if x.title.is_empty() { 0.0 } else { style::AXIS_TITLE * 1.45 };
        let above = if title.is_empty() { 8.0 } else { style::PANEL_TITLE * 1.6 };
        let area = Area {
            left: Self::left(cell, &y),
            top: cell.top + above,
            right: cell.right - 14.0,
            bottom: cell.bottom - style::TICK * 1.65 - x_title,
        };
        let panel = Self { area, x, y };
        if !title.is_empty() {
            let fitted = font::fit(title, style::PANEL_TITLE, true, cell.right - area.left);
            scene.text(Text::new((area.left, area.top - style::PANEL_TITLE * 0.6), fitted, style::PANEL_TITLE).bold());
        }
        panel.draw_ticks(scene);
        let title = |axis: &Axis, room: f64| {
            let fits = axis.brief.is_empty() || font::width(&axis.title, style::AXIS_TITLE, false) <= room;
            font::fit(if fits { &axis.title } else { &axis.brief }, style::AXIS_TITLE, false, room)
        };
        if x_title > 0.0 {
            let at = ((area.left + area.right) / 2.0, cell.bottom - style::AXIS_TITLE * 0.25);
            let words = title(&panel.x, cell.width());
            scene.text(Text::new(at, words, style::AXIS_TITLE).align(Align::Middle));
        }
        if y_title > 0.0 {
            let at = (cell.left + style::AXIS_TITLE * 0.8, (area.top + area.bottom) / 2.0);
            let words = title(&panel.y, area.height() + x_title);
            scene.text(Text::new(at, words, style::AXIS_TITLE).align(Align::Middle).upward());
        }
        panel
    }

    fn draw_ticks(&self, scene: &mut Scene) {
        let area = self.area;
        let mut free_below = f64::INFINITY;
        for (value, label) in self.y.ticks.iter().filter(|(value, _)| self.y.reaches(*value)) {
            let (_, y) = self.at(0.0, *value);
            scene.line(vec![(area.left, y), (area.right, y)], 1.5, style::GRID);
            let text = Text::new((area.left - 10.0, y + style::TICK * 0.36), label.clone(), style::TICK);
            // Ticks come from the bottom up: one that would touch the last one written stays without words.
            if text.bounds().bottom <= free_below {
                free_below = text.bounds().top;
                scene.text(text.align(Align::End).color(style::SOFT_INK));
            }
        }
        // Labels from the right: the highest level is the one that must not go.
        let mut free_before = f64::INFINITY;
        for (value, label) in self.x.ticks.iter().rev().filter(|(value, _)| self.x.reaches(*value)) {
            let x = area.left + area.width() * self.x.share(*value);
            scene.line(vec![(x, area.top), (x, area.bottom)], 1.5, style::GRID);
            scene.line(vec![(x, area.bottom), (x, area.bottom + 6.0)], 1.5, style::AXIS);
            let text =
                Text::new((x, area.bottom + style::TICK * 1.38), label.clone(), style::TICK).align(Align::Middle);
            let bounds = text.bounds();
            if bounds.right + 10.0 <= free_before {
                free_before = bounds.left;
                scene.text(text.color(style::SOFT_INK));
            }
        }
        scene.line(vec![(area.left, area.bottom), (area.right, area.bottom)], 2.0, style::AXIS);
        scene.line(vec![(area.left, area.top), (area.left, area.bottom)], 2.0, style::AXIS);
    }

    /// Where two values stand.
    pub(super) fn at(&self, x: f64, y: f64) -> At {
        let area = self.area;
        (area.left + area.width() * self.x.share(x), area.bottom - area.height() * self.y.share(y))
    }

    /// Whether both axes reach that far.
    pub(super) fn reaches(&self, x: f64, y: f64) -> bool {
        self.x.reaches(x) && self.y.reaches(y)
    }

    /// A dashed line across the panel at a bound on y, and where its words stand; nothing when the axis does not reach
    /// it.
    pub(super) fn bound_y(&self, scene: &mut Scene, bound: f64, words: &str) -> Option<Area> {
        if !self.y.reaches(bound) {
            return None;
        }
        let y = self.area.bottom - self.area.height() * self.y.share(bound);
        let ends = [(self.area.left, y), (self.area.right, y)];
        scene.dashed(&ends, 2.0, style::OBJECTIVE, style::OBJECTIVE_DASH);
        let below = y - self.area.top < style::POINT_LABEL * 1.6;
        let baseline = if below { y + style::POINT_LABEL } else { y - style::POINT_LABEL * 0.4 };
        let words = font::fit(words, style::POINT_LABEL, false, self.area.width() - 20.0);
        let text = Text::new((self.area.left + 12.0, baseline), words, style::POINT_LABEL).color(style::OBJECTIVE);
        let bounds = text.bounds();
        scene.text_on_white(text);
        Some(bounds)
    }

    /// The same for a bound on x, its words reading upward.
    pub(super) fn bound_x(&self, scene: &mut Scene, bound: f64, words: &str) -> Option<Area> {
        let x = self.mark_x(scene, bound)?;
        let left = x - self.area.left > style::POINT_LABEL * 1.8;
        let baseline = if left { x - style::POINT_LABEL * 0.4 } else { x + style::POINT_LABEL };
        let words = font::fit(words, style::POINT_LABEL, false, self.area.height() - 20.0);
        let text = Text::new((baseline, self.area.bottom - 12.0), words, style::POINT_LABEL).upward();
        let bounds = text.bounds();
        scene.text_on_white(text.color(style::OBJECTIVE));
        Some(bounds)
    }

    /// A dashed line without words at a bound on x, and where it stands.
    pub(super) fn mark_x(&self, scene: &mut Scene, bound: f64) -> Option<f64> {
        if !self.x.reaches(bound) {
            return None;
        }
        let x = self.area.left + self.area.width() * self.x.share(bound);
        let ends = [(x, self.area.bottom), (x, self.area.top)];
        scene.dashed(&ends, 2.0, style::OBJECTIVE, style::OBJECTIVE_DASH);
        Some(x)
    }
}
