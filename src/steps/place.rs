//! Places in a document: JSON Pointers (RFC 6901) and what stands at them.
//!
//! Knows: pointers and plain JSON. Must not know: schemas, violations, steps.

use serde_json::Value;

use crate::domain::{patch::escape, text};

/// How many places a sentence names before it only counts the rest.
const MOST_NAMED: usize = 5;

/// The longest that one place may be in a sentence, in bytes.
const LONGEST_NAMED: usize = 80;

/// The member or element of `value` that `token` names.
pub(super) fn child<'a>(value: &'a Value, token: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(token),
        Value::Array(items) => items.get(index(token)?),
        _ => None,
    }
}

/// The array index that `token` spells: decimal digits without a leading zero, as RFC 6901 has it.
pub(super) fn index(token: &str) -> Option<usize> {
    let is_canonical =
        token.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    token.parse().ok().filter(|_| is_canonical)
}

/// The pointer made of `tokens`.
pub(super) fn join(tokens: &[String]) -> String {
    tokens.iter().flat_map(|token| ["/".to_owned(), escape(token)]).collect()
}

/// All places above `place`, the nearest first; the last is "", the whole document.
pub(super) fn above(place: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(place), |upper| parent(upper))
}

fn parent(place: &str) -> Option<&str> {
    place.rsplit_once('/').map(|(parent, _)| parent)
}

/// Is `pointer` a JSON Pointer?
///
/// # Errors
/// A sentence that names `field`.
pub(super) fn check(field: &str, pointer: &str) -> Result<(), String> {
    let starts_well = pointer.is_empty() || pointer.starts_with('/');
    let escapes_well =
        pointer.split('~').skip(1).all(|after| after.starts_with('0') || after.starts_with('1'));
    if starts_well && escapes_well {
        return Ok(());
    }
    Err(format!(
        "{field} holds {pointer:?}, which is not a JSON Pointer; write /a/b, with ~1 for / and ~0 \
         for ~ in a key"
    ))
}

/// `places` for a sentence: the first few by name, the rest by number.
pub(super) fn listed(places: &[String]) -> String {
    let named: Vec<String> =
        places.iter().take(MOST_NAMED).map(|place| text::bounded(place, LONGEST_NAMED)).collect();
    let named = named.join(", ");
    match places.len().checked_sub(MOST_NAMED) {
        None | Some(0) => named,
        Some(more) => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_has_one_spelling() {
        let table = [("0", Some(0)), ("17", Some(17))];
        let refused = ["", "00", "01", "+1", "-", "-1", "1.0", "99999999999999999999999"];
        for (token, expected) in table.into_iter().chain(refused.map(|token| (token, None))) {
            assert_eq!(index(token), expected, "{token:?}");
        }
    }

    #[test]
    fn a_pointer_that_is_none_is_named_with_its_field() {
        for good in ["", "/", "/a/b", "/a~0b/c~1d", "/~01"] {
            assert_eq!(check("f", good), Ok(()), "{good:?}");
        }
        for bad in ["a", "a/b", "/a~", "/a~2", "#/a"] {
            let sentence = check("patch.ops[0].path", bad).unwrap_err();
            assert!(sentence.starts_with("patch.ops[0].path holds"), "{sentence}");
        }
    }

    #[test]
    fn the_places_above_end_with_the_whole_document() {
        assert_eq!(above("/a/b~1c/0").collect::<Vec<_>>(), ["/a/b~1c", "/a", ""]);
        assert_eq!(above("").count(), 0);
    }

    #[test]
    fn a_long_list_of_places_is_counted() {
        let places: Vec<String> = (0..8).map(|n| format!("/{n}")).collect();
        assert_eq!(listed(&places), "/0, /1, /2, /3, /4 and 3 more");
        assert_eq!(listed(&places[..2]), "/0, /1");
    }
}
