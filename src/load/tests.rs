//! Whole levels.
