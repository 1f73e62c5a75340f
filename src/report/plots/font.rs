//! The font that the program carries, so that pictures need none of the system's: Open Sans (`font/LICENSE.txt`).
//!
//! PNG is drawn with it. SVG names it first and then others, because a viewer draws text with its own fonts; some of
//! those are wider, which [`width`] leaves room for, so that nothing runs into its neighbour there either.

use std::sync::LazyLock;

use plotters::style::{FontDesc, FontFamily, FontStyle, register_font};

/// The name under which it is registered for drawing.
const FAMILY: &str = "dynbench";
/// Fonts for a viewer of SVG to choose from.
pub(super) const FALLBACKS: &str = "Open Sans, Segoe UI, Roboto, Helvetica Neue, Arial, DejaVu Sans, sans-serif";
/// The library takes the height of a line as the size of a font: ascent plus descent, for this font in ems.
pub(super) const LINE_HEIGHT: f64 = 2789.0 / 2048.0;
/// How much wider than this font a viewer's may be (DejaVu Sans, among the widest, is wider by about so much).
const WIDEST: f64 = 1.09;

static REGISTERED: LazyLock<()> = LazyLock::new(|| {
    let files: [(FontStyle, &'static [u8]); 2] = [
        (FontStyle::Normal, include_bytes!("font/OpenSans-Regular.ttf")),
        (FontStyle::Bold, include_bytes!("font/OpenSans-Semibold.ttf")),
    ];
    for (style, bytes) in files {
        assert!(register_font(FAMILY, style, bytes).is_ok(), "the font files of the program are fonts");
    }
});

/// The font for drawing into a bitmap, `size` pixels per em.
pub(super) fn of_size(size: f64, bold: bool) -> FontDesc<'static> {
    LazyLock::force(&REGISTERED);
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    FontDesc::new(FontFamily::Name(FAMILY), size * LINE_HEIGHT, style)
}

/// The width to be kept free for a line of text, in pixels.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    const FINE: f64 = 1000.0;
    let ((left, _), (right, _)) =
        of_size(FINE, bold).layout_box(text).expect("a registered font can measure every text");
    f64::from(right - left) * size / FINE * WIDEST
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
