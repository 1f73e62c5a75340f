//! A picture as data: a list of shapes in pixels, from back to front.
//!
//! Plots fill a [`Scene`]; `paint` turns it into PNG and SVG. Because a scene is data, tests ask it whether any two
//! texts overlap. What is drawn here is always solid: dashes are cut into pieces here, so that both kinds of picture
//! show the same.

use super::font;

/// A place: pixels from the left and from the top.
pub(super) type At = (f64, f64);

/// A colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rgb(pub(super) u8, pub(super) u8, pub(super) u8);

/// Which end of a text stands at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// It starts there.
    Start,
    /// Its middle.
    Middle,
    /// It ends there.
    End,
}

/// A rectangle, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Area {
    /// From left to right.
    pub(super) fn width(&self) -> f64 {
        self.right - self.left
    }

    /// From top to bottom.
    pub(super) fn height(&self) -> f64 {
        self.bottom - self.top
    }

    /// Whether they share more than a border.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    /// Whether `other` lies inside of it.
    pub(super) fn holds(&self, other: &Self) -> bool {
        self.left <= other.left && other.right <= self.right && self.top <= other.top && other.bottom <= self.bottom
    }

    /// A square around a place.
    pub(super) fn around(at: At, radius: f64) -> Self {
        Self { left: at.0 - radius, top: at.1 - radius, right: at.0 + radius, bottom: at.1 + radius }
    }
}

/// One line of text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    /// A place on the baseline.
    pub(super) at: At,
    /// The words.
    pub(super) words: String,
    /// Pixels per em.
    pub(super) size: f64,
    /// Whether it is bold.
    pub(super) bold: bool,
    /// Its colour.
    pub(super) color: Rgb,
    /// What of it stands at the place.
    pub(super) align: Align,
    /// Whether it is read from bottom to top.
    pub(super) upward: bool,
}

impl Text {
    /// Plain dark text that starts at a place.
    pub(super) fn new(at: At, words: impl Into<String>, size: f64) -> Self {
        let color = super::style::INK;
        Self { at, words: words.into(), size, bold: false, color, align: Align::Start, upward: false }
    }

    /// The same in bold.
    pub(super) fn bold(mut self) -> Self {
        self.bold = true;
        self
    }

    /// The same in another colour.
    pub(super) fn color(mut self, color: Rgb) -> Self {
        self.color = color;
        self
    }

    /// The same with another end at its place.
    pub(super) fn align(mut self, align: Align) -> Self {
        self.align = align;
        self
    }

    /// The same, read from bottom to top.
    pub(super) fn upward(mut self) -> Self {
        self.upward = true;
        self
    }

    /// The room it takes.
    pub(super) fn bounds(&self) -> Area {
        let width = font::width(&self.words, self.size, self.bold);
        let before = match self.align {
            Align::Start => 0.0,
            Align::Middle => width / 2.0,
            Align::End => width,
        };
        let (above, below) = (0.76 * self.size, 0.22 * self.size);
        let (x, y) = self.at;
        if self.upward {
            Area { left: x - above, right: x + below, top: y + before - width, bottom: y + before }
        } else {
            Area { left: x - before, right: x - before + width, top: y - above, bottom: y + below }
        }
    }
}

/// One shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// Straight lines from place to place.
    Line { points: Vec<At>, width: f64, color: Rgb },
    /// A filled polygon.
    Area { corners: Vec<At>, color: Rgb, alpha: f64 },
    /// A filled circle.
    Dot { at: At, radius: f64, color: Rgb, alpha: f64 },
    /// A line of text.
    Text(Text),
}

/// A picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scene {
    /// Pixels.
    pub(super) width: f64,
    /// Pixels.
    pub(super) height: f64,
    /// What it shows, for those who cannot see it.
    pub(super) title: String,
    /// From back to front.
    pub(super) shapes: Vec<Shape>,
}

impl Scene {
    /// An empty picture.
    pub(super) fn new(width: f64, height: f64, title: String) -> Self {
        Self { width, height, title, shapes: Vec::new() }
    }

    /// Adds a line through places.
    pub(super) fn line(&mut self, points: Vec<At>, width: f64, color: Rgb) {
        if points.len() > 1 {
            self.shapes.push(Shape::Line { points, width, color });
        }
    }

    /// Adds a line of strokes and gaps, whose lengths follow each other in `pattern`; an empty one is a solid line.
    pub(super) fn dashed(&mut self, points: &[At], width: f64, color: Rgb, pattern: &[f64]) {
        if pattern.is_empty() {
            return self.line(points.to_vec(), width, color);
        }
        let (mut part, mut left) = (0, pattern[0]);
        let mut stroke: Vec<At> = points.first().copied().into_iter().collect();
        for pair in points.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let length = (x1 - x0).hypot(y1 - y0);
            let mut done = 0.0;
            while length - done > left {
                done += left;
                let at = (x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length);
                stroke.push(at);
                if part % 2 == 0 {
                    self.line(std::mem::take(&mut stroke), width, color);
                }
                part = (part + 1) % pattern.len();
                left = pattern[part];
                stroke = vec![at];
            }
            left -= length - done;
            stroke.push((x1, y1));
        }
        if part % 2 == 0 {
            self.line(stroke, width, color);
        }
    }

    /// Adds a filled polygon.
    pub(super) fn area(&mut self, corners: Vec<At>, color: Rgb, alpha: f64) {
        self.shapes.push(Shape::Area { corners, color, alpha });
    }

    /// Adds a filled circle.
    pub(super) fn dot(&mut self, at: At, radius: f64, color: Rgb, alpha: f64) {
        self.shapes.push(Shape::Dot { at, radius, color, alpha });
    }

    /// Adds a line of text.
    pub(super) fn text(&mut self, text: Text) {
        self.shapes.push(Shape::Text(text));
    }

    /// Adds a line of text on a white ground, so that lines behind it do not cross it.
    pub(super) fn text_on_white(&mut self, text: Text) {
        let Area { left, top, right, bottom } = text.bounds();
        let corners = vec![(left - 3.0, top), (right + 3.0, top), (right + 3.0, bottom), (left - 3.0, bottom)];
        self.area(corners, super::style::WHITE, 0.85);
        self.text(text);
    }

    /// All texts, from back to front.
    #[cfg(test)]
    pub(super) fn texts(&self) -> impl Iterator<Item = &Text> {
        self.shapes.iter().filter_map(|shape| match shape {
            Shape::Text(text) => Some(text),
            Shape::Line { .. } | Shape::Area { .. } | Shape::Dot { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_turn_corners_and_cover_their_share() {
        let mut scene = Scene::new(100.0, 100.0, String::new());
        scene.dashed(&[(0.0, 0.0), (50.0, 0.0), (50.0, 50.0)], 1.0, Rgb(0, 0, 0), &[6.0, 4.0]);
        let mut total = 0.0;
        for shape in &scene.shapes {
            let Shape::Line { points, .. } = shape else { panic!("{shape:?}") };
            total += points.windows(2).map(|pair| (pair[1].0 - pair[0].0).hypot(pair[1].1 - pair[0].1)).sum::<f64>();
        }
        assert_eq!(scene.shapes.len(), 10);
        assert!((total - 60.0).abs() < 1e-9, "{total}");
    }

    #[test]
    fn upward_text_takes_room_above_its_start() {
        let across = Text::new((100.0, 100.0), "words", 20.0).bounds();
        let upward = Text::new((100.0, 100.0), "words", 20.0).upward().bounds();
        assert!((across.width() - upward.height()).abs() < 1e-9);
        assert!(upward.top < 100.0 && (upward.bottom - 100.0).abs() < 1e-9);
    }
}
