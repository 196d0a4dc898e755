//! Regular expressions of a schema, each compiled once however many places ask for it.
//!
//! Knows: texts. Must not know: schemas, documents.

use std::{cell::RefCell, collections::HashMap};

use regex::Regex;

/// See the module.
#[derive(Default)]
pub(super) struct Patterns(RefCell<HashMap<String, Option<Regex>>>);

impl Patterns {
    /// Does `text` match? None when this engine does not know the pattern.
    pub(super) fn matches(&self, pattern: &str, text: &str) -> Option<bool> {
        let mut known = self.0.borrow_mut();
        if !known.contains_key(pattern) {
            known.insert(pattern.to_owned(), Regex::new(pattern).ok());
        }
        known.get(pattern)?.as_ref().map(|regex| regex.is_match(text))
    }
}
