//! The tables of keys that say what a workload's requests hold.

use super::keys::{defaulted, required};
use super::shape::{Key, Shape};

pub(super) const ISL: Shape = Shape::Integer { min: 1, max: 10_000_000 };
pub(super) const OSL: Shape = Shape::Integer { min: 1, max: 1_000_000 };

/// Items of `mix`.
pub(super) const MIX: &[Key] = &[
    required("isl", ISL, "mean length of the prompts in tokens, at least 1"),
    defaulted(
        "isl-std",
        Shape::Number { min: 0.0, max: 1e7 },
        "0",
        "standard deviation of the prompts' length, tokens",
    ),
    required("osl", OSL, "mean length of the answers in tokens, at least 1"),
    defaulted(
        "osl-std",
        Shape::Number { min: 0.0, max: 1e6 },
        "0",
        "standard deviation of the answers' length, tokens",
    ),
    defaulted("weight", Shape::Number { min: 1e-6, max: 1e6 }, "1", "how often, beside the other kinds"),
];

/// `[workload.shared-prefix]`
pub(super) const SHARED_PREFIX: &[Key] = &[
    required(
        "tokens",
        ISL,
        "tokens of the shared start, fewer than `isl`; before the first turn of a conversation, beside its `isl`",
    ),
    defaulted(
        "groups",
        Shape::Integer { min: 1, max: 1_000_000 },
        "1",
        "how many different starts there are; each request draws one",
    ),
    defaulted(
        "per",
        Shape::Choice(&["level", "run"]),
        "\"level\"",
        "how long starts stay the same: \"level\", warmed by its own wave alone, or \"run\", with what earlier levels have left",
    ),
];

/// Most turns of a conversation.
const MOST_TURNS: i64 = 10_000;
/// A time that may be none at all.
const PAUSE: Shape = Shape::OneOf(&[Shape::Duration, Shape::Integer { min: 0, max: 0 }]);

/// The value of `turns` where a file says how many there are.
pub(super) const ALL_TURNS: &str = "all";

/// `[workload.conversations]`
pub(super) const CONVERSATIONS: &[Key] = &[
    required(
        "turns",
        Shape::OneOf(&[Shape::Integer { min: 1, max: MOST_TURNS }, Shape::Choice(&[ALL_TURNS])]),
        "mean number of turns of each conversation; \"all\" with `dataset`: as many as the file has",
    ),
    defaulted(
        "turns-std",
        Shape::Number { min: 0.0, max: MOST_TURNS as f64 },
        "0",
        "standard deviation of the number of turns",
    ),
    defaulted(
        "delay",
        PAUSE,
        "0",
        "mean time between the end of an answer and the sending of the next turn, such as \"2s\"",
    ),
    defaulted("delay-std", PAUSE, "0", "standard deviation of that time"),
];
