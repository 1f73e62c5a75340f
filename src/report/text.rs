//! Aligned columns and wrapped lines of plain text.

/// Widest line of a text for people.
pub(super) const WIDTH: usize = 120;

/// Which side of a column its cells stand on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Widths of the columns of some lines of cells, in characters.
pub(super) fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    (0..count).map(|at| width(at).unwrap_or(0)).collect()
}

/// Lines of cells, padded to equal widths with `gap` blanks between columns. No line ends in blanks.
pub(super) fn columns(rows: &[Vec<String>], align: &[Align], indent: usize, gap: usize) -> String {
    let widths = widths(rows);
    let mut out = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (at, cell) in row.iter().enumerate() {
            if at > 0 {
                line.push_str(&" ".repeat(gap));
            }
            let blanks = " ".repeat(widths[at] - cell.chars().count());
            match align.get(at).copied().unwrap_or(Align::Left) {
                Align::Left => line.extend([cell.as_str(), &blanks]),
                Align::Right => line.extend([&blanks, cell.as_str()]),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Words wrapped at [`WIDTH`]; the first line begins with `first`, the others are indented as deep as it is long.
pub(super) fn wrapped(first: &str, words: &str) -> String {
    let indent = first.chars().count();
    let mut out = String::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    // What servers say is printed too: it must not be able to move the cursor.
    for word in words.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters() {
        let rows = [vec!["ä".to_owned(), "1".to_owned()], vec!["abc".to_owned(), "1,000".to_owned()]];
        assert_eq!(columns(&rows, &[Align::Left, Align::Right], 1, 2), " ä        1\n abc  1,000\n");
    }

    #[test]
    fn wrapped_lines_stay_within_the_width() {
        let text = wrapped("  - ", &"word ".repeat(60));
        assert!(text.lines().all(|line| line.len() <= WIDTH));
        assert!(text.lines().skip(1).all(|line| line.starts_with("    word")));
        assert_eq!(wrapped("x ", ""), "x\n");
    }
}
