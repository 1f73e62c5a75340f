//! Words at points and at the ends of lines, put where they cover nothing.

use super::font;
use super::frame::Panel;
use super::scene::{Align, Area, At, Scene, Text};
use super::style::{self, Look};

/// What words must not cover.
pub(super) struct Obstacles {
    within: Area,
    /// Never to be covered: markers and other words.
    hard: Vec<Area>,
    /// Better not covered: lines.
    soft: Vec<Area>,
}

impl Obstacles {
    /// An area that words must stay in.
    pub(super) fn new(within: Area) -> Self {
        Self { within, hard: Vec::new(), soft: Vec::new() }
    }

    /// Adds a marker.
    pub(super) fn marker(&mut self, at: At) {
        self.hard.push(Area::around(at, style::MARKER + 2.0));
    }

    /// Adds a line.
    pub(super) fn line(&mut self, points: &[At]) {
        for pair in points.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let pieces = ((x1 - x0).hypot(y1 - y0) / 8.0).ceil().clamp(1.0, 400.0);
            let along = |piece: f64| (x0 + (x1 - x0) * piece / pieces, y0 + (y1 - y0) * piece / pieces);
            self.soft.extend((0..=pieces as u32).map(|piece| Area::around(along(f64::from(piece)), 3.0)));
        }
    }

    /// Adds a place where words stand already.
    pub(super) fn words(&mut self, bounds: Area) {
        self.hard.push(bounds);
    }

    /// Writes `words` beside a marker, with a thin line to it if they had to move away; nothing if there is no room.
    pub(super) fn label(&mut self, scene: &mut Scene, at: At, words: &str) {
        let candidates: Vec<Candidate> = [style::MARKER + 5.0, 28.0, 46.0]
            .into_iter()
            .flat_map(|distance| {
                DIRECTIONS.iter().map(move |direction| Candidate::new(at, *direction, distance, words))
            })
            .collect();
        let free = |candidate: &&Candidate| {
            self.within.holds(&candidate.bounds)
                && !self
                    .hard
                    .iter()
                    .any(|taken| taken.overlaps(&candidate.bounds) || candidate.leader_crosses(taken, at))
        };
        let clear = |candidate: &&Candidate| !self.soft.iter().any(|line| line.overlaps(&candidate.bounds));
        let best = candidates.iter().filter(free).find(clear).or_else(|| candidates.iter().find(free));
        if let Some(candidate) = best {
            scene.line(candidate.leader.clone(), 1.5, style::AXIS);
            self.hard.push(candidate.bounds);
            self.line(&candidate.leader);
            scene.text(candidate.text.clone());
        }
    }
}

/// A place where words could stand.
struct Candidate {
    text: Text,
    bounds: Area,
    /// From the marker's rim to the words; empty when they stand close by.
    leader: Vec<At>,
}

impl Candidate {
    fn new(at: At, direction: At, distance: f64, words: &str) -> Self {
        let text = beside(at, direction, distance, words);
        let bounds = text.bounds();
        let leader = if distance > style::MARKER + 6.0 {
            let near = (at.0.clamp(bounds.left, bounds.right), at.1.clamp(bounds.top, bounds.bottom));
            let share = (style::MARKER + 2.0) / (near.0 - at.0).hypot(near.1 - at.1).max(1.0);
            vec![(at.0 + (near.0 - at.0) * share, at.1 + (near.1 - at.1) * share), near]
        } else {
            Vec::new()
        };
        Self { text, bounds, leader }
    }

    /// Whether the way to the words leads over something other than the marker itself.
    fn leader_crosses(&self, taken: &Area, at: At) -> bool {
        let [from, to] = self.leader.as_slice() else { return false };
        let own = Area::around(at, 1.0).overlaps(taken);
        !own && (0..=8).any(|step| {
            let share = f64::from(step) / 8.0;
            let place = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
            Area::around(place, 1.0).overlaps(taken)
        })
    }
}

/// Directions in order of liking: right above, above, right, left above, below, ...
const DIRECTIONS: [At; 8] =
    [(0.75, -0.75), (0.0, -1.0), (1.0, 0.0), (-0.75, -0.75), (0.75, 0.75), (0.0, 1.0), (-1.0, 0.0), (-0.75, 0.75)];

fn beside(at: At, (right, down): At, distance: f64, words: &str) -> Text {
    let size = style::POINT_LABEL;
    let align = if right > 0.1 {
        Align::Start
    } else if right < -0.1 {
        Align::End
    } else {
        Align::Middle
    };
    // Digits are 0.72 em high; the baseline stands so that their nearest edge, or their middle, is at the place.
    let baseline = if down > 0.1 {
        0.72 * size
    } else if down < -0.1 {
        0.0
    } else {
        0.36 * size
    };
    Text::new((at.0 + right * distance, at.1 + down * distance + baseline), words, size).align(align)
}

/// The end of a line, and its name.
pub(super) struct End {
    pub(super) at: At,
    pub(super) look: Look,
    pub(super) name: String,
}

/// Room for a line's sample between the panel and its name.
const BEFORE_NAME: f64 = 84.0;

/// The room that names at the ends of lines take to the right of a panel.
pub(super) fn room_for_ends<'a>(names: impl Iterator<Item = &'a str>) -> f64 {
    names.map(|name| font::width(name, style::LEGEND, false)).fold(0.0, f64::max) + BEFORE_NAME
}

/// Writes names to the right of a panel at the height of their lines' ends, moved apart where they would touch.
pub(super) fn at_ends(scene: &mut Scene, panel: &Panel, mut ends: Vec<End>) {
    ends.sort_by(|a, b| a.at.1.total_cmp(&b.at.1));
    let wanted: Vec<f64> = ends.iter().map(|end| end.at.1).collect();
    let half = style::LEGEND * 0.6;
    let heights = spread(&wanted, style::LEGEND * 1.45, panel.area.top + half, panel.area.bottom - half);
    let right = panel.area.right;
    for (end, y) in ends.iter().zip(heights) {
        if end.at.0 > right - panel.area.width() * 0.08 {
            scene.line(vec![(end.at.0 + style::MARKER, end.at.1), (right + 12.0, y)], 1.5, style::AXIS);
        }
        end.look.sample(scene, (right + 38.0, y), 46.0, true);
        scene.text(Text::new((right + 70.0, y + style::LEGEND * 0.35), end.name.clone(), style::LEGEND));
    }
}

/// Heights near the ascending ones that are wanted, at least `gap` apart, from `top` to `bottom` as far as there is room.
fn spread(wanted: &[f64], gap: f64, top: f64, bottom: f64) -> Vec<f64> {
    // Groups of labels that touch: the sum of their wanted places, counted from the first, and how many they are.
    let mut groups: Vec<(f64, usize)> = Vec::new();
    let start = |(sum, count): (f64, usize)| {
        let length = gap * (count as f64 - 1.0);
        (sum / count as f64 - length / 2.0).min(bottom - length).max(top)
    };
    for place in wanted {
        groups.push((*place, 1));
        while let [.., before, last] = groups.as_slice() {
            if start(*before) + gap * before.1 as f64 <= start(*last) {
                break;
            }
            let joined = (before.0 + last.0, before.1 + last.1);
            groups.truncate(groups.len() - 2);
            groups.push(joined);
        }
    }
    groups.into_iter().flat_map(|group| (0..group.1).map(move |place| start(group) + gap * place as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_moved_apart_and_stay_inside() {
        assert_eq!(spread(&[10.0, 50.0], 10.0, 0.0, 100.0), [10.0, 50.0]);
        assert_eq!(spread(&[50.0, 50.0], 10.0, 0.0, 100.0), [45.0, 55.0]);
        assert_eq!(spread(&[99.0, 100.0, 100.0], 10.0, 0.0, 100.0), [80.0, 90.0, 100.0]);
        let many = spread(&[1.0; 8], 10.0, 0.0, 100.0);
        assert!(many.windows(2).all(|pair| (pair[1] - pair[0] - 10.0).abs() < 1e-9) && many[0] == 0.0, "{many:?}");
    }
}
