//! Shapes in words: what they take, for messages and suggestions.

use super::document::Tree;
use super::shape::Shape;
use crate::measure::METRICS;

/// Words that a shape takes, for suggestions.
pub(super) fn words_of(shape: &Shape) -> Vec<&'static str> {
    match shape {
        Shape::Choice(words) => words.to_vec(),
        Shape::Metric => METRICS.iter().map(|row| row.id).collect(),
        Shape::OneOf(shapes) => shapes.iter().flat_map(words_of).collect(),
        Shape::Bool
        | Shape::Integer { .. }
        | Shape::Number { .. }
        | Shape::Text
        | Shape::Duration
        | Shape::Name
        | Shape::Path
        | Shape::List { .. }
        | Shape::Table(_)
        | Shape::Named(_)
        | Shape::Map(_)
        | Shape::Any => Vec::new(),
    }
}

/// Whether a shape takes values of this type of TOML's at all.
pub(super) fn takes(shape: &Shape, tree: &Tree) -> bool {
    match shape {
        Shape::Bool => matches!(tree, Tree::Bool(_)),
        Shape::Integer { .. } => matches!(tree, Tree::Integer(_)),
        Shape::Number { .. } => matches!(tree, Tree::Integer(_) | Tree::Float(_)),
        Shape::Text | Shape::Choice(_) | Shape::Duration | Shape::Name | Shape::Path | Shape::Metric => {
            matches!(tree, Tree::Text(_))
        }
        Shape::List { .. } => matches!(tree, Tree::List(_)),
        Shape::Table(_) | Shape::Named(_) | Shape::Map(_) => matches!(tree, Tree::Table(_)),
        Shape::Any => true,
        Shape::OneOf(shapes) => shapes.iter().any(|shape| takes(shape, tree)),
    }
}

/// What a shape takes, for the sentence "must be X".
pub(super) fn expected(shape: &Shape) -> String {
    match shape {
        Shape::Bool => "true or false".to_owned(),
        Shape::Integer { .. } => "a whole number".to_owned(),
        Shape::Number { .. } => "a number".to_owned(),
        Shape::Text => "text".to_owned(),
        Shape::Choice(words) => format!("one of {}", words.join(", ")),
        Shape::Duration => "a duration such as \"30s\"".to_owned(),
        Shape::Name => "a name as text".to_owned(),
        Shape::Path => "a path as text".to_owned(),
        Shape::Metric => "the name of a metric".to_owned(),
        Shape::List { .. } => "a list".to_owned(),
        Shape::Table(_) | Shape::Named(_) | Shape::Map(_) => "a table".to_owned(),
        Shape::Any => "anything".to_owned(),
        Shape::OneOf(shapes) => shapes.iter().map(expected).collect::<Vec<_>>().join(" or "),
    }
}
