//! The font that the program carries, so that pictures need none of the system's: Open Sans (`font/LICENSE.txt`).
//!
//! PNG is drawn with it. SVG names it first and then others, because a viewer draws text with its own fonts; some of
//! those are wider, which [`width`] leaves room for, so that nothing runs into its neighbour there either.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

/// Fonts for a viewer of SVG to choose from.
pub(super) const FALLBACKS: &str = "Open Sans, Segoe UI, Roboto, Helvetica Neue, Arial, DejaVu Sans, sans-serif";
/// How much wider than this font a viewer's may be, regular and bold: as much as DejaVu Sans, one of the widest.
const WIDEST: [f32; 2] = [1.11, 1.19];

/// Regular and bold.
static FACES: LazyLock<[FontRef<'static>; 2]> = LazyLock::new(|| {
    let files: [&'static [u8]; 2] =
        [include_bytes!("font/OpenSans-Regular.ttf"), include_bytes!("font/OpenSans-Semibold.ttf")];
    files.map(|bytes| FontRef::try_from_slice(bytes).expect("the font files of the program are fonts"))
});

fn face(bold: bool) -> &'static FontRef<'static> {
    &FACES[usize::from(bold)]
}

/// The library counts sizes in heights of a line, everybody else in ems.
fn scale(face: &FontRef<'_>, size: f64) -> PxScale {
    let line = face.height_unscaled() / face.units_per_em().expect("the font files of the program have an em");
    PxScale::from(size as f32 * line)
}

/// Where each glyph's origin stands along the baseline, and the end of the last.
fn advances(text: &str, size: f64, bold: bool) -> (Vec<(char, f32)>, f32) {
    let face = face(bold);
    let font = face.as_scaled(scale(face, size));
    let (mut x, mut before) = (0.0, None);
    let mut places = Vec::with_capacity(text.len());
    for letter in text.chars() {
        let glyph = font.glyph_id(letter);
        x += before.map_or(0.0, |before| font.kern(before, glyph));
        places.push((letter, x));
        x += font.h_advance(glyph);
        before = Some(glyph);
    }
    (places, x)
}

/// The width to be kept free for a line of text, in pixels; somewhat more than this font takes.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    f64::from(advances(text, size, bold).1 * WIDEST[usize::from(bold)])
}

/// The width that a line of text takes in this font, in pixels.
pub(super) fn exact_width(text: &str, size: f64, bold: bool) -> f64 {
    f64::from(advances(text, size, bold).1)
}

/// Draws a line of text, pixel by pixel: right of the start of the baseline, below it, and how much of it is covered.
pub(super) fn draw(text: &str, size: f64, bold: bool, mut pixel: impl FnMut(i32, i32, f32)) {
    let face = face(bold);
    let scale = scale(face, size);
    for (letter, x) in advances(text, size, bold).0 {
        let glyph = face.glyph_id(letter).with_scale_and_position(scale, point(x, 0.0));
        if let Some(outline) = face.outline_glyph(glyph) {
            let corner = outline.px_bounds().min;
            outline.draw(|x, y, covered| pixel(corner.x as i32 + x as i32, corner.y as i32 + y as i32, covered));
        }
    }
}

/// `text` cut to a width, with an ellipsis where something is missing.
pub(super) fn fit(text: &str, size: f64, bold: bool, room: f64) -> String {
    if width(text, size, bold) <= room {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while let Some(_cut) = kept.pop() {
        let shorter: String = kept.iter().collect::<String>().trim_end().to_owned() + "…";
        if width(&shorter, size, bold) <= room {
            return shorter;
        }
    }
    String::new()
}

/// `text` in lines no wider than `room`, broken at spaces; a word that is too long for a line is cut.
pub(super) fn wrap(text: &str, size: f64, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size, false) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(fit(word, size, false, room)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_and_wrapped_to_its_room() {
        let long = "a-deployment-with-a-name-of-forty-letters";
        let cut = fit(long, 20.0, false, 150.0);
        assert!(cut.ends_with('…') && width(&cut, 20.0, false) <= 150.0, "{cut}");
        assert_eq!(fit("short", 20.0, false, 150.0), "short");
        for line in wrap("several words that do not fit into one line", 20.0, 150.0) {
            assert!(width(&line, 20.0, false) <= 150.0, "{line}");
        }
    }

    #[test]
    fn bold_is_another_font() {
        assert!(width("mmmm", 20.0, true) > width("mmmm", 20.0, false));
    }
}
