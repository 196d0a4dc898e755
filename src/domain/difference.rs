//! What makes one document of another, as RFC 6902 operations: the first so many of them.
//!
//! Own code, for the library's lists all of them before anything can be left out, each with its whole path: two
//! documents of a quarter of a MiB with one long key and many numbers make gigabytes.

use serde_json::Value;

use super::patch::OpKind;

/// Most bytes of all paths together.
const MOST_PATH_BYTES: usize = 256 * 1024;

/// One operation; its value is a part of the new document.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed<'a> {
    /// What is done.
    pub op: OpKind,
    /// Where: a JSON Pointer (RFC 6901).
    pub path: String,
    /// What is there then.
    pub value: Option<&'a Value>,
}

/// The first `most` operations that make `new` of `old`, and whether those are all.
#[must_use]
pub fn difference<'a>(old: &Value, new: &'a Value, most: usize) -> (Vec<Changed<'a>>, bool) {
    let mut found = Found { all: Vec::new(), most, bytes_left: MOST_PATH_BYTES, is_whole: true };
    found.compare(&mut String::new(), old, new);
    (found.all, found.is_whole)
}

struct Found<'a> {
    all: Vec<Changed<'a>>,
    most: usize,
    bytes_left: usize,
    is_whole: bool,
}

impl<'a> Found<'a> {
    fn compare(&mut self, at: &mut String, old: &Value, new: &'a Value) {
        if !self.is_whole {
            return;
        }
        match (old, new) {
            (Value::Object(before), Value::Object(after)) => {
                for (key, value) in before {
                    self.inside(at, key, |found, at| match after.get(key) {
                        Some(now) => found.compare(at, value, now),
                        None => found.push(OpKind::Remove, at, None),
                    });
                }
                for (key, value) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
                    self.inside(at, key, |found, at| found.push(OpKind::Add, at, Some(value)));
                }
            }
            (Value::Array(before), Value::Array(after)) => {
                let both = before.len().min(after.len());
                for (nth, (value, now)) in before.iter().zip(after).enumerate() {
                    self.inside(at, &nth.to_string(), |found, at| found.compare(at, value, now));
                }
                // From the end, so that none moves that is still to be taken away.
                for nth in (both..before.len()).rev() {
                    let remove = |found: &mut Self, at: &mut String| {
                        found.push(OpKind::Remove, at, None);
                    };
                    self.inside(at, &nth.to_string(), remove);
                }
                for (nth, value) in after.iter().enumerate().skip(both) {
                    let add = |found: &mut Self, at: &mut String| {
                        found.push(OpKind::Add, at, Some(value));
                    };
                    self.inside(at, &nth.to_string(), add);
                }
            }
            (old, new) if old != new => self.push(OpKind::Replace, at, Some(new)),
            _ => {}
        }
    }

    /// One step further down; nothing once there is no room.
    fn inside(&mut self, at: &mut String, key: &str, look: impl FnOnce(&mut Self, &mut String)) {
        if !self.is_whole {
            return;
        }
        let length = at.len();
        at.push('/');
        for c in key.chars() {
            match c {
                '~' => at.push_str("~0"),
                '/' => at.push_str("~1"),
                c => at.push(c),
            }
        }
        look(self, at);
        at.truncate(length);
    }

    fn push(&mut self, op: OpKind, at: &str, value: Option<&'a Value>) {
        if self.all.len() >= self.most || at.len() > self.bytes_left {
            self.is_whole = false;
            return;
        }
        self.bytes_left -= at.len();
        self.all.push(Changed { op, path: at.to_owned(), value });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..4_i64).prop_map(Value::from),
            "[a~/]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c~/]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn patch(changes: &[Changed<'_>]) -> json_patch::Patch {
        let ops = changes.iter().map(|changed| {
            let mut op = json!({"op": changed.op, "path": changed.path});
            if let Some(value) = changed.value {
                op["value"] = value.clone();
            }
            op
        });
        serde_json::from_value(ops.collect()).unwrap()
    }

    proptest! {
        #[test]
        fn the_operations_make_the_new_document_of_the_old_one(old in documents(), new in documents()) {
            let (changes, is_whole) = difference(&old, &new, usize::MAX);
            let mut made = old.clone();
            json_patch::patch(&mut made, &patch(&changes)).unwrap();
            prop_assert!(is_whole);
            prop_assert_eq!(made, new);
        }

        #[test]
        fn no_more_are_looked_for_than_are_wanted(old in documents(), new in documents(), most in 0..4_usize) {
            let (all, _) = difference(&old, &new, usize::MAX);
            let (some, is_whole) = difference(&old, &new, most);
            prop_assert_eq!(&some[..], &all[..all.len().min(most)]);
            prop_assert_eq!(is_whole, all.len() <= most);
        }
    }

    #[test]
    fn many_changes_below_one_long_key_stay_within_a_bound() {
        let key = "k".repeat(MOST_PATH_BYTES / 4);
        let document = |value: i64| json!({&key: vec![value; 1_000]});
        let (old, new) = (document(0), document(1));
        let (changes, is_whole) = difference(&old, &new, 500);
        let bytes: usize = changes.iter().map(|changed| changed.path.len()).sum();
        assert!(!is_whole && bytes <= MOST_PATH_BYTES, "{bytes}");
    }
}
