//! From a scene to the bytes of a PNG and of an SVG.
//!
//! A bitmap is drawn at twice its size and averaged, which smooths every edge; an SVG is drawn in tenths of a pixel,
//! because the drawing library counts in whole units. Both are made in memory and depend on nothing but the scene.

use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontDesc, FontFamily, FontStyle, FontTransform, RGBAColor, RGBColor, TextStyle};

use super::font;
use super::scene::{Align, At, Rgb, Scene, Shape, Text};

/// Pixels drawn for each pixel of the PNG, in each direction.
const OVERSAMPLING: u32 = 2;
/// Units of an SVG for each pixel.
const SVG_UNITS: u32 = 10;
/// The library's fixed guess of a font's line height, by which it divides sizes for SVG.
const SVG_LINE_HEIGHT: f64 = 1.24;
/// Where the library puts the baseline of SVG text that hangs from its place, in ems.
const SVG_HANG: f64 = 0.76;

/// The PNG of a scene: 8-bit RGB, as many pixels as the scene says.
pub(super) fn png(scene: &Scene) -> Vec<u8> {
    let (width, height) = (scene.width as u32, scene.height as u32);
    let size = (width * OVERSAMPLING, height * OVERSAMPLING);
    let mut fine = vec![255; size.0 as usize * size.1 as usize * 3];
    {
        let mut backend = BitMapBackend::with_buffer(&mut fine, size);
        paint(scene, &mut backend, &Pen { units: f64::from(OVERSAMPLING), bitmap: true });
        backend.present().expect("an image in memory is always there");
    }
    let pixels = average(&fine, size.0 as usize);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // Flat colours: filters, which help with photographs, only make them larger.
    encoder.set_filter(png::FilterType::NoFilter);
    encoder.set_compression(png::Compression::Best);
    let mut writer = encoder.write_header().expect("memory takes every byte");
    writer.write_image_data(&pixels).expect("the buffer has the size that was announced");
    writer.finish().expect("memory takes every byte");
    bytes
}

/// The SVG of a scene, with its title for those who cannot see it.
pub(super) fn svg(scene: &Scene) -> String {
    let (width, height) = (scene.width as u32, scene.height as u32);
    let mut drawn = String::new();
    {
        let mut backend = SVGBackend::with_string(&mut drawn, (width * SVG_UNITS, height * SVG_UNITS));
        paint(scene, &mut backend, &Pen { units: f64::from(SVG_UNITS), bitmap: false });
        backend.present().expect("a string in memory is always there");
    }
    let (_head, body) = drawn.split_once('\n').expect("the library's first line is the opening tag");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\" \
         role=\"img\" stroke-linejoin=\"round\">\n<title>{}</title>\n{body}",
        width * SVG_UNITS,
        height * SVG_UNITS,
        escaped(&scene.title),
    )
}

/// How a backend wants to be drawn on.
struct Pen {
    /// Its units for each pixel of the scene.
    units: f64,
    /// Whether it has pixels: then text is drawn with our font and lines piece by piece.
    bitmap: bool,
}

impl Pen {
    fn units(&self, pixels: f64) -> i32 {
        // Anything farther away is invisible, and would keep a bitmap's polygon filler busy for ever.
        (pixels.clamp(-4000.0, 40_000.0) * self.units).round() as i32
    }

    fn at(&self, (x, y): At) -> (i32, i32) {
        (self.units(x), self.units(y))
    }

    fn width(&self, pixels: f64) -> u32 {
        (pixels * self.units).round().max(1.0) as u32
    }
}

/// Why drawing cannot fail.
const IN_MEMORY: &str = "memory takes every shape";

fn paint<B: DrawingBackend>(scene: &Scene, backend: &mut B, pen: &Pen) {
    let corner = pen.at((scene.width, scene.height));
    backend.draw_rect((0, 0), corner, &ink(super::style::WHITE, 1.0), true).expect(IN_MEMORY);
    for shape in &scene.shapes {
        match shape {
            Shape::Line { points, width, color } => line(backend, pen, points, *width, *color),
            Shape::Area { corners, color, alpha } => backend
                .fill_polygon(corners.iter().map(|corner| pen.at(*corner)), &ink(*color, *alpha))
                .expect(IN_MEMORY),
            Shape::Dot { at, radius, color, alpha } => {
                backend.draw_circle(pen.at(*at), pen.width(*radius), &ink(*color, *alpha), true).expect(IN_MEMORY)
            }
            Shape::Text(text) => write(backend, pen, text),
        }
    }
}

fn ink(Rgb(red, green, blue): Rgb, alpha: f64) -> RGBAColor {
    RGBColor(red, green, blue).mix(alpha)
}

/// A line; in a bitmap piece by piece with round joints, because the library's own wide paths have spikes.
fn line<B: DrawingBackend>(backend: &mut B, pen: &Pen, points: &[At], width: f64, color: Rgb) {
    let style = ink(color, 1.0).stroke_width(pen.width(width));
    if !pen.bitmap {
        return backend.draw_path(points.iter().map(|at| pen.at(*at)), &style).expect(IN_MEMORY);
    }
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let upright = (from.0 - to.0).abs() < 1e-9 || (from.1 - to.1).abs() < 1e-9;
        if upright {
            // Rectangles keep grid lines and frames at their exact width.
            let half = width / 2.0;
            let (left, right) = (from.0.min(to.0), from.0.max(to.0));
            let (top, bottom) = (from.1.min(to.1), from.1.max(to.1));
            let (across, along) = if (top - bottom).abs() < 1e-9 { (0.0, half) } else { (half, 0.0) };
            let (x0, y0) = pen.at((left - across, top - along));
            let (x1, y1) = pen.at((right + across, bottom + along));
            backend.draw_rect((x0, y0), ((x1 - 1).max(x0), (y1 - 1).max(y0)), &ink(color, 1.0), true).expect(IN_MEMORY);
        } else {
            backend.draw_line(pen.at(from), pen.at(to), &style).expect(IN_MEMORY);
        }
    }
    // Rounded down: a joint that is wider than its line is a knot.
    let radius = (pen.units * width / 2.0).floor() as u32;
    for joint in points.iter().skip(1).take(points.len().saturating_sub(2)) {
        backend.draw_circle(pen.at(*joint), radius, &ink(color, 1.0), true).expect(IN_MEMORY);
    }
}

fn write<B: DrawingBackend>(backend: &mut B, pen: &Pen, text: &Text) {
    let (x, y) = pen.at(text.at);
    let size = text.size * pen.units;
    if pen.bitmap {
        // Not by the library's own text, which forgets the space that belongs to the left of each letter.
        let before = match text.align {
            Align::Start => 0.0,
            Align::Middle => font::exact_width(&text.words, size, text.bold) / 2.0,
            Align::End => font::exact_width(&text.words, size, text.bold),
        };
        let before = before.round() as i32;
        font::draw(&text.words, size, text.bold, |right, down, covered| {
            let right = right - before;
            let at = if text.upward { (x + down, y - right) } else { (x + right, y + down) };
            let color = ink(text.color, f64::from(covered)).to_backend_color();
            backend.draw_pixel(at, color).expect(IN_MEMORY);
        });
        return;
    }
    let side = match text.align {
        Align::Start => HPos::Left,
        Align::Middle => HPos::Center,
        Align::End => HPos::Right,
    };
    // The library hangs text from its place; the baseline is what must come out at the same height.
    let hang = (size * SVG_HANG).round() as i32;
    let (at, turn) =
        if text.upward { ((x - hang, y), FontTransform::Rotate270) } else { ((x, y - hang), FontTransform::None) };
    let weight = if text.bold { FontStyle::Bold } else { FontStyle::Normal };
    let described = FontDesc::new(FontFamily::Name(font::FALLBACKS), size * SVG_LINE_HEIGHT, weight);
    let color = ink(text.color, 1.0);
    let style = TextStyle::from(described.transform(turn)).color(&color).pos(Pos::new(side, VPos::Top));
    backend.draw_text(&text.words, &style, at).expect(IN_MEMORY);
}

/// The mean of every square of pixels.
fn average(fine: &[u8], fine_width: usize) -> Vec<u8> {
    const FACTOR: usize = OVERSAMPLING as usize;
    let row = fine_width * 3;
    let mut pixels = Vec::with_capacity(fine.len() / (FACTOR * FACTOR));
    for rows in fine.chunks_exact(row * FACTOR) {
        let (upper, lower) = rows.split_at(row);
        for (a, b) in upper.chunks_exact(3 * FACTOR).zip(lower.chunks_exact(3 * FACTOR)) {
            for channel in 0..3 {
                let sum = u16::from(a[channel])
                    + u16::from(a[channel + 3])
                    + u16::from(b[channel])
                    + u16::from(b[channel + 3]);
                pixels.push(((sum + 2) / 4) as u8);
            }
        }
    }
    pixels
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
