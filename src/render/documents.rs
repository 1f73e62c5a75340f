//! How kubectl takes a text apart before it is read: at lines that begin with `---`, or as JSON values one after the other.
//!
//! What it refuses there is refused here. What follows `...` it leaves out without a word: that is refused as well.

use std::ops::Range;

use serde::de::IgnoredAny;
use serde_json::Deserializer;

use super::yaml::YamlError;

/// Whether a text is JSON to kubectl: its first character decides.
pub(super) fn is_json(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').trim_start().starts_with('{')
}

/// The values of a text that is JSON as a whole; `None`: it is not, and is read as YAML.
pub(super) fn json_values(text: &str) -> Option<Vec<Range<usize>>> {
    if !is_json(text) {
        return None;
    }
    let mut values = Vec::new();
    let mut stream = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut start = 0;
    while let Some(value) = stream.next() {
        value.ok()?;
        values.push(start..stream.byte_offset());
        start = stream.byte_offset();
    }
    Some(values)
}

/// Refuses what kubectl cannot take apart.
pub(super) fn check(text: &str) -> Result<(), YamlError> {
    let mut at = 0;
    // Whether this document has had content, and whether it has ended.
    let (mut begun, mut ended) = (false, false);
    for line in text.split_inclusive('\n') {
        let range = at..at + line.trim_end().len();
        at += line.len();
        let refused = |message: &str| Err(YamlError { message: message.to_owned(), range: range.clone() });
        if let Some(rest) = line.strip_prefix("---") {
            if !rest.trim().is_empty() && !rest.trim().starts_with('#') {
                return refused("nothing but a comment may stand behind `---`");
            }
            (begun, ended) = (false, false);
        } else if line.trim().is_empty() || line.trim_start().starts_with('#') {
            // Says nothing in either state.
        } else if ended {
            return refused("kubectl leaves out what follows `...`: begin a new document with `---`");
        } else if line.trim_end() == "..." {
            ended = true;
        } else if line.starts_with('%') && !begun {
            return refused("directives are not understood by kubectl: leave the line out");
        } else {
            begun = true;
        }
    }
    Ok(())
}

/// Whether a quoted text, as it is written, escapes a slash: JSON has that, YAML as kubectl reads it has not.
pub(super) fn escapes_a_slash(written: &str) -> bool {
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        if character == '\\' && characters.next() == Some('/') {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_values_one_after_the_other_are_taken_apart() {
        let text = "{\"a\": 1}\n{\"b\": \"}{\"}";
        let values = json_values(text).unwrap();
        assert_eq!(
            values.iter().map(|range| text[range.clone()].trim()).collect::<Vec<_>>(),
            ["{\"a\": 1}", "{\"b\": \"}{\"}"]
        );
        assert_eq!(json_values("a: 1"), None);
        assert_eq!(json_values("{a: 1}"), None);
    }

    #[test]
    fn only_an_odd_backslash_escapes() {
        assert!(escapes_a_slash(r#""a\\\/b""#));
        assert!(!escapes_a_slash(r#""a\\/b""#));
    }
}
