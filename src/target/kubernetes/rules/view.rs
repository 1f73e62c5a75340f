//! Reading live objects: the few fields that the rules ask for, by their meaning. What is absent or of another type is
//! simply not there; no rule may fail because an operator is older or newer than we know.

use serde_json::Value;

/// An object, or a part of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a>(&'a Value);

/// A status condition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition<'a> {
    /// `True`, `False` or `Unknown`.
    pub(super) status: &'a str,
    /// One word; may be empty.
    pub(super) reason: &'a str,
    /// A sentence; may be empty.
    pub(super) message: &'a str,
    /// The generation it speaks of, where the controller says so.
    pub(super) generation: Option<i64>,
}

impl<'a> Condition<'a> {
    /// Whether it is `True`.
    pub(super) fn holds(self) -> bool {
        self.status == "True"
    }

    /// Its message, or else its reason.
    pub(super) fn words(self) -> &'a str {
        if self.message.is_empty() { self.reason } else { self.message }
    }
}

/// The controller that an object belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    /// `ReplicaSet`
    pub(super) kind: &'a str,
    /// Its uid.
    pub(super) uid: &'a str,
}

impl<'a> View<'a> {
    /// A view of `value`.
    pub(super) fn of(value: &'a Value) -> Self {
        Self(value)
    }

    /// What stands at a JSON pointer.
    pub(super) fn at(self, pointer: &str) -> Option<Self> {
        self.0.pointer(pointer).filter(|value| !value.is_null()).map(Self)
    }

    /// Text at a JSON pointer; empty when there is none.
    pub(super) fn text(self, pointer: &str) -> &'a str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whole number at a JSON pointer.
    pub(super) fn int(self, pointer: &str) -> Option<i64> {
        self.0.pointer(pointer).and_then(Value::as_i64)
    }

    /// True when `true` stands at a JSON pointer.
    pub(super) fn flag(self, pointer: &str) -> bool {
        self.0.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The members of a list at a JSON pointer.
    pub(super) fn list(self, pointer: &str) -> impl Iterator<Item = Self> + 'a {
        self.0.pointer(pointer).and_then(Value::as_array).into_iter().flatten().map(Self)
    }

    /// The entries of a map at a JSON pointer.
    pub(super) fn map(self, pointer: &str) -> impl Iterator<Item = (&'a str, Self)> + 'a {
        let map = self.0.pointer(pointer).and_then(Value::as_object);
        map.into_iter().flatten().map(|(key, value)| (key.as_str(), Self(value)))
    }

    /// An entry of a map at a JSON pointer, whatever characters its key has.
    pub(super) fn entry(self, pointer: &str, key: &str) -> Option<Self> {
        self.0.pointer(pointer)?.get(key).filter(|value| !value.is_null()).map(Self)
    }

    /// The text that this is: numbers and booleans as they are written in YAML.
    pub(super) fn as_words(self) -> String {
        match self.0 {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// `kind`
    pub(super) fn kind(self) -> &'a str {
        self.text("/kind")
    }

    /// The group of `apiVersion`; empty for the core.
    pub(super) fn group(self) -> &'a str {
        self.text("/apiVersion").rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// `metadata.name`
    pub(super) fn name(self) -> &'a str {
        self.text("/metadata/name")
    }

    /// `metadata.uid`
    pub(super) fn uid(self) -> &'a str {
        self.text("/metadata/uid")
    }

    /// `Deployment agg`
    pub(super) fn called(self) -> String {
        format!("{} {}", self.kind(), self.name())
    }

    /// `metadata.generation`
    pub(super) fn generation(self) -> Option<i64> {
        self.int("/metadata/generation")
    }

    /// Whether it is being deleted.
    pub(super) fn deleting(self) -> bool {
        self.at("/metadata/deletionTimestamp").is_some()
    }

    /// Whether its controller has seen this generation: true as well when the controller keeps no such record.
    pub(super) fn observed(self) -> bool {
        match (self.int("/status/observedGeneration"), self.generation()) {
            (Some(observed), Some(generation)) => observed >= generation,
            (None, _) | (_, None) => true,
        }
    }

    /// A label; empty when there is none.
    pub(super) fn label(self, key: &str) -> &'a str {
        self.entry("/metadata/labels", key).map_or("", |label| label.text(""))
    }

    /// An annotation; empty when there is none.
    pub(super) fn annotation(self, key: &str) -> &'a str {
        self.entry("/metadata/annotations", key).map_or("", |annotation| annotation.text(""))
    }

    /// The controlling owner.
    pub(super) fn owner(self) -> Option<Owner<'a>> {
        let owner = self.list("/metadata/ownerReferences").find(|owner| owner.flag("/controller"))?;
        Some(Owner { kind: owner.text("/kind"), uid: owner.text("/uid") })
    }

    /// The condition of a type.
    pub(super) fn condition(self, kind: &str) -> Option<Condition<'a>> {
        let found = self.list("/status/conditions").find(|condition| condition.text("/type") == kind)?;
        Some(Condition {
            status: found.text("/status"),
            reason: found.text("/reason"),
            message: found.text("/message"),
            generation: found.int("/observedGeneration"),
        })
    }
}
