//! Names that people choose: fit for a file, a Kubernetes object and an address, and the nearest known one when
//! somebody mistypes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A checked name: 1 to 40 characters of `a-z`, `0-9` and `-`, starting and ending with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why some text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {reason}")]
pub struct NameError {
    /// The text as given.
    pub text: String,
    /// What is wrong, as the rest of a sentence that starts with the text.
    pub reason: &'static str,
}

/// The longest name: an object is named `<deployment>-<run>` and must fit a DNS label with room for suffixes.
const LONGEST: usize = 40;

impl Name {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is empty, too long, has other characters, or starts or ends with a hyphen.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let reason = if text.is_empty() {
            Some("is empty")
        } else if text.len() > LONGEST {
            Some("is longer than 40 characters")
        } else if !text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            Some("has characters other than a-z, 0-9 and -")
        } else if text.starts_with('-') || text.ends_with('-') {
            Some("starts or ends with a hyphen")
        } else {
            None
        };
        match reason {
            None => Ok(Self(text.to_owned())),
            Some(reason) => Err(NameError { text: text.to_owned(), reason }),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Text made fit for a name: lower case, every run of other characters one hyphen, none at the ends. May be empty.
pub fn slug(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            out.push(character.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.truncate(out.trim_end_matches('-').len());
    out
}

/// The known name that `given` was most likely meant to be, if one is near enough to be worth naming.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_ascii_lowercase().replace('_', "-");
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&given, &name.to_ascii_lowercase()), name))
        .filter(|(distance, name)| *distance <= name.len().max(given.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The first few of a list, and how many there are beside them: what somebody else lists may be of any length.
pub fn some_of(all: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = all[..all.len().min(SHOWN)].join(", ");
    if all.len() > SHOWN {
        text.push_str(&format!(" and {} more", all.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_list_the_first_are_shown_and_the_others_counted() {
        let all: Vec<_> = (0..200_000).map(|number| number.to_string()).collect();
        assert_eq!(some_of(&all), "0, 1, 2, 3, 4, 5, 6, 7 and 199992 more");
        assert_eq!(some_of(&all[..2]), "0, 1");
        assert_eq!(some_of(&[]), "");
    }

    #[test]
    fn names_are_fit_for_files_and_objects() {
        assert!(Name::new("agg-tp2").is_ok());
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", "ä", &"a".repeat(41)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_slug_is_a_name_or_empty() {
        assert_eq!(slug("Qwen/Qwen3-0.6B"), "qwen-qwen3-0-6b");
        assert_eq!(slug("--"), "");
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_near() {
        let known = ["concurrency", "isl", "isl-std", "osl"];
        assert_eq!(nearest("concurency", known), Some("concurrency"));
        assert_eq!(nearest("isl_std", known), Some("isl-std"));
        assert_eq!(nearest("temperature", known), None);
    }
}
