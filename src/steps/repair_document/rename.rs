//! Which key of an object is another one, misspelt.
//!
//! Knows: the keys of one object and those that its schema names. Must not know: their values.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::{spelling, subschema::Subschema};

/// The most keys that an object may have for its keys to be taken for misspelt ones. One with
/// more is a map of data, and comparing each with each would take long.
const MOST_KEYS: usize = 256;

/// The names of an object's members that a rename is about.
#[derive(Default)]
pub(super) struct Names {
    /// Keys that are there and that the schema does not know.
    unknown: BTreeSet<String>,
    /// Those of them that the schema refuses.
    refused: BTreeSet<String>,
    /// Keys that the schema knows, or that something asks for, and that are not there.
    missing: BTreeSet<String>,
}

impl Names {
    /// `failing` are the members that fail, with whether the schema refuses the very key. Empty
    /// when nothing is known of the object, or when it has no names of its own.
    pub(super) fn of<'a>(
        object: &Map<String, Value>,
        says: &Subschema<'_>,
        failing: impl Iterator<Item = (&'a String, bool)>,
    ) -> Self {
        if says.is_empty() || object.len() > MOST_KEYS || says.properties().count() > MOST_KEYS {
            return Self::default();
        }
        let (refused, asked_for): (Vec<_>, Vec<_>) = failing.partition(|(_, refused)| *refused);
        let unknown = object.keys().filter(|key| !says.knows(key) && !says.requires(key));
        let known = says.required().chain(says.properties()).map(str::to_owned);
        let known = known.chain(asked_for.into_iter().map(|(key, _)| key.clone()));
        Self {
            unknown: unknown.cloned().collect(),
            refused: refused.into_iter().map(|(key, _)| key.clone()).collect(),
            missing: known.filter(|key| !object.contains_key(key)).collect(),
        }
    }

    /// The key that `key` was meant to be, or that was meant to be `key`: from, to. Each must be
    /// the nearest to the other.
    pub(super) fn pair(&self, key: &str) -> Option<(String, String)> {
        let (from, to) = if self.missing.contains(key) {
            (nearest(key, &self.unknown)?, key)
        } else {
            (key, nearest(key, &self.missing)?)
        };
        let is_mutual =
            nearest(to, &self.unknown) == Some(from) && nearest(from, &self.missing) == Some(to);
        // A key that the schema only does not know may be somebody's own, so it takes more than
        // a likeness to take it away from them.
        let is_meant = self.refused.contains(from) || spelling::is_same_name(from, to);
        (is_mutual && is_meant).then(|| (from.to_owned(), to.to_owned()))
    }
}

fn nearest<'a>(name: &str, names: &'a BTreeSet<String>) -> Option<&'a str> {
    spelling::nearest(name, names.iter().map(String::as_str))
}
