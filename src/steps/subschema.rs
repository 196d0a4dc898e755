//! Which part of a schema speaks about which place of a document.
//!
//! Knows: local `$ref`, `properties`, `patternProperties`, `additionalProperties`, `items`,
//! `prefixItems`, `allOf`, and `anyOf` or `oneOf` where one branch is meant for sure. A place that
//! several unlike branches could speak about has no subschema: a repair must not guess.

use regex::Regex;
use serde_json::Value;

use crate::domain::patch::tokens;

/// Longest chain of `$ref` and `allOf` that is followed: more is a cycle or as good as one.
const DEEPEST: usize = 32;

/// The subschemas that speak about the value at `pointer`, the nearest first.
pub(super) fn at<'a>(schema: &'a Value, document: &Value, pointer: &str) -> Vec<&'a Value> {
    let mut current = parts(schema, schema, Some(document), 0);
    let mut value = Some(document);
    for token in tokens(pointer) {
        value = value.and_then(|value| child(value, &token));
        current = current
            .into_iter()
            .flat_map(|part| below(part, &token))
            .flat_map(|part| parts(schema, part, value, 0))
            .collect();
    }
    current
}

/// The first of `subschemas` that has `keyword`.
pub(super) fn keyword<'a>(subschemas: &[&'a Value], keyword: &str) -> Option<&'a Value> {
    subschemas.iter().find_map(|schema| schema.get(keyword))
}

fn child<'a>(value: &'a Value, token: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(token),
        Value::Array(items) => items.get(token.parse::<usize>().ok()?),
        _ => None,
    }
}

/// `part` and all that must hold together with it.
fn parts<'a>(
    root: &'a Value,
    part: &'a Value,
    value: Option<&Value>,
    depth: usize,
) -> Vec<&'a Value> {
    if depth > DEEPEST {
        return Vec::new();
    }
    let mut found = vec![part];
    if let Some(target) = part.get("$ref").and_then(Value::as_str).and_then(|r| resolve(root, r)) {
        found.extend(parts(root, target, value, depth + 1));
    }
    for branch in part.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        found.extend(parts(root, branch, value, depth + 1));
    }
    for either in ["anyOf", "oneOf"] {
        let branches = part.get(either).and_then(Value::as_array);
        if let Some(branch) = branches.and_then(|branches| meant(root, branches, value)) {
            found.extend(parts(root, branch, value, depth + 1));
        }
    }
    found
}

/// The one branch that is meant: by a constant member that the value has, or because all others
/// are `null`.
fn meant<'a>(root: &'a Value, branches: &'a [Value], value: Option<&Value>) -> Option<&'a Value> {
    let real: Vec<&Value> =
        branches.iter().filter(|branch| branch.get("type") != Some(&Value::from("null"))).collect();
    if let [only] = real.as_slice() {
        return Some(only);
    }
    let object = value?.as_object()?;
    let chosen: Vec<&Value> = real
        .into_iter()
        .filter(|branch| {
            let target = branch.get("$ref").and_then(Value::as_str).and_then(|r| resolve(root, r));
            let properties = target.unwrap_or(branch).get("properties").and_then(Value::as_object);
            let mut constants = properties
                .into_iter()
                .flatten()
                .filter_map(|(name, schema)| Some((name, schema.get("const")?)));
            constants.any(|(name, constant)| object.get(name) == Some(constant))
        })
        .collect();
    match chosen.as_slice() {
        [only] => Some(only),
        _ => None,
    }
}

fn below<'a>(schema: &'a Value, token: &str) -> Vec<&'a Value> {
    let object = |name: &str| schema.get(name).and_then(Value::as_object);
    let mut found: Vec<&Value> =
        object("properties").and_then(|p| p.get(token)).into_iter().collect();
    for (pattern, part) in object("patternProperties").into_iter().flatten() {
        if Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(token)) {
            found.push(part);
        }
    }
    if found.is_empty() {
        found.extend(schema.get("additionalProperties").filter(|part| part.is_object()));
    }
    if let Ok(index) = token.parse::<usize>() {
        let tuple =
            schema.get("prefixItems").or_else(|| schema.get("items").filter(|i| i.is_array()));
        match tuple.and_then(|tuple| tuple.get(index)) {
            Some(part) => found.push(part),
            None => found.extend(schema.get("items").filter(|part| part.is_object())),
        }
    }
    found
}

fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let pointer = reference.strip_prefix('#')?;
    root.pointer(pointer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_place_is_found_through_references_lists_and_branches() {
        let schema = json!({
            "$ref": "#/$defs/page",
            "$defs": {
                "page": {"properties": {
                    "blocks": {"items": {"oneOf": [
                        {"properties": {"type": {"const": "text"}, "size": {"maximum": 1}}},
                        {"properties": {"type": {"const": "image"}, "size": {"maximum": 2}}},
                    ]}},
                    "pair": {"prefixItems": [{"type": "string"}, {"type": "number"}]},
                    "maybe": {"anyOf": [{"type": "null"}, {"maxLength": 3}]},
                }, "additionalProperties": {"type": "boolean"}},
            },
        });
        let document =
            json!({"blocks": [{"type": "image", "size": 9}], "pair": [1, 2], "maybe": "long"});
        let find =
            |pointer: &str, word: &str| keyword(&at(&schema, &document, pointer), word).cloned();
        assert_eq!(find("/blocks/0/size", "maximum"), Some(json!(2)));
        assert_eq!(find("/pair/1", "type"), Some(json!("number")));
        assert_eq!(find("/maybe", "maxLength"), Some(json!(3)));
        assert_eq!(find("/other", "type"), Some(json!("boolean")));
        assert_eq!(find("/blocks/1/size", "maximum"), None, "which branch is meant is not known");
    }

    #[test]
    fn a_schema_that_refers_to_itself_does_not_hang() {
        let schema = json!({"allOf": [{"$ref": "#"}], "properties": {"a": {"type": "string"}}});
        assert!(!at(&schema, &json!({}), "/a").is_empty());
    }
}
