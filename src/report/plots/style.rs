//! The one look of all pictures: sizes, colours, markers and line patterns.
//!
//! Colours are those of Okabe and Ito, which stay apart for colour-blind readers; yellow, unreadable on white, is
//! replaced by grey. No colour carries meaning alone: each series also has its own marker and line pattern. Text is
//! always dark.

use super::scene::{At, Rgb, Scene};

/// Width of every picture, in pixels.
pub(super) const WIDTH: f64 = 1600.0;
/// Height of a picture whose panels need no more.
pub(super) const HEIGHT: f64 = 1000.0;
/// Free space at all four sides.
pub(super) const MARGIN: f64 = 48.0;

/// Text sizes (pixels per em): a picture is often shown at half its size, where none of these falls below 9 pixels.
pub(super) const TITLE: f64 = 36.0;
pub(super) const SUBTITLE: f64 = 22.0;
pub(super) const PANEL_TITLE: f64 = 23.0;
pub(super) const AXIS_TITLE: f64 = 23.0;
pub(super) const TICK: f64 = 21.0;
pub(super) const LEGEND: f64 = 23.0;
pub(super) const POINT_LABEL: f64 = 19.0;
pub(super) const FOOTER: f64 = 18.5;

pub(super) const WHITE: Rgb = Rgb(255, 255, 255);
pub(super) const INK: Rgb = Rgb(28, 32, 36);
pub(super) const SOFT_INK: Rgb = Rgb(92, 98, 105);
pub(super) const AXIS: Rgb = Rgb(120, 126, 133);
pub(super) const GRID: Rgb = Rgb(228, 231, 234);
pub(super) const FRONTIER: Rgb = Rgb(222, 226, 232);
pub(super) const WARNING: Rgb = Rgb(200, 60, 10);
pub(super) const OBJECTIVE: Rgb = Rgb(70, 74, 80);

/// Width of data lines.
pub(super) const LINE: f64 = 3.5;
/// Radius of data markers.
pub(super) const MARKER: f64 = 8.5;
/// Strokes and gaps of an objective's line.
pub(super) const OBJECTIVE_DASH: &[f64] = &[12.0, 8.0];

const COLORS: [Rgb; 8] = [
    Rgb(0, 114, 178),
    Rgb(213, 94, 0),
    Rgb(0, 158, 115),
    Rgb(204, 121, 167),
    Rgb(86, 180, 233),
    Rgb(230, 159, 0),
    Rgb(20, 20, 20),
    Rgb(128, 128, 128),
];

const PATTERNS: [&[f64]; 4] = [&[], &[16.0, 7.0], &[4.0, 5.0], &[18.0, 6.0, 4.0, 6.0]];

/// Forms of markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Cross,
    TriangleDown,
    Pentagon,
    Star,
}

const MARKERS: [Marker; 8] = [
    Marker::Circle,
    Marker::Square,
    Marker::Triangle,
    Marker::Diamond,
    Marker::Cross,
    Marker::TriangleDown,
    Marker::Pentagon,
    Marker::Star,
];

/// How a marker is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// A number that counts.
    Solid,
    /// A point that is not valid.
    Hollow,
    /// One repeat among several, or a point behind the frontier.
    Faint,
}

/// The look of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    /// Its colour.
    pub(super) color: Rgb,
    /// Strokes and gaps of its line; empty for a solid one.
    pub(super) dash: &'static [f64],
    marker: Marker,
}

impl Look {
    /// The look of the series with that place in the plan; no two of the first 64 are alike in colour and marker.
    pub(super) fn of(place: usize) -> Self {
        Self {
            color: COLORS[place % COLORS.len()],
            dash: PATTERNS[place % PATTERNS.len()],
            marker: MARKERS[(place + place / COLORS.len()) % MARKERS.len()],
        }
    }

    /// Draws its marker.
    pub(super) fn mark(&self, scene: &mut Scene, at: At, radius: f64, fill: Fill) {
        let outline = |radius: f64| -> Vec<At> {
            self.marker.outline().iter().map(|(x, y)| (at.0 + x * radius, at.1 + y * radius)).collect()
        };
        let round = self.marker == Marker::Circle;
        let mut shape = |radius: f64, color: Rgb, alpha: f64| {
            if round {
                scene.dot(at, radius, color, alpha);
            } else {
                scene.area(outline(radius), color, alpha);
            }
        };
        match fill {
            Fill::Solid => {
                shape(radius + 2.0, WHITE, 1.0);
                shape(radius, self.color, 1.0);
            }
            Fill::Hollow => {
                shape(radius, self.color, 1.0);
                shape(radius * 0.62, WHITE, 1.0);
            }
            Fill::Faint => shape(radius, self.color, 0.35),
        }
    }

    /// Draws a short piece of its line with its marker, centred at `at`.
    pub(super) fn sample(&self, scene: &mut Scene, at: At, length: f64, with_line: bool) {
        if with_line {
            scene.dashed(&[(at.0 - length / 2.0, at.1), (at.0 + length / 2.0, at.1)], LINE, self.color, self.dash);
        }
        self.mark(scene, at, MARKER, Fill::Solid);
    }
}

impl Marker {
    /// Corners for radius 1, sized so that all forms look equally heavy.
    fn outline(self) -> Vec<At> {
        let ring = |corners: u32, turn: f64, size: f64| -> Vec<At> {
            (0..corners)
                .map(|corner| {
                    let angle = std::f64::consts::TAU * (f64::from(corner) / f64::from(corners) + turn);
                    (size * angle.sin(), -size * angle.cos())
                })
                .collect()
        };
        match self {
            Self::Circle => ring(32, 0.0, 1.0),
            Self::Square => ring(4, 0.125, 1.28),
            Self::Triangle => ring(3, 0.0, 1.38),
            Self::Diamond => ring(4, 0.0, 1.36),
            Self::TriangleDown => ring(3, 0.5, 1.38),
            Self::Pentagon => ring(5, 0.0, 1.15),
            Self::Star => {
                let (tips, dents) = (ring(5, 0.0, 1.45), ring(5, 0.1, 0.62));
                tips.into_iter().zip(dents).flat_map(|(tip, dent)| [tip, dent]).collect()
            }
            Self::Cross => {
                let (long, short) = (1.25, 0.42);
                let arm = [(-short, -long), (short, -long), (short, -short)];
                let mut corners = Vec::with_capacity(12);
                let mut turn = |(x, y): At, times: u32| {
                    corners.push((0..times).fold((x, y), |(x, y), _| (-y, x)));
                };
                for times in 0..4 {
                    arm.iter().for_each(|corner| turn(*corner, times));
                }
                let slant = std::f64::consts::FRAC_1_SQRT_2;
                corners.into_iter().map(|(x, y)| ((x - y) * slant, (x + y) * slant)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_of_sixty_four_series_look_alike() {
        let looks: Vec<_> = (0..64).map(Look::of).collect();
        for (place, look) in looks.iter().enumerate() {
            let twin = looks[..place].iter().position(|other| (other.color, other.marker) == (look.color, look.marker));
            assert_eq!(twin, None, "of {place}");
        }
    }
}
