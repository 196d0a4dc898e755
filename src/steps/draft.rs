//! A candidate in the making: a copy of the document and the operations that led to it.
//!
//! Steps that change several places work on a draft, so that each operation is made for the
//! document as the ones before it left it, and the list of them always applies.
//!
//! Knows: a document and operations. Must not know: why something is changed.

use serde_json::Value;

use super::Proposal;
use crate::domain::{Op, ValueFrom, patch::split_last};

/// See the module.
pub(super) struct Draft {
    value: Value,
    ops: Vec<Op>,
}

impl Draft {
    pub(super) fn of(document: &Value) -> Self {
        Self { value: document.clone(), ops: Vec::new() }
    }

    /// The document so far.
    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// Puts `value` at `place`: in the place of what is there, or as a new member of an object.
    /// False, and nothing is done, when there is no such place or it holds just that.
    pub(super) fn put(&mut self, place: &str, value: &Value, from: ValueFrom) -> bool {
        if let Some(there) = self.value.pointer_mut(place) {
            if there == value {
                return false;
            }
            *there = value.clone();
            self.ops.push(Op::replace(place, value.clone(), from));
            return true;
        }
        let Some((parent, key)) = split_last(place) else { return false };
        let Some(Value::Object(map)) = self.value.pointer_mut(parent) else { return false };
        map.insert(key, value.clone());
        self.ops.push(Op::add(place, value.clone(), from));
        true
    }

    /// Takes away the member of an object that stands at `place`; what it was, if it was there.
    pub(super) fn take(&mut self, place: &str) -> Option<Value> {
        let (parent, key) = split_last(place)?;
        let Value::Object(map) = self.value.pointer_mut(parent)? else { return None };
        let taken = map.remove(&key)?;
        self.ops.push(Op::remove(place));
        Some(taken)
    }

    /// The change, or Nothing with the sentence `otherwise` when there is none.
    pub(super) fn propose(self, otherwise: impl FnOnce() -> String) -> Proposal {
        if self.ops.is_empty() {
            return Proposal::Nothing(otherwise());
        }
        Proposal::Change(self.ops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::patch::apply;
    use serde_json::json;

    #[test]
    fn the_operations_lead_from_the_document_to_the_draft() {
        let document = json!({"a": {"x~/": 1}, "list": [1, 2]});
        let mut draft = Draft::of(&document);
        assert!(draft.put("/a/x~0~1", &json!(2), ValueFrom::Document));
        assert!(draft.put("/list/1", &json!("two"), ValueFrom::Schema));
        assert_eq!(draft.take("/a/x~0~1"), Some(json!(2)));
        assert!(draft.put("/a/y", &json!(2), ValueFrom::Document));
        let drafted = draft.value().clone();
        let Proposal::Change(ops) = draft.propose(String::new) else { panic!() };
        assert_eq!(apply(&document, &ops).unwrap(), drafted);
        assert_eq!(drafted, json!({"a": {"y": 2}, "list": [1, "two"]}));
    }

    #[test]
    fn what_has_no_place_or_changes_nothing_is_no_operation() {
        let document = json!({"a": 1, "list": [1]});
        let mut draft = Draft::of(&document);
        for place in ["/a", "/a/b", "/b/c", "/list/1", "/list/-", "/list/00", "no pointer"] {
            assert!(!draft.put(place, &json!(1), ValueFrom::Spec), "{place}");
        }
        assert_eq!(draft.take("/list/0"), None);
        assert_eq!(draft.take("/b"), None);
        let nothing = draft.propose(|| "nothing fits".to_owned());
        assert_eq!(nothing, Proposal::Nothing("nothing fits".to_owned()));
    }
}
