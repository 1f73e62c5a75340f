//! A JSON array that is written while its items are read: the file may be larger than the memory.

use std::cell::RefCell;
use std::io;

use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

/// Becomes an array of what `each` makes of every item. Can be serialized once: a second time it is empty.
pub(super) struct Streamed<I, F> {
    items: RefCell<I>,
    each: F,
}

impl<I, F> Streamed<I, F> {
    /// Of items that may fail while they are read; the first failure fails the writing.
    pub(super) fn new(items: I, each: F) -> Self {
        Self { items: RefCell::new(items), each }
    }
}

impl<T, R: Serialize, I: Iterator<Item = io::Result<T>>, F: Fn(T) -> io::Result<R>> Serialize for Streamed<I, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(None)?;
        for item in self.items.borrow_mut().by_ref() {
            let item = item.and_then(&self.each).map_err(S::Error::custom)?;
            sequence.serialize_element(&item)?;
        }
        sequence.end()
    }
}
