//! What a schema says about one place of a document.
//!
//! Follows `properties`, `patternProperties`, `additionalProperties`, `unevaluatedProperties`,
//! `items`, `prefixItems`, `additionalItems`, `allOf`, local `$ref`s (`#`, `#/…`), and `anyOf` or
//! `oneOf` where exactly one branch can be meant. Does not follow `if`, `not`, `dependentSchemas`,
//! anchors, dynamic or remote references, or schemas embedded under an `$id` of their own: what those
//! say is missed, so what is found here is for proposing a repair, and whether a repair is right is
//! for a validator to say.
//!
//! Knows: JSON Schema. Must not know: violations, repairs, steps.

mod patterns;
mod says;
mod walk;

use std::ptr;

use serde_json::{Map, Value};

use super::place;

use patterns::Patterns;
use walk::{Branches, Walk};

pub(super) use says::Bound;

/// A schema in which places are looked up.
pub(super) struct Schema<'a> {
    root: &'a Value,
    /// Until draft 7 what stands beside a `$ref` does not count.
    is_ref_alone: bool,
    patterns: Patterns,
}

/// What the schema objects that hold together for one place say, the nearest first: those of the
/// place itself, then what they refer to.
pub(super) struct Subschema<'a> {
    found: Vec<Found<'a>>,
    patterns: &'a Patterns,
}

#[derive(Clone, Copy)]
struct Found<'a> {
    keywords: &'a Map<String, Value>,
    /// How many references, `allOf`s and unions lie between it and the place.
    hops: usize,
}

impl<'a> Schema<'a> {
    pub(super) fn of(root: &'a Value) -> Self {
        let draft = root.get("$schema").and_then(Value::as_str).unwrap_or_default();
        let is_ref_alone = ["draft-04", "draft-06", "draft-07"].iter().any(|d| draft.contains(d));
        Self { root, is_ref_alone, patterns: Patterns::default() }
    }

    /// What is said about the place `pointer` of `document`, which may be missing there. Nothing,
    /// when finding it out would take too long.
    pub(super) fn at<'s>(&'s self, document: &Value, pointer: &str) -> Subschema<'s> {
        self.to_hold(document, pointer, document.pointer(pointer))
    }

    /// The same as if `value` stood there.
    fn to_hold<'s>(
        &'s self,
        document: &Value,
        pointer: &str,
        value: Option<&Value>,
    ) -> Subschema<'s> {
        let walk = Walk::of(self).down(document, pointer, value, Branches::Meant);
        let found = walk.unwrap_or_default();
        Subschema { found, patterns: &self.patterns }
    }

    /// Can `value`, with all that is in it, be right at `pointer`, as far as that is known here?
    pub(super) fn admits(&self, document: &Value, pointer: &str, value: &Value) -> bool {
        let says = self.to_hold(document, pointer, Some(value));
        self.admits_by(&says, value)
    }

    fn admits_by(&self, says: &Subschema<'_>, value: &Value) -> bool {
        let children: Vec<(String, &Value)> = match value {
            Value::Array(items) => {
                items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect()
            }
            Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
            _ => Vec::new(),
        };
        says.admits(value)
            && children.into_iter().all(|(token, child)| {
                let schemas = below(&says.found, &self.patterns, Some(value), &token);
                let is_refused = schemas.iter().any(|schema| **schema == Value::Bool(false));
                let found = Walk::of(self).gather(schemas, Some(child), Branches::Meant);
                !is_refused && self.admits_by(&Subschema { found, patterns: &self.patterns }, child)
            })
    }

    /// Does any form that the object at `pointer` may have know the member `key`?
    pub(super) fn may_know(&self, document: &Value, pointer: &str, key: &str) -> bool {
        let value = document.pointer(pointer);
        Walk::of(self)
            .down(document, pointer, value, Branches::All)
            .is_none_or(|found| Subschema { found, patterns: &self.patterns }.knows(key))
    }

    fn referred(&self, keywords: &Map<String, Value>) -> Option<&'a Value> {
        let reference = keywords.get("$ref")?.as_str()?;
        // A schema may name itself by the address that it goes by.
        let own = ["$id", "id"].into_iter().find_map(|name| self.root.get(name)?.as_str());
        let local = own
            .and_then(|own| reference.strip_prefix(own.trim_end_matches('#')))
            .filter(|local| local.starts_with('#') || local.is_empty())
            .unwrap_or(reference);
        match local {
            "" | "#" => Some(self.root),
            _ => self.root.pointer(&percent_decoded(local.strip_prefix('#')?)),
        }
    }

    /// Is this another schema inside the root, with an address of its own, so that its references
    /// do not start at the root?
    fn is_embedded(&self, keywords: &Map<String, Value>) -> bool {
        let is_root = self.root.as_object().is_some_and(|root| ptr::eq(root, keywords));
        let names_itself =
            |name: &str| keywords.get(name).and_then(Value::as_str).is_some_and(is_address);
        !is_root && (names_itself("$id") || (self.is_ref_alone && names_itself("id")))
    }
}

fn is_address(id: &str) -> bool {
    !id.starts_with('#')
}

/// The schemas that speak about the member or element `token` of `value`.
fn below<'a>(
    here: &[Found<'a>],
    patterns: &Patterns,
    value: Option<&Value>,
    token: &str,
) -> Vec<&'a Value> {
    let is_list = value.is_some_and(Value::is_array);
    let of_one = |found: &Found<'a>| {
        if is_list {
            elements(found.keywords, token)
        } else {
            members(found.keywords, patterns, token)
        }
    };
    let mut found: Vec<&Value> = here.iter().flat_map(of_one).collect();
    if found.is_empty() {
        let unevaluated = if is_list { "unevaluatedItems" } else { "unevaluatedProperties" };
        found.extend(here.iter().filter_map(|found| found.keywords.get(unevaluated)));
    }
    found
}

/// What one schema object says about the member `key`.
fn members<'a>(map: &'a Map<String, Value>, patterns: &Patterns, key: &str) -> Vec<&'a Value> {
    let object = |name: &str| map.get(name).and_then(Value::as_object);
    let declared = object("properties").and_then(|properties| properties.get(key));
    let mut found: Vec<&Value> = declared.into_iter().collect();
    let mut may_be_known = false;
    for (pattern, schema) in object("patternProperties").into_iter().flatten() {
        match patterns.matches(pattern, key) {
            Some(true) => found.push(schema),
            Some(false) => {}
            None => may_be_known = true,
        }
    }
    if found.is_empty() && !may_be_known {
        found.extend(map.get("additionalProperties"));
    }
    found
}

/// What one schema object says about the element `token`: tuples as `prefixItems`, or as the list
/// in `items` that they were before draft 2020-12.
fn elements<'a>(map: &'a Map<String, Value>, token: &str) -> Vec<&'a Value> {
    let Some(index) = place::index(token) else { return Vec::new() };
    let (tuple, rest) = match (map.get("prefixItems"), map.get("items")) {
        (None, Some(Value::Array(tuple))) => (Some(tuple), map.get("additionalItems")),
        (prefix, items) => (prefix.and_then(Value::as_array), items),
    };
    tuple.and_then(|tuple| tuple.get(index)).or(rest).into_iter().collect()
}

/// `fragment` without the escapes of a URL, in which a JSON Pointer is written after `#`.
fn percent_decoded(fragment: &str) -> String {
    let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let mut rest = fragment.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| first == b'%').and_then(hex);
        out.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
