//! Taking the failing parts of a document from another one: what `restoreRevision` and
//! `refetchSource` share.
//!
//! For each failing place the smallest part is taken that can make a difference: the place itself
//! first, then its parent, and so on. An index is not an identity: below a list, the other
//! document's element is found by its `id`, `key`, `name` or `slug`, and a list whose elements
//! have none is taken whole unless both are of one length.

use serde_json::Value;

use super::Failing;
use crate::domain::{
    Op, OpKind, ValueFrom,
    patch::{escape, tokens},
};

/// Members that tell one element of a list from another.
const IDENTITIES: [&str; 4] = ["id", "key", "name", "slug"];

/// The operations that take what fails in `document` from `other`; empty when `other` has
/// nothing to give. None when a violation names no place, so that no part can be taken.
pub(super) fn graft(
    document: &Value,
    other: &Value,
    failing: &[Failing],
    from: &ValueFrom,
) -> Option<Vec<Op>> {
    let violations = failing.iter().flat_map(|rule| &rule.violations);
    let mut places: Vec<&str> = violations.map(|violation| violation.path.as_str()).collect();
    if places.iter().any(|place| place.is_empty()) {
        return None;
    }
    places.sort_unstable();
    places.dedup();
    let mut ops: Vec<Op> =
        places.iter().filter_map(|place| take(document, other, place, from)).collect();
    keep_outermost(&mut ops);
    Some(ops)
}

/// The operation for one place: at the place itself, or at the nearest ancestor that differs.
fn take(document: &Value, other: &Value, place: &str, from: &ValueFrom) -> Option<Op> {
    let mut path: Vec<String> = tokens(place).collect();
    while !path.is_empty() {
        if let Some(op) = take_at(document, other, &path, from) {
            return Some(op);
        }
        path.pop();
    }
    None
}

fn take_at(document: &Value, other: &Value, path: &[String], from: &ValueFrom) -> Option<Op> {
    let (last, parents) = path.split_last()?;
    let ours = walk(document, parents)?;
    let theirs = walk_alike(document, other, parents)?;
    let pointer = join(path);
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => match (ours.get(last), theirs.get(last)) {
            (Some(a), Some(b)) if a != b => Some(Op::replace(pointer, b.clone(), from.clone())),
            (None, Some(b)) => Some(Op::add(pointer, b.clone(), from.clone())),
            // A key that the other does not have either way cannot be what is wrong with it.
            (Some(_), None) => Some(Op::remove(pointer)),
            _ => None,
        },
        (Value::Array(ours), Value::Array(theirs)) => {
            let element = ours.get(last.parse::<usize>().ok()?)?;
            let alike = counterpart(ours, theirs, last)?;
            (element != alike).then(|| Op::replace(pointer, alike.clone(), from.clone()))
        }
        _ => None,
    }
}

/// The value at `path`.
fn walk<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, token| match value {
        Value::Object(map) => map.get(token),
        Value::Array(items) => items.get(token.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The value in `other` that corresponds to `path` in `document`.
fn walk_alike<'a>(document: &Value, other: &'a Value, path: &[String]) -> Option<&'a Value> {
    let mut ours = document;
    let mut theirs = other;
    for token in path {
        (ours, theirs) = match (ours, theirs) {
            (Value::Object(a), Value::Object(b)) => (a.get(token)?, b.get(token)?),
            (Value::Array(a), Value::Array(b)) => {
                (a.get(token.parse::<usize>().ok()?)?, counterpart(a, b, token)?)
            }
            _ => return None,
        };
    }
    Some(theirs)
}

/// The element of `theirs` that is the same thing as the one at `index` of `ours`.
fn counterpart<'a>(ours: &[Value], theirs: &'a [Value], index: &str) -> Option<&'a Value> {
    let index: usize = index.parse().ok()?;
    let element = ours.get(index)?;
    let identity = IDENTITIES.iter().find_map(|name| Some((*name, element.get(*name)?)));
    match identity {
        Some((name, value)) => theirs.iter().find(|other| other.get(name) == Some(value)),
        None if ours.len() == theirs.len() => theirs.get(index),
        None => None,
    }
}

/// Of two operations where one is at or above the other, only the upper one: it has it all.
fn keep_outermost(ops: &mut Vec<Op>) {
    ops.sort_by(|a, b| a.path.cmp(&b.path));
    ops.dedup_by(|a, b| a.path == b.path);
    let paths: Vec<String> = ops.iter().map(|op| format!("{}/", op.path)).collect();
    ops.retain(|op| !paths.iter().any(|upper| op.path.starts_with(upper.as_str())));
    // Elements are removed from the end of a list, so that no index shifts under another.
    ops.sort_by_key(|op| op.kind == OpKind::Remove);
    let removals = ops.iter().position(|op| op.kind == OpKind::Remove).unwrap_or(ops.len());
    ops[removals..].reverse();
}

fn join(path: &[String]) -> String {
    path.iter().flat_map(|token| ["/".to_owned(), escape(token)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Violation, patch::apply};
    use proptest::prelude::*;
    use serde_json::json;

    fn failing(paths: &[&str]) -> Vec<Failing> {
        let violations =
            paths.iter().map(|path| Violation::new(path, "type", "is wrong")).collect();
        vec![Failing { rule: "schema".to_owned(), violations }]
    }

    fn grafted(document: &Value, other: &Value, paths: &[&str]) -> Value {
        let ops = graft(document, other, &failing(paths), &ValueFrom::Source).unwrap();
        apply(document, &ops).unwrap()
    }

    #[test]
    fn the_good_part_of_an_edit_survives() {
        let good = json!({"title": "old", "price": 1, "images": {"hero": "a.png"}});
        let edit = json!({"title": "new", "price": "free", "images": {"hero": "b.png"}});
        let expected = json!({"title": "new", "price": 1, "images": {"hero": "b.png"}});
        assert_eq!(grafted(&edit, &good, &["/price"]), expected);
    }

    #[test]
    fn a_missing_key_is_added_and_an_unknown_one_goes() {
        let good = json!({"title": "old"});
        assert_eq!(grafted(&json!({"x": 1}), &good, &["/title", "/x"]), json!({"title": "old"}));
    }

    #[test]
    fn an_element_is_found_by_its_identity_and_not_by_its_index() {
        let good = json!({"stores": [{"id": "a", "lat": 1}, {"id": "b", "lat": 2}]});
        let edit = json!({"stores": [{"id": "new", "lat": 9}, {"id": "b", "lat": "x"}]});
        let expected = json!({"stores": [{"id": "new", "lat": 9}, {"id": "b", "lat": 2}]});
        assert_eq!(grafted(&edit, &good, &["/stores/1/lat"]), expected);
    }

    #[test]
    fn a_list_without_identities_is_taken_whole_when_its_length_differs() {
        let good = json!({"tags": ["a", "b"]});
        assert_eq!(grafted(&json!({"tags": ["a", 7, "c"]}), &good, &["/tags/1"]), good);
        assert_eq!(
            grafted(&json!({"tags": ["z", 7]}), &good, &["/tags/1"]),
            json!({"tags": ["z", "b"]})
        );
    }

    #[test]
    fn where_a_parent_has_another_shape_the_parent_is_taken() {
        let good = json!({"image": {"src": "a.png"}});
        assert_eq!(grafted(&json!({"image": "a.png"}), &good, &["/image/src"]), good);
    }

    #[test]
    fn a_violation_without_a_place_takes_nothing() {
        assert_eq!(graft(&json!({}), &json!({}), &failing(&[""]), &ValueFrom::Source), None);
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![any::<bool>().prop_map(Value::Bool), (0..3_i32).prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::btree_map("[a-c]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_graft_always_applies_and_changes_only_at_or_above_what_fails(
            document in documents(), other in documents(), paths in prop::collection::vec("(/[a-c0-2]){1,3}", 1..4)
        ) {
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            let ops = graft(&document, &other, &failing(&paths), &ValueFrom::Source).unwrap();
            prop_assert!(apply(&document, &ops).is_ok(), "{:?} on {}", ops, document);
            for op in &ops {
                let at = format!("{}/", op.path);
                let is_above = |path: &&str| format!("{path}/").starts_with(&at);
                prop_assert!(paths.iter().any(is_above));
            }
        }
    }
}
