//! Prometheus' text format: one number a line, with labels. Whatever is no such line is passed over.

/// One line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    /// What stands between the braces.
    labels: &'a str,
    pub(super) value: f64,
}

impl<'a> Line<'a> {
    /// Reads one line; `None` for comments and what is not well-formed.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let (name, rest) = line.split_at(line.find(['{', ' '])?);
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest),
        };
        let value = value.split_whitespace().next()?.parse().ok()?;
        Some(Self { name, labels, value })
    }

    /// Whether it has this label with this value, written `name="value"`.
    pub(super) fn has(&self, label: &str) -> bool {
        self.labels.contains(label)
    }

    /// The value of a label, unless it is empty.
    pub(super) fn label(&self, name: &str) -> Option<String> {
        let mut rest = self.labels;
        loop {
            let (found, after) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut letters = after.char_indices();
            let end = loop {
                match letters.next()? {
                    (_, '\\') => match letters.next()?.1 {
                        'n' => value.push('\n'),
                        other => value.push(other),
                    },
                    (at, '"') => break at,
                    (_, letter) => value.push(letter),
                }
            };
            if found.trim_start_matches([',', ' ']) == name {
                return Some(value).filter(|value| !value.is_empty());
            }
            rest = &after[end + 1..];
        }
    }
}

/// All well-formed lines of a page.
pub(super) fn lines(page: &str) -> impl Iterator<Item = Line<'_>> {
    page.lines().filter_map(Line::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_by_their_whole_name_and_unescaped() {
        let line = Line::parse(r#"a:b{xrole="no",role="x,\"y=\"}z",empty=""} 3.5e2 1700000000"#).unwrap();
        assert_eq!((line.name, line.value), ("a:b", 350.0));
        assert_eq!(line.label("role").as_deref(), Some("x,\"y=\"}z"));
        assert_eq!((line.label("empty"), line.label("none")), (None, None));
    }

    #[test]
    fn what_is_no_line_is_passed_over() {
        for text in ["", "# HELP a b", "a", "a{", "a{} x", "} {", "<html>"] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
        assert_eq!(Line::parse("a 1").map(|line| line.value), Some(1.0));
    }
}
