//! What keys a table of the plan may have. Checking, suggestions, JSON Schema and help are all read from here.

/// One key of a table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Kebab-case name.
    pub name: &'static str,
    /// One or two sentences for the schema, the help and the README.
    pub about: &'static str,
    /// What it may hold.
    pub shape: Shape,
    /// Its default as TOML text (text with its quotation marks), if it has a fixed one. A table without one is filled
    /// with the defaults of its keys, unless one of them is required: then it stays away when it is not written.
    pub default: Option<&'static str>,
    /// Whether it must be written.
    pub required: bool,
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds, both included.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A finite number (whole or not) within bounds, both included.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// Text that is not empty.
    Text,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// `30s`, `5m`, `1h30m`, longer than nothing. Stays text in [`super::Values`]: read it with
    /// [`super::duration_text`].
    Duration,
    /// A [`crate::base::Name`].
    Name,
    /// A path; relative ones start at the plan's folder and are absolute in [`super::Values`].
    Path,
    /// The id or short name of a metric (the id in [`super::Values`]), or `hook.NAME` when the plan has hooks.
    Metric,
    /// A list.
    List {
        /// What its items are.
        of: &'static Shape,
        /// Fewest items.
        min: usize,
        /// Whether an item may stand in it only once.
        unique: bool,
    },
    /// A table with known keys.
    Table(&'static [Key]),
    /// Tables with known keys, by names that the user chooses.
    Named(&'static [Key]),
    /// Free keys, all values of one shape.
    Map(&'static Shape),
    /// Whatever TOML can say.
    Any,
    /// The first of these that fits. When none does, the last that takes such a type says why.
    OneOf(&'static [Shape]),
}
